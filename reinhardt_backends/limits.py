"""limits: storages in a backend, for Flask-Limiter, SlowAPI and other libraries that are built on limits.

Example::

    storage = BackendStorage(backend=backend)
    limiter = FixedWindowRateLimiter(storage)

Once this module is imported, limits knows their URLs, too: ``reinhardt+redis://localhost``, ``reinhardt+memory://``,
and ``async+reinhardt+redis://localhost`` for asynchronous code.

They support the strategies ``fixed-window`` and ``sliding-window-counter``. A moving window needs a log of all hits.
"""

from __future__ import annotations

from typing import Any

from limits.storage import SlidingWindowCounterSupport, Storage
from limits.storage.base import TimestampedSlidingWindow

from . import Backend, BackendError, SyncBackend
from .limits_aio import AsyncBackendStorage
from .limits_windows import SCHEMES, Counts, Windows, expires_at, namespace_of

__all__ = ["AsyncBackendStorage", "BackendStorage"]


class BackendStorage(Storage, SlidingWindowCounterSupport, TimestampedSlidingWindow):
    """A storage for blocking code."""

    STORAGE_SCHEME: list[str] | None = SCHEMES

    def __init__(
        self, uri: str | None = None, wrap_exceptions: bool = False, *, backend: Backend | None = None, **options: Any
    ) -> None:
        """Take a backend, or the URL of one.

        Args:
            uri: ``reinhardt+`` and a URL as for ``Backend.from_url``.
            wrap_exceptions: Whether errors of the backend come as ``limits.errors.StorageError``.
            backend: The backend, if there is no URL.
            **options: Options of the backend's class, if there is a URL.
        """
        super().__init__(uri, wrap_exceptions)
        self._store = SyncBackend(namespace_of(uri, backend, options))

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the backend raises."""
        return BackendError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count hits, in a window that begins with the first of them. Atomic."""
        return self._store.increment(key, expiry, by=amount)

    def get(self, key: str) -> int:
        """Return how many hits were counted."""
        return self._store.get(key, int) or 0

    def get_expiry(self, key: str) -> float:
        """Return the time at which the hits are forgotten, on the clock of this machine."""
        return expires_at(self._store.ttl(key))

    def check(self) -> bool:
        """Return whether the store answers."""
        try:
            self._store.ping()
        except BackendError:
            return False
        return True

    def reset(self) -> None:
        """Forget the hits of all keys."""
        self._store.clear()

    def clear(self, key: str) -> None:
        """Forget the hits of a key."""
        self._store.delete(key)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count hits if the limit allows them."""
        windows = Windows(key, expiry, self._store.time())
        found = self._store.get_many(windows.keys, int)
        if not windows.fits(found, limit, amount):
            return False
        found[windows.keys[1]] = self._store.increment(windows.keys[1], 2 * expiry, by=amount)
        if windows.fits(found, limit, 0):
            return True
        # Others were faster.
        self._store.increment_existing(windows.keys[1], by=-amount)
        return False

    def get_sliding_window(self, key: str, expiry: int) -> Counts:
        """Return the counts of the two windows, and for how long they count."""
        windows = Windows(key, expiry, self._store.time())
        return windows.counts(self._store.get_many(windows.keys, int))

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget the hits of a key."""
        self._store.delete_many(Windows(key, expiry, self._store.time()).keys)
