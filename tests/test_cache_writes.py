"""``Cache.get``, ``set`` and ``refresh``: what is kept, who sees it, and that an invalidation always wins."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from reinhardt_backends import BackendConnectionError, Cache, MemoryBackend, SerializationError
from reinhardt_backends.testing import FakeClock

from .caching import Counted
from .places import Comparing, Place, everywhere

PLACES = ("memory", "redis", "comparing", "six")


@everywhere(*PLACES)
async def test_get_finds_what_is_kept_and_computes_nothing(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    assert await cache.get("k") is None
    assert await cache.get("k", int, default=-1) == -1
    counted = Counted(place)
    await cache.get_or_set("k", counted.factory, int)
    await cache.get_or_set("tagged", counted.factory, int, tags=["t"])
    assert await cache.get("k", int) == 1
    assert await cache.get("k", str, default="other") == "other"
    assert await cache.get("tagged") == 2
    await cache.invalidate_tag("t")
    assert await cache.get("tagged") is None
    assert counted.calls == 2


@everywhere(*PLACES)
async def test_set_keeps_a_value_as_if_it_had_been_computed(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    counted = Counted(place)
    await cache.set("k", 41, int, tags=["t"])
    assert await cache.get_or_set("k", counted.factory, int, tags=["t"]) == 41
    await cache.set("k", b"\x00raw")
    assert await cache.get("k") == b"\x00raw"
    await cache.set("k", 42, tags=["t"])
    await cache.invalidate_tag("t")
    assert await cache.get_or_set("k", counted.factory, int, tags=["t"]) == 1
    with pytest.raises(SerializationError):
        await cache.set("k", "text", int)
    with pytest.raises(SerializationError):
        await cache.set("k", object())
    assert await cache.get("k", int) == 1


@everywhere("memory", "comparing", "six")
async def test_a_value_that_was_set_expires_and_may_be_stale(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    counted = Counted(place)
    await cache.set("k", 41, ttl=10, stale=20)
    assert await cache.get_or_set("k", counted.factory, stale=20) == 41
    place.clock.advance(11)
    assert await cache.get("k") is None
    assert await cache.get_or_set("k", counted.factory, stale=20, ttl=10) in {41, 1}
    assert counted.calls == 1


@everywhere(*PLACES)
async def test_refresh_computes_though_there_is_a_value(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    counted = Counted(place)
    for tags in ([], ["t"]):
        counted.calls = 0
        assert await cache.refresh("k", counted.factory, int, tags=tags) == 1
        assert await cache.refresh("k", counted.factory, int, tags=tags) == 2
        assert await cache.get_or_set("k", counted.factory, int, tags=tags) == 2
    await cache.invalidate_tag("t")
    assert await cache.get("k") is None


@everywhere("memory", "redis", "six")
async def test_a_decorated_function_refreshes_its_result(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    counted = Counted(place)
    if place.runtime == "sync":
        function: Any = cache._face.cached(key="{n}")(_plain(counted))
        assert (function(1), function.refresh(1), function(1), function.refresh(n=1)) == (1, 2, 2, 3)
        return
    function = cache.cached(key="{n}")(_later(counted))
    assert [await function(1), await function.refresh(1), await function(1), await function.refresh(n=1)] == [
        1,
        2,
        2,
        3,
    ]


def _plain(counted: Counted) -> Any:
    def number(n: int) -> int:
        result: int = counted.plain()
        return result

    return number


def _later(counted: Counted) -> Any:
    async def number(n: int) -> int:
        result: int = await counted.later()
        return result

    return number


@everywhere(*PLACES)
async def test_a_refresh_that_fails_leaves_the_old_value(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    counted = Counted(place)
    await cache.get_or_set("k", counted.factory, int)

    def fail() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await cache.refresh("k", fail, int)
    assert await cache.get_or_set("k", counted.factory, int) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("kept", [False, True])
async def test_a_refresh_that_asks_for_itself_is_an_error(kept: bool) -> None:
    cache = Cache(MemoryBackend(), ttl=60)
    calls = 0
    if kept:
        await cache.set("k", 1)

    async def again() -> int:
        nonlocal calls
        calls += 1
        result: int = await cache.refresh("k", again, int)
        return result

    with pytest.raises(RuntimeError, match="asks for the same value"):
        await cache.refresh("k", again, int)
    assert calls == 1
    assert await cache.refresh("k", lambda: answer(2), int) == 2


class Slow:
    """A factory that goes on when it is told to."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.began = anyio.Event()
        self.goes_on = anyio.Event()

    async def __call__(self) -> int:
        self.began.set()
        await self.goes_on.wait()
        return self.value


