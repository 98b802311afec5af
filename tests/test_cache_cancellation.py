"""``Cache``: what becomes of a computation whose caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from reinhardt_backends import Backend, Cache, MemoryBackend

from .caching import WAIT
from .places import Comparing, SixVerbs

RUNTIMES = pytest.mark.parametrize("runtime", ["asyncio", "trio"])
KINDS = pytest.mark.parametrize("kind", [lambda store: store, Comparing, SixVerbs], ids=["memory", "comparing", "six"])


class Slow:
    """Computes a value in some time, and counts."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.calls = self.running = self.most = self.ended = 0

    async def __call__(self) -> int:
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await anyio.sleep(self.seconds)
            self.ended += 1
            return 5
        finally:
            # Cleaning up takes time as well; meanwhile nothing else may be computed.
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.001)
            self.running -= 1


@RUNTIMES
@KINDS
def test_a_computation_is_handed_over_to_one_waiter(runtime: str, kind: Callable[[MemoryBackend], Backend]) -> None:
    """As often as need be, to one that still waits, and never are two at it."""

    async def main() -> None:
        cache = Cache(kind(MemoryBackend()), ttl=60)
        slow = Slow(WAIT)
        got: list[int] = []
        scopes = [anyio.CancelScope() for _ in range(30)]
        computing: list[int] = []

        async def ask(number: int) -> None:
            async def compute() -> int:
                computing.append(number)
                return await slow()

            with scopes[number]:
                got.append(await cache.get_or_set("k", compute, int, tags=["t"]))

        with anyio.fail_after(WAIT):
            async with anyio.create_task_group() as group:
                for number in range(30):
                    group.start_soon(ask, number)
                await anyio.sleep(0.02)
                for count in range(1, 6):
                    assert len(computing) == count
                    scopes[computing[-1]].cancel()
                    # One that waits is cancelled at the same time.
                    next(scope for scope in scopes if not scope.cancel_called).cancel()
                    with anyio.move_on_after(WAIT):
                        while len(computing) == count:
                            await anyio.sleep(0.001)
                slow.seconds = 0
                scopes[computing[-1]].cancel()
        assert got == [5] * (30 - 11)
        assert (slow.calls, slow.most, slow.ended) == (7, 1, 1)
        assert cache._engine.flights._table == {}

    anyio.run(main, backend=runtime)


@RUNTIMES
@KINDS
def test_all_are_cancelled_at_once(runtime: str, kind: Callable[[MemoryBackend], Backend]) -> None:
    async def main() -> None:
        store = MemoryBackend()
        cache = Cache(kind(store), ttl=60)
        slow = Slow(WAIT)
        with anyio.move_on_after(0.05):
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(cache.get_or_set, "k", slow, int)
        assert (slow.calls, slow.running) == (1, 0)
        assert cache._engine.flights._table == {}
        assert [key async for key in store.scan()] == []
        slow.seconds = 0
        assert await cache.get_or_set("k", slow, int) == 5

    anyio.run(main, backend=runtime)


@RUNTIMES
@KINDS
def test_impatient_callers_are_answered_in_the_end(runtime: str, kind: Callable[[MemoryBackend], Backend]) -> None:
    """20 callers, each with a limit that is shorter than the computation, which goes on for the others."""

    async def main() -> None:
        cache = Cache(kind(MemoryBackend()), ttl=60, finish=WAIT)
        slow = Slow(0.15)
        got: list[int] = []
        with anyio.fail_after(WAIT):
            for _ in range(20):
                with anyio.move_on_after(0.1):
                    got.append(await cache.get_or_set("k", slow, int, tags=["t"]))
        assert (slow.calls, slow.ended, got) == (1, 1, [5] * 19)

    anyio.run(main, backend=runtime)


@RUNTIMES
def test_a_computation_goes_on_for_a_time_and_no_longer(runtime: str) -> None:
    """Then it is cancelled, and a waiter gets it."""

    async def main() -> None:
        store = MemoryBackend()
        cache = Cache(store, ttl=60, finish=0.05)
        slow, quick = Slow(WAIT), Slow(0)
        got: list[int] = []

        async def ask() -> None:
            got.append(await cache.get_or_set("k", quick, int))

        with anyio.fail_after(WAIT / 2):
            async with anyio.create_task_group() as group:
                began = anyio.current_time()
                with anyio.move_on_after(0.02) as scope:
                    group.start_soon(ask)
                    await cache.get_or_set("k", slow, int)
                assert scope.cancelled_caught
                assert anyio.current_time() - began >= 0.06
        assert (slow.ended, quick.ended, got) == (0, 1, [5])
        assert cache._engine.flights._table == {}

    anyio.run(main, backend=runtime)


def test_a_native_cancellation_is_outlasted_as_well() -> None:
    """``asyncio.timeout`` and ``Task.cancel`` know nothing of shielded scopes."""

    async def main() -> None:
        cache = Cache(MemoryBackend(), ttl=60, finish=WAIT)
        slow = Slow(0.1)
        for _ in range(2):
            try:
                async with asyncio.timeout(0.05):
                    assert await cache.get_or_set("k", slow, int) == 5
                    break
            except TimeoutError:
                pass
        task = asyncio.create_task(cache.get_or_set("k2", slow, int))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await cache.get_or_set("k2", slow, int) == 5
        assert (slow.calls, slow.ended) == (2, 2)

    asyncio.run(main())


@RUNTIMES
def test_what_outlasts_cancellation_keeps_results_errors_and_context(runtime: str) -> None:
    from contextvars import ContextVar

    variable: ContextVar[str] = ContextVar("variable")

    async def main() -> None:
        cache = Cache(MemoryBackend(), ttl=60, finish=1)
        variable.set("mine")

        async def read() -> str:
            await anyio.lowlevel.checkpoint()
            return variable.get()

        async def fail() -> str:
            raise LookupError("no such thing")

        async def recursive() -> str:
            return await cache.get_or_set("self", recursive, str)

        assert await cache.get_or_set("k", read, str) == "mine"
        for _ in range(2):
            with pytest.raises(LookupError, match="no such thing"):
                await cache.get_or_set("failing", fail, str)
        with pytest.raises(RuntimeError, match="asks for the same value"):
            await cache.get_or_set("self", recursive, str)

    anyio.run(main, backend=runtime)


def test_finish_is_checked() -> None:
    wrong: list[Any] = [-1, float("nan"), "1", True]
    for finish in wrong:
        with pytest.raises((TypeError, ValueError)):
            Cache(MemoryBackend(), ttl=60, finish=finish)
