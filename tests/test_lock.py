"""``Lock``: one holder at a time, over every backend and runtime."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import anyio
import pytest

from reinhardt_backends import (
    Backend,
    BackendConnectionError,
    Lock,
    LockLostError,
    MemoryBackend,
    OutcomeUnknownError,
    RedisBackend,
    SyncBackend,
    SyncLock,
    UnsupportedOperationError,
)
from reinhardt_backends.testing import FakeClock

from .places import Comparing, Place, SixVerbs, everywhere
from .servers import Server

ALL = ("memory", "namespace", "redis", "comparing")
ON_FAKE_TIME = ("memory", "namespace", "comparing")
WAIT = 20


@everywhere(*ALL)
async def test_one_holds_it_at_a_time(place: Place) -> None:
    one, other = place.make(Lock, "x", ttl=60), place.make(Lock, "x", ttl=60)
    assert not await one.locked()
    assert await one.acquire()
    assert await one.locked()
    assert await other.locked()
    assert not await other.acquire(timeout=0)
    assert await place.make(Lock, "y", ttl=60).acquire(timeout=0)
    assert await one.release()
    assert not await other.locked()
    assert await other.acquire(timeout=0)
    assert not await one.acquire(timeout=0.02)


@everywhere(*ALL)
async def test_a_block_holds_it(place: Place) -> None:
    lock = place.make(Lock, "x", ttl=60)
    async with lock as entered:
        assert await entered.locked()
    assert not await lock.locked()
    with pytest.raises(ZeroDivisionError):
        async with lock:
            raise ZeroDivisionError
    assert not await lock.locked()


@everywhere("memory", "redis")
async def test_a_block_that_has_released_it_early_does_not_release_the_next_holder(place: Place) -> None:
    lock = place.make(Lock, "x", ttl=60)
    with pytest.raises(RuntimeError, match="not held"):
        async with lock:
            assert await lock.release()
            assert await place.at_once(1, lock.acquire) == [True]
    assert await lock.locked()
    assert await lock.release()


@pytest.mark.anyio
async def test_a_block_may_be_left_by_another_task_than_has_entered_it() -> None:
    lock = Lock(MemoryBackend(), "x", ttl=60)
    for _ in range(2):
        await lock.__aenter__()
        async with anyio.create_task_group() as group:
            group.start_soon(lock.__aexit__, None, None, None)
        assert not await lock.locked()
        async with anyio.create_task_group() as group:
            group.start_soon(lock.__aenter__)
        assert await lock.locked()
        await lock.__aexit__(None, None, None)
        assert not await lock.locked()


@everywhere(*ALL)
async def test_it_is_waited_for(place: Place) -> None:
    """No two are inside at the same time, with one object for all, and with one each."""
    shared = place.make(Lock, "x", ttl=60)
    inside = 0
    most: list[int] = []

    async def work(lock: Any) -> None:
        nonlocal inside
        async with lock:
            inside += 1
            most.append(inside)
            await place.verbs.get("k")
            if place.runtime != "sync":
                await anyio.lowlevel.checkpoint()
            inside -= 1

    await place.at_once(12, lambda: work(shared))
    await place.at_once(4, lambda: work(place.make(Lock, "x", ttl=60)))
    assert most == [1] * 16
    assert not await shared.locked()


@everywhere(*ON_FAKE_TIME)
async def test_it_expires(place: Place) -> None:
    one, other = place.make(Lock, "x", ttl=10), place.make(Lock, "x", ttl=10)
    assert await one.acquire()
    place.clock.advance(9)
    assert not await other.acquire(timeout=0)
    place.clock.advance(1)
    assert await other.acquire(timeout=0)
    assert not await one.extend()
    assert not await one.release()
    assert await other.locked()
    assert await other.release()


@everywhere("redis")
async def test_it_expires_on_a_server(place: Place) -> None:
    one, other = place.make(Lock, "x", ttl=0.05), place.make(Lock, "x", ttl=60)
    assert await one.acquire()
    assert await other.acquire(timeout=WAIT)
    assert not await one.release()
    assert await other.release()


@everywhere(*ON_FAKE_TIME)
async def test_it_can_be_extended(place: Place) -> None:
    lock = place.make(Lock, "x", ttl=10)
    assert await lock.acquire()
    place.clock.advance(9)
    assert await lock.extend()
    place.clock.advance(9)
    assert await lock.locked()
    assert await lock.extend(100)
    place.clock.advance(99)
    assert await lock.locked()
    place.clock.advance(1)
    assert not await lock.locked()


@everywhere(*ON_FAKE_TIME)
async def test_a_block_that_outlives_its_lock_says_so(place: Place) -> None:
    lock = place.make(Lock, "x", ttl=10)
    with pytest.raises(LockLostError, match="'x' expired while it was held"):
        async with lock:
            place.clock.advance(10)
    with pytest.raises(ZeroDivisionError):
        async with lock:
            place.clock.advance(10)
            raise ZeroDivisionError
    assert await lock.acquire(timeout=0)


@everywhere(*ALL)
async def test_the_token_grows(place: Place) -> None:
    one, other = place.make(Lock, "x", ttl=60), place.make(Lock, "x", ttl=60)
    assert one.token is None
    tokens: list[int] = []
    for lock in (one, other, other, one, one):
        async with lock:
            tokens.append(lock.token)
    assert tokens == sorted(set(tokens))
    assert tokens[0] > 10**15
    assert await place.make(Lock, "y", ttl=60).acquire()


@everywhere(*ALL)
async def test_the_token_is_one_more_than_the_last_if_that_is_ahead_of_the_clock(place: Place) -> None:
    lock = place.make(Lock, "x", ttl=60)
    key = "ns:{lock:x}:token" if place.kind == "namespace" else "{lock:x}:token"
    await place.verbs.set(key, 8 * 10**15)
    async with lock:
        assert lock.token == await place.verbs.get(key, int) == 8 * 10**15 + 1


@everywhere(*ALL)
async def test_a_token_expires_a_day_after_its_last_use(place: Place) -> None:
    lock = place.make(Lock, "x", ttl=60)
    key = "ns:{lock:x}:token" if place.kind == "namespace" else "{lock:x}:token"
    for _ in range(2):
        async with lock:
            assert await place.verbs.ttl(key) == pytest.approx(86_400, abs=5)
        await place.verbs.touch(key, 100)


@everywhere("memory", "redis", "comparing")
async def test_a_lock_has_two_keys_in_one_slot(place: Place) -> None:
    lock = place.make(Lock, "report", ttl=60)
    async with lock:
        assert sorted(await place.contents()) == ["{lock:report}", "{lock:report}:token"]
    assert sorted(await place.contents()) == ["{lock:report}:token"]


@everywhere(*ON_FAKE_TIME)
async def test_the_token_grows_when_it_expires(place: Place) -> None:
    tokens = []
    for _ in range(3):
        lock = place.make(Lock, "x", ttl=10)
        assert await lock.acquire(timeout=0)
        tokens.append(lock.token)
        place.clock.advance(10)
    assert tokens == sorted(set(tokens))


class Stalling(Comparing):
    """A backend that lets the clock run before its token is read, a given number of times."""

    stalls = 0
    clock: FakeClock

    async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: Any = None) -> Any:
        if self.stalls and key.endswith(":token"):
            self.stalls -= 1
            self.clock.advance(10)
        return await super().get(key, type, default=default, renew=renew)


@pytest.mark.anyio
async def test_an_attempt_that_was_too_slow_has_not_taken_it() -> None:
    """Over plain verbs: a holder that expires before its token is drawn would have too large a one."""
    clock = FakeClock()
    backend = Stalling(MemoryBackend(clock=clock))
    backend.clock = clock
    backend.stalls = 1
    lock = Lock(backend, "x", ttl=10)
    assert not await lock.acquire(timeout=0)
    assert lock.token is None
    assert await lock.acquire(timeout=0)


@everywhere("memory", "redis", "comparing")
async def test_what_is_not_held_cannot_be_released(place: Place) -> None:
    lock = place.make(Lock, "x", ttl=60)
    for call in (lock.release, lock.extend):
        with pytest.raises(RuntimeError, match="not held by this object"):
            await call()
    await lock.acquire()
    await lock.release()
    with pytest.raises(RuntimeError, match="not held by this object"):
        await lock.release()


@pytest.mark.anyio
async def test_a_cancelled_wait_leaves_the_others_waiting() -> None:
    backend = MemoryBackend()
    lock = Lock(backend, "x", ttl=60)
    await lock.acquire()
    taken: list[str] = []

    async def take(name: str) -> None:
        async with lock:
            taken.append(name)

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            group.start_soon(take, "first")
            await anyio.wait_all_tasks_blocked()
            async with anyio.create_task_group() as inner:
                inner.start_soon(take, "cancelled")
                group.start_soon(take, "second")
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancel_called
        await lock.release()
    assert taken == ["first", "second"]
    assert not await lock.locked()


@pytest.mark.anyio
async def test_a_cancelled_block_releases_it() -> None:
    lock = Lock(Comparing(MemoryBackend()), "x", ttl=60)
    with anyio.CancelScope() as scope:
        async with lock:
            scope.cancel()
            await anyio.sleep_forever()
    assert not await lock.locked()
    assert await lock.acquire(timeout=0)


class Failing(Comparing):
    """A backend whose writes are applied and not answered, a given number of times."""

    failing: BaseException | None = None

    async def add(self, key: str, value: Any, ttl: Any = None) -> bool:
        added = await super().add(key, value, ttl)
        failing, self.failing = self.failing, None
        if failing is not None:
            raise failing
        return added

    async def compare_and_set(self, key: str, expected: Any, value: Any, ttl: Any = None) -> bool:
        done = await super().compare_and_set(key, expected, value, ttl)
        failing, self.failing = self.failing, None
        if failing is not None:
            raise failing
        return done


@pytest.mark.anyio
async def test_what_may_have_been_taken_is_given_back() -> None:
    backend = Failing(MemoryBackend())
    for error in (OutcomeUnknownError("?"), BackendConnectionError("away"), KeyboardInterrupt()):
        lock = Lock(backend, "x", ttl=60)
        backend.failing = error
        with pytest.raises(type(error)):
            await lock.acquire()
        assert not await lock.locked()
        assert await lock.acquire(timeout=0)
        await lock.release()


@pytest.mark.anyio
async def test_what_is_given_back_is_given_back_though_cancelled() -> None:
    class Slow(Comparing):
        async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: Any = None) -> Any:
            if key.endswith(":token"):
                await anyio.sleep_forever()
            return await super().get(key, type, default=default, renew=renew)

    lock = Lock(Slow(MemoryBackend()), "x", ttl=60)
    with anyio.move_on_after(0.01):
        await lock.acquire()
    assert not await lock.locked()


@everywhere(*ALL)
async def test_a_wait_ends_in_time(place: Place) -> None:
    """Whether it waits for the store or for other users of the same object."""
    holder, lock = place.make(Lock, "x", ttl=60), place.make(Lock, "x", ttl=60)
    await holder.acquire()
    assert await place.at_once(3, lambda: lock.acquire(timeout=0.02)) == [False] * 3
    assert await holder.release()
    assert await lock.acquire(timeout=WAIT)


def test_a_lock_is_shared_by_loops_and_threads() -> None:
    """One object, on asyncio and trio at once: each waiter gets the lock."""
    lock = Lock(MemoryBackend(), "x", ttl=60)
    tokens: list[int | None] = []

    async def work() -> None:
        for _ in range(25):
            async with lock:
                tokens.append(lock.token)

    runs = [
        threading.Thread(target=lambda name=name: anyio.run(work, backend=name)) for name in ("asyncio", "trio") * 2
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join(WAIT)
    assert len(tokens) == 100
    assert tokens == sorted(set(tokens))  # type: ignore[type-var]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_of_a_fork_does_not_hold_what_its_parent_holds(server: Server) -> None:
    program = """
