"""The keys of a scan, in pages or one by one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any


class PagedKeys(AsyncIterator[str]):
    """An iterator over keys that asks the store for a page of them at a time.

    It may be left at any time and continued later, also after an error. ``aclose`` ends it.
    """

    def __init__(self) -> None:
        #: What is left of the page.
        self._page: Iterator[str] = iter(())
        self.closed = False

    @abstractmethod
    async def next_page(self) -> list[str]:
        """Return further keys; none at the end."""

    @abstractmethod
    def leave_out(self, prefix: str) -> None:
        """Yield the keys of further pages without this prefix, which all of them have."""

    async def __anext__(self) -> str:
        # A loop, since a call of next() would take a third longer.
        for key in self._page:
            return key
        while not self.closed and (page := await self.next_page()):
            self._page = iter(page)
            for key in self._page:
                return key
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the iteration."""
        self.closed = True
        self._page = iter(())


class ListedKeys(AsyncIterator[str]):
    """A plain iterator over keys as an asynchronous one.

    Not an async generator: one that is left before its end would make trio warn.
    """

    def __init__(self, keys: Iterator[str]) -> None:
        self._keys = keys

    async def __anext__(self) -> str:
        for key in self._keys:
            return key
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the iteration."""
        self._keys = iter(())


async def close_iterator(iterator: AsyncIterator[Any]) -> None:
    """Close an iterator that can be closed, as an async generator of a user's backend."""
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()
