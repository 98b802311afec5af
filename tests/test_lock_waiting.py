"""``Lock``: waiting for it, in turn, in time, and for holders that never release it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from reinhardt_backends import Lock, MemoryBackend, OutcomeUnknownError, SyncLock
from reinhardt_backends._lock._ownership import EXTEND, RELEASE, TAKE
from reinhardt_backends.testing import FakeClock

from .places import Comparing, Place, everywhere
from .servers import Server

ALL = ("memory", "namespace", "redis", "comparing")
ON_FAKE_TIME = ("memory", "namespace", "comparing")
QUEUED = ("memory", "namespace", "redis")
WAIT = 20


# Holders that never release.


@everywhere(*ON_FAKE_TIME)
async def test_a_holder_that_died_blocks_its_own_lock_object_for_the_ttl_only(place: Place) -> None:
    lock = place.make(Lock, "x", ttl=10)
    await place.at_once(1, lock.acquire)
    assert await place.at_once(1, lambda: lock.acquire(timeout=0.02)) == [False]
    place.clock.advance(10)
    assert await place.at_once(3, lambda: lock.acquire(timeout=0.02)) in permutations_of_one_true(3)


def permutations_of_one_true(count: int) -> list[list[bool]]:
    return [[index == at for index in range(count)] for at in range(count)]


@everywhere("memory", "namespace", "redis")
async def test_waiters_take_over_from_a_holder_that_died(place: Place) -> None:
    backend = place.store if place.kind == "redis" else MemoryBackend()
    lock = place.make(Lock, "x", ttl=0.05, backend=backend)
    await place.at_once(1, lock.acquire)
    assert await place.at_once(3, lambda: lock.acquire(timeout=WAIT)) == [True] * 3


@pytest.mark.anyio
async def test_a_holder_that_lost_the_lock_does_not_release_that_of_its_successor() -> None:
    clock = FakeClock()
    lock = Lock(MemoryBackend(clock=clock), "x", ttl=10)
    taken_over = anyio.Event()
    tokens: list[int | None] = []

    async def slow() -> None:
        await lock.acquire()
        clock.advance(10)
        await taken_over.wait()
        tokens.append(lock.token)
        assert lock.lost
        assert not await lock.extend()
        assert not await lock.release()

    async def successor() -> None:
        await lock.acquire()
        tokens.append(lock.token)
        taken_over.set()
        await anyio.wait_all_tasks_blocked()
        assert not lock.lost
        assert await lock.release()

    async with anyio.create_task_group() as group:
        group.start_soon(slow)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(successor)
    first, second = tokens
    assert first is not None
    assert second is not None
    assert first > second  # The successor noted its token first, and each sees its own.


# Re-entry.


@everywhere(*ALL)
async def test_asking_again_while_holding_it_is_an_error_at_once(place: Place) -> None:
    lock = place.make(Lock, "x", ttl=60)
    async with lock:
        for timeout in (None, 5, 0):
            with pytest.raises(RuntimeError, match="'x' is not re-entrant"):
                await lock.acquire(timeout=timeout)
        assert await lock.locked()
    assert await lock.acquire(timeout=0)


@everywhere(*ON_FAKE_TIME)
async def test_after_the_ttl_the_same_caller_may_take_it_again(place: Place) -> None:
    lock = place.make(Lock, "x", ttl=10)
    assert await lock.acquire()
    first = lock.token
    place.clock.advance(10)
    assert await lock.acquire(timeout=0)
    assert lock.token > first
    assert await lock.release()


@pytest.mark.anyio
async def test_a_hold_may_be_handed_to_another_task() -> None:
    lock = Lock(MemoryBackend(), "x", ttl=60)
    async with anyio.create_task_group() as group:
        group.start_soon(lock.acquire)
    async with anyio.create_task_group() as group:
        group.start_soon(lock.release)
    assert not await lock.locked()


# The timeout.


@everywhere(*ALL)
async def test_a_lock_has_a_timeout_of_its_own(place: Place) -> None:
    holder, lock = place.make(Lock, "x", ttl=60), place.make(Lock, "x", ttl=60, timeout=0.02)
    await holder.acquire()
    assert not await lock.acquire()
    with pytest.raises(TimeoutError, match=r"'x' was held by others for 0\.02 s"):
        async with lock:
            raise AssertionError("not reached")
    await holder.release()
    async with lock:
        assert await lock.locked()


@pytest.mark.parametrize("build", [Lock, SyncLock])
def test_a_lock_refuses_a_bad_timeout(build: Any) -> None:
    with pytest.raises(ValueError, match="negative"):
        build(MemoryBackend(), "x", ttl=60, timeout=-1)
    with pytest.raises(TypeError, match="timeout"):
        build(MemoryBackend(), "x", ttl=60, timeout="1")


# The queue in the store.


@everywhere("memory", "redis")
async def test_the_store_keeps_a_queue_of_waiters(place: Place) -> None:
    """The steps, in Lua and in Python: the first waiter alone may take what was released."""
    store, key, token_key = place.backend, "{lock:x}", "{lock:x}:token"
    if place.runtime == "sync":
        twin = store._blocking_twin()
        assert twin is not None
        store = twin

    async def take(owner: str, queues: int = 1) -> int:
        answer: int = await store._run_step(TAKE, (token_key, key), (owner, 60_000, queues, 7))
        return answer

    async def release(owner: str) -> int:
        answer: int = await store._run_step(RELEASE, (key,), (owner,))
        return answer

    async def extend(owner: str) -> int:
        answer: int = await store._run_step(EXTEND, (key,), (owner, 90_000))
        return answer

    first = await take("a1")
    assert first > 0
    assert await take("a1") == first
    assert [await take(owner) for owner in ("b2", "c3", "b2", "c3", "d4")] == [-1, -2, -1, -2, -3]
    assert await take("e5", queues=0) == 0
    assert await store.get(key) == "a1 b2 c3 d4"
    assert await store.ttl(key) == pytest.approx(60, abs=1)
    assert [await extend(owner) for owner in ("b2", "a1")] == [0, 1]
    assert await store.ttl(key) == pytest.approx(90, abs=1)
    assert await release("c3") == 0
    assert await store.get(key) == "a1 b2 d4"
    assert await release("a1") == 1
    assert await store.get(key) == "- b2 d4"
    assert await store.ttl(key) == pytest.approx(0.5, abs=0.2)
    assert [await take("d4"), await take("a1"), await take("f6", queues=0)] == [-2, -3, 0]
    second = await take("b2")
    assert second > first
    assert await store.get(key) == "b2 d4 a1"
    assert await release("b2") == 1
    assert await release("d4") == 0
    assert await store.get(key) == "- a1"
    assert await release("a1") == 0
    assert not await store.exists(key)
    assert await release("a1") == 0
    for foreign in (5, ["a1"], {"a1": 1}, ""):
        await store.set(key, foreign)
        assert [await take("a1"), await extend("a1"), await release("a1")] == [0, 0, 0]
        assert await store.get(key) == foreign


@pytest.mark.anyio
async def test_locks_of_one_name_are_given_in_order_of_arrival() -> None:
    backend = MemoryBackend()
    holder = Lock(backend, "x", ttl=60)
    await holder.acquire()
    order: list[int] = []

    async def take(number: int) -> None:
        async with Lock(backend, "x", ttl=60):
            order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(1, 8):
            group.start_soon(take, number)
            while len(str(await backend.get("{lock:x}")).split()) <= number:
                await anyio.lowlevel.checkpoint()
        await holder.release()
    assert order == list(range(1, 8))
    assert not await backend.exists("{lock:x}")


@everywhere("memory", "redis")
async def test_a_waiter_that_gives_up_leaves_the_queue(place: Place) -> None:
    holder, lock = place.make(Lock, "x", ttl=60), place.make(Lock, "x", ttl=60)
    await holder.acquire()
    assert not await lock.acquire(timeout=0.01)
    assert " " not in await place.verbs.get("{lock:x}")
    if place.runtime != "sync":
        with anyio.move_on_after(0.01):
            await lock.acquire()
        assert " " not in await place.verbs.get("{lock:x}")
    assert await holder.release()
    assert not await place.verbs.exists("{lock:x}")


@pytest.mark.anyio
async def test_waiters_come_through_though_the_first_in_the_queue_has_died() -> None:
    clock = FakeClock()
    backend = MemoryBackend(clock=clock)
    holder = Lock(backend, "x", ttl=60)
    await holder.acquire()
    await backend._run_step(TAKE, ("{lock:x}:token", "{lock:x}"), ("dead", 60_000, 1, 0))
    await holder.release()
    assert not await Lock(backend, "x", ttl=60).acquire(timeout=0)
    clock.advance(0.5)
    assert await Lock(backend, "x", ttl=60).acquire(timeout=0)


PROGRAM = """
import sys, time
from reinhardt_backends import RedisBackend, SyncLock
lock = SyncLock(RedisBackend(sys.argv[1]), "contended", ttl=60)
sys.stdin.readline()
end = time.monotonic() + float(sys.argv[2])
taken = 0
while time.monotonic() < end:
    with lock:
        taken += 1
        time.sleep(0.001)
