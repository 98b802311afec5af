"""``MemoryBackend``: a store in the process.

The items and the steps on them are in ``_items.py``; here are the verbs. ``get``, ``set`` and ``increment`` do the
common case themselves, one look-up and one store, and leave the rest to the steps.

Each verb is a plain function under a thin ``async def``. The blocking face calls the plain function.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self
from urllib.parse import parse_qsl, urlsplit

from .._backend import Backend, BackendStats, ListedKeys, ManualClock, StoreInfo, typed_as
from .._types import (
    KEEP_TTL,
    MAX_TTL,
    MILLISECONDS,
    MISSING,
    TTL,
    KeepTTL,
    check_count,
    check_key,
    check_keys,
    check_mapping,
    check_prefix,
    check_some_ttl,
)
from .._values._codec import check_type, pack, same_packed, unpack
from .._values._json_text import pack_json, unpack_json
from ._bounded import UNKNOWN, EvictionPolicy
from ._expiry import UNFILED
from ._items import NEVER, Item, Items

if TYPE_CHECKING:
    from .._backend._atomic import KeyStep, Step

# Between these CPython compares fastest, and sums are far from 64 bits.
_LOW: Final = -(10**9)
_HIGH: Final = 10**9
_ONE: Final = 1

#: Where a parameter has the name ``type``. The attribute ``__class__`` takes several times as long.
class_of: Final = type


class MemoryBackend(Items, Backend):
    """A backend that keeps everything in the memory of the process: fast, thread-safe, expiring by itself.

    Its coroutines never suspend: they are cheap, and they are not checkpoints. Use it from any number of threads and
    event loops at once, of any kind.

    An expired key is missing from the instant its ttl has run out. Its memory is freed by later calls, each of which
    sweeps a bounded number of keys; ``cleanup_expired`` sweeps all at once. ``len(backend)`` is the number of live
    keys.

    Args:
        maxsize: The most entries to keep; ``None`` for no bound.
        maxbytes: The most bytes to keep, counted as the UTF-8 of the keys and the stored form of the values
            (bookkeeping, some 250 bytes an item, comes on top); ``None`` for no bound.
        policy: The key to evict at a bound: the least recently used (``"lru"``), the least frequently used (``"lfu"``)
            or the oldest (``"fifo"``).
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
        policy: EvictionPolicy = "lru",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock, maxsize, maxbytes, policy)

    @classmethod
    def _from_url(cls, url: str, **options: Any) -> Self:
        parts = urlsplit(url)
        if parts.netloc or parts.path.strip("/") or parts.fragment:
            raise ValueError("a memory:// url takes options only, as in memory://?maxsize=10000")
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
            self._ping()
            removed = 0
            while (now := self._clock()) >= self._ring.due(now):
                removed += self._sweep(now)
            return removed + sum([self._remove(key, item) for key, item in self._expired()])

    async def set(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> None:
        return self._set(key, value, ttl)

    @typed_as(Backend.get)
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

    @typed_as(Backend.pop)
    async def pop(self, key: str, type: Any = Any, *, default: Any = None) -> Any:
        return self._pop(key, type, default)

    async def ttl(self, key: str) -> float | None:
        return self._ttl(key)

    async def touch(self, key: str, ttl: TTL | None) -> bool:
        return self._touch(key, ttl)

    @typed_as(Backend.get_many)
    async def get_many(self, keys: Iterable[str], type: Any = Any) -> dict[str, Any]:
        return self._get_many(keys, type)

    async def set_many(self, mapping: Mapping[str, Any], ttl: TTL | KeepTTL | None = None) -> None:
        return self._set_many(mapping, ttl)

    async def delete_many(self, keys: Iterable[str]) -> int:
        return self._delete_many(keys)

    async def compare_and_set(self, key: str, expected: Any, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        return self._compare_and_set(key, expected, value, ttl)

    async def compare_and_delete(self, key: str, expected: Any) -> bool:
        return self._compare_and_delete(key, expected)

    async def increment_existing(self, key: str, *, by: int = 1) -> int | None:
        return self._increment_existing(key, by)

    @typed_as(Backend.get_and_renew)
    async def get_and_renew(self, key: str, ttl: TTL, type: Any = Any, *, default: Any = None) -> Any:
        return self._get_and_renew(key, ttl, type, default)

    async def set_json(self, key: str, text: str | bytes, ttl: TTL | KeepTTL | None = None) -> None:
        return self._set_json(key, text, ttl)

    async def get_json(self, key: str) -> str | None:
        return self._get_json(key)

    async def time(self) -> float:
        return self._time()

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return ListedKeys(self._scan(prefix))

    async def ping(self) -> None:
        return self._ping()

    async def aclose(self) -> None:
        return self._close()

    def stats(self) -> BackendStats:
        self._ping()
        bounds = self._bounds
        if bounds is None:
            return BackendStats(entries=len(self._data), evictions=0)
        known = bounds.weighs and bounds.bytes != UNKNOWN
        return BackendStats(entries=len(self._data), bytes=bounds.bytes if known else None, evictions=bounds.evictions)

    def _manual_clock(self) -> ManualClock | None:
        return self._clock if isinstance(self._clock, ManualClock) else None

    def _store_info(self) -> StoreInfo:
        return StoreInfo("memory")

    def _may_evict(self) -> bool:
        return self._bounds is not None

    def _runs_steps(self) -> bool:
        return True

    async def _run_step(self, step: Step, keys: Sequence[str], args: Sequence[str | int | float | bytes]) -> Any:
        return self._run_several(step, keys, args)

    async def _run_key_step(self, step: KeyStep, key: str) -> Any:
        return self._run_one(step.decide, key)

    async def _clear_prefix(self, prefix: str) -> None:
        return self._remove_prefix(prefix)

    def _plain_verb(self, name: str) -> Callable[..., Any] | None:
        return getattr(self, f"_{name}") if type(self) is MemoryBackend else None

    # The kinds of ttl are distinguished inline: a call would cost as much as the rest.
    def _set(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> None:  # noqa: C901
        if type(value) is not str or not value.isascii():
            value = pack(value)
        seconds: float
        if ttl is None:
            seconds = NEVER
        elif type(ttl) is int and 0 < ttl < _HIGH:
            seconds = ttl
        elif type(ttl) is float and 0.0 < ttl < MAX_TTL:
            seconds = ceil(ttl * MILLISECONDS) / 1000
        elif ttl is KEEP_TTL:
            self._put(key, value, None)
            return
        else:
            seconds = self._seconds(ttl)
        if self._bounds is not None:
            self._put(key, value, seconds)
            return
        lock, clock = self._lock, self._clock
        try:
            lock.acquire()
            now = clock()
            if now >= self._due:
                self._sweep(now)
            expiry = now + seconds
            data = self._data
            if key in data:
                item = data[key]
                if item[1] <= expiry:
                    data[key] = (value, expiry, item[2])
                else:
                    self._put(key, value, seconds)
            else:
                if type(key) is not str or not key.isascii():
                    key = check_key(key)
                slot = UNFILED
                if ttl is not None:
                    low, high, slot, keys = self._ring.latest
                    if not low <= expiry < high:
                        slot = self._ring.file(key, expiry, now)
                        keys = self._ring.slots[slot]
                    keys[key] = None
                data[key] = (value, expiry, slot)
        except BaseException:
            try:  # noqa: SIM105 - a call of suppress() could be interrupted itself
                lock.release()
            except RuntimeError:
                pass  # Interrupted while it waited for the lock.
            raise
        lock.release()

    def _get(self, key: str, type: Any = Any, default: Any = None, renew: TTL | None = None) -> Any:
        item = self._data.get(key)
        if item is not None and renew is None:
            clock = self._clock  # Called as a method, it would be looked up in the class first.
            now = clock()
            if now < item[1]:
                if now >= self._hit_due:
                    self._after_hit(key, now)
                value = item[0]
                kept = class_of(value)
                if (kept is type or type is Any) and kept is not bytes:
                    return value
                return unpack(value, type, key)
        return self._get_or_miss(key, type, default, renew)

    def _get_or_miss(self, key: str, type: Any, default: Any, renew: TTL | None, *, only_expiring: bool = False) -> Any:
        key = check_key(key)
        check_type(type)
        seconds = self._seconds(renew)
        while True:
            now = self._clock()
            item = self._data.get(key)
            if item is None or item[1] <= now:
                if now >= self._due:
                    with self._lock:
                        self._sweep(now)
                return default
            # Validating may run anybody's code, so it is done without the lock, and before anything is changed.
            value = unpack(item[0], type, key)
            if renew is None or (only_expiring and item[1] == NEVER):
                if now >= self._hit_due:
                    self._after_hit(key, now)
                return value
            with self._lock:
                now = self._turn()
                if self._swap(key, item, item[0], now + seconds, now):
                    return value

    def _delete(self, key: str) -> bool:
        with self._lock:
            now = self._turn()
            while (item := self._data.get(key)) is not None:
                if self._remove(key, item):
                    return bool(now < item[1])
        # A subclass of str may hash and compare in ways of its own; what is stored is the exact text.
        plain = check_key(key)
        return plain is not key and self._delete(plain)

    def _exists(self, key: str) -> bool:
        item = self._data.get(key)
        if item is None:
            plain = check_key(key)
            return plain is not key and self._exists(plain)
        return bool(self._clock() < item[1])

    def _increment(self, key: str, ttl: TTL | None = None, by: int = 1) -> int:
        # The default, which is the same object each time, needs no look at its size.
        if by is not _ONE and (type(by) is not int or not _LOW < by < _HIGH):
            by = check_count(by)
            with self._lock:
                self._turn()
                return self._count(key, ttl, by)
        if ttl is not None and self._checked[0] is not ttl:
            self._seconds(ttl)
        new: int | None = None
        lock, clock = self._lock, self._clock
        try:
            lock.acquire()
            now = clock()
            if now >= self._due:
                self._sweep(now)
            data = self._data
            if self._bounds is None and key in data:
                old, expiry, slot = data[key]
                if old.__class__ is int and now < expiry and (ttl is None or expiry < NEVER):
                    total: int = old + by
                    if total < _HIGH and total > _LOW:
                        data[key] = (total, expiry, slot)
                        new = total
        except BaseException:
            try:  # noqa: SIM105 - a call of suppress() could be interrupted itself
                lock.release()
            except RuntimeError:
                pass  # Interrupted while it waited for the lock.
            raise
        lock.release()
        return self._count(key, ttl, by) if new is None else new

    def _clear(self) -> None:
        self._ping()
        self._replace_all(closed=False)

    def _add(self, key: str, value: Any, ttl: TTL | None = None) -> bool:
        return self._put(key, pack(value), self._seconds(ttl), _if_missing)

    def _replace(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        return self._put(key, pack(value), self._new_seconds(ttl), _if_live)

    def _pop(self, key: str, type: Any = Any, default: Any = None) -> Any:
        key = check_key(key)
        check_type(type)
        while (item := self._live(key)) is not None:
            value = unpack(item[0], type, key)
            with self._lock:
                if self._remove(key, item):
                    return value
        return default

    def _ttl(self, key: str) -> float | None:
        item = self._data.get(check_key(key))
        if item is None or (left := item[1] - self._clock()) <= 0:
            return None
        # A clock of some magnitude cannot tell less, and Redis does not.
        return NEVER if left == NEVER else max(round(left, 3), 0.001)

    def _touch(self, key: str, ttl: TTL | None) -> bool:
        key = check_key(key)
        seconds = self._seconds(ttl)
        with self._lock:
            now = self._turn()
            while (item := self._live(key)) is not None:
                if self._swap(key, item, item[0], now + seconds, now):
                    return True
        return False

    def _get_many(self, keys: Iterable[str], type: Any = Any) -> dict[str, Any]:
        check_type(type)
        self._ping()
        values = {key: self._get(key, type, MISSING) for key in check_keys(keys)}
        return {key: value for key, value in values.items() if value is not MISSING}

    def _set_many(self, mapping: Mapping[str, Any], ttl: TTL | KeepTTL | None = None) -> None:
        seconds = self._new_seconds(ttl)
        self._ping()
        for key, stored in [(key, pack(value)) for key, value in check_mapping(mapping)]:
            self._put(key, stored, seconds)

    def _delete_many(self, keys: Iterable[str]) -> int:
        asked = check_keys(keys)
        self._ping()
        return sum([self._delete(key) for key in asked])

    def _compare_and_set(self, key: str, expected: Any, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        there = pack(expected)
        stored = pack(value)
        return self._put(
            key, stored, self._new_seconds(ttl), lambda item: item is not None and same_packed(item[0], there)
        )

    def _compare_and_delete(self, key: str, expected: Any) -> bool:
        key = check_key(key)
        there = pack(expected)
        while (item := self._live(key)) is not None and same_packed(item[0], there):
            with self._lock:
                if self._remove(key, item):
                    return True
        return False

    def _increment_existing(self, key: str, by: int = 1) -> int | None:
        key = check_key(key)
        by = check_count(by)
        with self._lock:
            return self._count_live(key, by)

    def _get_and_renew(self, key: str, ttl: TTL, type: Any = Any, default: Any = None) -> Any:
        return self._get_or_miss(key, type, default, check_some_ttl(ttl), only_expiring=True)

    def _set_json(self, key: str, text: str | bytes, ttl: TTL | KeepTTL | None = None) -> None:
        self._put(key, pack_json(text), self._new_seconds(ttl))

    def _get_json(self, key: str) -> str | None:
        item = self._data.get(check_key(key))
        now = self._clock()
        if item is None or item[1] <= now:
            return None
        if now >= self._hit_due:
            self._after_hit(key, now)
        return unpack_json(item[0], key)

    def _time(self) -> float:
        self._ping()
        return self._epoch + self._clock()

    def _scan(self, prefix: str = "") -> Iterator[str]:
        prefix = check_prefix(prefix)
        with self._lock:
            keys = list(self._data)
        return (key for key in keys if key.startswith(prefix) and self._exists(key))

    def _ping(self) -> None:
        len(self._data)

    def _close(self) -> None:
        self._replace_all(closed=True)

    def _remove_prefix(self, prefix: str) -> None:
        with self._lock:
            self._ping()
            keys = list(self._data)
        for key in keys:
            if key.startswith(prefix):
                self._delete(key)


def _if_missing(item: Item | None) -> bool:
    return item is None


def _if_live(item: Item | None) -> bool:
    return item is not None
