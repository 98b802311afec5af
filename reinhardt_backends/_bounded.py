"""The mapping of a bounded ``MemoryBackend``: a cachetools cache decides who goes.

cachetools changes its order of entries even when it is read, so everything here happens under the backend's lock. That
lock is re-entrant, and a signal handler or finalizer may call the backend while cachetools is half-way through. Such a
call must not see cachetools' links in between, so what it writes is kept aside and applied when the outer call is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

from cachetools import Cache, FIFOCache, LFUCache, LRUCache

from ._codec import packed_size
from ._errors import CapacityError

Policy = Literal["lru", "lfu", "fifo"]
Evicted = Callable[[str, Any], None]

_POLICIES: Final[dict[str, Any]] = {"lru": LRUCache, "lfu": LFUCache, "fifo": FIFOCache}
_GONE: Final = object()


class BoundedMapping:
    """As much of a dict as ``MemoryBackend`` needs, bounded in entries, in bytes, or in both.

    Args:
        maxsize: The most entries, or ``None``.
        maxbytes: The most bytes of keys and stored values, or ``None``.
        policy: ``"lru"``, ``"lfu"`` or ``"fifo"``.
        lock: The backend's re-entrant lock.
        evicted: Called with the key and the entry of everybody who had to go.
    """

    def __init__(self, maxsize: int | None, maxbytes: int | None, policy: str, lock: Any, evicted: Evicted) -> None:
        self.lock = lock
        self._maxsize = maxsize
        self._maxbytes = maxbytes
        self._evicted = evicted
        self._key = ""
        self._busy = False
        self._aside: dict[str, Any] = {}
        self._cache = self._new_cache(policy)

    def get(self, key: str) -> Any:
        with self.lock:
            if self._busy:
                return self.peek(key)
            with self._working():
                return self._cache.get(key)

    def peek(self, key: str) -> Any:
        """Return an entry, or ``None``, without counting as its use."""
        with self.lock:
            if self._busy and key in self._aside:
                entry = self._aside[key]
                return None if entry is _GONE else entry
            return Cache.__getitem__(self._cache, key) if key in self._cache else None

    def amend(self, key: str, entry: Any, new: Any) -> None:
        """Replace ``entry``, if it is there, by one of the same size, without counting as its use."""
        if self.peek(key) is entry and not self._busy:
            self._key = key
            Cache.__setitem__(self._cache, key, new)

    def __contains__(self, key: str) -> bool:
        if self._busy and key in self._aside:
            return self._aside[key] is not _GONE
        return key in self._cache

    def __getitem__(self, key: str) -> Any:
        if self._busy:
            return self._aside[key] if key in self._aside else Cache.__getitem__(self._cache, key)
        with self._working():
            return self._cache[key]

    def __setitem__(self, key: str, entry: Any) -> None:
        self._check_size(key, entry)
        if self._busy:
            self._aside[key] = entry
            return
        with self._working():
            self._put(key, entry)

    def __delitem__(self, key: str) -> None:
        if self._busy:
            self._aside[key] = _GONE
            return
        with self._working():
            del self._cache[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cache)

    def __len__(self) -> int:
        return len(self._cache)

    def _new_cache(self, policy: str) -> Any:
        evicting = type("Evicting", (_POLICIES[policy],), {"popitem": self._popitem(_POLICIES[policy])})
        if self._maxbytes is None:
            return evicting(self._maxsize)
        return evicting(self._maxbytes, getsizeof=lambda entry: self._size(self._key, entry))

    def _popitem(self, base: type[Cache[str, Any]]) -> Callable[[Any], tuple[str, Any]]:
        def popitem(cache: Any) -> tuple[str, Any]:
            key, entry = base.popitem(cache)
            # A write may evict the very key that it is about to store.
            if key != self._key:
                self._evicted(key, entry)
            return key, entry

        return popitem

    def _put(self, key: str, entry: Any) -> None:
        self._key = key
        try:
            if self._maxsize is not None and key not in self._cache:
                while len(self._cache) >= self._maxsize:
                    self._cache.popitem()
            self._cache[key] = entry
        finally:
            self._key = ""

    def _check_size(self, key: str, entry: Any) -> None:
        if self._maxbytes is not None and (size := self._size(key, entry)) > self._maxbytes:
            raise CapacityError(f"one entry of {size} bytes is more than the {self._maxbytes} bytes of the backend")

    def _size(self, key: str, entry: Any) -> int:
        return len(key.encode()) + packed_size(entry[0])

    @contextmanager
    def _working(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
            while self._aside:
                key, entry = self._aside.popitem()
                if entry is not _GONE:
                    self._put(key, entry)
                elif key in self._cache:
                    del self._cache[key]
        finally:
            self._busy = False


def check_bounds(maxsize: int | None, maxbytes: int | None, policy: str) -> bool:
    """Check the bounds of a backend and return whether there are any.

    Raises:
        TypeError: A bound is not an ``int``.
        ValueError: A bound is not positive, or the policy is unknown.
    """
    for name, bound in (("maxsize", maxsize), ("maxbytes", maxbytes)):
        if bound is None:
            continue
        if isinstance(bound, bool) or not isinstance(bound, int):
            raise TypeError(f"{name} must be an int or None, not {type(bound).__name__}")
        if bound <= 0:
            raise ValueError(f"{name} must be greater than 0")
    if policy not in _POLICIES:
        raise ValueError(f"the policy must be one of {', '.join(_POLICIES)}")
    return maxsize is not None or maxbytes is not None
