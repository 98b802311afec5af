"""The entries of a ``MemoryBackend``: one mapping, one ring, one lock, and the steps that verbs are made of.

The mapping takes a key to an exact tuple ``(value, expiry, slot)``: the value as ``pack`` gives it, the instant it
expires on the clock, and the slot of the expiry ring in which the key is filed. Tuples of scalars drop out of the
garbage collector, so a million keys cost it nothing.

Every write holds the lock; reads of an unbounded backend do not, since one look-up in a dict is atomic and an entry
never changes once it is there. The lock is re-entrant: a signal handler or a finalizer may call the backend in the
middle of a write of the same thread. So a step compares the entry that it read with the one that is there and stores
the new one with no call in between, and a key is filed in the ring before it is stored: a key that is filed in vain
does no harm, one that is not filed would never be swept.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .._errors import BackendClosedError, CounterError
from .._types import MAX_COUNT, MAX_TTL, MIN_COUNT, MISSING, TTL, KeepTTL, check_key, check_ttl
from .._values._codec import pack, unpack
from ._bounded import BoundedMapping, check_bounds
from ._expiry import UNFILED, ExpiryRing

if TYPE_CHECKING:
    from .._atomic import Found, Step, Write

Entry = tuple[Any, float, int]

NEVER: Final = math.inf
SWEEP: Final = 256
"""How many expired keys one call removes at most."""


class Entries:
    """Entries by key, with expiry. Where a method does not say otherwise, its caller holds the lock."""

    def __init__(self, clock: Callable[[], float], maxsize: int | None, maxbytes: int | None, policy: str) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._ring = ExpiryRing(clock())
        self._due = self._ring.due
        self._bounds = (maxsize, maxbytes, policy)
        self._sweeping = False
        self._data: Any = self._new_mapping()
        # The last ttl that was checked, and its seconds. Callers give the same object again and again.
        self._checked: tuple[Any, float] = (Entries, NEVER)
        _instances.add(self)

    def _new_mapping(self) -> Any:
        maxsize, maxbytes, policy = self._bounds
        if not check_bounds(maxsize, maxbytes, policy):
            return {}
        return BoundedMapping(maxsize, maxbytes, policy, self._lock, self._evicted)

    def _start_anew(self, mapping: Any) -> None:
        """Forget every entry. Takes the lock."""
        with self._lock:
            # What was there is freed after the lock is.
            old, self._data = self._data, mapping
            self._ring = ExpiryRing(self._clock())
            self._due = self._ring.due
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

    def _live(self, key: str) -> Entry | None:
        """Return the entry of a live key; needs no lock."""
        entry: Entry | None = self._data.get(key)
        return None if entry is None or entry[1] <= self._clock() else entry

    def _put(self, key: str, stored: Any, seconds: float | None, allowed: Callable[[Entry | None], bool]) -> bool:
        """Store if ``allowed`` says so of the live entry; with no seconds, keep its expiry. Takes the lock."""
        key = check_key(key)
        with self._lock:
            while True:
                now = self._turn()
                entry = self._data.get(key)
                live = None if entry is None or entry[1] <= now else entry
                if not allowed(live):
                    return False
                if seconds is not None:
                    expiry = now + seconds
                else:
                    expiry = NEVER if live is None else live[1]
                if self._swap(key, entry, stored, expiry, now):
                    return True

    def _count(self, key: str, ttl: TTL | None, by: int) -> int:
        """Do an increment that sets an expiry, leaves the small numbers, or fails. Takes the lock."""
        key = check_key(key)
        seconds = self._seconds(ttl)
        with self._lock:
            while True:
                now = self._clock()
                entry = self._data.get(key)
                if entry is None or entry[1] <= now:
                    new, expiry = by, now + seconds
                else:
                    new, expiry = _added(key, entry[0], by), entry[1]
                    if expiry == NEVER:
                        expiry = now + seconds
                if self._swap(key, entry, new, expiry, now):
                    return new

    def _store(self, key: str, stored: Any, expiry: float, now: float) -> None:
        """File a key that is in the dict and store its entry, whatever was there. Not for a bounded mapping."""
        data = self._data
        before = data[key][2]
        slot = UNFILED if expiry == NEVER else self._ring.file(key, expiry, now)
        data[key] = (stored, expiry, slot)
        if before >= 0 and before != slot:
            self._ring.discard(key, before)

    def _swap(self, key: str, entry: Entry | None, stored: Any, expiry: float, now: float) -> bool:
        """As ``_store``, but only while ``entry`` is what is there. Return whether it was."""
        data = self._data
        if entry is not None and entry[1] <= expiry:
            slot = entry[2]
        else:
            key = check_key(key)
            slot = UNFILED if expiry == NEVER else self._ring.file(key, expiry, now)
        new = (stored, expiry, slot)
        if data.__class__ is not dict:
            if not data.swap(key, entry, new):
                return False
        elif (data[key] if key in data else None) is entry:
            data[key] = new
        else:
            return False
        if entry is not None and entry[2] != slot:
            self._ring.discard(key, entry[2])
        return True

    def _remove(self, key: str, entry: Entry) -> bool:
        """Remove a key if ``entry`` is what is there. Return whether it was. Takes the lock."""
        with self._lock:
            data = self._data
            if data.__class__ is not dict:
                if not data.swap(key, entry, None):
                    return False
            elif (data[key] if key in data else None) is entry:
                del data[key]
            else:
                return False
            self._ring.discard(key, entry[2])
            return True

    def _run(self, step: Step, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run an atomic step. Takes the lock."""
        with self._lock:
            while True:
                now = self._turn()
                entries = [self._data.get(key) for key in keys]
                answer, writes = step.decide(
                    now, [_found(entry, now, key) for key, entry in zip(keys, entries, strict=True)], args
                )
                if self._apply(keys, entries, writes, now):
                    return answer

    def _apply(self, keys: Sequence[str], entries: Sequence[Entry | None], writes: Sequence[Write], now: float) -> bool:
        """Make the writes of a step, as long as the entries are those that it was decided on."""
        for key, entry, write in zip(keys, entries, writes, strict=False):
            if write is None:
                continue
            value, seconds = write
            if value is MISSING:
                if entry is not None and not self._remove(key, entry):
                    return False
                continue
            if seconds is not None:
                expiry = now + seconds
            else:
                expiry = NEVER if entry is None or entry[1] <= now else entry[1]
            if not self._swap(key, entry, pack(value), expiry, now):
                return False
        return True

    def _sweep(self, now: float) -> int:
        """Remove some of the keys whose time has passed, and return how many."""
        if self._sweeping:
            # A call from a signal handler or a finalizer: the ring is half-way through.
            return 0
        self._sweeping = True
        try:
            removed = sum([self._settle(key, now) for key in self._ring.take(now, SWEEP)])
            self._due = self._ring.due
        finally:
            self._sweeping = False
        return removed

    def _settle(self, key: str, now: float) -> bool:
        """Remove a key that the ring handed out if it has expired, and file it anew if not. Return whether it went."""
        data = self._data
        entry = peek(data, key)
        if entry is None:
            return False
        stored, expiry, slot = entry
        if expiry <= now:
            return self._remove(key, entry)
        self._ring.discard(key, slot)
        slot = UNFILED if expiry == NEVER else self._ring.file(key, expiry, now)
        new = (stored, expiry, slot)
        if data.__class__ is not dict:
            data.swap(key, entry, new, used=False)
        elif key in data and data[key] is entry:
            data[key] = new
        return False

    def _sweep_if_free(self, now: float) -> None:
        """Sweep unless another thread holds the lock; it will."""
        if self._lock.acquire(blocking=False):
            try:
                self._sweep(now)
            finally:
                self._lock.release()

    def _expired(self) -> list[tuple[str, Entry]]:
        now = self._clock()
        data = self._data
        pending = {key: peek(data, key) for key in self._ring.pending(now)}
        return [(key, entry) for key, entry in pending.items() if entry is not None and entry[1] <= now]

    def _evicted(self, key: str, entry: Entry) -> None:
        self._ring.discard(key, entry[2])

    def _renew_lock(self) -> None:
        """Replace a lock that a thread of the parent process may have held at the fork."""
        self._lock = threading.RLock()
        if isinstance(self._data, BoundedMapping):
            self._data.lock = self._lock


