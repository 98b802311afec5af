"""``MemoryBackend``: a store in the process.

One mapping of key to an exact tuple ``(value, expiry, slot)``: the value as ``pack`` gives it, the instant it expires
on the clock, and the slot of the expiry ring in which the key is filed. Tuples of scalars drop out of the garbage
collector, so a million keys cost it nothing.

Every write holds the lock; reads of an unbounded backend do not, since one look-up in a dict is atomic and an entry
never changes once it is there. The lock is re-entrant: a signal handler or a finalizer may call the backend in the
middle of a write of the same thread. So a write fetches the entry and stores the new one with no call in between, and
files a key in the ring before it stores it.

Each verb is a plain function under a thin ``async def``. The blocking face calls the plain function.
"""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final, NoReturn, Self
from urllib.parse import parse_qsl, urlsplit

from ._backend import Backend
from ._bounded import BoundedMapping, Policy, check_bounds
from ._codec import check_type, pack, same_packed, unpack
from ._errors import BackendClosedError, CounterError
from ._expiry import UNFILED, ExpiryRing
from ._types import (
    KEEP_TTL,
    MAX_COUNT,
    MIN_COUNT,
    MISSING,
    TTL,
    KeepTTL,
    check_count,
    check_key,
    check_keys,
    check_mapping,
    check_prefix,
    check_ttl,
)

Entry = tuple[Any, float, int]

NEVER: Final = math.inf
SWEEP: Final = 256
"""How many expired keys one call removes at most."""


