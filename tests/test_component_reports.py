"""What components report to a listener on their backend, and what they log."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

import anyio
import pytest

from reinhardt_backends import (
    Cache,
    Event,
    Lock,
    MemoryBackend,
    SessionConflictError,
    SessionStore,
    SyncCache,
    SyncThrottle,
    Throttle,
)
from reinhardt_backends._cache import _reports
from reinhardt_backends._component import drive
from reinhardt_backends._lock import _lock
from reinhardt_backends._throttle import _throttle
from reinhardt_backends.testing import FailingBackend, FakeClock


@pytest.fixture(autouse=True)
def no_record_is_due_later(monkeypatch: pytest.MonkeyPatch) -> None:
    for record in (_reports._AWAY, _reports._STALE, _lock._LOST, _throttle._AWAY):
        monkeypatch.setattr(record, "_due", 0.0)


class Listener:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        if event.component != "backend":
            self.events.append(event)

    def take(self) -> list[str]:
        names = [event.name for event in self.events]
        self.events.clear()
        return names


@pytest.fixture
def listener() -> Listener:
    return Listener()


def test_a_cache_reports_hits_misses_and_computations(listener: Listener) -> None:
    cache = Cache(MemoryBackend().observed(listener, keys=True), ttl=60)
    values = iter(range(9))

    async def load() -> int:
        return next(values)

    @cache.cached(key="f:{n}")
    async def function(n: int) -> int:
        return n

    @cache.cached(key="g:{n}", tags=["t"])
    async def tagged(n: int) -> int:
        return n

    async def calls() -> None:
        await cache.get_or_set("k", load, int)
        assert [(event.name, event.keys) for event in listener.events] == [("miss", ("k",)), ("computed", ("k",))]
        assert listener.events[1].seconds > 0
        assert listener.take() == ["miss", "computed"]
        await cache.get_or_set("k", load, int)
        assert listener.take() == ["hit"]
        for cached in (function, tagged):
            await cached(1)
            await cached(1)
            assert listener.take() == ["miss", "computed", "hit"]

    asyncio.run(calls())


def test_a_blocking_cache_reports_too(listener: Listener) -> None:
    cache = SyncCache(MemoryBackend().observed(listener), ttl=60)

    @cache.cached(key="f:{n}")
    def function(n: int) -> int:
        return n

    function(1)
    function(1)
    assert listener.take() == ["miss", "computed", "hit"]


def test_callers_that_join_and_stale_values(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    cache = Cache(MemoryBackend(clock=clock).observed(listener), ttl=60, lease=None)

    async def slow() -> int:
        await anyio.sleep(0.01)
        return 1

    async def failing() -> int:
        raise ValueError("s3cret")

    async def calls() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(lambda: cache.get_or_set("k", slow, int, stale=600))
        assert Counter(listener.take()) == {"miss": 3, "computed": 1, "joined": 2}
        clock.advance(61)
        assert await cache.get_or_set("k", failing, int, stale=600, stale_on_error=True) == 1
        (computed,) = [event for event in listener.events if event.name == "computed"]
        assert isinstance(computed.error, ValueError)
        assert listener.take() == ["stale", "computed"]

    asyncio.run(calls())
    assert [one.getMessage() for one in caplog.records] == [
        "computing a value raised ValueError: a stale value is served"
    ]


def test_a_cache_without_its_store_says_so(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    failing = FailingBackend(MemoryBackend())
    cache = Cache(failing.observed(listener), ttl=60)

    @cache.cached(key="f:{n}")
    async def function(n: int) -> int:
        return n

    failing.fail()
    asyncio.run(function(1))
    assert listener.take() == ["degraded", "miss", "computed"]
    assert [one.name for one in caplog.records] == ["reinhardt_backends.cache"]
    assert "BackendConnectionError" in caplog.text


@pytest.mark.parametrize(("on_error", "last"), [("allow", "allowed"), ("deny", "denied"), ("local", "allowed")])
def test_a_throttle_reports_its_decisions(
    listener: Listener, caplog: pytest.LogCaptureFixture, on_error: Any, last: str
) -> None:
    failing = FailingBackend(MemoryBackend())
    throttle = Throttle(failing.observed(listener, keys=True), "1/min", on_error=on_error)

    async def calls() -> None:
        assert await throttle.allow("k")
        assert not await throttle.hit("k")
        assert [event.keys for event in listener.events] == [("k",), ("k",)]
        assert listener.take() == ["allowed", "denied"]
        await throttle.peek("k")
        assert listener.take() == []
        failing.fail()
        await throttle.hit("k")
        assert listener.take() == ["degraded", last]
        await throttle.allow("other")
        assert listener.take() == ["degraded", last]

    asyncio.run(calls())
    assert [one.name for one in caplog.records] == ["reinhardt_backends.throttle"]
    assert f"on_error='{on_error}'" in caplog.text


def test_waits_are_reported_with_their_length(listener: Listener) -> None:
    throttle = SyncThrottle(MemoryBackend().observed(listener), "1/50ms", algorithm="gcra")
    throttle.wait("k")
    throttle.wait("k")
    first, second = [event for event in listener.events if event.name == "waited"]
    assert first.seconds < second.seconds < 5
    assert listener.take() == ["waited", "allowed"] * 2


def test_a_conflict_of_a_session_is_reported(listener: Listener) -> None:
    store = SessionStore(MemoryBackend().observed(listener), dict[str, int], ttl=60)

    async def calls() -> None:
        session = await store.create({})
        other = await store.load(session.id)
        assert other is not None
        await store.save(session)
        with pytest.raises(SessionConflictError):
            await store.save(other)

    asyncio.run(calls())
    assert listener.take() == ["conflict"]


def test_a_lock_reports_waits_and_its_loss(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    backend = MemoryBackend(clock=clock).observed(listener)
    lock, other = Lock(backend, "s3cret", ttl=60), Lock(backend, "s3cret", ttl=60)

    async def calls() -> None:
        assert await lock.acquire()
        assert not await other.acquire(timeout=0.001)
        assert listener.take() == ["acquired", "waited", "denied"]
        clock.advance(60)
        assert not await lock.extend()
        assert not await lock.release()

    asyncio.run(calls())
    assert listener.take() == ["lost"]
    assert [(one.name, one.levelno) for one in caplog.records] == [("reinhardt_backends.lock", logging.WARNING)]
    assert "s3cret" not in caplog.text


def test_without_a_listener_nothing_is_reported() -> None:
    backend = MemoryBackend()
    throttle = Throttle(backend, "1/min")
    assert throttle._reporter is None
    assert drive(throttle.allow("k"))
