"""How components wait, and what they need of a backend."""

from __future__ import annotations

import threading
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from reinhardt_backends import Backend, MemoryBackend, SyncBackend, UnsupportedOperationError
from reinhardt_backends._blocking import drive
from reinhardt_backends._component import (
    IN_LOOP,
    IN_THREAD,
    Signal,
    check_backend,
    check_timeout,
    provides,
    refuse_eviction,
    require,
)

from .places import Comparing, SixVerbs

WAIT = 20


@pytest.mark.anyio
async def test_a_signal_wakes_all_its_waiters() -> None:
    signal = Signal()
    woken: list[bool] = []

    async def wait() -> None:
        woken.append(await IN_LOOP.wait(signal, WAIT))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        signal.give()
        signal.give()
    assert woken == [True] * 10
    assert await IN_LOOP.wait(signal)
    assert await IN_LOOP.wait(signal, 0)


def test_a_signal_wakes_other_threads_and_other_loops() -> None:
    signal = Signal()
    woken: list[bool] = []

    async def wait() -> None:
        woken.append(await IN_LOOP.wait(signal, WAIT))

    def block() -> None:
        woken.append(drive(IN_THREAD.wait(signal, WAIT)))

    threads = [threading.Thread(target=block) for _ in range(3)]
    threads += [
        threading.Thread(target=lambda name=name: anyio.run(wait, backend=name)) for name in ("asyncio", "trio")
    ]
    for thread in threads:
        thread.start()
    while len(signal._wakers) < 5:
        threads[0].join(0.001)
    signal.give()
    for thread in threads:
        thread.join(WAIT)
    assert woken == [True] * 5
    assert signal._wakers == []


@pytest.mark.anyio
async def test_a_wait_that_ends_without_the_signal_leaves_nothing_behind() -> None:
    signal = Signal()
    assert not await IN_LOOP.wait(signal, 0)
    with anyio.move_on_after(0.001):
        await IN_LOOP.wait(signal)
    assert not await IN_THREAD.wait(signal, 0)
    assert signal._wakers == []
    signal.give()


def test_a_signal_may_be_given_after_the_loop_has_ended() -> None:
    signal = Signal()
    left: list[Callable[[], object]] = []

    async def leave() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(IN_LOOP.wait, signal)
                await anyio.wait_all_tasks_blocked()
                left.extend(signal._wakers)
                scope.cancel()

    for runtime in ("asyncio", "trio"):
        anyio.run(leave, backend=runtime)
    for wake in left:
        assert signal.attach(wake)
    signal.give()
    assert len(left) == 2


@pytest.mark.anyio
async def test_what_is_finished_comes_to_its_end() -> None:
    ended: list[str] = []

    async def work() -> str:
        await anyio.lowlevel.checkpoint()
        ended.append("yes")
        return "done"

    with anyio.CancelScope() as scope:
        scope.cancel()
        assert await IN_LOOP.finish(work()) == "done"
        await anyio.lowlevel.checkpoint()
    assert ended == ["yes"]
    assert scope.cancelled_caught


def test_in_a_thread_nothing_suspends() -> None:
    began = IN_THREAD.now()
    drive(IN_THREAD.sleep(0.001))
    assert not drive(IN_THREAD.wait(Signal(), 0.001))
    assert IN_THREAD.now() >= began + 0.002

    async def work() -> int:
        return 1

    assert drive(IN_THREAD.finish(work())) == 1


@pytest.mark.anyio
async def test_a_sleep_takes_as_long_on_the_clock_of_the_loop() -> None:
    began = IN_LOOP.now()
    await IN_LOOP.sleep(0.01)
    assert IN_LOOP.now() >= began + 0.009


def test_a_timeout_is_seconds() -> None:
    assert check_timeout(0) == 0
    for wrong in (True, "1", None):
        with pytest.raises(TypeError, match="timeout"):
            check_timeout(wrong)  # type: ignore[arg-type]
    for value in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            check_timeout(value)


def test_a_component_takes_a_backend() -> None:
    memory = MemoryBackend()
    assert check_backend(memory, "Thing") is memory
    for wrong in (None, "memory://", MemoryBackend, SyncBackend(memory)):
        with pytest.raises(TypeError, match="Thing takes a Backend"):
            check_backend(wrong, "Thing")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "view", [lambda it: it, lambda it: it.namespace("a"), lambda it: it.namespace("a").namespace("b")]
)
def test_what_is_missing_is_named(view: Callable[[Backend], Backend]) -> None:
    six, comparing, memory = map(view, (SixVerbs(MemoryBackend()), Comparing(MemoryBackend()), MemoryBackend()))
    require(six, "Thing", "get", "get_many", "increment")
    require(comparing, "Thing", "add", "compare_and_set")
    require(memory, "Thing", "add", "ttl", "scan", "pop", "touch", "replace")
    assert provides(six, "get_many", "set_many", "delete_many", "namespace", "ping", "aclose")
    assert not provides(six, "add")
    assert not provides(comparing, "add", "ttl")
    assert provides(memory, "add", "ttl")
    with pytest.raises(
        UnsupportedOperationError, match=r"Thing needs get and ttl and scan; Comparing .* ttl, scan"
    ) as it:
        require(comparing, "Thing", "get", "ttl", "scan")
    assert (it.value.verb, it.value.class_name) == ("ttl, scan", "Comparing")


@pytest.mark.parametrize(
    "view", [lambda it: it, lambda it: it.namespace("a"), lambda it: it.namespace("a").namespace("b")]
)
def test_a_backend_that_evicts_is_refused_through_its_views(view: Callable[[Backend], Backend]) -> None:
    for bounded in (MemoryBackend(maxsize=2), MemoryBackend(maxbytes=100, policy="fifo")):
        with pytest.raises(ValueError, match="Thing would lose entries: this MemoryBackend evicts live keys"):
            refuse_eviction(view(bounded), "Thing", False)
        refuse_eviction(view(bounded), "Thing", True)
    for unbounded in (MemoryBackend(), SixVerbs(MemoryBackend())):
        refuse_eviction(view(unbounded), "Thing", False)
