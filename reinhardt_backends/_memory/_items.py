"""The items of a ``MemoryBackend``: one dict, one ring, one lock, and the steps that verbs are made of.

The dict takes a key to an exact tuple ``(value, expiry, slot)``: the value as ``pack`` gives it, the instant it
expires on the clock, and the slot of the expiry ring in which the key is filed. Tuples of scalars drop out of the
garbage collector, so a million keys cost it nothing.

Every write holds the lock; reads of an unbounded backend do not, since one look-up in a dict is atomic and an item
never changes once it is there.

The lock is re-entrant. A signal handler or a finalizer may call the backend in the middle of a write of the same
thread, and a signal handler may raise an exception there. CPython runs handlers after a call, at the start of a
function and at the end of a turn of a loop, and nowhere else. Hence these rules:

* What belongs together is compared and stored with no call in between: that the item is still the one that the write
  was computed from, the item, and the number of bytes of all items.
* A key is filed in the ring before its item is stored, and leaves its old slot afterwards. A key that is filed in vain
  does no harm; one that is not filed would never be swept.
* The lock is acquired by ``with``, or inside the ``try`` whose end releases it. An exception right after the call of
  ``acquire`` would otherwise leave it locked.
"""

from __future__ import annotations

import math
import os
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .._backend._locks import RLock
from .._errors import BackendClosedError
from .._types import MAX_TTL, MISSING, TTL, KeepTTL, check_key, check_ttl
from .._values._codec import decode, pack
from .._values._counter import check_total
from ._bounded import UNKNOWN, Bounds, EvictionPolicy, bounds_for
from ._expiry import UNFILED, ExpiryRing

if TYPE_CHECKING:
    from .._backend._atomic import DecideOne, Found, Step

Item = tuple[Any, float, int]

NEVER: Final = math.inf
SWEEP: Final = 256
"""How many expired keys one call removes at most."""