class _Closed(dict[str, Entry]):
    """The mapping of a closed backend: every access says so, and no verb has to ask."""

    def _refuse(self, *_: Any) -> NoReturn:
        raise BackendClosedError("the backend is closed")

    get = __contains__ = __getitem__ = __setitem__ = __delitem__ = __iter__ = __len__ = _refuse


CLOSED: Final = _Closed()


def peek(data: Any, key: str) -> Any:
    """Return an entry without using it, in the sense of who is evicted next."""
    return data.peek(key) if data.__class__ is BoundedMapping else data.get(key)


def always(entry: Entry | None) -> bool:
    return True


def _found(entry: Entry | None, now: float, key: str) -> Found:
    if entry is None or entry[1] <= now:
        return None
    stored = entry[0]
    return (unpack(stored, Any, key) if stored.__class__ is bytes else stored), entry[1] - now


def _added(key: str, old: Any, by: int) -> int:
    if old.__class__ is not int or not MIN_COUNT <= old <= MAX_COUNT:
        raise CounterError(f"the value of {key!r} is not an integer of the signed 64-bit range")
    new: int = old + by
    if not MIN_COUNT <= new <= MAX_COUNT:
        raise CounterError(f"the counter {key!r} would leave the signed 64-bit range")
    return new


_instances: weakref.WeakSet[Entries] = weakref.WeakSet()


def _after_fork() -> None:
    for entries in list(_instances):
        entries._renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
