"""limits: the storage for asynchronous code. Import it from ``reinhardt_backends.limits``."""

from __future__ import annotations

from typing import Any

from limits.aio.storage import SlidingWindowCounterSupport, Storage
from limits.storage.base import TimestampedSlidingWindow

from . import Backend, BackendError
from .limits_windows import ASYNC_SCHEMES, Counts, Windows, expires_at, namespace_of


class AsyncBackendStorage(Storage, SlidingWindowCounterSupport, TimestampedSlidingWindow):
    """A storage for asynchronous code, otherwise as ``BackendStorage``."""

    STORAGE_SCHEME: list[str] | None = ASYNC_SCHEMES

    def __init__(
        self, uri: str | None = None, wrap_exceptions: bool = False, *, backend: Backend | None = None, **options: Any
    ) -> None:
        """Take a backend, or the URL of one, as ``BackendStorage`` does, with ``async+`` before it."""
        super().__init__(uri, wrap_exceptions)
        self._store = namespace_of(uri, backend, options)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the backend raises."""
        return BackendError

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count hits, in a window that begins with the first of them. Atomic."""
        return await self._store.increment(key, expiry, by=amount)

    async def get(self, key: str) -> int:
        """Return how many hits were counted."""
        return await self._store.get(key, int) or 0

    async def get_expiry(self, key: str) -> float:
        """Return the time at which the hits are forgotten, on the clock of this machine."""
        return expires_at(await self._store.ttl(key))

    async def check(self) -> bool:
        """Return whether the store answers."""
        try:
            await self._store.ping()
        except BackendError:
            return False
        return True

    async def reset(self) -> None:
        """Forget the hits of all keys."""
        await self._store.clear()

    async def clear(self, key: str) -> None:
        """Forget the hits of a key."""
        await self._store.delete(key)

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count hits if the limit allows them."""
        windows = Windows(key, expiry, await self._store.time())
        found = await self._store.get_many(windows.keys, int)
        if not windows.fits(found, limit, amount):
            return False
        found[windows.keys[1]] = await self._store.increment(windows.keys[1], 2 * expiry, by=amount)
        if windows.fits(found, limit, 0):
            return True
        # Others were faster.
        await self._store.increment_existing(windows.keys[1], by=-amount)
        return False

    async def get_sliding_window(self, key: str, expiry: int) -> Counts:
        """Return the counts of the two windows, and for how long they count."""
        windows = Windows(key, expiry, await self._store.time())
        return windows.counts(await self._store.get_many(windows.keys, int))

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget the hits of a key."""
        await self._store.delete_many(Windows(key, expiry, await self._store.time()).keys)
