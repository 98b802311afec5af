"""``Cache``: one computation for all simultaneous callers, even if some are cancelled, interrupted or killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from reinhardt_backends import (
    Backend,
    Cache,
    MemoryBackend,
    RedisBackend,
    SerializationError,
    SyncBackend,
    SyncCache,
)
from reinhardt_backends._cache._stored import new_lease
from reinhardt_backends.testing import FakeClock

from .caching import ALL, LEASING, WAIT, Counted, Counter, verbs_of
from .places import Comparing, Place, SixVerbs, everywhere
from .servers import Server

RUNTIMES = ["asyncio", "trio"]


def on_each(test: Callable[[Cache, Backend], Awaitable[None]]) -> Any:
    """Run a test on each runtime, over a backend that never suspends and one that does."""

    @pytest.mark.parametrize("runtime", RUNTIMES)
    @pytest.mark.parametrize("kind", [lambda store: store, Comparing, SixVerbs], ids=["memory", "comparing", "six"])
    def run(runtime: str, kind: Callable[[MemoryBackend], Backend]) -> None:
        async def main() -> None:
            with anyio.fail_after(WAIT):
                store = MemoryBackend()
                await test(Cache(kind(store), ttl=60), store)

        anyio.run(main, backend=runtime)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@everywhere(*ALL)
async def test_many_ask_and_one_computes(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    for number, options in enumerate(({}, {"tags": ["t"]}, {"stale": 5})):
        counted = Counted(place, pause=0.02)
        got = await place.at_once(30, partial(cache.get_or_set, str(number), counted.factory, **options))
        assert (got, counted.calls) == ([1] * 30, 1)


@everywhere(*LEASING)
async def test_many_caches_ask_and_one_computes(place: Place) -> None:
    """Caches that know nothing of each other, as in processes of their own."""
    caches = [place.make(Cache, ttl=60) for _ in range(6)]
    for number, options in enumerate(({}, {"tags": ["t"]}, {"stale": 5})):
        counted = Counted(place, pause=0.02)
        asks = iter([partial(cache.get_or_set, str(number), counted.factory, **options) for cache in caches])
        got = await place.at_once(6, lambda asks=asks: next(asks)())
        assert (got, counted.calls) == ([1] * 6, 1)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_tag_that_gets_its_token_while_several_keys_are_read(runtime: str) -> None:
    """The tag is read first and has no token yet; then the value is read, and there is a lease that names one."""

    async def main() -> None:
        read, begun = anyio.Event(), anyio.Event()
        calls = []

        class InTwoSteps(Comparing):
            async def get_many(self, keys: Any, type: Any = Any) -> dict[str, Any]:
                value, *tags = keys
                found = await super().get_many(tags, type)
                read.set()
                await begun.wait()
                return found | await super().get_many([value], type)

        async def compute() -> str:
            calls.append(1)
            begun.set()
            await anyio.sleep(0.05)
            return "value"

        got = []

        async def ask(cache: Cache) -> None:
            got.append(await cache.get_or_set("k", compute, tags=["t"]))

        store = MemoryBackend()
        with anyio.fail_after(WAIT):
            async with anyio.create_task_group() as group:
                group.start_soon(ask, Cache(InTwoSteps(store), ttl=60))
                await read.wait()
                group.start_soon(ask, Cache(Comparing(store), ttl=60))
        assert (got, len(calls)) == (["value"] * 2, 1)

    anyio.run(main, backend=runtime)


@everywhere(*ALL)
async def test_an_error_reaches_all_and_is_not_kept(place: Place) -> None:
    cache = place.make(Cache, ttl=60)

    def fail(_: int) -> Any:
        raise LookupError("no such thing")

    failing = Counted(place, fail, pause=0.02)

    async def ask() -> Any:
        try:
            return await cache.get_or_set("k", failing.factory, tags=["t"])
        except LookupError as raised:
            return raised

    got = await place.at_once(20, ask)
    assert {(type(one), one.args) for one in got} == {(LookupError, ("no such thing",))}
    assert failing.calls < 20
    assert not [key for key in await place.contents() if "value" in key]
    assert await cache.get_or_set("k", Counted(place).factory) == 1


@everywhere(*ALL)
async def test_what_is_invalidated_meanwhile_is_not_kept(place: Place) -> None:
    """Callers from before may get the value; callers from after get one that was computed after."""
    cache = place.make(Cache, ttl=60)
    for how in ("key", "tag"):
        source = [1]

        async def invalidate(how: str = how, source: list[int] = source) -> None:
            source[0] = 2
            await (cache.invalidate("k") if how == "key" else cache.invalidate_tag("t"))

        if place.runtime == "sync":

            def compute(source: list[int] = source) -> int:
                old = source[0]
                in_thread(lambda: drive_to_end(invalidate()))
                return old

            factory: Any = compute
        else:

            async def compute_async(source: list[int] = source) -> int:
                old = source[0]
                await invalidate()
                return old

            factory = compute_async
        assert await cache.get_or_set("k", factory, int, tags=["t"]) == 1
        after = Counted(place, lambda _, source=source: source[0])
        assert await cache.get_or_set("k", after.factory, int, tags=["t"]) == 2
        await cache.invalidate("k")


@on_each
async def test_who_asks_after_an_invalidation_gets_what_is_computed_after(cache: Cache, store: Backend) -> None:
    """Also while what was computed from before is still under way."""
    for invalidate in (lambda: cache.invalidate("k"), lambda: cache.invalidate_tag("t")):
        started, gate = anyio.Event(), anyio.Event()
        got: list[str] = []

        async def before(started: anyio.Event = started, gate: anyio.Event = gate) -> str:
            started.set()
            await gate.wait()
            return "before"

        async def after() -> str:
            return "after"

        async def ask(factory: Any, got: list[str] = got) -> None:
            got.append(await cache.get_or_set("k", factory, str, tags=["t"]))

        async with anyio.create_task_group() as group:
            group.start_soon(ask, before)
            await started.wait()
            group.start_soon(ask, after)
            await anyio.wait_all_tasks_blocked()
            await invalidate()
            group.start_soon(ask, after)
            await anyio.sleep(0.01)
            gate.set()
        assert sorted(got) == ["after", "before", "before"]
        assert await cache.get_or_set("k", before, str, tags=["t"]) == "after"
        await cache.invalidate("k")


@pytest.mark.parametrize("kind", [MemoryBackend, lambda **options: SixVerbs(MemoryBackend(**options))])
def test_who_does_not_want_a_stale_value_waits_for_the_new_one(kind: Callable[..., Backend]) -> None:
    clock = FakeClock()

    async def main() -> None:
        cache = Cache(kind(clock=clock), ttl=10)
        started, gate = anyio.Event(), anyio.Event()
        got: list[str] = []

        async def refresh() -> str:
            started.set()
            await gate.wait()
            return "new"

        async def old() -> str:
            return "old"

        async def ask(factory: Any, **options: Any) -> None:
            got.append(await cache.get_or_set("k", factory, str, **options))

        await ask(old, stale=60)
        clock.advance(10)
        with anyio.fail_after(WAIT):
            async with anyio.create_task_group() as group:
                group.start_soon(partial(ask, refresh, stale=60))
                await started.wait()
                group.start_soon(ask, old)
                await ask(old, stale=60)
                await anyio.wait_all_tasks_blocked()
                assert got == ["old", "old"]
                gate.set()
        assert got == ["old", "old", "new", "new"]

    anyio.run(main)


def test_what_is_invalidated_while_it_is_written_is_removed() -> None:
    """Without leases, in one process: the write was on its way when the key was invalidated."""

    class Overtaken(SixVerbs):
        async def set(self, key: str, value: Any, ttl: Any = None) -> None:
            await cache.invalidate("k")
            await super().set(key, value, ttl)

    cache = Cache(Overtaken(MemoryBackend()), ttl=60)

    async def main() -> None:
        counter = Counter()
        assert [await cache.get_or_set("k", counter) for _ in range(2)] == [1, 2]

    anyio.run(main)


def test_what_was_invalidated_is_not_shown_even_for_a_moment() -> None:
    """Without leases, too, what was computed from before is not written first and removed then."""
    written: list[str] = []

    class Writing(SixVerbs):
        async def set(self, key: str, value: Any, ttl: Any = None) -> None:
            written.append(key)
            await super().set(key, value, ttl)

    async def main() -> None:
        cache = Cache(Writing(MemoryBackend()), ttl=60)

        async def compute() -> int:
            await cache.invalidate("k")
            return 1

        assert await cache.get_or_set("k", compute) == 1
        assert written == []

    anyio.run(main)


@everywhere(*LEASING)
async def test_what_another_cache_invalidates_meanwhile_is_not_kept(place: Place) -> None:
    """Among processes, too: with a lease, also by key, also while it is refreshed."""
    for options in ({}, {"stale": 60}, {"tags": ["t"]}):
        cache, other = place.make(Cache, ttl=60), place.make(Cache, ttl=60)

        def compute(other: Any = other) -> int:
            other._face.invalidate("k")
            return 1

        async def compute_async(other: Any = other) -> int:
            await other.invalidate("k")
            return 1

        factory: Any = compute if place.runtime == "sync" else compute_async
        assert await cache.get_or_set("k", factory, **options) == 1
        assert await cache.get_or_set("k", Counted(place, lambda _: 2).factory, **options) == 2
        await cache.invalidate("k")


@everywhere(*LEASING)
async def test_no_lease_is_left(place: Place) -> None:
    """Whether the value was computed or not, no caller waits for one that is gone."""
    cache = place.make(Cache, ttl=60)

    def fail(_: int) -> Any:
        raise LookupError

    with pytest.raises(LookupError):
        await cache.get_or_set("k", Counted(place, fail).factory)
    with pytest.raises(SerializationError):
        await cache.get_or_set("k", Counted(place, lambda _: object()).factory)
    assert await place.contents() == {}


@everywhere("memory", "comparing")
async def test_a_lease_of_the_dead_expires(place: Place) -> None:
    """Who waits for a process that died computes the value itself when the lease has run out."""
    verbs = verbs_of(place)
    cache = place.make(Cache, ttl=60)
    counted = Counted(place)
    await verbs.set("cache:value:k", new_lease(), 30)

    def pass_time() -> None:
        time.sleep(0.05)
        assert counted.calls == 0
        place.clock.advance(30)

    thread = threading.Thread(target=pass_time)
    thread.start()
    assert await cache.get_or_set("k", counted.factory, int) == 1
    thread.join()


@everywhere(*ALL)
async def test_a_value_that_needs_itself(place: Place) -> None:
    """An error, not a wait without an end; so for two that need each other."""
    cache = place.make(Cache, ttl=60)
    values = {"a": "b", "b": "a", "self": "self"}

    def needing(key: str) -> Any:
        def plain() -> Any:
            return cache._face.get_or_set(values[key], needing(values[key]))

        async def later() -> Any:
            return await cache.get_or_set(values[key], needing(values[key]))

        return plain if place.runtime == "sync" else later

    for key in ("self", "a"):
        with pytest.raises(RuntimeError, match="asks for the same value"):
            await cache.get_or_set(key, needing(key))
    assert await cache.get_or_set("self", Counted(place).factory) == 1


@everywhere(*ALL)
async def test_two_that_wait_for_each_other(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    if place.runtime == "sync":
        meeting = threading.Barrier(2, timeout=WAIT)

        def needing(other: str) -> Any:
            def compute() -> Any:
                meeting.wait()
                return cache._face.get_or_set(other, lambda: 1)

            return compute
    else:
        inside = [0]
        both = anyio.Event()

        def needing(other: str) -> Any:
            async def compute() -> Any:
                inside[0] += 1
                if inside[0] == 2:
                    both.set()
                await both.wait()
                return await cache.get_or_set(other, Counted(place).factory)

            return compute

    pairs = iter([("a", "b"), ("b", "a")])
    errors: list[str] = []

    async def ask() -> None:
        key, other = next(pairs)
        try:
            await cache.get_or_set(key, needing(other))
        except RuntimeError as error:
            errors.append(str(error))

    await place.at_once(2, ask)
    assert len(errors) == 2
    assert "asks for the same value" in errors[0]


@everywhere(*ALL)
async def test_a_value_may_need_others(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    calls: list[int] = []
    fib: Any = None

    def plain(n: int) -> int:
        calls.append(n)
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    async def later(n: int) -> int:
        calls.append(n)
        return n if n < 2 else await fib(n - 1) + await fib(n - 2)

    if place.runtime == "sync":
        fib = cache._face.cached(key="fib:{n}")(plain)
        assert fib(20) == 6765
    else:
        fib = cache.cached(key="fib:{n}")(later)
        assert await fib(20) == 6765
    assert sorted(calls) == list(range(21))


@on_each
async def test_a_cancelled_leader_fails_no_other_caller(cache: Cache, store: Backend) -> None:
    """One of the waiting callers computes the value instead; no lease is left."""
    started = anyio.Event()
    leader = anyio.CancelScope()
    got: list[int] = []
    calls: list[str] = []

    async def never() -> int:
        calls.append("leader")
        started.set()
        await anyio.sleep_forever()
        raise AssertionError

    async def compute() -> int:
        calls.append("waiter")
        await anyio.sleep(0.01)
        return 5

    async def lead() -> None:
        with leader:
            await cache.get_or_set("k", never, int)

    async def ask() -> None:
        got.append(await cache.get_or_set("k", compute, int))

    async with anyio.create_task_group() as group:
        group.start_soon(lead)
        await started.wait()
        for _ in range(10):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()
    assert got == [5] * 10
    assert calls == ["leader", "waiter"]


@on_each
async def test_a_cancelled_leader_leaves_no_lease(cache: Cache, store: Backend) -> None:
    with anyio.move_on_after(0.01):
        await cache.get_or_set("k", anyio.sleep_forever)
    assert [key async for key in store.scan()] == []


@on_each
async def test_a_cancelled_waiter_stops_no_other_caller(cache: Cache, store: Backend) -> None:
    started, gate = anyio.Event(), anyio.Event()
    waiters = anyio.CancelScope()
    got: list[int] = []

    async def compute() -> int:
        started.set()
        await gate.wait()
        return 5

    async def ask(scope: anyio.CancelScope) -> None:
        with scope:
            got.append(await cache.get_or_set("k", compute, int))

    async def cancelled() -> None:
        with waiters:
            async with anyio.create_task_group() as inner:
                for _ in range(5):
                    inner.start_soon(ask, anyio.CancelScope())

    async with anyio.create_task_group() as group:
        group.start_soon(ask, anyio.CancelScope())
        await started.wait()
        group.start_soon(cancelled)
        group.start_soon(ask, anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        waiters.cancel()
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert got == [5, 5]


@on_each
async def test_cancelling_at_any_step_leaves_it_in_order(cache: Cache, store: Backend) -> None:
    """Whatever the leader is doing, no caller waits for it any more, and the next caller computes the value."""
    for step in range(12):

        async def compute() -> int:
            await anyio.lowlevel.checkpoint()
            return 5

        with anyio.CancelScope() as scope:
            steps = 0

            class Cut(Comparing):
                async def __aenter__(self) -> Any:
                    raise AssertionError

            async with anyio.create_task_group() as group:

                async def asks(key: str = f"k{step}") -> None:
                    await cache.get_or_set(key, compute, int, tags=["t"], stale=5)

                group.start_soon(asks)
                while steps < step:
                    await anyio.lowlevel.checkpoint()
                    steps += 1
                scope.cancel()
        assert await cache.get_or_set(f"k{step}", compute, int, tags=["t"], stale=5) == 5
        assert cache._engine.flights._table == {}


def test_a_closed_coroutine_waits_for_nothing() -> None:
    """A coroutine that is thrown away in the middle of it, as at the end of a loop, is closed without a complaint."""
    cache = Cache(MemoryBackend(), ttl=60)

    class Forever:
        def __await__(self) -> Any:
            yield

    async def compute() -> Any:
        await Forever()

    coroutine = cache.get_or_set("k", compute)
    coroutine.send(None)
    coroutine.close()
    assert cache._engine.flights._table == {}


def test_an_interrupted_leader_fails_no_other_caller() -> None:
    """Ctrl-C ends the call of its own thread only; a waiting caller computes the value."""
    cache = SyncCache(MemoryBackend(), ttl=60)
    started, gate = threading.Event(), threading.Event()
    got: list[int] = []

    def interrupted() -> int:
        started.set()
        assert gate.wait(WAIT)
        raise KeyboardInterrupt

    def lead() -> None:
        with pytest.raises(KeyboardInterrupt):
            cache.get_or_set("k", interrupted, int)

    threads = [threading.Thread(target=lead)]
    threads[0].start()
    assert started.wait(WAIT)
    threads += [threading.Thread(target=lambda: got.append(cache.get_or_set("k", lambda: 5, int))) for _ in range(5)]
    for thread in threads[1:]:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(WAIT)
    assert got == [5] * 5


def test_one_cache_serves_several_loops_and_threads() -> None:
    """asyncio and trio at the same time, in threads of their own: one computation for all."""
    cache = Cache(MemoryBackend(), ttl=60)
    loops = 6
    meeting = threading.Barrier(loops, timeout=WAIT)
    calls: list[str] = []
    got: list[int] = []

    async def compute() -> int:
        calls.append(threading.current_thread().name)
        await anyio.sleep(0.1)
        return 5

    async def main() -> None:
        meeting.wait()

        async def ask() -> None:
            got.append(await cache.get_or_set("k", compute, int))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)

    threads = [
        threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": RUNTIMES[number % 2]})
        for number in range(loops)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert got == [5] * loops * 5
    assert len(calls) == 1


def test_a_leader_cancelled_in_one_loop_is_replaced_in_another() -> None:
    cache = Cache(MemoryBackend(), ttl=60)
    started, waiting = threading.Event(), threading.Event()
    got: list[int] = []

    async def never() -> int:
        started.set()
        while not waiting.is_set():
            await anyio.sleep(0.005)
        await anyio.sleep(0.05)
        raise AssertionError("it is cancelled by then")

    async def lead() -> None:
        with anyio.CancelScope() as scope:

            async def cancel() -> None:
                while not waiting.is_set():
                    await anyio.sleep(0.005)
                scope.cancel()

            async with anyio.create_task_group() as group:
                group.start_soon(cancel)
                await cache.get_or_set("k", never, int)

    async def follow() -> None:
        async def mark() -> None:
            await anyio.wait_all_tasks_blocked()
            waiting.set()

        async with anyio.create_task_group() as group:
            group.start_soon(mark)
            got.append(await cache.get_or_set("k", Counter(), int))

    one = threading.Thread(target=anyio.run, args=(lead,), kwargs={"backend": "asyncio"})
    one.start()
    assert started.wait(WAIT)
    anyio.run(follow, backend="trio")
    one.join(WAIT)
    assert got == [1]


PROCESS = """
import sys, time
from reinhardt_backends import RedisBackend, SyncBackend
from reinhardt_backends import SyncCache