class MemoryBackend(Backend):
    """A backend that keeps everything in the memory of the process: fast, thread-safe, expiring by itself.

    Its coroutines never suspend: they are cheap, and they are not checkpoints. Use it from any number of threads and
    event loops at once, of any kind.

    An expired key is missing from the instant its ttl has run out. Its memory is freed by later calls, each of which
    sweeps a bounded number of keys; ``cleanup_expired`` sweeps all at once. ``len(backend)`` is the number of live
    keys.

    Args:
        maxsize: The most entries to keep; ``None`` for no bound.
        maxbytes: The most bytes to keep, counted as the UTF-8 of the keys and the stored form of the values
            (bookkeeping, some 250 bytes an entry, comes on top); ``None`` for no bound.
        policy: Who is evicted when a bound is reached: the least recently used (``"lru"``), the least frequently used
            (``"lfu"``) or the oldest (``"fifo"``) entry.
        clock: A monotonic clock in seconds; tests inject one that they move.

    Raises:
        ValueError: A bound is not positive, or the policy is unknown.
    """

    never_suspends: ClassVar[bool] = True

    def __init__(
        self,
        *,
        maxsize: int | None = None,
        maxbytes: int | None = None,
        policy: Policy = "lru",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._ring = ExpiryRing(clock())
        self._bounds = (maxsize, maxbytes, policy)
        self._data: Any = self._new_mapping()
        # The last ttl that was checked, and its seconds. Callers give the same object again and again.
        self._checked: tuple[Any, float] = (MemoryBackend, NEVER)
        _instances.add(self)

    @classmethod
    def _from_url(cls, url: str, **options: Any) -> Self:
        parts = urlsplit(url)
        if parts.netloc or parts.path.strip("/") or parts.fragment:
            raise ValueError("a memory url has nothing but a query, as in memory://?maxsize=10000")
        for name, text in parse_qsl(parts.query, keep_blank_values=True):
            if name not in ("maxsize", "maxbytes", "policy"):
                raise ValueError(f"memory:// has no option {name!r}")
            if name in options:
                raise ValueError(f"the option {name!r} is given twice")
            if name != "policy" and not text.isdecimal():
                raise ValueError(f"{name} must be a whole number")
            options[name] = text if name == "policy" else int(text)
        return cls(**options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}>"

    def __len__(self) -> int:
        with self._lock:
            return len(self._data) - len(self._expired())

    def __bool__(self) -> bool:
        return True

    def cleanup_expired(self) -> int:
        """Free the memory of every expired key at once, and return how many there were.

        Nothing needs it: using the backend is enough. It takes time in proportion to the keys that expire about now.
        """
        with self._lock:
            expired = self._expired()
            for key, entry in expired:
                self._remove(key, entry)
            return len(expired)

    async def set(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> None:
        return self._set(key, value, ttl)

    async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: TTL | None = None) -> Any:
        return self._get(key, type, default, renew)

    async def delete(self, key: str) -> bool:
        return self._delete(key)

    async def exists(self, key: str) -> bool:
        return self._exists(key)

    async def increment(self, key: str, ttl: TTL | None = None, *, by: int = 1) -> int:
        return self._increment(key, ttl, by)

    async def clear(self) -> None:
        return self._clear()

    async def add(self, key: str, value: Any, ttl: TTL | None = None) -> bool:
        return self._add(key, value, ttl)

    async def replace(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        return self._replace(key, value, ttl)

    async def pop(self, key: str, type: Any = Any, *, default: Any = None) -> Any:
        return self._pop(key, type, default)

    async def ttl(self, key: str) -> float | None:
        return self._ttl(key)

    async def touch(self, key: str, ttl: TTL | None) -> bool:
        return self._touch(key, ttl)

    async def get_many(self, keys: Iterable[str], type: Any = Any) -> dict[str, Any]:
        return self._get_many(keys, type)

    async def set_many(self, mapping: Mapping[str, Any], ttl: TTL | KeepTTL | None = None) -> None:
        return self._set_many(mapping, ttl)

    async def delete_many(self, keys: Iterable[str]) -> int:
        return self._delete_many(keys)

    async def compare_and_set(
        self, key: str, expected: Any, value: Any, ttl: TTL | KeepTTL | None = None
    ) -> bool:
        return self._compare_and_set(key, expected, value, ttl)

    async def compare_and_delete(self, key: str, expected: Any) -> bool:
        return self._compare_and_delete(key, expected)

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return _AsyncKeys(self._scan(prefix))

    async def ping(self) -> None:
        return self._ping()

    async def aclose(self) -> None:
        return self._close()

    async def _clear_prefix(self, prefix: str) -> None:
        return self._remove_prefix(prefix)

    def _set(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> None:
        if value.__class__ is not str or not value.isascii():
            value = pack(value)
        if ttl is None:
            seconds = NEVER
        else:
            checked = self._checked
            if checked[0] is ttl:
                seconds = checked[1]
            elif ttl is KEEP_TTL:
                self._put(key, value, None, _always)
                return
            else:
                seconds = self._seconds(ttl)
        lock = self._lock
        lock.acquire()
        try:
            now = self._clock()
            if now >= self._ring.due:
                self._sweep(now)
            expiry = now + seconds
            data = self._data
            if key in data and (entry := data[key])[1] <= expiry:
                # A later expiry keeps its slot: the sweep will move it on.
                data[key] = (value, expiry, entry[2])
            else:
                self._store(key, value, expiry, now)
        finally:
            lock.release()

    def _get(self, key: str, type: Any = Any, default: Any = None, renew: TTL | None = None) -> Any:
        entry = self._data.get(key)
        if entry is not None and renew is None:
            value, expiry, _ = entry
            now = self._clock()
            if now < expiry:
                if now >= self._ring.due:
                    self._sweep_if_free(now)
                kept = value.__class__
                if (kept is type or type is Any) and kept is not bytes:
                    return value
                return unpack(value, type, key)
        return self._get_or_miss(key, type, default, renew)

    def _get_or_miss(self, key: str, type: Any, default: Any, renew: TTL | None) -> Any:
        key = check_key(key)
        check_type(type)
        seconds = self._seconds(renew)
        while True:
            now = self._clock()
            if now >= self._ring.due:
                self._sweep_if_free(now)
            entry = self._data.get(key)
            if entry is None or entry[1] <= now:
                return default
            # Validating may run anybody's code, so it is done without the lock, and before anything is changed.
            value = unpack(entry[0], type, key)
            if renew is None:
                return value
            with self._lock:
                now = self._clock()
                if self._swap(key, entry, entry[0], now + seconds, now):
                    return value

    def _delete(self, key: str) -> bool:
        with self._lock:
            now = self._turn()
            data = self._data
            if key in data:
                entry = data[key]
                del data[key]
                self._ring.discard(key, entry[2])
                return bool(now < entry[1])
        check_key(key)
        return False

    def _exists(self, key: str) -> bool:
        entry = _peek(self._data, key)
        if entry is None:
            check_key(key)
            return False
        return bool(self._clock() < entry[1])

    def _increment(self, key: str, ttl: TTL | None = None, by: int = 1) -> int:
        if by.__class__ is not int or not MIN_COUNT <= by <= MAX_COUNT:
            by = check_count(by)
        if ttl is None:
            seconds = NEVER
        else:
            checked = self._checked
            seconds = checked[1] if checked[0] is ttl else self._seconds(ttl)
        lock = self._lock
        lock.acquire()
        try:
            now = self._clock()
            if now >= self._ring.due:
                self._sweep(now)
            data = self._data
            entry = data[key] if key in data else None
            if entry is not None and now < entry[1]:
                old, expiry, slot = entry
                new: int = old + by if old.__class__ is int else MAX_COUNT + 1
                if not (MIN_COUNT <= new <= MAX_COUNT and MIN_COUNT <= old <= MAX_COUNT):
                    raise _counter_error(key, old)
                if expiry < NEVER or seconds == NEVER:
                    data[key] = (new, expiry, slot)
                    return new
            else:
                new = by
            if self._swap(key, entry, new, now + seconds, now):
                return new
        finally:
            lock.release()
        # Another call came in between, from a signal handler or a finalizer.
        return self._increment(key, ttl, by)

    def _clear(self) -> None:
        with self._lock:
            self._ping()
            # What was there is freed after the lock is.
            old, self._data = self._data, self._new_mapping()
            self._ring = ExpiryRing(self._clock())
        del old

    def _add(self, key: str, value: Any, ttl: TTL | None = None) -> bool:
        return self._put(key, pack(value), self._seconds(ttl), _if_missing)

    def _replace(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        return self._put(key, pack(value), self._new_seconds(ttl), _if_live)

    def _pop(self, key: str, type: Any = Any, default: Any = None) -> Any:
        key = check_key(key)
        check_type(type)
        while (entry := self._live(key)) is not None:
            value = unpack(entry[0], type, key)
            if self._remove(key, entry):
                return value
        return default

    def _ttl(self, key: str) -> float | None:
        entry = _peek(self._data, check_key(key))
        if entry is None or (left := entry[1] - self._clock()) <= 0:
            return None
        # A clock of some magnitude cannot tell less, and Redis does not.
        return NEVER if left == NEVER else max(round(left, 3), 0.001)

    def _touch(self, key: str, ttl: TTL | None) -> bool:
        key = check_key(key)
        seconds = self._seconds(ttl)
        with self._lock:
            while (entry := self._live(key)) is not None:
                now = self._clock()
                if self._swap(key, entry, entry[0], now + seconds, now):
                    return True
        return False

    def _get_many(self, keys: Iterable[str], type: Any = Any) -> dict[str, Any]:
        check_type(type)
        values = {key: self._get(key, type, MISSING) for key in check_keys(keys)}
        return {key: value for key, value in values.items() if value is not MISSING}

    def _set_many(self, mapping: Mapping[str, Any], ttl: TTL | KeepTTL | None = None) -> None:
        seconds = self._new_seconds(ttl)
        for key, stored in [(key, pack(value)) for key, value in check_mapping(mapping)]:
            self._put(key, stored, seconds, _always)

    def _delete_many(self, keys: Iterable[str]) -> int:
        return sum([self._delete(key) for key in check_keys(keys)])

    def _compare_and_set(
        self, key: str, expected: Any, value: Any, ttl: TTL | KeepTTL | None = None
    ) -> bool:
        there = pack(expected)
        stored = pack(value)
        return self._put(
            key, stored, self._new_seconds(ttl), lambda entry: entry is not None and same_packed(entry[0], there)
        )

    def _compare_and_delete(self, key: str, expected: Any) -> bool:
        key = check_key(key)
        there = pack(expected)
        while (entry := self._live(key)) is not None and same_packed(entry[0], there):
            if self._remove(key, entry):
                return True
        return False

    def _scan(self, prefix: str = "") -> Iterator[str]:
        prefix = check_prefix(prefix)
        with self._lock:
            keys = list(self._data)
        return (key for key in keys if key.startswith(prefix) and self._exists(key))

    def _ping(self) -> None:
        len(self._data)

    def _close(self) -> None:
        with self._lock:
            old, self._data = self._data, _CLOSED
            self._ring = ExpiryRing(self._clock())
        del old

    # What the verbs are made of. Where not said otherwise, the caller holds the lock.

    def _new_mapping(self) -> Any:
        maxsize, maxbytes, policy = self._bounds
        if not check_bounds(maxsize, maxbytes, policy):
            return {}
        return BoundedMapping(maxsize, maxbytes, policy, self._lock, self._evicted)

    def _seconds(self, ttl: TTL | None) -> float:
        """Check a ttl; needs no lock."""
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
        if now >= self._ring.due:
            self._sweep(now)
        return now

    def _live(self, key: str) -> Entry | None:
        """Return the entry of a live key; needs no lock."""
        entry: Entry | None = self._data.get(key)
        return None if entry is None or entry[1] <= self._clock() else entry

    def _put(
        self, key: str, stored: Any, seconds: float | None, allowed: Callable[[Entry | None], bool]
    ) -> bool:
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

    def _store(self, key: str, stored: Any, expiry: float, now: float) -> None:
        """File a key and store its entry, whatever was there."""
        data = self._data
        before = data[key][2] if key in data else UNFILED
        key = check_key(key)
        slot = UNFILED if expiry == NEVER else self._ring.file(key, expiry, now)
        data[key] = (stored, expiry, slot)
        if before != slot:
            self._ring.discard(key, before)

    def _swap(self, key: str, entry: Entry | None, stored: Any, expiry: float, now: float) -> bool:
        """As ``_store``, but only while ``entry`` is what is there. Return whether it was."""
        data = self._data
        if entry is not None and entry[1] <= expiry:
            slot = entry[2]
        else:
            key = check_key(key)
            slot = UNFILED if expiry == NEVER else self._ring.file(key, expiry, now)
        if (data[key] if key in data else None) is not entry:
            return False
        data[key] = (stored, expiry, slot)
        if entry is not None and entry[2] != slot:
            self._ring.discard(key, entry[2])
        return True

    def _remove(self, key: str, entry: Entry) -> bool:
        """Remove a key if ``entry`` is what is there. Return whether it was. Takes the lock."""
        with self._lock:
            data = self._data
            if (data[key] if key in data else None) is not entry:
                return False
            del data[key]
            self._ring.discard(key, entry[2])
            return True

    def _remove_prefix(self, prefix: str) -> None:
        with self._lock:
            self._ping()
            keys = list(self._data)
        for key in keys:
            if key.startswith(prefix):
                self._delete(key)

    def _sweep(self, now: float) -> None:
        ring, data = self._ring, self._data
        for key in ring.take(now, SWEEP):
            entry = _peek(data, key)
            if entry is None:
                continue
            _, expiry, slot = entry
            if expiry <= now:
                self._remove(key, entry)
                continue
            ring.discard(key, slot)
            slot = UNFILED if expiry == NEVER else ring.file(key, expiry, now)
            _amend(data, key, entry, (entry[0], expiry, slot))

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
        pending = {key: _peek(data, key) for key in self._ring.pending(now)}
        return [(key, entry) for key, entry in pending.items() if entry is not None and entry[1] <= now]

    def _evicted(self, key: str, entry: Entry) -> None:
        self._ring.discard(key, entry[2])

    def _renew_lock(self) -> None:
        """Replace a lock that a thread of the parent process may have held at the fork."""
        self._lock = threading.RLock()
        if isinstance(self._data, BoundedMapping):
            self._data.lock = self._lock


class _AsyncKeys:
    """An iterator as an async one. An async generator that is left before its end would make trio warn."""

    def __init__(self, keys: Iterator[str]) -> None:
        self._keys = keys

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        for key in self._keys:
            return key
        raise StopAsyncIteration


class _Closed(dict[str, Entry]):
    """The mapping of a closed backend: every access says so, and no verb has to ask."""

    def _refuse(self, *_: Any) -> NoReturn:
        raise BackendClosedError("the backend is closed")

    get = __contains__ = __getitem__ = __setitem__ = __delitem__ = __iter__ = __len__ = _refuse


_CLOSED: Final = _Closed()


def _peek(data: Any, key: str) -> Any:
    """Return an entry without using it, in the sense of who is evicted next."""
    return data.peek(key) if data.__class__ is BoundedMapping else data.get(key)


def _amend(data: Any, key: str, entry: Entry, new: Entry) -> None:
    """Replace an entry, if it is what is there, without using it."""
    if data.__class__ is BoundedMapping:
        data.amend(key, entry, new)
    elif key in data and data[key] is entry:
        data[key] = new


def _always(entry: Entry | None) -> bool:
    return True


def _if_missing(entry: Entry | None) -> bool:
    return entry is None


def _if_live(entry: Entry | None) -> bool:
    return entry is not None


def _counter_error(key: str, old: Any) -> CounterError:
    if old.__class__ is int and MIN_COUNT <= old <= MAX_COUNT:
        return CounterError(f"the counter {key!r} would leave the signed 64-bit range")
    return CounterError(f"the value of {key!r} is not an integer of the signed 64-bit range")


_instances: weakref.WeakSet[MemoryBackend] = weakref.WeakSet()


def _after_fork() -> None:
    for backend in list(_instances):
        backend._renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