import os, sys
from reinhardt_backends import RedisBackend
from reinhardt_backends import SyncLock
lock = SyncLock(RedisBackend(sys.argv[1]), "forked", ttl=60)
assert lock.acquire()
child = os.fork()
if child == 0:
    try:
        lock.release()
    except RuntimeError:
        os._exit(0 if not lock.acquire(timeout=0.02) else 2)
    os._exit(1)
assert os.waitpid(child, 0)[1] == 0
assert lock.release()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program, server.url], check=True, timeout=60)


PROGRAM = """
import sys
from reinhardt_backends import RedisBackend, SyncBackend
from reinhardt_backends import SyncLock
backend = SyncBackend(RedisBackend(sys.argv[1]))
lock = SyncLock(backend, "raced", ttl=60)
sys.stdin.readline()
for _ in range(20):
    with lock:
        count = backend.get("count", int, default=0)
        backend.set("count", count + 1)
        backend.set(f"seen:{count}", lock.token)
"""


def test_processes_exclude_each_other(server: Server) -> None:
    """No update within the lock is lost, and the tokens grow in the order of the updates."""
    command = [sys.executable, "-c", PROGRAM, server.url]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with SyncBackend(RedisBackend(server.url)) as backend:
        assert backend.get("count") == 80
        tokens = [backend.get(f"seen:{count}", int) for count in range(80)]
        assert tokens == sorted(tokens)