url, prefix = sys.argv[1:]
backend = SyncBackend(RedisBackend(url, prefix=prefix))
cache = SyncCache(backend, ttl=60)

def compute():
    time.sleep(0.05)
    return backend.increment("computed")

sys.stdin.readline()
kinds = [{}, {"tags": ["t"]}, {"stale": 5}]
values = [cache.get_or_set(f"{kind}{number}", compute, int, **kind) for number in range(4) for kind in kinds]
print(*values)
backend.close()
"""


def test_one_of_many_processes_computes(server: Server) -> None:
    """Plain values, tagged ones, and ones that may be stale."""
    command = [sys.executable, "-c", PROCESS, server.url, f"{os.getpid()}-processes:"]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [one.communicate("\n", timeout=60)[0] for one in processes]
    assert answers == ["1 2 3 4 5 6 7 8 9 10 11 12\n"] * 4


def test_a_process_that_died_does_not_hold_up_others_for_long(server: Server) -> None:
    """Its lease expires on the server's clock, and a waiting caller computes the value."""
    prefix = f"{os.getpid()}-died:"
    program = (
        "import os, sys\n"
        "from reinhardt_backends import RedisBackend, SyncCache\n"
        "cache = SyncCache(RedisBackend(sys.argv[1], prefix=sys.argv[2]), ttl=60, lease=0.5)\n"
        "cache.get_or_set('k', lambda: os._exit(3))\n"
    )
    died = subprocess.run([sys.executable, "-c", program, server.url, prefix], timeout=60, check=False)
    assert died.returncode == 3
    backend = SyncBackend(RedisBackend(server.url, prefix=prefix))
    assert backend.exists("cache:value:k")
    assert SyncCache(backend, ttl=60).get_or_set("k", lambda: 5) == 5
    backend.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_leads_its_own_flights() -> None:
    """A child that was forked in the middle of a computation does not wait for its parent's thread."""
    program = """
import os, threading, warnings
warnings.simplefilter("ignore")
from reinhardt_backends import MemoryBackend
from reinhardt_backends import SyncCache
cache = SyncCache(MemoryBackend(), ttl=60, lease=None)
started, gate = threading.Event(), threading.Event()

def compute():
    started.set()
    gate.wait()
    return 1

thread = threading.Thread(target=lambda: cache.get_or_set("k", compute))
thread.start()
started.wait()
child = os.fork()
if child == 0:
    os._exit(cache.get_or_set("k", lambda: 5))
gate.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("5\n", "")


def drive_to_end(coroutine: Any) -> None:
    from reinhardt_backends._blocking import drive

    drive(coroutine)


def in_thread(function: Callable[[], Any]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(WAIT)


class _Racing(MemoryBackend):
    """A store whose cache is invalidated while a caller creates the first token of a tag."""

    cache: Cache | None = None

    async def add(self, key: str, value: Any, ttl: Any = None) -> bool:
        cache, self.cache = self.cache, None
        if cache is not None:
            await cache.invalidate_tag("t")
        return await super().add(key, value, ttl)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_factory_that_asks_for_its_own_value_is_refused_after_an_invalidation_too(runtime: str) -> None:
    """Others do not join the computation any more; waiting for its lease would not end."""

    async def main() -> None:
        backend = _Racing()
        cache = backend.cache = Cache(backend, ttl=60)

        async def recursive() -> int:
            return await cache.get_or_set("k", recursive, int, tags=["t"])

        with anyio.fail_after(WAIT), pytest.raises(RuntimeError, match="asks for the same value"):
            await recursive()
        assert backend.cache is None
        assert await cache.get_or_set("k", lambda: 1, int, tags=["t"]) == 1

    anyio.run(main, backend=runtime)
