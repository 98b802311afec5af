"""``Throttle``: clocks that differ, clocks that are set back, and waits that are as long as they were said to be."""

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reinhardt_backends._throttle._limiters as limiters
from reinhardt_backends import MemoryBackend, Rate, Throttle
from reinhardt_backends._component import drive
from reinhardt_backends.testing import FakeClock

from .places import Place, everywhere
from .test_throttle import Unsuspending

OVER_A_USERS_BACKEND: list[tuple[Any, tuple[str, ...]]] = [
    ("gcra", ("100/s",)),
    ("gcra", ("1/s",)),
    ("gcra", ("10/s burst 30",)),
    ("gcra", ("100/s", "3000/min")),
    ("sliding-window", ("100/s",)),
    ("sliding-window", ("100/s", "3000/min")),
    ("fixed-window", ("100/s", "3000/min")),
]


class Machines:
    """Machines that share a user's backend and have a clock each. Real time passes for all of them at once.

    A process has one ``time``, so it is set to the clock of the machine that decides.
    """

    def __init__(self, patch: pytest.MonkeyPatch, algorithm: Any, *rates: str | Rate) -> None:
        self.real = 1_000_000_000_000_000
        self.store = FakeClock(1000)
        self.throttle = Throttle(Unsuspending(MemoryBackend(clock=self.store)), *rates, algorithm=algorithm)
        self.behind = 0
        patch.setattr(limiters, "time", self)

    def time(self) -> float:
        return (self.real - self.behind) / 1e6

    def advance(self, seconds: float) -> None:
        self.real += round(seconds * 1e6)
        self.store.advance(seconds)

    def allow(self, behind: float = 0.0, cost: int = 1) -> bool:
        self.behind = round(behind * 1e6)
        return drive(self.throttle.allow("k", cost))

    def hit(self, behind: float = 0.0, cost: int = 1) -> Any:
        self.behind = round(behind * 1e6)
        return drive(self.throttle.hit("k", cost))


@pytest.mark.parametrize(("algorithm", "rates"), OVER_A_USERS_BACKEND)
@pytest.mark.parametrize("apart", [0.001, 0.02, 0.3])
def test_clocks_apart_let_no_more_through_than_the_rate_gives_meanwhile(
    algorithm: Any, rates: tuple[str, ...], apart: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        machines = Machines(patch, algorithm, *rates)
        rate = machines.throttle.rates[0]
        passed, steps, step = 0, 1000, 0.005
        for _ in range(steps):
            for behind in (0.0, apart):
                while machines.allow(behind):
                    passed += 1
            machines.advance(step)
        per_second = rate.limit / rate.period
        due = rate.most + (steps * step + apart) * per_second
        if algorithm == "fixed-window":
            due += rate.limit  # Windows do not end where the test does.
        assert passed <= due
        assert passed >= steps * step * per_second * 0.9


@pytest.mark.parametrize(("algorithm", "rates"), OVER_A_USERS_BACKEND)
@pytest.mark.parametrize("back", [0.001, 0.4, 0.7, 1.5, 3600, 10**8])
@pytest.mark.parametrize("after", [0.0, 0.5])
def test_a_clock_that_is_set_back_forgets_no_hit_and_lengthens_no_wait(
    algorithm: Any, rates: tuple[str, ...], back: float, after: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        machines = Machines(patch, algorithm, *rates)
        while machines.allow():
            pass
        machines.advance(after)
        while machines.allow():
            pass
        assert not machines.allow(back)
        denied = machines.hit(back)
        assert not denied.allowed
        for quota in denied.quotas:
            longest = quota.rate.period * quota.rate.most / quota.rate.limit
            if algorithm == "sliding-window":
                longest *= 2
            assert 0 <= quota.retry_after <= longest
            assert 0 <= quota.reset_after <= longest
            assert 0 <= quota.refill_after <= longest
        machines.advance(denied.retry_after)
        assert machines.allow(back)


@given(
    moves=st.lists(st.tuples(st.integers(0, 1500), st.sampled_from([0, 0, 1, 400, 900, 2500, 10**7])), max_size=30),
    rate=st.builds(Rate, st.integers(1, 5), st.integers(100, 2000).map(lambda ms: ms / 1000)),
    algorithm=st.sampled_from(["gcra", "sliding-window"]),
)
def test_a_denied_hit_is_allowed_after_retry_after_on_any_clock(
    moves: list[tuple[int, int]], rate: Rate, algorithm: Any
) -> None:
    """One clock is set back now and then; there are no other hits."""
    with pytest.MonkeyPatch.context() as patch:
        machines = Machines(patch, algorithm, rate)
        behind = 0.0
        for milliseconds, back in moves:
            machines.advance(milliseconds / 1000)
            behind += back / 1000
            result = machines.hit(behind)
            if not result.allowed:
                assert result.retry_after <= rate.period * (2 if algorithm == "sliding-window" else 1)
                machines.advance(result.retry_after)
                assert machines.allow(behind)


@everywhere("redis")
async def test_a_step_of_the_servers_clock_locks_no_caller_out(place: Place) -> None:
    """After a step back of an hour a key lives for an hour longer; a denied hit sets that right."""
    throttle = place.make(Throttle, "2/300ms")
    for key, call in (("a", throttle.hit), ("b", throttle.allow), ("c", throttle.peek)):
        assert await throttle.allow(key, 2)
        await place.verbs.touch(f"throttle:fixed-window:2/300ms:{key}", 3600)
        await call(key)
        assert await place.verbs.ttl(f"throttle:fixed-window:2/300ms:{key}") <= 0.3
        denied = await throttle.hit(key)
        assert not denied.allowed
        assert 0 < denied.retry_after <= 0.3


async def sleep(place: Place, seconds: float) -> None:
    if place.runtime == "sync":
        time.sleep(seconds)
    else:
        end = time.monotonic() + seconds  # A loop may keep a coarser clock.
        while (left := end - time.monotonic()) > 0:
            await anyio.sleep(left)


@everywhere("redis", "memory")
async def test_a_wait_that_is_waited_out_exactly_is_long_enough(place: Place) -> None:
    """On real time: an early answer by less than a millisecond would show."""
    backend = place.store if place.kind == "redis" else MemoryBackend()
    for algorithm in ("fixed-window", "sliding-window", "gcra"):
        throttle = place.make(Throttle, "1/20ms", algorithm=algorithm, backend=backend)
        for number in range(10):
            assert await throttle.allow(str(number))
            denied = await throttle.hit(str(number))
            if not denied.allowed:
                await sleep(place, denied.retry_after)
                assert await throttle.allow(str(number)), (algorithm, number)


@given(
    start=st.integers(0, 10**12).map(lambda n: n / 1000),
    wait=st.integers(0, 10**6).map(lambda n: n / 10**6),
    algorithm=st.sampled_from(["fixed-window", "sliding-window", "gcra"]),
)
def test_on_a_fake_clock_too(start: float, wait: float, algorithm: Any) -> None:
    clock = FakeClock(start)
    throttle = Throttle(MemoryBackend(clock=clock), "3/s", algorithm=algorithm)
    assert drive(throttle.allow("k", 2))
    clock.advance(wait)
    assert drive(throttle.allow("k"))
    denied = drive(throttle.hit("k"))
    if not denied.allowed:
        clock.advance(denied.retry_after)
        assert drive(throttle.allow("k"))