@pytest.mark.parametrize("build", [Lock, SyncLock])
def test_what_a_lock_cannot_be_built_of(build: Any) -> None:
    memory = MemoryBackend()
    for ttl in (None, "60", True):
        with pytest.raises(TypeError, match="ttl"):
            build(memory, "x", ttl=ttl)
    for ttl in (0, -1, float("nan"), 10**12):
        with pytest.raises(ValueError, match="ttl"):
            build(memory, "x", ttl=ttl)
    with pytest.raises(TypeError, match="name"):
        build(memory, 7, ttl=60)
    with pytest.raises(ValueError, match="name"):
        build(memory, "", ttl=60)
    with pytest.raises(TypeError, match="Backend"):
        build("memory://", "x", ttl=60)
    six: Backend = SixVerbs(memory)
    with pytest.raises(UnsupportedOperationError, match=r"Lock needs .*SixVerbs does not provide add") as caught:
        build(six.namespace("ns"), "x", ttl=60)
    assert caught.value.verb == "add, compare_and_set, compare_and_delete"


@everywhere("memory", "comparing")
async def test_a_bad_timeout_is_refused(place: Place) -> None:
    lock = place.make(Lock, "x", ttl=60)
    with pytest.raises(ValueError, match="negative"):
        await lock.acquire(timeout=-1)
    with pytest.raises(TypeError, match="timeout"):
        await lock.acquire(timeout="1")
    assert await lock.acquire(timeout=0)
    assert lock.name == "x"


@everywhere("redis")
async def test_taking_it_is_one_round_trip(place: Place) -> None:
    assert place.server is not None
    lock = place.make(Lock, "x", ttl=60)
    async with lock:
        pass

    def calls() -> int:
        assert place.server is not None
        text = place.server.command("INFO", "commandstats").decode()
        lines = [line for line in text.splitlines() if line.startswith("cmdstat_eval")]
        return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines)

    before = calls()
    await lock.acquire()
    await lock.release()
    assert calls() == before + 2
