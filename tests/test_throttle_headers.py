"""``ThrottleResult``: the header fields, and how a client that obeys them fares."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reinhardt_backends import BackendConnectionError, MemoryBackend, Rate, Throttle
from reinhardt_backends._component import drive
from reinhardt_backends.testing import FakeClock

THROTTLES: list[tuple[Any, tuple[str, ...]]] = [
    ("fixed-window", ("10/min",)),
    ("fixed-window", ("10/min", "30/10min")),
    ("sliding-window", ("10/min",)),
    ("gcra", ("10/min",)),
    ("gcra", ("10/min burst 49",)),
    ("gcra", ("10/min burst 3",)),
    ("gcra", ("10/min burst 20", "100/h")),
]


def fields(result: Any, field: str) -> list[dict[str, int]]:
    """Return the parameters of a field, policy by policy."""
    return [
        {name: int(value) for name, value in re.findall(r";(\w)=(\d+)", item)}
        for item in result.headers()[field].split(", ")
    ]


@pytest.mark.parametrize(("algorithm", "rates"), THROTTLES)
@pytest.mark.parametrize("idle", [0.0, 0.3, 7.9])
def test_a_client_that_obeys_the_fields_is_never_refused_and_never_waits_a_period_too_long(
    algorithm: Any, rates: tuple[str, ...], idle: float
) -> None:
    clock = FakeClock()
    throttle = Throttle(MemoryBackend(clock=clock), *rates, algorithm=algorithm)
    slowest = max(rate.period for rate in throttle.rates)
    began, hits = clock(), 0
    while clock() < began + 20 * slowest:
        result = drive(throttle.hit("k"))
        assert result.allowed
        hits += 1
        spent = [item for item in fields(result, "RateLimit") if item["r"] == 0]
        if spent:
            clock.advance(max(item["t"] for item in spent))
        else:
            clock.advance(idle if hits % 3 == 0 else 0)
    due = min(20 * slowest * rate.limit / rate.period for rate in throttle.rates)
    if idle < 1:
        # Rounded to whole seconds; the sliding window forgets the window before only as it passes.
        assert hits >= due * (0.45 if algorithm == "sliding-window" else 0.8)


# A sliding window counts the window before, so that a client that sends all at once needs two periods.
@pytest.mark.parametrize(("algorithm", "rates"), [it for it in THROTTLES if it[0] != "sliding-window"])
def test_a_client_that_keeps_the_policy_is_never_refused(algorithm: Any, rates: tuple[str, ...]) -> None:
    clock = FakeClock()
    throttle = Throttle(MemoryBackend(clock=clock), *rates, algorithm=algorithm)
    (slowest,) = sorted(fields(drive(throttle.peek("k")), "RateLimit-Policy"), key=lambda it: it["q"] / it["w"])[:1]
    burst = min(item["q"] for item in fields(drive(throttle.peek("k")), "RateLimit-Policy"))
    for _ in range(50):
        for _ in range(burst):
            assert drive(throttle.allow("k"))
        clock.advance(slowest["w"] * burst / slowest["q"] + slowest["w"])


def test_the_limit_counts_the_burst() -> None:
    throttle = Throttle(MemoryBackend(clock=FakeClock()), "10/min burst 50", algorithm="gcra")
    result = drive(throttle.hit("k"))
    assert (result.limit, result.remaining) == (50, 49)
    assert result.headers() == {
        "RateLimit-Policy": '"10/min burst 50";q=50;w=300',
        "RateLimit": '"10/min burst 50";r=49;t=6',
    }
    assert drive(throttle.allow("k", 49))
    assert drive(throttle.peek("k")).headers()["RateLimit"] == '"10/min burst 50";r=0;t=6'


def test_a_bucket_that_was_emptied_tells_when_the_next_hit_fits() -> None:
    throttle = Throttle(MemoryBackend(clock=FakeClock()), "10/min", algorithm="gcra")
    emptied, denied = drive(throttle.hit("k", 10)), drive(throttle.hit("k"))
    assert emptied.headers()["RateLimit"] == denied.headers()["RateLimit"] == '"10/min";r=0;t=6'
    assert denied.headers()["Retry-After"] == "6"
    assert [quota.refill_after for quota in emptied.quotas] == [6.0]
    assert emptied.reset_after == 60


@pytest.mark.anyio
async def test_a_result_says_that_the_store_did_not_decide() -> None:
    class Unreachable(MemoryBackend):
        async def _run_key_step(self, *args: Any) -> Any:
            raise BackendConnectionError("refused")

    assert not (await Throttle(MemoryBackend(), "5/h").hit("k")).degraded
    for on_error, allowed in (("allow", True), ("deny", False), ("local", True)):
        throttle = Throttle(Unreachable(), "5/h", on_error=on_error)  # type: ignore[arg-type]
        for result in (await throttle.hit("k"), await throttle.peek("k")):
            assert (result.allowed, result.degraded, result.limit) == (allowed, True, 5)


def test_a_peek_may_ask_about_any_cost() -> None:
    for algorithm in ("fixed-window", "sliding-window", "gcra"):
        for rates in ((Rate(10, 3600),), (Rate(10, 3600), Rate(20, 86400))):
            throttle = Throttle(MemoryBackend(clock=FakeClock()), *rates, algorithm=algorithm)  # type: ignore[arg-type]
            assert drive(throttle.allow("k", 4))
            assert drive(throttle.peek("k", cost=6)).allowed
            denied = drive(throttle.peek("k", cost=7))
            assert (denied.allowed, denied.remaining) == (False, 6)
            assert denied.retry_after > 0
            assert drive(throttle.hit("k", 6)).allowed
