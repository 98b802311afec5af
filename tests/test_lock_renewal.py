"""``Lock``: renewal while a block runs, and how the block learns of a loss."""

from __future__ import annotations

import threading
import time
from typing import Any

import anyio
import pytest

from reinhardt_backends import Lock, LockLostError, MemoryBackend, OutcomeUnknownError, SyncLock

from .places import Comparing, Place, everywhere

WAIT = 20


async def pause(place: Place, seconds: float) -> None:
    if place.runtime == "sync":
        time.sleep(seconds)
    else:
        await anyio.sleep(seconds)


def real(place: Place) -> Any:
    """The place's backend, on a clock that runs."""
    if place.kind == "redis":
        return place.store
    return Comparing(MemoryBackend()) if place.kind == "comparing" else MemoryBackend()


@everywhere("memory", "redis", "comparing")
async def test_a_renewed_lock_outlives_its_ttl(place: Place) -> None:
    backend = real(place)
    lock, other = (place.make(Lock, "x", ttl=1.0, renew=renew, backend=backend) for renew in (True, False))
    async with lock:
        await pause(place, 1.3)
        assert not lock.lost
        assert not await other.acquire(timeout=0)
    assert await other.acquire(timeout=WAIT)


@everywhere("memory", "redis", "comparing")
async def test_a_block_learns_that_its_lock_was_lost(place: Place) -> None:
    backend = real(place)
    lock = place.make(Lock, "x", ttl=0.3, renew=True, backend=backend)
    with pytest.raises(LockLostError):
        async with lock:
            assert not lock.lost
            thief = place.make(Lock, "x", ttl=60, backend=backend)
            await take_away(place, backend)
            assert await thief.acquire(timeout=0)
            for _ in range(1000):
                if lock.lost:
                    break
                await pause(place, 0.01)
            assert lock.lost
    assert await thief.release()


async def take_away(place: Place, backend: Any) -> None:
    if place.runtime == "sync":
        from reinhardt_backends import SyncBackend

        SyncBackend(backend).delete("{lock:x}")
    else:
        await backend.delete("{lock:x}")


@everywhere("memory", "redis")
async def test_the_end_of_the_ttl_is_known_without_asking(place: Place) -> None:
    lock = place.make(Lock, "x", ttl=0.5, backend=real(place))
    assert not lock.lost
    assert await lock.acquire()
    assert not lock.lost
    await pause(place, 0.51)
    assert lock.lost
    assert not await lock.release()
    assert not lock.lost


class Faltering(Comparing):
    """A backend that fails to extend once."""

    failed = False

    async def compare_and_set(self, key: str, expected: Any, value: Any, ttl: Any = None) -> bool:
        if expected == value and not self.failed:
            self.failed = True
            raise OutcomeUnknownError("no reply")
        return await super().compare_and_set(key, expected, value, ttl)


@pytest.mark.anyio
async def test_a_renewal_that_failed_is_tried_again() -> None:
    backend = Faltering(MemoryBackend())
    async with Lock(backend, "x", ttl=0.6, renew=True) as lock:
        await anyio.sleep(0.9)
        assert backend.failed
        assert not lock.lost


@pytest.mark.anyio
async def test_an_exception_of_a_renewed_block_is_raised_as_it_is() -> None:
    lock = Lock(MemoryBackend(), "x", ttl=60, renew=True)
    with pytest.raises(ZeroDivisionError):
        async with lock:
            raise ZeroDivisionError
    with anyio.CancelScope() as scope:
        async with lock:
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert not await lock.locked()


def test_renewal_in_a_thread_ends_with_the_block() -> None:
    with SyncLock(MemoryBackend(), "x", ttl=60, renew=True):
        (renewing,) = [thread for thread in threading.enumerate() if thread.name == "reinhardt_backends background"]
    renewing.join(WAIT)
    assert not renewing.is_alive()


@everywhere("memory", "redis")
async def test_a_block_that_has_released_it_early_ends_its_renewal(place: Place) -> None:
    lock, other = (place.make(Lock, "x", ttl=60, renew=True) for _ in range(2))
    with pytest.raises(RuntimeError, match="not held"):
        async with lock:
            assert await lock.release()
            assert await other.acquire(timeout=0)
            assert not lock.lost
    assert await other.release()
    async with lock:
        assert await lock.locked()


@everywhere("memory")
async def test_a_block_within_one_that_has_lost_it_leaves_both(place: Place) -> None:
    lock = place.make(Lock, "x", ttl=60, renew=True)
    with pytest.raises(RuntimeError, match="not held"):
        async with lock:
            await take_away(place, place.store)
            async with lock:
                assert await lock.locked()
    assert not await lock.locked()
