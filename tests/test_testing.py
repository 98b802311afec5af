"""The testing kit for users: a clock without pytest, and a backend that fails on request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from reinhardt_backends import (
    Backend,
    BackendConnectionError,
    BackendTimeoutError,
    CounterError,
    MemoryBackend,
    OutcomeUnknownError,
    ResponseError,
    SyncBackend,
    Throttle,
)
from reinhardt_backends.authoring import check_total
from reinhardt_backends.testing import BackendConformance, FailingBackend, FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def failing() -> FailingBackend:
    return FailingBackend(MemoryBackend(), timeout=0.1)


async def test_at_first_everything_works(failing: FailingBackend) -> None:
    """Calls and atomic steps are passed on."""
    await failing.set("k", 1)
    assert await failing.increment("k") == 2
    assert [key async for key in failing.scan()] == ["k"]
    assert await Throttle(failing, "1/min").allow("visitor")


async def test_calls_fail_until_it_is_healed(failing: FailingBackend) -> None:
    """Nothing is changed, and components see it, too."""
    await failing.set("k", 1)
    failing.fail()
    with pytest.raises(BackendConnectionError):
        await failing.set("k", 2)
    with pytest.raises(BackendConnectionError):
        [key async for key in failing.scan()]
    with pytest.raises(BackendConnectionError):
        await Throttle(failing, "1/min").allow("visitor")
    with pytest.raises(BackendConnectionError):
        await failing.namespace("n").get("k")
    failing.heal()
    assert await failing.get("k") == 1


async def test_named_verbs_fail_with_the_error_asked_for(failing: FailingBackend) -> None:
    """The others work."""
    failing.fail("set", "add", error=ResponseError("OOM"))
    with pytest.raises(ResponseError, match="OOM"):
        await failing.set("k", 1)
    assert await failing.get("k") is None
    with pytest.raises(ValueError, match="no verb 'sett'"):
        failing.fail("sett")


async def test_a_lost_reply_leaves_the_write_made(failing: FailingBackend) -> None:
    """A write is applied, and its caller cannot know; a read is a broken connection."""
    failing.lose_replies()
    with pytest.raises(OutcomeUnknownError) as caught:
        await failing.increment("k")
    assert isinstance(caught.value.__cause__, BackendConnectionError)
    with pytest.raises(BackendConnectionError):
        await failing.get("k")
    failing.heal()
    assert await failing.get("k") == 1


async def test_calls_hang_for_the_timeout(failing: FailingBackend) -> None:
    """Reads then time out, and writes, which are not made, have an unknown outcome."""
    failing.hang()
    with pytest.raises(BackendTimeoutError):
        await failing.get("k")
    with pytest.raises(OutcomeUnknownError):
        await failing.set("k", 1)
    failing.heal()
    assert not await failing.exists("k")


async def test_a_shorter_deadline_ends_a_call_that_hangs() -> None:
    """A view with a deadline cancels it."""
    failing = FailingBackend(MemoryBackend(), timeout=60)
    failing.hang()
    with pytest.raises(BackendTimeoutError):
        await failing.with_timeout(0.05).get("k")


async def test_a_call_that_hangs_goes_on_when_it_is_healed() -> None:
    """As with a server that was stopped and continues."""
    failing = FailingBackend(MemoryBackend(), timeout=60)
    failing.hang("set")
    async with anyio.create_task_group() as group:
        group.start_soon(failing.set, "k", 1)
        await anyio.sleep(0.05)
        assert await failing.get("k") is None
        failing.heal()
    assert await failing.get("k") == 1


def test_blocking_callers_see_it_too() -> None:
    """Through ``SyncBackend``."""
    failing = FailingBackend(MemoryBackend(), timeout=0.05)
    face = SyncBackend(failing)
    failing.hang()
    with pytest.raises(BackendTimeoutError):
        face.get("k")
    failing.heal()
    face.set("k", 1)
    assert face.get("k") == 1


def test_the_clock_and_the_failing_backend_need_no_pytest() -> None:
    """They can be used in other test frameworks and in scripts."""
    code = """
        import sys
        sys.modules["pytest"] = None
        from reinhardt_backends import MemoryBackend
        from reinhardt_backends.testing import FailingBackend, FakeClock
        FailingBackend(MemoryBackend(clock=FakeClock()))
    """
    subprocess.run([sys.executable, "-c", "\n".join(line.strip() for line in code.splitlines())], check=True)


BROKEN = """
import pytest
from reinhardt_backends import MemoryBackend
from reinhardt_backends.testing import BackendConformance

class Broken(MemoryBackend):
    async def exists(self, key):
        return True

class TestBroken(BackendConformance):
    @pytest.fixture(params=["asyncio"])
    def runtime(self, request):
        return request.param

    @pytest.fixture
    def backend(self):
        return Broken()
"""


def test_a_failure_of_the_suite_shows_its_values(tmp_path: Path) -> None:
    """Nothing has to be registered for that."""
    (tmp_path / "test_broken.py").write_text(BROKEN)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-k", "exists or delete"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "assert True is False" in done.stdout


def test_a_total_is_exact_or_refused() -> None:
    """What authors compute an increment with: exact over 64 bits, and a ``CounterError`` for anything else."""
    assert check_total("k", 2**63 - 2, 1) == 2**63 - 1
    assert check_total("k", -(2**63) + 1, -1) == -(2**63)
    for old, by in ((2**63 - 1, 1), (-(2**63), -1), (2**63, -1), ("1", 1), (True, 1), (1.0, 1), (None, 1)):
        with pytest.raises(CounterError):
            check_total("k", old, by)


class TestConformance(BackendConformance):
    """A failing backend that works is a backend as any other."""

    tick = 1.0

    @pytest.fixture
    def backend(self, clock: FakeClock) -> Backend:
        return FailingBackend(MemoryBackend(clock=clock))

    @pytest.fixture(autouse=True)
    def clock(self) -> Any:
        self._clock = FakeClock()
        return self._clock

    async def advance(self, seconds: float) -> None:
        self._clock.advance(seconds)

    @pytest.fixture(params=["asyncio", "sync"])
    def runtime(self, request: pytest.FixtureRequest) -> str:
        runtime: str = request.param
        return runtime
