"""``Lock.acquire(timeout=)`` over a server that hangs: it never says "held" of a lock that was not seen held."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from reinhardt_backends import BackendTimeoutError, Lock, MemoryBackend, RedisBackend, SyncLock
from reinhardt_backends._component import drive
from reinhardt_backends.testing._runner import AsyncClothes

from .places import Comparing
from .servers import Server

WAIT = 20


@pytest.fixture(params=["asyncio", "trio", "sync"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    """Run a test that is given how to make a lock."""

    def make(*args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            return AsyncClothes(SyncLock(*args, **kwargs))
        return Lock(*args, **kwargs)

    def run(test: Any) -> None:
        if request.param == "sync":
            drive(test(make))
        else:
            anyio.run(test, make, backend=request.param)

    return run


class Stopped:
    """A server that is stopped in a block, and runs again after it."""

    def __init__(self, server: Server) -> None:
        self.pid = server.pid

    def __enter__(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGCONT)


def test_a_store_that_does_not_answer_is_a_timeout_and_not_a_held_lock(
    own_server: Server, run: Callable[[Any], None]
) -> None:
    async def test(make: Any) -> None:
        backend = RedisBackend(own_server.url, timeout=30)
        lock = make(backend, "x", ttl=1)
        assert await lock.acquire()
        await lock.release()
        with Stopped(own_server):
            began = time.monotonic()
            with pytest.raises(BackendTimeoutError):
                await lock.acquire(timeout=0.3)
            assert 0.3 <= time.monotonic() - began < 5
        other = make(backend, "x", ttl=60)
        assert await other.acquire(timeout=WAIT)
        assert await other.release()

    run(test)


def test_a_lock_that_was_seen_held_is_held_though_the_store_then_hangs(
    own_server: Server, run: Callable[[Any], None]
) -> None:
    async def test(make: Any) -> None:
        backend = RedisBackend(own_server.url, timeout=30)
        holder, lock = make(backend, "x", ttl=60), make(backend, "x", ttl=60)
        assert await holder.acquire()
        assert not await lock.acquire(timeout=0.1)
        answers = 0
        run_step = RedisBackend._run_step

        async def stopping(self: RedisBackend, *args: Any) -> Any:
            nonlocal answers
            answer = await run_step(self, *args)
            answers += 1
            if answers == 1:
                os.kill(own_server.pid, signal.SIGSTOP)
            return answer

        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(RedisBackend, "_run_step", stopping)
                assert not await lock.acquire(timeout=0.3)
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
        assert await holder.release()

    run(test)


@pytest.mark.anyio
async def test_a_users_backend_that_hangs_is_a_timeout_too() -> None:
    class Hanging(Comparing):
        async def add(self, key: str, value: Any, ttl: Any = None) -> bool:
            await super().add(key, value, ttl)
            await anyio.sleep_forever()
            return True

    backend = Hanging(MemoryBackend())
    with pytest.raises(BackendTimeoutError, match="did not say in time whether the lock 'x' is held"):
        await Lock(backend, "x", ttl=60).acquire(timeout=0.05)
    assert not await backend.exists("{lock:x}")
