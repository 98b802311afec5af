"""Keys that come in pages, as those of a scan do."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any


class PagedKeys(AsyncIterator[str]):
    """An iterator over keys that asks the store for a page of them at a time.

    It is not an async generator: trio warns of one that is left before its end.
    """

    def __init__(self) -> None:
        #: What is left of the page, the next key last.
        self._page: list[str] = []

    @abstractmethod
    async def next_page(self) -> list[str]:
        """Return further keys; none at the end."""

    async def __anext__(self) -> str:
        page = self._page
        if not page:
            page = self._page = await self.next_page()
            if not page:
                raise StopAsyncIteration
            page.reverse()
        return page.pop()


async def close_iterator(iterator: AsyncIterator[Any]) -> None:
    """Close an iterator that can be closed, as an async generator of a user's backend."""
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()
