"""Observed views: what a listener is told, on every kind of backend, and that nobody else pays for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest

from reinhardt_backends import (
    Backend,
    BackendClosedError,
    BackendTimeoutError,
    CounterError,
    Event,
    Lock,
    MemoryBackend,
    RedisBackend,
    SyncBackend,
    Throttle,
)
from reinhardt_backends._component import drive
from tests.servers import Server
from tests.test_sync import Suspending


class Own(Suspending):
    """A user's backend whose scan can be cancelled between its steps."""

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return self.store.scan(prefix)


@pytest.fixture(params=["memory", "redis", "own"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param == "redis":
        server: Server = request.getfixturevalue("server")
        yield RedisBackend(server.url, prefix="observing:")
        return
    yield MemoryBackend() if request.param == "memory" else Own()


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def test_each_call_is_reported_once(backend: Backend) -> None:
    """The plural verbs, namespaces, deadlines and scans, too; with duration, count and error."""
    events: list[Event] = []

    async def calls() -> None:
        view = backend.observed(events.append).namespace("a").with_timeout(5)
        await view.set("k", 1, 60)
        assert await view.get("k", int) == 1
        assert await view.get("k", int, renew=60) == 1
        assert await view.increment("k", by=2) == 3
        await view.set_many({"x": "x", "y": "y"})
        assert await view.get_many(key for key in ("x", "y", "z")) == {"x": "x", "y": "y"}
        with pytest.raises(CounterError):
            await view.increment("x")
        assert sorted([key async for key in view.scan()]) == ["k", "x", "y"]
        assert await view.delete_many(["x", "y"]) == 2
        await view.clear()
        assert await backend.exists("a:k") is False
        await backend.aclose()

    asyncio.run(calls())
    assert names(events) == [
        "set", "get", "get", "increment", "set_many", "get_many", "increment", "scan", "delete_many", "clear",
    ]  # fmt: skip
    assert [event.count for event in events] == [1, 1, 1, 1, 2, 3, 1, 3, 2, 0]
    assert {event.component for event in events} == {"backend"}
    assert [type(event.error) for event in events if event.error is not None] == [CounterError]
    assert all(event.seconds > 0 for event in events)
    assert all(event.keys == () for event in events)


def test_the_store_is_named(server: Server) -> None:
    events: list[Event] = []
    for one in (MemoryBackend(), Suspending(), RedisBackend(server.url)):
        with SyncBackend(one) as face:
            face.observed(events.append).exists("k")
    memory, own, redis = [event.store for event in events]
    assert (memory.system, own.system) == ("memory", "Suspending")
    assert (redis.system, redis.address, redis.port, redis.database) == ("redis", "127.0.0.1", server.port, 0)


def test_keys_are_shown_by_choice_only() -> None:
    events: list[Event] = []
    backend = MemoryBackend()
    drive(backend.namespace("a").observed(events.append, keys=True).set("k", 1))
    drive(backend.observed(events.append, keys=True).get_many(["x", "y"]))
    drive(backend.observed(events.append).get("k"))
    assert [event.keys for event in events] == [("a:k",), ("x", "y"), ()]


def test_views_compose_in_any_order() -> None:
    """Each of several listeners is called, whatever lies between them."""
    first: list[Event] = []
    second: list[Event] = []
    backend = MemoryBackend()
    view = backend.namespace("a").observed(first.append).with_timeout(1).namespace("b").observed(second.append)
    drive(view.set("k", 1))
    assert names(first) == names(second) == ["set"]
    assert drive(backend.get("a:b:k")) == 1


def test_closing_the_view_closes_only_the_view() -> None:
    backend = MemoryBackend()
    view = backend.observed(lambda event: None)
    drive(view.aclose())
    with pytest.raises(BackendClosedError):
        drive(view.get("k"))
    assert drive(backend.get("k")) is None


def test_the_blocking_face_reports_as_well(backend: Backend) -> None:
    events: list[Event] = []
    with SyncBackend(backend) as face:
        view = face.observed(events.append)
        view.set("k", 1)
        assert view.get("k") == 1
        assert list(view.namespace("n").scan()) == []
    assert names(events) == ["set", "get", "scan"]


def test_atomic_steps_stay_one_call(backend: Backend) -> None:
    """A throttle's decision and a lock's steps are one call each where they are one without the view."""
    events: list[Event] = []

    async def use(view: Backend) -> None:
        throttle = Throttle(view, "10/min", algorithm="gcra")
        for _ in range(20):
            await throttle.hit("k")
        async with Lock(view, "l", ttl=5):
            pass

    if isinstance(backend, Suspending):
        return
    asyncio.run(use(backend.observed(events.append)))
    calls = [event.name for event in events if event.component == "backend"]
    assert len(calls) == 22
    assert calls[0] == calls[19] == "throttle by gcra"


def test_a_scan_that_is_given_up_or_fails_is_reported_once() -> None:
    events: list[Event] = []
    backend = MemoryBackend()
    drive(backend.set_many({"a": 1, "b": 2}))
    face = SyncBackend(backend).observed(events.append)
    keys: Any = face.scan()
    next(keys)
    keys.close()
    assert [(event.name, event.count, event.error) for event in events] == [("scan", 1, None)]


def test_cancelled_calls_and_timeouts_are_reported_with_their_error() -> None:
    events: list[Event] = []

    class Slow(Suspending):
        async def exists(self, key: str) -> bool:
            await anyio.sleep(60)
            return True

    async def calls() -> None:
        view = Slow().observed(events.append)
        with pytest.raises(BackendTimeoutError):
            await view.with_timeout(0.01).exists("k")
        with anyio.move_on_after(0.01):
            await view.exists("k")

    asyncio.run(calls())
    assert [type(event.error) for event in events] == [BackendTimeoutError, asyncio.CancelledError]


def test_a_listener_that_raises_ends_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def listener(event: Event) -> None:
        raise ValueError("s3cret")

    backend = MemoryBackend().observed(listener)
    drive(backend.set("k", 1))
    assert drive(backend.get("k")) == 1
    assert "a listener raised ValueError" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("listener", [None, 1, "print"])
def test_a_listener_is_a_plain_function(listener: Any) -> None:
    async def coroutine(event: Event) -> None:
        pass

    for one in (listener, coroutine):
        with pytest.raises(TypeError, match="listener"):
            MemoryBackend().observed(one)


def test_an_unobserved_backend_runs_what_it_ran_before() -> None:
    """Observing changes no code and no attribute of the backend itself, so nothing is looked up on its way."""

    def codes(backend: Backend) -> list[Any]:
        verbs: list[Callable[..., Any]] = [type(backend).get, type(backend).set, type(backend).increment]
        return [verb.__code__ for verb in verbs]

    for backend in (MemoryBackend(), RedisBackend("redis://localhost:1")):
        before, attributes = codes(backend), set(vars(backend))
        backend.observed(print)
        assert codes(backend) == before
        assert set(vars(backend)) == attributes
        for code in before:
            assert not {name for name in code.co_names if "observ" in name or "report" in name or "listener" in name}


def test_stats_of_memory() -> None:
    clock = [0.0]
    backend = MemoryBackend(maxsize=2, maxbytes=100, clock=lambda: clock[0])
    drive(backend.set_many({"a": "1", "b": "22", "c": "333"}, 5))
    stats = backend.namespace("n").with_timeout(1).observed(print).stats()
    assert (stats.entries, stats.bytes, stats.evictions) == (2, len('b"22"') + len('c"333"'), 1)
    assert (stats.connections, stats.in_flight, stats.outage) == (None, None, False)
    drive(backend.clear())
    assert (backend.stats().entries, backend.stats().bytes, backend.stats().evictions) == (0, 0, 1)
    assert MemoryBackend().stats().evictions == 0
    assert Suspending().stats().entries is None
    drive(backend.aclose())
    with pytest.raises(BackendClosedError):
        backend.stats()


def test_stats_of_redis(server: Server) -> None:
    """Connections of event loops and of threads count; calls that are answered are not in flight."""
    backend = RedisBackend(server.url)
    assert (backend.stats().connections, backend.stats().in_flight) == (0, 0)

    async def calls() -> None:
        await backend.set("k", 1)
        assert (backend.stats().connections, backend.stats().in_flight, backend.stats().outage) == (1, 0, False)
        SyncBackend(backend).get("k")
        assert (backend.stats().connections, backend.stats().in_flight) == (2, 0)

        seen: list[Any] = []
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(backend.get, "k")
            await anyio.lowlevel.checkpoint()
            seen.append(backend.stats().in_flight)
        assert seen == [5]
        await backend.aclose()

    asyncio.run(calls())
    with pytest.raises(BackendClosedError):
        backend.stats()
