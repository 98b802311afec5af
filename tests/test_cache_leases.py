"""Leases of ``Cache``: renewed while a value is computed, and given up to others if that never ends."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

import anyio
import pytest

from reinhardt_backends import Backend, Cache, MemoryBackend, SyncCache
from reinhardt_backends._cache._lease import HOLD

from .caching import LEASING, WAIT, Counted, verbs_of
from .places import Comparing, Place, everywhere

SHORT = 0.1
"""Seconds of a lease that does not have to be renewed in time, as on a clock that stands still."""


@everywhere("redis")
async def test_a_value_that_takes_longer_than_its_lease_is_kept(place: Place) -> None:
    """Every time, and other caches over the same store wait for it meanwhile."""
    caches = [place.make(Cache, ttl=60, lease=0.3) for _ in range(2)]
    for number, options in enumerate(({}, {"stale": 5})):
        counted = Counted(place, pause=0.8)
        asks = iter([partial(cache.get_or_set, str(number), counted.factory, **options) for cache in caches])
        assert await place.at_once(2, lambda asks=asks: next(asks)()) == [1, 1]
        assert [await cache.get_or_set(str(number), counted.factory, **options) for cache in caches] == [1, 1]


@everywhere("memory", "comparing", "redis")
async def test_a_value_that_takes_much_longer_is_kept_unless_it_was_computed_elsewhere(place: Place) -> None:
    cache = place.make(Cache, ttl=60, lease=0.3 if place.kind == "redis" else 0.05)
    counted = Counted(place, pause=0.3 * (HOLD + 1) if place.kind == "redis" else 0.05 * (HOLD + 1))
    assert [await cache.get_or_set("k", counted.factory) for _ in range(2)] == [1, 1]
    assert [key for key in await place.contents() if "value" in key] != []


@everywhere(*LEASING)
async def test_an_invalidated_lease_is_not_brought_back(place: Place) -> None:
    """Renewing is for a lease that is there: what was invalidated long ago is still not kept."""
    cache, other = place.make(Cache, ttl=60, lease=SHORT), place.make(Cache, ttl=60, lease=SHORT)

    def compute() -> int:
        other._face.invalidate("k")
        time.sleep(2 * SHORT)
        return 1

    async def compute_async() -> int:
        await other.invalidate("k")
        await anyio.sleep(2 * SHORT)
        return 1

    factory: Any = compute if place.runtime == "sync" else compute_async
    assert await cache.get_or_set("k", factory) == 1
    assert await cache.get_or_set("k", Counted(place, lambda _: 2).factory) == 2


@pytest.mark.parametrize("runtime", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", [lambda store: store, Comparing], ids=["memory", "comparing"])
@pytest.mark.parametrize("shared", [True, False], ids=["one cache", "two caches"])
def test_a_computation_that_hangs_is_left_behind(runtime: str, kind: Any, shared: bool) -> None:
    """Callers in the same process and in others compute the value some time after the lease."""

    async def main() -> None:
        backend: Backend = kind(MemoryBackend())
        cache = Cache(backend, ttl=60, lease=SHORT)
        other = cache if shared else Cache(backend, ttl=60, lease=SHORT)
        started = anyio.Event()
        calls: list[int] = []

        async def hang() -> int:
            started.set()
            await anyio.sleep_forever()
            raise AssertionError

        async def compute() -> int:
            calls.append(1)
            return 5

        got: list[int] = []

        async def ask() -> None:
            got.append(await other.get_or_set("k", compute, int, tags=["t"]))

        with anyio.fail_after(WAIT):
            async with anyio.create_task_group() as group:
                group.start_soon(partial(cache.get_or_set, "k", hang, int, tags=["t"]))
                await started.wait()
                began = anyio.current_time()
                async with anyio.create_task_group() as asking:
                    for _ in range(5):
                        asking.start_soon(ask)
                assert anyio.current_time() - began > SHORT
                assert (got, len(calls)) == ([5] * 5, 1)
                group.cancel_scope.cancel()
        assert await cache.get_or_set("k", compute, int, tags=["t"]) == 5
        assert len(calls) == 1

    anyio.run(main, backend=runtime)


@pytest.mark.parametrize("options", [{}, {"lease": None}], ids=["leases", "none"])
def test_a_thread_that_hangs_is_left_behind(options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reinhardt_backends._cache._engine.LEASE", SHORT)
    cache = SyncCache(MemoryBackend(), ttl=60, **{"lease": SHORT, **options})
    started, gate = threading.Event(), threading.Event()
    late: list[int] = []

    def hang() -> int:
        started.set()
        assert gate.wait(WAIT)
        return 1

    thread = threading.Thread(target=lambda: late.append(cache.get_or_set("k", hang, int)))
    thread.start()
    assert started.wait(WAIT)
    assert cache.get_or_set("k", lambda: 5, int) == 5
    gate.set()
    thread.join(WAIT)
    # The one that was late has its value, and does not put it in the place of the newer one.
    assert (late, cache.get_or_set("k", lambda: 7, int)) == ([1], 5)


@everywhere(*LEASING)
async def test_an_overdue_lease_is_replaced(place: Place) -> None:
    """As another process sees it: at once, and without waiting for it to expire."""
    verbs = verbs_of(place)
    cache = place.make(Cache, ttl=60)
    await verbs.set("cache:value:k", b"O" + bytes(16), 30)
    assert [await cache.get_or_set("k", Counted(place).factory, int) for _ in range(2)] == [1, 1]


def test_leases_are_renewed_in_a_forked_child() -> None:
    """The thread that does it is the parent's; the child starts one of its own."""
    import subprocess
    import sys

    program = """
import os, time, warnings
warnings.simplefilter("ignore")
from reinhardt_backends import MemoryBackend, SyncCache
cache = SyncCache(MemoryBackend(), ttl=60, lease=0.1)
calls = []

def compute():
    calls.append(1)
    if len(calls) == 1 and os.fork() == 0:
        calls.append("child")
        assert [cache.get_or_set("child", slow) for _ in range(2)] == [1, 1]
        os._exit(0)
    time.sleep(0.3)
    return 1

def slow():
    time.sleep(0.3)
    return 1

assert [cache.get_or_set("k", compute) for _ in range(2)] == [1, 1]
assert calls == [1]
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_the_thread_that_renews_ends() -> None:
    """Once there is no lease any more, so that a program that caches nothing has no thread of ours."""
    cache = SyncCache(MemoryBackend(), ttl=60, lease=0.05)
    cache.get_or_set("k", lambda: 1)
    until = time.monotonic() + WAIT
    while any(thread.name == "reinhardt_backends leases" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)
