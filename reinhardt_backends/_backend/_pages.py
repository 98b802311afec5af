"""Keys that come in pages, as those of a scan do."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any


class PagedKeys(AsyncIterator[str]):
    """An iterator over keys that asks the store for a page of them at a time."""

    def __init__(self) -> None:
        #: What is left of the page.
        self._page: Iterator[str] = iter(())

    @abstractmethod
    async def next_page(self) -> list[str]:
        """Return further keys; none at the end."""

    def __aiter__(self) -> AsyncIterator[str]:  # noqa: PYI034 - it is the faster one of two
        # A loop over an async generator awaits no coroutine for each key, which would cost more than the rest.
        keys = _each(self)
        # Event loops keep track of async generators, and trio warns of one that is left before its end. This one has
        # nothing to close, so it is unknown to them: only the first call of a method looks for the hooks.
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        try:
            keys.asend(None).close()
        finally:
            sys.set_asyncgen_hooks(*hooks)
        return keys

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


async def _each(keys: PagedKeys) -> AsyncGenerator[str, None]:
    while True:
        for key in keys._page:
            yield key
        if not await keys._turn():
            return


async def close_iterator(iterator: AsyncIterator[Any]) -> None:
    """Close an iterator that can be closed, as an async generator of a user's backend."""
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()
