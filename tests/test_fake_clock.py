"""What waits on a backend with a FakeClock moves with that clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from reinhardt_backends import Cache, Lock, MemoryBackend, SyncLock, SyncThrottle, Throttle
from reinhardt_backends.testing import FakeClock

PATIENCE = 20


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> MemoryBackend:
    return MemoryBackend(clock=clock)


async def while_waiting(wait: Callable[[], Awaitable[Any]], clock: FakeClock, *steps: float) -> Any:
    """Start to wait, advance the clock once it sleeps, and return what the wait returned."""
    results: list[Any] = []

    async def one() -> None:
        results.append(await wait())

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(one)
            for step in steps:
                while not clock._timers:
                    await anyio.lowlevel.checkpoint()
                assert not results
                clock.advance(step)
                await anyio.wait_all_tasks_blocked()
    return results[0]


@pytest.mark.anyio
async def test_a_wait_of_a_throttle(clock: FakeClock, backend: MemoryBackend) -> None:
    throttle = Throttle(backend, "1/min")
    assert await throttle.wait("k")
    result = await while_waiting(lambda: throttle.wait("k"), clock, 59.0, 1.0)
    assert result.allowed
    assert not await throttle.wait("k", timeout=30)


@pytest.mark.anyio
async def test_a_lock_of_a_holder_that_died(clock: FakeClock, backend: MemoryBackend) -> None:
    lock = Lock(backend, "l", ttl=60)
    await lock.acquire()
    assert not lock.lost
    assert await while_waiting(Lock(backend, "l", ttl=60).acquire, clock, 60.0)
    assert lock.lost


@pytest.mark.anyio
async def test_a_timeout_ends_with_the_clock_and_with_real_time(clock: FakeClock, backend: MemoryBackend) -> None:
    await Lock(backend, "l", ttl=600).acquire()
    other = Lock(backend, "l", ttl=600)
    assert await while_waiting(lambda: other.acquire(timeout=60), clock, 60.0) is False
    assert await other.acquire(timeout=0.01) is False


@pytest.mark.anyio
async def test_a_lease_is_renewed_as_the_clock_moves(clock: FakeClock, backend: MemoryBackend) -> None:
    """What takes longer than a lease is still computed once, also for another process; after four leases it is not."""
    computed: list[str] = []
    first, second = Cache(backend, ttl=1000, lease=30), Cache(backend, ttl=1000, lease=30)
    going, done = anyio.Event(), anyio.Event()

    async def slow() -> str:
        going.set()
        computed.append("slow")
        await done.wait()
        return "slow"

    async def quick() -> str:
        computed.append("quick")
        return "quick"

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(first.get_or_set, "k", slow, str)
            await going.wait()
            clock.advance(100)
            with anyio.move_on_after(0.05):
                await second.get_or_set("k", quick, str)
            assert computed == ["slow"]
            clock.advance(30)
            assert await second.get_or_set("k", quick, str) == "quick"
            done.set()
    assert computed == ["slow", "quick"]


def test_blocking_waits_move_with_it_too(clock: FakeClock, backend: MemoryBackend) -> None:
    throttle, lock = SyncThrottle(backend, "1/min"), SyncLock(backend, "l", ttl=60)
    assert throttle.allow("k")
    assert lock.acquire()
    results: list[bool] = []
    waits: list[Callable[[], Any]] = [lambda: throttle.wait("k"), SyncLock(backend, "l", ttl=60).acquire]
    threads = [threading.Thread(target=lambda wait=wait: results.append(bool(wait()))) for wait in waits]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    while len(clock._timers) < 2:
        time.sleep(0.001)
    clock.advance(60)
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [True, True]


def test_timers_run_in_order_and_can_be_cancelled(clock: FakeClock) -> None:
    seen: list[tuple[str, float]] = []
    start = clock()
    clock.call_after(2, lambda: seen.append(("b", clock() - start)))
    clock.call_after(1, lambda: seen.append(("a", clock() - start)))
    cancel = clock.call_after(1, lambda: seen.append(("never", 0)))
    cancel()
    cancel()
    clock.call_after(9, lambda: seen.append(("later", 0)))
    clock.advance(3)
    assert seen == [("a", 1), ("b", 2)]
    assert clock() == start + 3
