"""Every verb of the memory backend and its namespaces, against a model that is a dict and a number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reinhardt_backends import KEEP_TTL, Backend, CounterError, DeserializationError, MemoryBackend, encode
from reinhardt_backends._blocking import drive
from reinhardt_backends.testing import FakeClock

from .extent import examples

# Where a call goes: through which names, what these put before its key. Few keys, so that calls meet.
SPOTS = st.sampled_from(
    [((), "a"), ((), "a"), ((), "n:a"), (("n",), "a"), ((), "n:m:a"), (("n", "m"), "a"), (("n:m",), "a")]
)
PLACES = st.sampled_from([(), ("n",), ("n", "m"), ("n:m",)])
KEYS = st.sampled_from(["a", "m:a", "n:a"])
VALUES = st.sampled_from(
    [0, 1, -5, 2**63 - 1, 2**70, 1.0, True, None, "", "1", "text", b"", b"raw", [1, 2], {"a": [None]}]
)
MILLISECONDS = st.sampled_from([1, 100, 250, 1000, 16_000, 500_000, 40_000_000])
TTLS = st.none() | MILLISECONDS.map(lambda milliseconds: milliseconds / 1000)
NEW_TTLS = TTLS | st.just(KEEP_TTL)
TYPES = st.sampled_from([int, str, bytes, list[int], int | None])
Spot = tuple[tuple[str, ...], str]
FITS: dict[Any, Callable[[Any], bool]] = {
    int: lambda value: type(value) is int,
    str: lambda value: type(value) is str,
    bytes: lambda value: type(value) is bytes,
    list[int]: lambda value: value == [1, 2],
    int | None: lambda value: value is None or type(value) is int,
}


class BackendMachine(RuleBasedStateMachine):
    """Does the same to a backend and to the model, and compares every answer."""

    options: ClassVar[dict[str, Any]] = {}

    @initialize()
    def begin(self) -> None:
        self.clock = FakeClock()
        self.backend = MemoryBackend(clock=self.clock, **self.options)
        self.now = 0  # milliseconds
        self.model: dict[str, tuple[Any, float]] = {}

    def at(self, place: tuple[str, ...]) -> Backend:
        backend: Backend = self.backend
        for name in place:
            backend = backend.namespace(name)
        return backend

    def live(self, key: str) -> bool:
        return key in self.model and self.model[key][1] > self.now

    def expiry(self, key: str, ttl: Any) -> float:
        if ttl is KEEP_TTL:
            return self.model[key][1] if self.live(key) else math.inf
        return math.inf if ttl is None else self.now + round(ttl * 1000)

    def write(self, key: str, value: Any, ttl: Any) -> None:
        self.model[key] = (value, self.expiry(key, ttl))

    @rule(spot=SPOTS, value=VALUES, ttl=NEW_TTLS)
    def set(self, spot: Spot, value: Any, ttl: Any) -> None:
        place, key = spot
        drive(self.at(place).set(key, value, ttl))
        self.write(full(place, key), value, ttl)

    @rule(spot=SPOTS, renew=TTLS)
    def get(self, spot: Spot, renew: Any) -> None:
        place, key = spot
        found = drive(self.at(place).get(key, default="default", renew=renew))
        name = full(place, key)
        assert same(found, self.model[name][0] if self.live(name) else "default")
        if renew is not None and self.live(name):
            self.write(name, found, renew)

    @rule(spot=SPOTS, type_=TYPES, renew=TTLS)
    def get_typed(self, spot: Spot, type_: Any, renew: Any) -> None:
        place, key = spot
        name = full(place, key)
        if self.live(name) and not FITS[type_](self.model[name][0]):
            with pytest.raises(DeserializationError):
                drive(self.at(place).get(key, type_, renew=renew))
            return
        found = drive(self.at(place).get(key, type_, default="default", renew=renew))
        assert same(found, self.model[name][0] if self.live(name) else "default")
        if renew is not None and self.live(name):
            self.write(name, found, renew)

    @rule(spot=SPOTS)
    def delete(self, spot: Spot) -> None:
        place, key = spot
        name = full(place, key)
        assert drive(self.at(place).delete(key)) is self.live(name)
        self.model.pop(name, None)

    @rule(spot=SPOTS)
    def exists(self, spot: Spot) -> None:
        place, key = spot
        assert drive(self.at(place).exists(key)) is self.live(full(place, key))

    @rule(spot=SPOTS, ttl=TTLS, by=st.sampled_from([1, 1, 0, -3, 2**63 - 1, -(2**63)]))
    def increment(self, spot: Spot, ttl: Any, by: int) -> None:
        place, key = spot
        name = full(place, key)
        old, expiry = self.model[name] if self.live(name) else (0, math.inf)
        if type(old) is not int or not -(2**63) <= old < 2**63 or not -(2**63) <= old + by < 2**63:
            with pytest.raises(CounterError):
                drive(self.at(place).increment(key, ttl, by=by))
            return
        assert drive(self.at(place).increment(key, ttl, by=by)) == old + by
        self.model[name] = (old + by, self.expiry(name, ttl) if expiry == math.inf else expiry)

    @rule(spot=SPOTS, value=VALUES, ttl=TTLS)
    def add(self, spot: Spot, value: Any, ttl: Any) -> None:
        place, key = spot
        name = full(place, key)
        assert drive(self.at(place).add(key, value, ttl)) is not self.live(name)
        if not self.live(name):
            self.write(name, value, ttl)

    @rule(spot=SPOTS, value=VALUES, ttl=NEW_TTLS)
    def replace(self, spot: Spot, value: Any, ttl: Any) -> None:
        place, key = spot
        name = full(place, key)
        assert drive(self.at(place).replace(key, value, ttl)) is self.live(name)
        if self.live(name):
            self.write(name, value, ttl)

    @rule(spot=SPOTS, type_=st.none() | TYPES)
    def pop(self, spot: Spot, type_: Any) -> None:
        place, key = spot
        name = full(place, key)
        if not self.live(name):
            assert drive(self.at(place).pop(key, default="default")) == "default"
        elif type_ is None:
            assert same(drive(self.at(place).pop(key)), self.model.pop(name)[0])
        elif FITS[type_](self.model[name][0]):
            assert same(drive(self.at(place).pop(key, type_)), self.model.pop(name)[0])
        else:
            with pytest.raises(DeserializationError):
                drive(self.at(place).pop(key, type_))

    @rule(spot=SPOTS)
    def ttl(self, spot: Spot) -> None:
        place, key = spot
        name = full(place, key)
        expected = (self.model[name][1] - self.now) / 1000 if self.live(name) else None
        assert drive(self.at(place).ttl(key)) == expected

    @rule(spot=SPOTS, ttl=TTLS)
    def touch(self, spot: Spot, ttl: Any) -> None:
        place, key = spot
        name = full(place, key)
        assert drive(self.at(place).touch(key, ttl)) is self.live(name)
        if self.live(name):
            self.write(name, self.model[name][0], ttl)

    @rule(place=PLACES, keys=st.lists(KEYS, max_size=5))
    def get_many(self, place: tuple[str, ...], keys: list[str]) -> None:
        found = drive(self.at(place).get_many(keys))
        expected = {key: self.model[full(place, key)][0] for key in keys if self.live(full(place, key))}
        assert list(found) == list(expected)
        assert all(same(found[key], expected[key]) for key in expected)

    @rule(place=PLACES, pairs=st.dictionaries(KEYS, VALUES, max_size=4), ttl=NEW_TTLS)
    def set_many(self, place: tuple[str, ...], pairs: dict[str, Any], ttl: Any) -> None:
        drive(self.at(place).set_many(pairs, ttl))
        for key, value in pairs.items():
            self.write(full(place, key), value, ttl)

    @rule(place=PLACES, keys=st.lists(KEYS, max_size=4))
    def delete_many(self, place: tuple[str, ...], keys: list[str]) -> None:
        names = {full(place, key) for key in keys}
        assert drive(self.at(place).delete_many(keys)) == sum(map(self.live, names))
        for name in names:
            self.model.pop(name, None)

    @rule(spot=SPOTS, expected=VALUES, value=VALUES, ttl=NEW_TTLS)
    def compare_and_set(self, spot: Spot, expected: Any, value: Any, ttl: Any) -> None:
        place, key = spot
        name = full(place, key)
        hit = self.live(name) and encode(self.model[name][0]) == encode(expected)
        assert drive(self.at(place).compare_and_set(key, expected, value, ttl)) is hit
        if hit:
            self.write(name, value, ttl)

    @rule(spot=SPOTS, expected=VALUES)
    def compare_and_delete(self, spot: Spot, expected: Any) -> None:
        place, key = spot
        name = full(place, key)
        hit = self.live(name) and encode(self.model[name][0]) == encode(expected)
        assert drive(self.at(place).compare_and_delete(key, expected)) is hit
        if hit:
            del self.model[name]

    @rule(place=PLACES, prefix=st.sampled_from(["", "a", "n", "n:", "m:"]))
    def scan(self, place: tuple[str, ...], prefix: str) -> None:
        cut = len(full(place, ""))
        expected = [key[cut:] for key in self.model if self.live(key) and key.startswith(full(place, prefix))]
        assert sorted(drive(collect(self.at(place), prefix))) == sorted(expected)

    @rule(place=PLACES)
    def clear(self, place: tuple[str, ...]) -> None:
        drive(self.at(place).clear())
        self.model = {key: entry for key, entry in self.model.items() if not key.startswith(full(place, ""))}

    @rule(milliseconds=MILLISECONDS | st.sampled_from([0, 99, 249, 15_900]))
    def wait(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds / 1000)
        self.now += milliseconds

    @rule()
    def clean_up(self) -> None:
        self.backend.cleanup_expired()
        assert self.backend.cleanup_expired() == 0

    @invariant()
    def the_number_of_live_keys_agrees(self) -> None:
        if hasattr(self, "model"):
            assert len(self.backend) == sum(map(self.live, self.model))

    @invariant()
    def every_expiry_agrees(self) -> None:
        if hasattr(self, "model"):
            for key, (_, expiry) in self.model.items():
                left = drive(self.backend.ttl(key))
                assert left == ((expiry - self.now) / 1000 if self.live(key) else None), key


def full(place: tuple[str, ...], key: str) -> str:
    return "".join(f"{name}:" for name in place) + key


def same(found: Any, expected: Any) -> bool:
    return bool(found == expected) and type(found) is type(expected)


async def collect(backend: Backend, prefix: str) -> list[str]:
    return [key async for key in backend.scan(prefix)]


class BoundedMachine(BackendMachine):
    """With room for all keys, a bounded backend does exactly the same."""

    options: ClassVar[dict[str, Any]] = {"maxsize": 1000, "maxbytes": 10**7, "policy": "lru"}


class LFUMachine(BackendMachine):
    """Another policy."""

    options: ClassVar[dict[str, Any]] = {"maxsize": 1000, "policy": "lfu"}


TestMemory = BackendMachine.TestCase
TestBounded = BoundedMachine.TestCase
TestLFU = LFUMachine.TestCase
TestMemory.settings = examples(50, stateful_step_count=40)
TestBounded.settings = examples(25, stateful_step_count=40)
TestLFU.settings = examples(15, stateful_step_count=40)
