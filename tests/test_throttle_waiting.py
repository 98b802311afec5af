"""``Throttle.wait``: in order of arrival, with about one decision each, and never later than asked."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from reinhardt_backends import (
    BackendTimeoutError,
    MemoryBackend,
    OutcomeUnknownError,
    RedisBackend,
    SyncThrottle,
    Throttle,
    ThrottleResult,
)
from reinhardt_backends._component import drive, waiting_for
from reinhardt_backends.testing._runner import AsyncClothes

from .places import Place, everywhere
from .servers import Server

WAIT = 20


class Counting(MemoryBackend):
    """A backend that counts the steps it runs."""

    steps = 0

    async def _run_key_step(self, *args: Any) -> Any:
        self.steps += 1
        return await super()._run_key_step(*args)


@pytest.mark.parametrize("algorithm", ["fixed-window", "sliding-window", "gcra"])
@pytest.mark.anyio
async def test_waiters_are_served_in_order_of_arrival_with_about_one_decision_each(algorithm: Any) -> None:
    backend = Counting()
    throttle = Throttle(backend, "20/50ms", algorithm=algorithm)
    arrived: list[int] = []
    served: list[int] = []

    async def wait(number: int) -> None:
        arrived.append(number)
        assert await throttle.wait("k")
        served.append(number)

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(wait, number)
            if number % 50 == 0:
                await anyio.wait_all_tasks_blocked()
    assert served == arrived
    assert backend.steps <= 260
    assert throttle._queues == {}


def test_threads_are_served_in_order_of_arrival() -> None:
    face = SyncThrottle(MemoryBackend(), "1/10ms")
    served: list[int] = []
    assert face.allow("k")

    def wait(number: int) -> None:
        face.wait("k")
        served.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(8)]
    queues = face._target._queues
    for number, thread in enumerate(threads):
        thread.start()
        while number >= len(served) + len(queues["k"]._waiters if "k" in queues else ()):
            time.sleep(0.0005)
    for thread in threads:
        thread.join(WAIT)
    assert served == list(range(8))


@everywhere("redis", "memory", "comparing")
async def test_a_timeout_as_long_as_the_wait_is_long_enough(place: Place) -> None:
    backend = place.store if place.kind == "redis" else MemoryBackend()
    throttle = place.make(Throttle, "1/30ms", backend=backend)
    for number in range(10):
        assert await throttle.allow(str(number))
        denied = await throttle.hit(str(number))
        if not denied.allowed:
            assert await throttle.wait(str(number), timeout=denied.retry_after), number


def test_the_clock_of_waiting_does_not_stand_still_while_a_task_runs() -> None:
    """That of uvloop does, so that a timeout began milliseconds too early."""
    uvloop = pytest.importorskip("uvloop")

    async def main() -> float:
        waiting = waiting_for(MemoryBackend())
        began = waiting.now()
        time.sleep(0.01)
        return waiting.now() - began

    assert 0.01 <= uvloop.run(main()) < 1


@pytest.mark.anyio
async def test_a_hit_that_fits_is_not_denied_though_others_wait() -> None:
    throttle = Throttle(MemoryBackend(), "10/h")
    assert await throttle.allow("k", 8)
    async with anyio.create_task_group() as group:
        group.start_soon(throttle.wait, "k", 5)
        await anyio.wait_all_tasks_blocked()
        assert await throttle.wait("k", 1, timeout=0)
        assert await throttle.wait("k", 1, timeout=0.01)
        assert not await throttle.wait("k", 1, timeout=0.01)
        group.cancel_scope.cancel()
    assert throttle._queues == {}


@pytest.mark.anyio
async def test_a_cancelled_waiter_lets_the_next_one_come_first() -> None:
    throttle = Throttle(MemoryBackend(), "10/h")
    assert await throttle.allow("k", 8)
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as inner:
                inner.start_soon(throttle.wait, "k", 5)
                await anyio.wait_all_tasks_blocked()
                results: list[ThrottleResult] = []

                async def second() -> None:
                    results.append(await throttle.wait("k", 2))

                group.start_soon(second)
                await anyio.wait_all_tasks_blocked()
                assert results == []
                scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert [result.allowed for result in results] == [True]


def test_a_signal_handler_may_wait_for_what_its_thread_waits_for() -> None:
    face = SyncThrottle(MemoryBackend(), "2/200ms")
    assert face.allow("k", 2)
    inner: list[bool] = []

    def handler(*_: object) -> None:
        inner.append(face.wait("k", timeout=WAIT).allowed)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert face.wait("k", timeout=WAIT)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert inner == [True]


@pytest.fixture(params=["asyncio", "trio", "sync"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    """Run a test that is given how to make a throttle."""

    def make(*args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            return AsyncClothes(SyncThrottle(*args, **kwargs))
        return Throttle(*args, **kwargs)

    def run(test: Any) -> None:
        if request.param == "sync":
            drive(test(make))
        else:
            anyio.run(test, make, backend=request.param)

    return run


def test_a_store_that_does_not_answer_is_a_timeout(own_server: Server, run: Callable[[Any], None]) -> None:
    async def test(make: Any) -> None:
        backend = RedisBackend(own_server.url, timeout=30)
        throttle, local = make(backend, "5/h"), make(backend, "1/h", on_error="local")
        assert await throttle.allow("k")
        os.kill(own_server.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(BackendTimeoutError):
                await throttle.wait("k", timeout=0.3)
            assert 0.25 <= time.monotonic() - began < 5
            result = await local.wait("k", timeout=0.2)
            assert (result.allowed, result.degraded) == (True, True)
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
        assert await throttle.wait("k", timeout=WAIT)

    run(test)


@pytest.mark.anyio
async def test_an_unknown_outcome_before_the_timeout_is_raised_as_it_is() -> None:
    class Losing(MemoryBackend):
        async def _run_key_step(self, *args: Any) -> Any:
            raise OutcomeUnknownError("no reply")

    with pytest.raises(OutcomeUnknownError, match="no reply"):
        await Throttle(Losing(), "5/h").wait("k", timeout=WAIT)
