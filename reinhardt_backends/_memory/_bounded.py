"""The mapping of a bounded ``MemoryBackend``: a cachetools cache decides who goes.

cachetools changes its order of entries even when it is read, so everything here happens under the backend's lock. That
lock is re-entrant, and a signal handler or finalizer may call the backend while cachetools is half-way through. Such a
call must not touch cachetools' links: it sees everything as it was before the outer call, and what it writes is kept
aside and applied when the outer call is done. If it wrote the very key that the outer call is about, it came first, and
the outer call finds that its entry is no longer there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

from cachetools import Cache, FIFOCache, LFUCache, LRUCache

from .._errors import CapacityError
from .._values._codec import packed_size

Policy = Literal["lru", "lfu", "fifo"]
Evicted = Callable[[str, Any], None]

_POLICIES: Final[dict[str, Any]] = {"lru": LRUCache, "lfu": LFUCache, "fifo": FIFOCache}


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
        self._busy = False
        # The key that is being written, and its entry before that.
        self._key: str | None = None
        self._before: Any = None
        self._aside: dict[str, Any] = {}
        self._cache = self._new_cache(policy)

    def __len__(self) -> int:
        return len(self._cache)

    def __iter__(self) -> Iterator[str]:
        return iter(list(iter(self._cache)))

    def get(self, key: str) -> Any:
        """Return an entry, or ``None``, and count it as used."""
        with self.lock:
            if self._busy:
                return self._seen(key)
            with self._working():
                return self._cache.get(key)

    def peek(self, key: str) -> Any:
        """Return an entry, or ``None``, without counting it as used."""
        with self.lock:
            return self._seen(key)

    def swap(self, key: str, entry: Any, new: Any, *, used: bool = True) -> bool:
        """Replace ``entry`` by ``new`` if it is what is there; ``None`` stands for no entry.

        Args:
            key: The key.
            entry: What must be there.
            new: What comes in its place.
            used: Whether to count it as used. If not, the new entry is of the same size.

        Raises:
            CapacityError: The new entry alone is larger than the bound.
        """
        if new is not None:
            self._check_size(key, new)
        with self.lock:
            if self._busy:
                if self._seen(key) is not entry:
                    return False
                self._aside[key] = new
                return True
            with self._working():
                if self._seen(key) is not entry:
                    return False
                self._key, self._before = key, entry
                self._write(key, new, used)
                came_first = key in self._aside
                self._key = self._before = None
                return not came_first

    def _seen(self, key: str) -> Any:
        if key in self._aside:
            return self._aside[key]
        if self._key is not None and key == self._key:
            return self._before
        try:
            return Cache.__getitem__(self._cache, key)
        except KeyError:
            return None

    def _write(self, key: str, new: Any, used: bool) -> None:
        cache = self._cache
        if new is None:
            cache.pop(key, None)
        elif not used:
            Cache.__setitem__(cache, key, new)
        else:
            if self._maxsize is not None and key not in cache:
                while len(cache) >= self._maxsize:
                    cache.popitem()
            cache[key] = new

    @contextmanager
    def _working(self) -> Generator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._key = self._before = None
            while True:
                while self._aside:
                    self._key, new = self._aside.popitem()
                    self._before = new
                    self._write(self._key, new, used=True)
                    self._key = self._before = None
                self._busy = False
                if not self._aside:
                    break
                self._busy = True

    def _new_cache(self, policy: str) -> Any:
        evicting = type("Evicting", (_POLICIES[policy],), {"popitem": self._popitem(_POLICIES[policy])})
        if self._maxbytes is None:
            return evicting(self._maxsize)
        return evicting(self._maxbytes, getsizeof=lambda entry: self._size(self._key or "", entry))

    def _popitem(self, base: type[Cache[str, Any]]) -> Callable[[Any], tuple[str, Any]]:
        def popitem(cache: Any) -> tuple[str, Any]:
            key, entry = base.popitem(cache)
            # A write may evict the very key that it is about to store.
            if key != self._key:
                self._evicted(key, entry)
            return key, entry

        return popitem

    def _check_size(self, key: str, entry: Any) -> None:
        if self._maxbytes is not None and (size := self._size(key, entry)) > self._maxbytes:
            raise CapacityError(f"one entry of {size} bytes is more than the {self._maxbytes} bytes of the backend")

    def _size(self, key: str, entry: Any) -> int:
        return len(key.encode()) + packed_size(entry[0])


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
