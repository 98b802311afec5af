"""How long the tokens of a cache's tags live: as long as what is kept with them, and little longer."""

from __future__ import annotations

from typing import Any

import pytest

from reinhardt_backends import Cache, MemoryBackend, SyncBackend, SyncCache
from reinhardt_backends._cache import _engine
from reinhardt_backends._cache._tags import MARGIN
from reinhardt_backends.testing import FakeClock

from .caching import ALL, ON_FAKE_TIME, Counted, verbs_of
from .places import Place, everywhere

DAY = 86400
MONTH = 30 * DAY


@everywhere(*ON_FAKE_TIME)
async def test_a_token_is_never_shortened(place: Place) -> None:
    """A value that is kept for a month outlives all that are kept for less with the same tag."""
    cache = place.make(Cache, ttl=1)
    counted = Counted(place)
    kept = await cache.get_or_set("long", counted.factory, tags=["t"], ttl=MONTH)
    for number in range(29):
        await cache.get_or_set(f"short {number}", counted.factory, tags=["t"])
        place.clock.advance(DAY)
        assert await cache.get_or_set("long", counted.factory, tags=["t"], ttl=MONTH) == kept
    await cache.invalidate_tag("t")
    assert await cache.get_or_set("long", counted.factory, tags=["t"], ttl=MONTH) != kept


@everywhere("memory", "namespace", "comparing")
async def test_a_token_that_has_to_live_longer_stays_the_same(place: Place) -> None:
    """What was kept with it before is not lost."""
    cache = place.make(Cache, ttl=60)
    counted = Counted(place)
    kept = await cache.get_or_set("short", counted.factory, tags=["t"])
    for number, ttl in enumerate((100, 10, 1000, 50, 10_000)):
        await cache.get_or_set(f"long {number}", counted.factory, tags=["t"], ttl=ttl)
        assert await cache.get_or_set("short", counted.factory, tags=["t"]) == kept
    place.clock.advance(9_999)
    assert await cache.get_or_set("long 4", counted.factory, tags=["t"], ttl=10_000) == 6


@everywhere(*ON_FAKE_TIME)
async def test_a_token_does_not_outlive_its_values_by_much(place: Place) -> None:
    cache = place.make(Cache, ttl=1)
    counted = Counted(place)
    for number in range(100):
        await cache.get_or_set(str(number), counted.factory, tags=[f"tag:{number}"])
    place.clock.advance(1 + MARGIN + 1)
    assert await place.contents() == {}


def test_short_lived_values_leave_nothing() -> None:
    """5,000 values of one second, each with a tag of its own: a minute later, all memory was given back."""
    clock = FakeClock()
    backend = MemoryBackend(clock=clock)
    cache = SyncCache(backend, ttl=1)
    for number in range(5_000):
        cache.get_or_set(str(number), lambda: 1, tags=[str(number)])
    clock.advance(60)
    face = SyncBackend(backend)
    for number in range(200):
        # Every write sweeps some expired keys.
        face.set("other", number)
    assert len(backend._data) == 1


@pytest.mark.parametrize("lease", [1000, None])
def test_a_value_that_takes_long_to_compute_is_kept(monkeypatch: pytest.MonkeyPatch, lease: float | None) -> None:
    """Though the token of its tag would not have outlived it by itself."""
    clock = FakeClock()
    monkeypatch.setattr(_engine, "monotonic", clock)
    cache = SyncCache(MemoryBackend(clock=clock), ttl=100, lease=lease)
    calls: list[int] = []

    def compute() -> int:
        calls.append(1)
        clock.advance(MARGIN + 50)
        return len(calls)

    assert cache.get_or_set("k", compute, tags=["t"]) == 1
    clock.advance(99)
    assert cache.get_or_set("k", compute, tags=["t"]) == 1

    def too_long() -> int:
        clock.advance(MARGIN + 101)
        return 5

    assert [cache.get_or_set("other", too_long, tags=["other"]) for _ in range(2)] == [5, 5]


@everywhere(*ALL)
async def test_what_is_under_the_name_of_a_token(place: Place) -> None:
    """Whatever is there, values with the tag are kept, and invalidated by it."""
    cache = place.make(Cache, ttl=60)
    verbs = verbs_of(place)
    odd: list[Any] = [
        5,
        None,
        "",
        ".",
        "x",
        "x.",
        ".5",
        "x.0",
        "x.-1",
        "x.²",
        "x.99999999999999999999",
        "x.5",
        b"x.5",
        [1],
    ]
    for number, value in enumerate(odd):
        await verbs.set("cache:tag:t", value)
        counted = Counted(place)
        key = str(number)
        assert [await cache.get_or_set(key, counted.factory, tags=["t"]) for _ in range(2)] == [1, 1], value
        await cache.invalidate_tag("t")
        assert await cache.get_or_set(key, counted.factory, tags=["t"]) == 2, value