print(taken)
"""


def test_four_processes_get_it_equally_often(server: Server) -> None:
    command = [sys.executable, "-c", PROGRAM, server.url, "3"]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    taken = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert max(taken) <= 3 * min(taken), taken


# A release that fails.


class Unreachable(Comparing):
    """A backend whose releases fail."""

    async def compare_and_delete(self, key: str, expected: Any) -> bool:
        raise OutcomeUnknownError("no reply")


@pytest.mark.anyio
async def test_a_release_that_fails_does_not_replace_the_exception_of_the_block() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        async with Lock(Unreachable(MemoryBackend()), "x", ttl=60):
            raise ZeroDivisionError
    assert caught.value.__notes__ == ["the lock 'x' could not be released: OutcomeUnknownError"]
    with pytest.raises(OutcomeUnknownError):
        async with Lock(Unreachable(MemoryBackend()), "x", ttl=60):
            pass
    lock = Lock(MemoryBackend(), "x", ttl=60)
    with pytest.raises(ZeroDivisionError):
        async with lock:
            await lock.release()
            raise ZeroDivisionError


# Backends that evict.


@pytest.mark.parametrize("build", [Lock, SyncLock])
def test_a_backend_that_evicts_is_refused(build: Any) -> None:
    bounded = MemoryBackend(maxsize=10)
    for backend in (bounded, bounded.namespace("ns")):
        with pytest.raises(ValueError, match="Lock would lose entries"):
            build(backend, "x", ttl=60)
        build(backend, "x", ttl=60, evictable=True)