async def answer(value: int) -> int:
    return value


@pytest.mark.anyio
@pytest.mark.parametrize("leases", [True, False])
@pytest.mark.parametrize("tags", [[], ["t"]])
async def test_while_a_value_is_refreshed_others_get_the_old_one(leases: bool, tags: list[str]) -> None:
    cache = Cache(Comparing(MemoryBackend()), ttl=60, lease="auto" if leases else None)
    await cache.set("k", 1, tags=tags)
    slow = Slow(2)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: cache.refresh("k", slow, int, tags=tags))
        await slow.began.wait()
        assert await cache.get_or_set("k", lambda: answer(9), int, tags=tags) == 1
        slow.goes_on.set()
    assert await cache.get_or_set("k", lambda: answer(9), int, tags=tags) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("leases", [True, False])
@pytest.mark.parametrize("by", ["key", "tag", "set", "refresh"])
async def test_what_happens_while_a_value_is_refreshed_wins(leases: bool, by: str) -> None:
    backend = Comparing(MemoryBackend())
    cache = Cache(backend, ttl=60, lease="auto" if leases else None)
    # Another process; without leases it would go unnoticed, as documented.
    other = Cache(backend, ttl=60) if leases else cache
    await cache.set("k", 1, tags=["t"])
    slow = Slow(2)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: cache.refresh("k", slow, int, tags=["t"]))
        await slow.began.wait()
        if by == "key":
            await other.invalidate("k")
        elif by == "tag":
            await other.invalidate_tag("t")
        elif by == "set":
            await other.set("k", 3, tags=["t"])
        else:
            assert await other.refresh("k", lambda: answer(3), int, tags=["t"]) == 3
        slow.goes_on.set()
    if by in {"key", "tag"}:
        assert await cache.get("k") is None
    elif leases or by == "set":
        assert await cache.get("k") == 3


@pytest.mark.anyio
async def test_an_equal_value_that_came_after_an_invalidation_is_not_replaced_by_a_refresh_from_before() -> None:
    backend = Comparing(MemoryBackend())
    cache, other = Cache(backend, ttl=60), Cache(backend, ttl=60)
    await cache.set("k", 1)
    slow = Slow(2)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: cache.refresh("k", slow, int))
        await slow.began.wait()
        await other.invalidate("k")
        await other.get_or_set("k", lambda: answer(1), int)
        slow.goes_on.set()
    assert await cache.get("k") == 1


@pytest.mark.anyio
async def test_set_wins_over_what_is_computed_at_the_moment() -> None:
    backend = Comparing(MemoryBackend())
    cache, other = Cache(backend, ttl=60), Cache(backend, ttl=60)
    slow = Slow(1)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: cache.get_or_set("k", slow, int))
        await slow.began.wait()
        await other.set("k", 2)
        slow.goes_on.set()
    assert await cache.get("k") == 2


class Away(MemoryBackend):
    """A store that is away."""

    async def get(self, *args: Any, **kwargs: Any) -> Any:
        raise BackendConnectionError("no server")

    set = delete_many = add = get_many = get


@pytest.mark.anyio
async def test_while_the_store_is_away() -> None:
    cache, strict = Cache(Away(), ttl=60), Cache(Away(), ttl=60, on_error="raise")
    assert await cache.get("k", default=0) == 0
    assert await cache.refresh("k", lambda: answer(1), int) == 1
    for call in (lambda: cache.set("k", 1), lambda: strict.get("k"), lambda: strict.refresh("k", lambda: answer(1))):
        with pytest.raises(BackendConnectionError):
            await call()


@pytest.mark.anyio
async def test_a_tagged_value_that_is_kept_for_longer_than_expected_lives_on() -> None:
    clock = FakeClock()
    cache = Cache(MemoryBackend(clock=clock), ttl=10)
    await cache.get_or_set("k", lambda: answer(1), int, tags=["t"], ttl=lambda value: 1000)
    clock.advance(900)
    assert await cache.get_or_set("k", lambda: answer(2), int, tags=["t"]) == 1
