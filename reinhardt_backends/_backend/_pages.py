"""Keys that come in pages, as those of a scan do."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any


class PagedKeys(AsyncIterator[str]):
    """An iterator over keys that asks the store for a page of them at a time."""

    def __init__(self) -> None:
        #: What is left of the page.
        self._page: Iterator[str] = iter(())

    @abstractmethod
    async def next_page(self) -> list[str]:
        """Return further keys; none at the end."""

    async def __anext__(self) -> str:
        while (key := next(self._page, None)) is None:
            if not await self._turn():
                raise StopAsyncIteration
        return key

    async def _turn(self) -> bool:
        """Ask for the next page. Return whether there is one."""
        page = await self.next_page()
        self._page = iter(page)
        return bool(page)


async def close_iterator(iterator: AsyncIterator[Any]) -> None:
    """Close an iterator that can be closed, as an async generator of a user's backend."""
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()