class Items:
    """Items by key, with expiry. Where a method does not say otherwise, its caller holds the lock."""

    def __init__(
        self, clock: Callable[[], float], maxsize: int | None, maxbytes: int | None, policy: EvictionPolicy
    ) -> None:
        self._clock = clock
        self._epoch = time.time() - clock()
        self._lock = RLock()
        self._limits = (maxsize, maxbytes, policy)
        self._bounds = bounds_for(*self._limits)
        self._data: Any = {} if self._bounds is None else self._bounds.data
        self._ring = ExpiryRing(clock())
        self._due = -NEVER
        # From when on a hit is more than a look-up: when a sweep is due, or always if the policy counts reads.
        self._hit_due = -NEVER
        # The last ttl that was checked, and its seconds. Callers pass the same object again and again.
        self._checked: tuple[Any, float] = (Items, NEVER)
        _instances[id(self)] = self

    def _replace_all(self, *, closed: bool) -> None:
        """Forget every item, and refuse new ones if ``closed``. Takes the lock."""
        bounds = None if closed else bounds_for(*self._limits)
        data = CLOSED if closed else {} if bounds is None else bounds.data
        with self._lock:
            ring = ExpiryRing(self._clock())
            # What was there is freed after the lock is.
            old = self._data
            if old is not CLOSED:
                if bounds is not None and self._bounds is not None:
                    bounds.evictions = self._bounds.evictions
                self._data, self._bounds, self._ring = data, bounds, ring
        del old

    def _seconds(self, ttl: TTL | None) -> float:
        """Check a ttl; needs no lock."""
        if type(ttl) is int and 0 < ttl <= MAX_TTL:
            seconds: float = ttl
        else:
            milliseconds = check_ttl(ttl)
            if milliseconds is None:
                return NEVER
            seconds = milliseconds / 1000
        self._checked = (ttl, seconds)
        return seconds

    def _new_seconds(self, ttl: TTL | KeepTTL | None) -> float | None:
        """Check a ttl, ``None`` standing for ``KEEP_TTL``; needs no lock."""
        return None if isinstance(ttl, KeepTTL) else self._seconds(ttl)

    def _turn(self) -> float:
        now = self._clock()
        if now >= self._due:
            self._sweep(now)
        return now

    def _live(self, key: str) -> Item | None:
        """Return the item of a live key; needs no lock."""
        item: Item | None = self._data.get(key)
        return None if item is None or item[1] <= self._clock() else item

    def _after_hit(self, key: str, now: float) -> None:
        """Sweep if that is due, and count a read if the policy does. Takes the lock."""
        lock = self._lock
        try:
            lock.acquire()
            if now >= self._due:
                self._sweep(now)
            if self._bounds is not None and key in self._data:
                self._bounds.read(key)
        except BaseException:
            try:  # noqa: SIM105 - a call of suppress() could be interrupted itself
                lock.release()
            except RuntimeError:
                pass  # Interrupted while it waited for the lock.
            raise
        lock.release()

    def _put(
        self, key: str, stored: Any, seconds: float | None, allowed: Callable[[Item | None], bool] | None = None
    ) -> bool:
        """Store if ``allowed`` says so of the live item; with no seconds, keep its expiry. Takes the lock."""
        if key.__class__ is not str or not key.isascii():
            key = check_key(key)
        stores = True
        lock = self._lock
        try:
            lock.acquire()
            while stores:
                now = self._clock()
                if now >= self._due:
                    self._sweep(now)
                item = self._data.get(key)
                live = None if item is None or item[1] <= now else item
                if seconds is not None:
                    expiry = now + seconds
                else:
                    expiry = NEVER if live is None else live[1]
                stores = allowed is None or allowed(live)
                if stores and self._swap(key, item, stored, expiry, now):
                    break
        except BaseException:
            try:  # noqa: SIM105 - a call of suppress() could be interrupted itself
                lock.release()
            except RuntimeError:
                pass  # Interrupted while it waited for the lock.
            raise
        lock.release()
        return stores

    def _count(self, key: str, ttl: TTL | None, by: int) -> int:
        """Do an increment that sets an expiry, leaves the small numbers, or fails. Takes the lock."""
        key = check_key(key)
        seconds = self._seconds(ttl)
        with self._lock:
            while True:
                now = self._clock()
                item = self._data.get(key)
                if item is None or item[1] <= now:
                    new, expiry = by, now + seconds
                else:
                    new, expiry = check_total(key, item[0], by), item[1]
                    if expiry == NEVER:
                        expiry = now + seconds
                if self._swap(key, item, new, expiry, now):
                    return new

    def _count_live(self, key: str, by: int) -> int | None:
        """Do an increment of a live key, and return ``None`` if there is none."""
        while True:
            now = self._turn()
            item = self._data.get(key)
            if item is None or item[1] <= now:
                return None
            new = check_total(key, item[0], by)
            if self._swap(key, item, new, item[1], now):
                return new

    def _swap(self, key: str, item: Item | None, stored: Any, expiry: float, now: float) -> bool:
        """Store an item if ``item`` is what is there, with the key filed in the ring. Return whether it was."""
        data, bounds, ring = self._data, self._bounds, self._ring
        if item is not None and item[1] <= expiry:
            # With a later expiry the key stays in its slot; the sweep will move it on.
            slot = item[2]
        elif expiry == NEVER:
            slot = UNFILED
        else:
            low, high, slot, keys = ring.latest
            if low <= expiry < high:
                keys[key] = None
            else:
                slot = ring.file(key, expiry, now)
        new = (stored, expiry, slot)
        growth = 0 if bounds is None else self._make_room(bounds, key, item, new)
        # No call from here on.
        if (data[key] if key in data else None) is not item:
            return False
        if bounds is None or not bounds.weighs:
            data[key] = new
        else:
            bounds.bytes, data[key], bounds.bytes = UNKNOWN, new, bounds.bytes + growth
        if slot >= 0:
            # Again, since a signal handler may have written and deleted the key meanwhile.
            ring.slots[slot][key] = None
        # To here.
        if item is not None and item[2] != slot:
            self._unfile(key, item[2])
        return True

    def _make_room(self, bounds: Bounds, key: str, item: Item | None, new: Item) -> int:
        """Count a write, and evict until there is room for a new item. Return by how many bytes it is larger."""
        data = self._data
        growth = bounds.growth(key, item, new) if bounds.weighs else 0
        room = bounds.maxsize
        if item is None:
            room -= 1
        elif key in data:
            bounds.written(key)
        while len(data) > room or (growth > 0 and bounds.bytes + growth > bounds.maxbytes):
            victim = bounds.victim(key)
            if victim is None:
                break
            evicted = data.get(victim)
            if evicted is not None and self._remove(victim, evicted):
                bounds.evictions += 1
        if item is None and bounds.counts is not None:
            bounds.counts.added(key)
        return growth

    def _remove(self, key: str, item: Item) -> bool:
        """Remove a key if ``item`` is what is there. Return whether it was."""
        data, bounds, slots = self._data, self._bounds, self._ring.slots
        size = bounds.size_of(key, item) if bounds is not None and bounds.weighs else 0
        # No call from here on.
        if (data[key] if key in data else None) is not item:
            return False
        if bounds is None or not bounds.weighs:
            del data[key]
        else:
            bounds.bytes, left = UNKNOWN, bounds.bytes - size
            del data[key]
            bounds.bytes = left
        if item[2] >= 0:
            slots[item[2]].pop(key, None)
        # To here.
        if bounds is not None and bounds.counts is not None:
            bounds.counts.removed(key)
        return True

    def _unfile(self, key: str, slot: int) -> None:
        """Take a key out of a slot, unless its item (written by a signal handler, say) is filed there."""
        data = self._data
        if slot >= 0 and not (key in data and data[key][2] == slot):
            self._ring.slots[slot].pop(key, None)

    def _run_one(self, decide: DecideOne, key: str) -> Any:
        """Run the decision of an atomic step over one key. Takes the lock."""
        if key.__class__ is not str or not key.isascii():
            key = check_key(key)
        lock = self._lock
        try:
            lock.acquire()
            while True:
                now = self._clock()
                if now >= self._due:
                    self._sweep(now)
                data = self._data
                item = stored = None
                left = 0.0
                if key in data:
                    item = data[key]
                    stored, expiry, slot = item
                    left = expiry - now
                    if left <= 0.0:
                        stored, left = None, 0.0
                answer, new, ttl = decide(now, stored, left)
                if new is None:
                    break
                if ttl is None and left and self._bounds is None and new is not MISSING:
                    # The expiry stays, and so does the slot.
                    if (data[key] if key in data else None) is item:
                        # `left` is 0 unless an item was unpacked, so both names are bound.
                        data[key] = (new, expiry, slot)  # pyright: ignore[reportPossiblyUnboundVariable]
                        break
                elif self._write(key, item, new, ttl, now):
                    break
        except BaseException:
            try:  # noqa: SIM105 - a call of suppress() could be interrupted itself
                lock.release()
            except RuntimeError:
                pass  # Interrupted while it waited for the lock.
            raise
        lock.release()
        return answer

    def _run_several(self, step: Step, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run an atomic step over several keys. Takes the lock."""
        keys = [check_key(key) for key in keys]
        # No loop here: an exception where a comprehension turns would leave the block without releasing the lock.
        with self._lock:
            return self._decide(step, keys, args)

    def _decide(self, step: Step, keys: Sequence[str], args: Sequence[Any]) -> Any:
        while True:
            now = self._turn()
            items = [self._data.get(key) for key in keys]
            answer, writes = step.decide(now, [_found(item, now) for item in items], args)
            pending = zip(keys, items, writes, strict=False)
            if all(write is None or self._write(key, item, *_packed(write), now) for key, item, write in pending):
                return answer

    def _write(self, key: str, item: Item | None, stored: Any, ttl: float | None, now: float) -> bool:
        """Make a write of a step, if ``item`` is still what is there. Return whether it was."""
        if stored is MISSING:
            return item is None or self._remove(key, item)
        expiry: float
        if ttl is not None:
            expiry = now + ttl
        else:
            expiry = NEVER if item is None or item[1] <= now else item[1]
        return self._swap(key, item, stored, expiry, now)

    def _sweep(self, now: float) -> int:
        """Remove some of the keys whose time has passed, and return how many."""
        ring = self._ring
        removed = 0
        for key in ring.take(now, SWEEP):
            removed += self._settle(key, now)
            ring.settled(key)
        self._due = ring.due(now)
        self._hit_due = -NEVER if self._bounds is not None and self._bounds.reads_count else self._due
        return removed

    def _settle(self, key: str, now: float) -> bool:
        """Remove a key that the ring handed out if it has expired; file it again if not. Return whether it expired."""
        data, slots = self._data, self._ring.slots
        item = data.get(key)
        if item is None:
            return False
        stored, expiry, old = item
        if expiry <= now:
            return self._remove(key, item)
        slot = UNFILED if expiry == NEVER else self._ring.file(key, expiry, now)
        # No call from here on. The value stays the same, so this neither counts as a use nor changes any size.
        if (data[key] if key in data else None) is item:
            data[key] = (stored, expiry, slot)
            if slot >= 0:
                slots[slot][key] = None
            # To here.
            if slot != old:
                self._unfile(key, old)
        return False

    def _expired(self) -> list[tuple[str, Item]]:
        now = self._clock()
        pending = {key: self._data.get(key) for key in self._ring.pending(now)}
        return [(key, item) for key, item in pending.items() if item is not None and item[1] <= now]

    def _renew_locks(self) -> None:
        """Replace locks that a thread of the parent process may have held at the fork."""
        self._lock = RLock()
        if self._bounds is not None and self._bounds.counts is not None:
            self._bounds.counts.renew_lock()


class _Closed(dict[str, Item]):
    """The dict of a closed backend: every access says so, and no verb has to ask."""

    def _refuse(self, *_: Any) -> NoReturn:
        raise BackendClosedError("the backend is closed")

    get = __contains__ = __getitem__ = __setitem__ = __delitem__ = __iter__ = __len__ = _refuse


CLOSED: Final = _Closed()


def _packed(write: tuple[Any, float | None]) -> tuple[Any, float | None]:
    """Return a write of a step with the value in its stored form."""
    value, ttl = write
    return (value if value is MISSING else pack(value)), ttl


def _found(item: Item | None, now: float) -> Found:
    if item is None or item[1] <= now:
        return None
    return (item[0] if item[0].__class__ is not bytes else decode(item[0])), item[1] - now


# Weak, and a dict: its references can be copied in one call, while a set cannot be iterated as backends come and go.
_instances: weakref.WeakValueDictionary[int, Items] = weakref.WeakValueDictionary()


def _after_fork() -> None:
    for reference in _instances.valuerefs():
        items = reference()
        if items is not None:
            items._renew_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
