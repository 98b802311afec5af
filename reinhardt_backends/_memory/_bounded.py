"""The bounds of a ``MemoryBackend``: how much fits, and which key is evicted.

The items themselves are in one dict, whatever the policy. For ``lru`` and ``fifo`` it is an ``OrderedDict``, so that
one call of C code moves a key to the end. For ``lfu`` cachetools counts the uses, beside the dict.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeVar

from cachetools import LFUCache

from .._errors import CapacityError
from .._values._codec import packed_size

EvictionPolicy = Literal["lru", "lfu", "fifo"]

UNKNOWN: Final = -1

T = TypeVar("T")

_POLICIES: Final = ("lru", "lfu", "fifo")


class Order(Protocol):
    """In which order keys are evicted. It may know keys that are gone; the dict of items decides."""

    data: dict[str, Any]
    """The dict to keep the items in."""

    def read(self, key: str, /) -> object:
        """Count a read of a key that is there."""
        ...

    def written(self, key: str, /) -> object:
        """Count a write to a key that is there."""
        ...

    def victim(self, keep: str) -> str | None:
        """Return the key that goes next, but not ``keep``; ``None`` if there is none."""
        ...


class Recency:
    """The order of the dict: that of the last write (``fifo``), or of the last use (``lru``)."""

    def __init__(self, *, reads_count: bool) -> None:
        data: OrderedDict[str, Any] = OrderedDict()
        self.data: dict[str, Any] = data
        self.written: Callable[[str], object] = data.move_to_end
        self.read = self.written if reads_count else _ignore

    def victim(self, keep: str) -> str | None:
        """Return the first key. A key that is written has been moved to the end before."""
        for key in self.data:
            return None if key == keep else key
        return None


class Frequency:
    """How often each key was used, counted by cachetools.

    A signal handler or a finalizer may call the backend while cachetools is half-way through a change, and it may raise
    an exception there. ``_changing`` is locked during a change, so a call in the middle of one leaves cachetools alone,
    and what it wanted counted is counted by the next change. After a change that an exception has ended, the counts
    start again.
    """

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self._changing = threading.Lock()
        self._counts: LFUCache[str, None] | None = _no_counts()
        # To be counted by the next change: keys used in the middle of another one, and victims that stay after all.
        self._uncounted: list[str] = []

    def read(self, key: str) -> None:
        """Count a use of a key that is there or about to be."""
        if self._changing.locked():
            self._uncounted.append(key)
        else:
            self._change(lambda counts: counts.__setitem__(key, None))

    written = added = read

    def removed(self, key: str) -> None:
        """Forget a key."""
        if not self._changing.locked():
            self._change(lambda counts: counts.pop(key, None))

    def victim(self, keep: str) -> str | None:
        """Return the key that was used least often, and of several the one whose last use was first."""
        if len(self.data) <= (keep in self.data):
            return None
        if self._changing.locked():
            # In the middle of a change the counts are not known.
            return next((key for key in list(self.data) if key != keep), None)
        return self._change(lambda counts: self._least(counts, keep))

    def _least(self, counts: LFUCache[str, None], keep: str) -> str:
        if len(counts) <= (keep in counts):
            self._count_all(counts)
        key, _ = counts.popitem()
        if key == keep:
            key, _ = counts.popitem()
            counts[keep] = None
        self._uncounted.append(key)
        return key

    def _change(self, change: Callable[[LFUCache[str, None]], T]) -> T:
        with self._changing:
            # While it is ``None``, what cachetools has may be half changed.
            counts, self._counts = self._counts, None
            if counts is None:
                counts = _no_counts()
                self._count_all(counts)
            self._count_late(counts)
            result = change(counts)
            self._counts = counts
            return result

    def _count_late(self, counts: LFUCache[str, None]) -> None:
        while self._uncounted:
            key = self._uncounted.pop()
            if key in self.data:
                counts[key] = None

    def _count_all(self, counts: LFUCache[str, None]) -> None:
        for key in list(self.data):
            counts[key] = None

    def renew_lock(self) -> None:
        """Replace a lock that a thread of the parent process may have held at a fork."""
        self._changing = threading.Lock()


class Bounds:
    """How much a backend may hold, and what it holds.

    Attributes:
        data: The dict to keep the items in.
        read: Counts a read of a key that is there.
        reads_count: Whether the order of eviction depends on reads.
        written: Counts a write to a key that is there.
        victim: Returns the key to evict next, other than the given one; ``None`` if there is none.
        counts: The counts of uses, for ``lfu``.
        maxsize: The most items.
        maxbytes: The most bytes.
        weighs: Whether the number of bytes is bounded.
        bytes: How many bytes the items have; ``UNKNOWN`` while one is changed, and after such a change was interrupted.
        evictions: How many items were evicted.
    """

    def __init__(self, maxsize: int | None, maxbytes: int | None, policy: EvictionPolicy) -> None:
        self.counts = Frequency() if policy == "lfu" else None
        order: Order = self.counts or Recency(reads_count=policy == "lru")
        self.data = order.data
        self.read = order.read
        self.reads_count = policy != "fifo"
        self.written = order.written
        self.victim = order.victim
        self.maxsize = math.inf if maxsize is None else maxsize
        self.maxbytes = math.inf if maxbytes is None else maxbytes
        self.weighs = maxbytes is not None
        self.bytes = 0
        self.evictions = 0

    def growth(self, key: str, old: Any, new: Any) -> int:
        """Return by how many bytes a new item is larger than the old one (``None`` if there is none).

        Raises:
            CapacityError: The new item alone is larger than the bound.
        """
        size = self.size_of(key, new)
        if size > self.maxbytes:
            raise CapacityError(f"one entry of {size} bytes is more than the {self.maxbytes} bytes of the backend")
        return size if old is None else size - self.size_of(key, old)

    def size_of(self, key: str, item: Any) -> int:
        """Return how many bytes count for an item, and see to it that ``bytes`` is known."""
        if self.bytes == UNKNOWN:
            total = sum([_size(name, found) for name in list(self.data) if (found := self.data.get(name))])
            if self.bytes == UNKNOWN:
                self.bytes = total
        return _size(key, item)


def bounds_for(maxsize: int | None, maxbytes: int | None, policy: EvictionPolicy) -> Bounds | None:
    """Check the bounds of a backend and return them, or ``None`` if there are none.

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
    return None if maxsize is None and maxbytes is None else Bounds(maxsize, maxbytes, policy)


def _no_counts() -> LFUCache[str, None]:
    return LFUCache(math.inf)


def _ignore(key: str) -> None:
    pass


def _size(key: str, item: Any) -> int:
    return len(key.encode()) + packed_size(item[0])
