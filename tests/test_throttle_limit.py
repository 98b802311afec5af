"""``Throttle.limit``: the decorator of functions, async and blocking."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import anyio
import pytest

from reinhardt_backends import (
    BackendConnectionError,
    BackendError,
    MemoryBackend,
    SyncThrottle,
    Throttle,
    ThrottledError,
)
from reinhardt_backends.testing import FakeClock

pytestmark = pytest.mark.anyio


async def test_a_call_is_a_hit_and_a_denied_one_does_not_run() -> None:
    clock = FakeClock()
    throttle = Throttle(MemoryBackend(clock=clock), "2/10s")
    ran: list[str] = []

    @throttle.limit(key=lambda name, password: f"login:{name}")
    async def log_in(name: str, password: str) -> bool:
        """Log a user in."""
        ran.append(name)
        return password == "right"

    assert (log_in.__name__, log_in.__doc__) == ("log_in", "Log a user in.")
    assert inspect.iscoroutinefunction(log_in)
    assert not await log_in("ada", "wrong")
    assert await log_in("ada", password="right")
    clock.advance(4)
    with pytest.raises(ThrottledError, match=r"more calls than 2/10s: try again in 6 s") as denied:
        await log_in("ada", "right")
    assert denied.value.result is not None
    assert denied.value.result.retry_after == 6
    assert denied.value.result.headers()["Retry-After"] == "6"
    assert not isinstance(denied.value, BackendError)
    assert pickle.loads(pickle.dumps(denied.value)).result == denied.value.result
    assert await log_in("grace", "right")
    assert ran == ["ada", "ada", "grace"]
    assert (await throttle.peek("login:ada")).remaining == 0


def test_a_plain_function_has_the_blocking_face() -> None:
    throttle = SyncThrottle(MemoryBackend(), "2/h")

    @throttle.limit(key="reports", cost=2)
    def report(pages: int) -> int:
        return pages

    assert report(3) == 3
    with pytest.raises(ThrottledError):
        report(3)
    assert throttle.peek("reports").remaining == 0


async def test_without_a_key_each_function_has_its_own_limit() -> None:
    throttle = Throttle(MemoryBackend(), "1/h")

    class Mailer:
        @throttle.limit()
        async def send(self) -> str:
            return "sent"

        @throttle.limit()
        async def list(self) -> str:
            return "listed"

    assert await Mailer().send() == "sent"
    assert await Mailer().list() == "listed"
    with pytest.raises(ThrottledError):
        await Mailer().send()


async def test_a_limit_may_wait() -> None:
    throttle = Throttle(MemoryBackend(), "1/50ms")

    @throttle.limit(timeout=10)
    async def patient() -> float:
        return anyio.current_time()

    @throttle.limit(key=f"{__name__}.{patient.__qualname__}", timeout=0.001)
    async def impatient() -> None:
        raise AssertionError

    first = await patient()
    with pytest.raises(ThrottledError):
        await impatient()
    assert await patient() - first >= 0.045

    blocking = SyncThrottle(MemoryBackend(), "1/20ms").limit(timeout=None)(lambda: True)
    assert all(blocking() for _ in range(3))


async def test_a_store_that_is_away_is_what_on_error_says() -> None:
    class Away(MemoryBackend):
        async def _run_key_step(self, step: Any, key: str) -> Any:
            raise BackendConnectionError("refused")

    async def call() -> int:
        return 1

    assert await Throttle(Away(), "1/h", on_error="allow").limit()(call)() == 1
    with pytest.raises(ThrottledError):
        await Throttle(Away(), "1/h", on_error="deny").limit()(call)()
    with pytest.raises(BackendConnectionError):
        await Throttle(Away(), "1/h").limit()(call)()


def test_what_cannot_be_limited_is_refused() -> None:
    throttle: Any = Throttle(MemoryBackend(), "2/h")
    blocking: Any = SyncThrottle(MemoryBackend(), "2/h")

    async def suspends() -> None: ...

    def blocks() -> None: ...

    with pytest.raises(TypeError, match="there is SyncThrottle"):
        throttle.limit()(blocks)
    with pytest.raises(TypeError, match="there is Throttle"):
        blocking.limit()(suspends)
    with pytest.raises(TypeError, match="decorates a function, not str"):
        throttle.limit()("text")
    with pytest.raises(TypeError, match="a str or a function, not int"):
        throttle.limit(1)
    with pytest.raises(ValueError, match="needs a function"):
        throttle.limit("login:{name}")
    with pytest.raises(ValueError, match="would never be allowed"):
        throttle.limit("k", cost=3)
    with pytest.raises(ValueError, match="negative"):
        throttle.limit("k", timeout=-1)
    with pytest.raises(TypeError, match="key must be a str"):
        blocking.limit(lambda: 1)(blocks)()
