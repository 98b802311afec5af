"""``Throttle``: what it allows and denies, over every backend and runtime."""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reinhardt_backends._throttle._limiters as limiters
from reinhardt_backends import (
    Backend,
    BackendClosedError,
    BackendConnectionError,
    BackendTimeoutError,
    MemoryBackend,
    OutcomeUnknownError,
    Quota,
    Rate,
    RedisBackend,
    ResponseError,
    SyncBackend,
    SyncThrottle,
    Throttle,
    ThrottleResult,
    UnsupportedOperationError,
)
from reinhardt_backends._blocking import drive
from reinhardt_backends.testing import FakeClock

from .places import Comparing, Place, SixVerbs, everywhere
from .servers import Server, free_port

ALL = ("memory", "namespace", "redis", "six", "comparing", "telling")
STEPPING = ("memory", "namespace", "redis")
ANY_ALGORITHM = (*STEPPING, "comparing")
ALGORITHMS: tuple[Any, ...] = ("fixed-window", "sliding-window", "gcra")
ON_FAKE_TIME = ("memory", "namespace", "six", "telling")


class Moving:
    """A way to wait that moves a fake clock, and notes for how long."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.slept: list[float] = []

    def now(self) -> float:
        return self.clock()

    def caller(self) -> None:
        return None

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)


def moving(throttle: Any, clock: FakeClock) -> Moving:
    """Let a throttle wait on a fake clock."""
    waiting = Moving(clock)
    face = getattr(throttle, "_face", None)
    target = throttle if face is None else face.__getattribute__("_target")
    target._waiting = waiting
    return waiting


# What is allowed.


@everywhere(*ALL)
async def test_as_many_as_the_limit_are_allowed(place: Place) -> None:
    throttle = place.make(Throttle, "3/h")
    assert [await throttle.allow("k") for _ in range(5)] == [True, True, True, False, False]
    assert await throttle.allow("other")


@everywhere(*ANY_ALGORITHM)
async def test_every_algorithm_allows_the_limit_at_once(place: Place) -> None:
    for algorithm in ALGORITHMS:
        throttle = place.make(Throttle, "3/h", "100/day", algorithm=algorithm)
        assert [await throttle.allow("k") for _ in range(5)] == [True, True, True, False, False]


@everywhere(*ALL)
async def test_a_hit_tells_what_is_left(place: Place) -> None:
    throttle = place.make(Throttle, "2/h")
    first = await throttle.hit("k")
    assert (first.allowed, first.limit, first.remaining, first.retry_after) == (True, 2, 1, 0)
    assert first.reset_after == pytest.approx(3600, abs=5)
    second = await throttle.hit("k")
    assert (second.allowed, second.remaining, second.retry_after) == (True, 0, 0)
    third = await throttle.hit("k")
    assert (third.allowed, third.limit, third.remaining) == (False, 2, 0)
    assert third.retry_after == pytest.approx(3600, abs=5)
    assert third.reset_after == third.retry_after
    assert (bool(first), bool(third)) == (True, False)
    assert [quota.rate for quota in third.quotas] == [Rate(2, 3600)] == list(throttle.rates)


@everywhere(*ALL)
async def test_a_peek_consumes_nothing(place: Place) -> None:
    throttle = place.make(Throttle, "1/h")
    for _ in range(3):
        seen = await throttle.peek("k")
        assert (seen.allowed, seen.remaining, seen.reset_after, seen.retry_after) == (True, 1, 0, 0)
    assert await throttle.allow("k")
    seen = await throttle.peek("k")
    assert (seen.allowed, seen.remaining) == (False, 0)
    assert seen.retry_after == pytest.approx(3600, abs=5)


@everywhere(*ANY_ALGORITHM)
async def test_a_peek_consumes_nothing_by_any_algorithm(place: Place) -> None:
    for algorithm in ALGORITHMS:
        throttle = place.make(Throttle, "1/h", "5/day", algorithm=algorithm)
        assert [(await throttle.peek("k")).remaining for _ in range(3)] == [1, 1, 1]
        assert await throttle.allow("k")
        assert not await throttle.peek("k")


@everywhere(*ALL)
async def test_a_reset_forgets(place: Place) -> None:
    throttle = place.make(Throttle, "1/h")
    assert await throttle.allow("k")
    assert await throttle.allow("other")
    await throttle.reset("k")
    assert (await throttle.peek("k")).remaining == 1
    assert await throttle.allow("k")
    assert not await throttle.allow("other")


@everywhere(*ALL)
async def test_a_cost_counts_as_so_many_hits(place: Place) -> None:
    throttle = place.make(Throttle, "10/h")
    assert (await throttle.hit("k", 7)).remaining == 3
    denied = await throttle.hit("k", cost=4)
    assert (denied.allowed, denied.remaining) == (False, 3)
    assert await throttle.allow("k", 3)
    assert not await throttle.allow("k")


@everywhere(*ALL)
async def test_a_denied_hit_changes_nothing(place: Place) -> None:
    throttle = place.make(Throttle, "10/h")
    assert await throttle.allow("k", 8)
    assert not any([await throttle.allow("k", 3) for _ in range(5)])
    assert (await throttle.peek("k")).remaining == 2
    assert await throttle.allow("k", 2)


@everywhere(*ANY_ALGORITHM)
async def test_what_one_rate_denies_no_rate_counts(place: Place) -> None:
    for algorithm in ALGORITHMS:
        throttle = place.make(Throttle, "2/h", "100/day", algorithm=algorithm)
        assert [await throttle.allow("k") for _ in range(6)] == [True, True, False, False, False, False]
        left = [quota.remaining for quota in (await throttle.peek("k")).quotas]
        assert left == [0, 98]
        denied = await throttle.hit("k")
        assert denied.limit == 2
        assert [quota.retry_after > 0 for quota in denied.quotas] == [True, False]


@everywhere(*STEPPING)
async def test_nothing_is_written_for_a_denied_hit_or_a_peek(place: Place) -> None:
    for algorithm in ALGORITHMS:
        for rates in (("2/h",), ("2/h", "100/day")):
            throttle = place.make(Throttle, *rates, algorithm=algorithm, prefix="p")
            await throttle.peek("fresh")
            await throttle.hit("k", 2)
            before = await place.contents()
            await throttle.hit("k")
            await throttle.allow("k")
            await throttle.peek("k")
            assert await place.contents() == before
            assert not any("fresh" in key for key in before)
            assert any("k" in key for key in before)


@everywhere(*ALL)
async def test_a_hundred_at_once_are_allowed_exactly_as_often_as_the_limit(place: Place) -> None:
    throttle = place.make(Throttle, "37/h")
    assert sum(await place.at_once(100, lambda: throttle.allow("k"))) == 37


@everywhere(*ANY_ALGORITHM)
async def test_a_hundred_at_once_by_any_algorithm(place: Place) -> None:
    for algorithm in ALGORITHMS:
        throttle = place.make(Throttle, "37/day", "50/2days", algorithm=algorithm)
        results = await place.at_once(60, lambda throttle=throttle: throttle.hit("k"))  # type: ignore[misc]
        assert sum(result.allowed for result in results) == 37


@everywhere("memory", "redis")
async def test_throttles_share_what_they_should_and_nothing_else(place: Place) -> None:
    assert await place.make(Throttle, "1/h").allow("k")
    assert not await place.make(Throttle, Rate(1, 3600)).allow("k")
    assert await place.make(Throttle, "2/h").allow("k")
    assert await place.make(Throttle, "1/h", prefix="login").allow("k")
    assert await place.make(Throttle, "1/h", algorithm="gcra").allow("k")
    assert await place.make(Throttle, "1/h", algorithm="sliding-window").allow("k")


@everywhere(*ALL)
async def test_any_text_is_a_key(place: Place) -> None:
    throttle = place.make(Throttle, "1/h")
    keys = ["", "a:b", "k", "k:end", "end", "schl\u00fcssel", "\x00", "*", "{x}", "end:k"]
    assert all([await throttle.allow(key) for key in keys])
    assert not any([await throttle.allow(key) for key in keys])


# Time.


@everywhere(*ON_FAKE_TIME)
async def test_a_fixed_window_ends(place: Place) -> None:
    throttle = place.make(Throttle, "2/10s")
    assert await throttle.allow("k")
    place.clock.advance(9)
    assert [await throttle.allow("k") for _ in range(2)] == [True, False]
    if place.kind != "six":
        # Who only has six verbs notes the end on the clock on the wall.
        assert (await throttle.hit("k")).retry_after == pytest.approx(1)
    place.clock.advance(1)
    assert [await throttle.allow("k") for _ in range(3)] == [True, True, False]


@everywhere("six")
async def test_six_verbs_tell_when_the_window_ends(place: Place) -> None:
    throttle = place.make(Throttle, "1/h")
    first = await throttle.hit("k")
    assert 3590 < first.reset_after <= 3600
    assert first.reset_after > (await throttle.hit("k")).reset_after > 3590


@everywhere("memory", "namespace")
async def test_a_sliding_window_forgets_evenly(place: Place) -> None:
    throttle = place.make(Throttle, "10/10s", algorithm="sliding-window")
    assert [await throttle.allow("k") for _ in range(11)] == [True] * 10 + [False]
    denied = await throttle.hit("k")
    assert denied.retry_after == pytest.approx(11)
    place.clock.advance(15)
    assert (await throttle.peek("k")).remaining == 5
    assert [await throttle.allow("k") for _ in range(6)] == [True] * 5 + [False]
    assert (await throttle.hit("k")).retry_after == pytest.approx(1)
    place.clock.advance(1)
    assert [await throttle.allow("k") for _ in range(2)] == [True, False]
    place.clock.advance(14)
    assert (await throttle.peek("k")).remaining == 10


@everywhere("memory", "namespace")
async def test_a_bucket_refills_evenly(place: Place) -> None:
    throttle = place.make(Throttle, "10/s", algorithm="gcra")
    assert [await throttle.allow("k") for _ in range(11)] == [True] * 10 + [False]
    denied = await throttle.hit("k")
    assert denied.retry_after == pytest.approx(0.1)
    assert denied.reset_after == pytest.approx(1)
    place.clock.advance(0.1)
    assert [await throttle.allow("k") for _ in range(2)] == [True, False]
    place.clock.advance(0.35)
    assert (await throttle.peek("k")).remaining == 3
    place.clock.advance(100)
    assert (await throttle.peek("k")).remaining == 10


@everywhere("memory", "redis")
async def test_a_bucket_may_have_another_burst(place: Place) -> None:
    throttle = place.make(Throttle, "10/h burst 2", algorithm="gcra")
    assert [await throttle.allow("k") for _ in range(3)] == [True, True, False]
    assert (await throttle.hit("k")).retry_after == pytest.approx(360, abs=5)
    generous = place.make(Throttle, "10/h burst 20", algorithm="gcra")
    assert (await generous.hit("k", 20)).remaining == 0


@everywhere("memory")
async def test_what_is_over_is_not_kept(place: Place) -> None:
    for algorithm in ALGORITHMS:
        throttle = place.make(Throttle, "2/s", "4/2s", algorithm=algorithm)
        await throttle.allow("k")
        place.clock.advance(6)
        assert len(place.store) == 0  # type: ignore[arg-type]


@everywhere("comparing")
async def test_a_users_backend_takes_the_clock_on_the_wall(place: Place) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limiters, "time", Clock(place.clock))
        throttle = place.make(Throttle, "2/s", "3/10s", algorithm="gcra")
        assert [await throttle.allow("k") for _ in range(3)] == [True, True, False]
        place.clock.advance(0.5)
        assert [await throttle.allow("k") for _ in range(2)] == [True, False]
        place.clock.advance(3)
        assert [await throttle.allow("k") for _ in range(2)] == [True, False]


@everywhere("memory", "namespace")
async def test_windows_of_several_rates_end_one_by_one(place: Place) -> None:
    throttle = place.make(Throttle, "2/s", "3/10s")
    assert [await throttle.allow("k") for _ in range(3)] == [True, True, False]
    place.clock.advance(1)
    assert [await throttle.allow("k") for _ in range(2)] == [True, False]
    denied = await throttle.hit("k")
    assert (denied.limit, denied.retry_after) == (3, pytest.approx(9))
    place.clock.advance(9)
    assert [await throttle.allow("k") for _ in range(3)] == [True, True, False]


@everywhere("comparing")
async def test_a_clock_that_is_set_back_does_not_deny_forever(place: Place) -> None:
    for algorithm in ALGORITHMS:
        with pytest.MonkeyPatch.context() as patch:
            before, after = FakeClock(10**9), FakeClock(10**6)
            patch.setattr(limiters, "time", Clock(before))
            throttle = place.make(Throttle, "2/s", "9/min", algorithm=algorithm)
            assert [await throttle.allow("k") for _ in range(3)] == [True, True, False]
            patch.setattr(limiters, "time", Clock(after))
            await throttle.hit("k")
            after.advance(2)
            assert await throttle.allow("k")


class Clock:
    def __init__(self, clock: FakeClock) -> None:
        self.time = clock


@everywhere("redis")
async def test_the_clock_of_the_server_decides(place: Place) -> None:
    """However wrong the clocks of the application are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limiters.time, "time", lambda: 0.0)
        for algorithm in ALGORITHMS:
            throttle = place.make(Throttle, "5/200ms", algorithm=algorithm)
            assert (await throttle.hit("k", 5)).allowed
            denied = await throttle.hit("k", 5)
            assert not denied.allowed
            assert 0 < denied.retry_after <= 0.4
            assert (await throttle.wait("k", 5, timeout=10)).allowed


# Waiting.


@everywhere("memory", "namespace", "telling")
async def test_wait_sleeps_until_it_is_allowed(place: Place) -> None:
    throttle = place.make(Throttle, "2/10s")
    waiting = moving(throttle, place.clock)
    assert await throttle.wait("k")
    assert await throttle.wait("k")
    assert waiting.slept == []
    place.clock.advance(4)
    result = await throttle.wait("k")
    assert (result.allowed, result.remaining) == (True, 1)
    assert waiting.slept == [pytest.approx(6)]


@everywhere("memory")
async def test_wait_gives_up_at_once_if_it_takes_too_long(place: Place) -> None:
    throttle = place.make(Throttle, "1/10s")
    waiting = moving(throttle, place.clock)
    assert await throttle.wait("k", timeout=0)
    result = await throttle.wait("k", timeout=9.9)
    assert (result.allowed, waiting.slept) == (False, [])
    assert result.retry_after == pytest.approx(10)
    assert await throttle.wait("k", timeout=10.1)
    assert len(waiting.slept) == 1


@everywhere("redis", "memory")
async def test_all_waiters_are_allowed_in_time(place: Place) -> None:
    """Really: ten hits at five in 50 ms take three windows, or two if the first is met."""
    backend = place.store if place.kind == "redis" else MemoryBackend()
    throttle = place.make(Throttle, "5/50ms", backend=backend)
    results = await place.at_once(10, lambda: throttle.wait("k", timeout=20))
    assert all(result.allowed for result in results)


def test_a_blocking_face_that_drives_waits_in_its_thread() -> None:
    face = SyncThrottle(MemoryBackend(), "1/20ms")
    assert face.wait("k")
    assert face.wait("k", timeout=10).allowed
    assert SyncThrottle(SyncBackend(MemoryBackend()), "1/h").allow("k") is True


# What is wrong.


@pytest.mark.parametrize("rate", ["ten a minute", "0/s", "10/0s", "", "10/s;20/s"])
def test_a_rate_that_cannot_be_read_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        Throttle(MemoryBackend(), rate)


def test_what_a_throttle_cannot_be_built_of() -> None:
    memory = MemoryBackend()
    anything: Any = Throttle
    with pytest.raises(ValueError, match="needs a rate"):
        Throttle(memory)
    with pytest.raises(TypeError, match="a rate must be"):
        anything(memory, 10)
    with pytest.raises(TypeError, match="takes a Backend, not str"):
        anything("redis://", "10/s")
    with pytest.raises(TypeError, match="takes a Backend, not SyncMemory"):
        anything(SyncBackend(memory), "10/s")
    with pytest.raises(ValueError, match="algorithm must be one of"):
        anything(memory, "10/s", algorithm="leaky")
    with pytest.raises(ValueError, match="on_error must be one of"):
        anything(memory, "10/s", on_error="miss")
    with pytest.raises(TypeError, match="a prefix"):
        anything(memory, "10/s", prefix=None)
    with pytest.raises(ValueError, match="same period"):
        Throttle(memory, "10/s", "20/1000ms")
    with pytest.raises(ValueError, match="a burst needs algorithm='gcra'"):
        Throttle(memory, "10/s burst 5")


@pytest.mark.parametrize("build", [Throttle, SyncThrottle])
def test_what_a_backend_does_not_provide_is_named(build: Callable[..., Any]) -> None:
    six = SixVerbs(MemoryBackend())
    for backend in (six, six.namespace("ns")):
        for rates, algorithm in (("5/s",), "gcra"), (("5/s",), "sliding-window"), (("5/s", "9/min"), "fixed-window"):
            with pytest.raises(UnsupportedOperationError, match="add and compare_and_set; SixVerbs") as caught:
                build(backend, *rates, algorithm=algorithm)
            assert (caught.value.verb, caught.value.class_name) == ("add, compare_and_set", "SixVerbs")
        assert build(backend, "5/s")


@everywhere("memory", "redis", "six")
async def test_a_bad_argument_is_an_error_and_changes_nothing(place: Place) -> None:
    throttle = place.make(Throttle, "5/h")
    for cost in (0, -1, 6):
        for call in (throttle.allow, throttle.hit, throttle.wait):
            with pytest.raises(ValueError, match="cost"):
                await call("k", cost)
    for cost in (1.0, "1", True, None):
        for call in (throttle.allow, throttle.hit, throttle.wait):
            with pytest.raises(TypeError, match="cost"):
                await call("k", cost)
    for key in (None, 1, b"k", ["k"]):
        for call in (throttle.allow, throttle.hit, throttle.wait, throttle.peek, throttle.reset):
            with pytest.raises(TypeError, match="key"):
                await call(key)
    with pytest.raises(ValueError, match="surrogate"):
        await throttle.allow("\ud800")
    with pytest.raises(ValueError, match="negative"):
        await throttle.wait("k", timeout=-1)
    with pytest.raises(TypeError, match="timeout"):
        await throttle.wait("k", timeout="1")
    assert (await throttle.peek("k")).remaining == 5


@everywhere("memory", "redis")
async def test_what_others_wrote_under_its_keys_does_not_stop_it(place: Place) -> None:
    for algorithm in ALGORITHMS:
        for rates in (("2/h",), ("2/h", "3/day")):
            for junk in ("junk", [1], 1.5, {"a": 1}, b"x" * 32, "7" * 31, "x" * 39, -7):
                throttle = place.make(Throttle, *rates, algorithm=algorithm)
                written = "+".join(map(str, throttle.rates))
                await place.verbs.set(f"throttle:{algorithm}:{written}:k", junk)
                assert isinstance((await throttle.hit("k")).allowed, bool)
                await throttle.reset("k")


@everywhere("memory", "redis")
async def test_a_counter_without_an_expiry_does_not_deny_forever(place: Place) -> None:
    throttle = place.make(Throttle, "2/h")
    await place.verbs.set("throttle:fixed-window:2/h:k", 100)
    assert not await throttle.allow("k")
    assert await place.verbs.ttl("throttle:fixed-window:2/h:k") == pytest.approx(3600, abs=5)


# When the store is away.


class Away(SixVerbs):
    """A backend whose store can be away."""

    error: BaseException | None = None

    async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: Any = None) -> Any:
        if self.error:
            raise self.error
        return await super().get(key, type, default=default)

    async def delete(self, key: str) -> bool:
        if self.error:
            raise self.error
        return await super().delete(key)


ERRORS = [
    BackendConnectionError("away"),
    BackendTimeoutError("slow"),
    OutcomeUnknownError("?"),
    ResponseError("full", code="OOM"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.anyio
async def test_what_happens_while_the_store_is_away(error: Exception) -> None:
    backend = Away(MemoryBackend())
    backend.error = error
    with pytest.raises(type(error)):
        await Throttle(backend, "2/h").allow("k")
    with pytest.raises(type(error)):
        await Throttle(backend, "2/h").hit("k")
    allowing = Throttle(backend, "2/h", on_error="allow")
    assert all([await allowing.allow("k") for _ in range(5)])
    result = await allowing.hit("k")
    assert (result.allowed, result.remaining, result.retry_after) == (True, 2, 0)
    assert (await allowing.peek("k")).allowed
    assert (await allowing.wait("k")).allowed
    denying = Throttle(backend, "2/h", on_error="deny")
    assert not await denying.allow("k")
    result = await denying.hit("k")
    assert (result.allowed, result.remaining, result.retry_after) == (False, 0, 1)
    assert result.headers() == {"Retry-After": "1"}
    assert not await denying.wait("k", timeout=0.1)
    local = Throttle(backend, "2/h", on_error="local")
    assert [await local.allow("k") for _ in range(3)] == [True, True, False]
    assert (await local.hit("k")).remaining == 0
    backend.error = None
    assert [await local.allow("k") for _ in range(3)] == [True, True, False]
    backend.error = error
    with pytest.raises(type(error)):
        await local.reset("k")
    assert await local.allow("k")


@pytest.mark.anyio
async def test_on_error_is_not_for_mistakes() -> None:
    backend = MemoryBackend()
    throttle = Throttle(backend, "2/h", on_error="allow")
    with pytest.raises(ValueError, match="cost"):
        await throttle.allow("k", 3)
    await backend.aclose()
    with pytest.raises(BackendClosedError):
        await throttle.allow("k")


@pytest.mark.anyio
async def test_a_server_that_is_not_there() -> None:
    async with RedisBackend(f"redis://127.0.0.1:{free_port()}/0", timeout=2) as backend:
        with pytest.raises(BackendConnectionError):
            await Throttle(backend, "2/h").allow("k")
        assert [await Throttle(backend, "2/h", on_error="allow").allow("k") for _ in range(3)] == [True] * 3
        local = Throttle(backend, "2/h", algorithm="gcra", on_error="local")
        assert [await local.allow("k") for _ in range(3)] == [True, True, False]
    face = SyncThrottle(RedisBackend(f"redis://127.0.0.1:{free_port()}/0"), "2/h", on_error="local")
    assert [face.allow("k") for _ in range(3)] == [True, True, False]


# Over many processes.

PROGRAM = """
import sys
from reinhardt_backends import RedisBackend
from reinhardt_backends import SyncThrottle
url, rates, algorithms = sys.argv[1], sys.argv[2].split(), sys.argv[3].split()
throttles = [SyncThrottle(RedisBackend(url), *rates, algorithm=algorithm) for algorithm in algorithms]
sys.stdin.readline()
print(*(sum(throttle.allow("k") for _ in range(100)) for throttle in throttles))
"""


def test_eight_processes_are_allowed_exactly_as_often_as_the_limit(server: Server) -> None:
    command = [sys.executable, "-c", PROGRAM, server.url, "333/h 500/day", " ".join(ALGORITHMS)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    allowed = [map(int, process.communicate(timeout=60)[0].split()) for process in processes]
    assert [sum(counts) for counts in zip(*allowed, strict=True)] == [333] * len(ALGORITHMS)


@everywhere("redis")
async def test_a_decision_is_one_round_trip(place: Place) -> None:
    """Once the server knows the script, a decision is one command."""
    for algorithm in ALGORITHMS:
        throttle = place.make(Throttle, "50/h", "100/day", algorithm=algorithm)
        await throttle.allow("k")
        sent = commands_of(place)
        for call in (throttle.allow, throttle.hit, throttle.peek):
            await call("k")
        assert commands_of(place) - sent == 3


def commands_of(place: Place) -> int:
    """How many scripts the server has run."""
    assert place.server is not None
    text = place.server.command("INFO", "commandstats").decode()
    lines = [line for line in text.splitlines() if line.startswith("cmdstat_eval")]
    return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines)


# Header fields.


def test_the_header_fields_are_those_of_the_draft() -> None:
    minute, hour = Rate(10, 60), Rate(1000, 3600)
    quotas = (Quota(minute, 4, 29.2, 0.0, 29.2), Quota(hour, 994, 3599.5, 0.0, 3599.5))
    allowed = ThrottleResult(True, 10, 4, 29.2, 0.0, quotas)
    assert allowed.headers() == {
        "RateLimit-Policy": '"10/min";q=10;w=60, "1000/h";q=1000;w=3600',
        "RateLimit": '"10/min";r=4;t=30, "1000/h";r=994;t=3600',
    }
    quotas = (Quota(minute, 0, 29.2, 29.2, 29.2), Quota(hour, 994, 3599.5, 0.0, 3599.5))
    denied = ThrottleResult(False, 10, 0, 29.2, 29.2, quotas)
    assert denied.headers() == {
        "RateLimit-Policy": '"10/min";q=10;w=60, "1000/h";q=1000;w=3600',
        "RateLimit": '"10/min";r=0;t=30',
        "Retry-After": "30",
    }
    short = ThrottleResult(False, 1, 0, 0.01, 0.01, (Quota(Rate(1, 0.1), 0, 0.01, 0.01),))
    assert short.headers() == {
        "RateLimit-Policy": '"1/100ms";q=1;w=1',
        "RateLimit": '"1/100ms";r=0;t=1',
        "Retry-After": "1",
    }


# Laws.

COST = st.integers(1, 4)
MOVES = st.lists(st.one_of(st.integers(0, 3000).map(lambda ms: ms / 1000), COST), max_size=60)
RATE = st.builds(Rate, st.integers(4, 9), st.integers(100, 5000).map(lambda ms: ms / 1000))


class Played:
    """A throttle on a fake clock, and what it allowed when."""

    def __init__(self, backend: Callable[[MemoryBackend], Backend], *rates: Rate, algorithm: Any) -> None:
        self.clock = FakeClock()
        self.throttle = Throttle(backend(MemoryBackend(clock=self.clock)), *rates, algorithm=algorithm)
        self.allowed: deque[tuple[float, int]] = deque()

    def play(self, moves: list[float | int]) -> None:
        for move in moves:
            if isinstance(move, int):
                self.hit(move)
            else:
                self.clock.advance(move)

    def hit(self, cost: int) -> None:
        before = drive(self.throttle.peek("k"))
        result = drive(self.throttle.hit("k", cost))
        after = drive(self.throttle.peek("k"))
        if result.allowed:
            self.allowed.append((self.clock(), cost))
            assert [old.remaining - new.remaining for old, new in zip(before.quotas, after.quotas, strict=True)] == [
                cost
            ] * len(before.quotas)
            assert result.retry_after == 0
        else:
            assert before == after
            assert result.retry_after > 0
            assert any(quota.remaining < cost for quota in after.quotas)
        assert result.remaining == min(quota.remaining for quota in after.quotas) or not result.allowed

    def within(self, start: float, end: float) -> int:
        return sum(cost for at, cost in self.allowed if start <= at < end)


@given(moves=MOVES, rate=RATE, other=RATE, algorithm=st.sampled_from(ALGORITHMS))
def test_a_denied_hit_changes_nothing_and_an_allowed_one_counts(
    moves: list[Any], rate: Rate, other: Rate, algorithm: Any
) -> None:
    rates = [rate, other] if rate.period != other.period else [rate]
    Played(lambda memory: memory, *rates, algorithm=algorithm).play(moves)


@given(moves=MOVES, rate=RATE)
def test_a_window_never_allows_more_than_its_limit(moves: list[Any], rate: Rate) -> None:
    """A window begins with the first hit that no window covers."""
    played = Played(lambda memory: memory, rate, algorithm="fixed-window")
    played.play(moves)
    end = 0.0
    for at, _ in list(played.allowed):
        if at >= end:
            end = at + rate.period
            assert played.within(at, end) <= rate.limit


@given(moves=MOVES, rate=RATE)
def test_no_time_of_one_period_allows_twice_the_limit(moves: list[Any], rate: Rate) -> None:
    for algorithm in ALGORITHMS:
        played = Played(lambda memory: memory, rate, algorithm=algorithm)
        played.play(moves)
        for at, _ in list(played.allowed):
            assert played.within(at, at + rate.period - 1e-6) <= 2 * rate.limit


@given(moves=MOVES, rate=RATE)
def test_a_bucket_keeps_its_rate_in_the_long_run(moves: list[Any], rate: Rate) -> None:
    """Over any stretch of time: the burst, and what the rate gives meanwhile."""
    played = Played(lambda memory: memory, rate, algorithm="gcra")
    played.play(moves)
    for start, _ in list(played.allowed):
        for end, _ in list(played.allowed):
            if end >= start:
                most = rate.limit + (end - start) * rate.limit / rate.period
                assert played.within(start, end + 1e-6) <= most + 1e-6


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_a_bucket_that_is_always_drained_gives_exactly_its_rate(limit: int) -> None:
    """No rounding adds up: after a thousand periods not one hit is missing, and none is too many."""
    played = Played(lambda memory: memory, Rate(limit, 1.0), algorithm="gcra")
    throttle = played.throttle
    while drive(throttle.allow("k")):
        pass
    allowed = 0
    for _ in range(1000):
        played.clock.advance(1.0)
        cost = limit
        assert drive(throttle.allow("k", cost))
        assert not drive(throttle.allow("k"))
        allowed += cost
    assert allowed == 1000 * limit


@given(moves=MOVES, rate=RATE, algorithm=st.sampled_from(ALGORITHMS))
def test_a_caller_that_waits_for_retry_after_is_allowed(moves: list[Any], rate: Rate, algorithm: Any) -> None:
    """``retry_after`` is long enough, and a millisecond less is not, but for the rounding of an expiry."""
    played = Played(lambda memory: memory, rate, algorithm=algorithm)
    played.play(moves)
    result = drive(played.throttle.hit("k", 4))
    if not result.allowed:
        played.clock.advance(max(result.retry_after - 0.001, 0))
        if result.retry_after > 0.001:
            assert not drive(played.throttle.peek("k")).quotas[0].remaining >= 4
        played.clock.advance(0.001)
        assert drive(played.throttle.allow("k", 4))


@given(moves=MOVES, rate=RATE, other=RATE, algorithm=st.sampled_from(ALGORITHMS))
def test_backends_decide_alike(moves: list[Any], rate: Rate, other: Rate, algorithm: Any) -> None:
    rates = [rate, other] if rate.period != other.period else [rate, Rate(rate.limit, rate.period * 2)]
    played = [Played(kind, *rates, algorithm=algorithm) for kind in (lambda memory: memory, Unsuspending)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limiters, "time", Clock(played[1].clock))
        for one in played:
            one.play(moves)
    assert [cost for _, cost in played[0].allowed] == [cost for _, cost in played[1].allowed]


class Unsuspending(Comparing):
    """A user's backend that can be driven."""

    async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: Any = None) -> Any:
        return await self.store.get(key, type, default=default, renew=renew)

    async def add(self, key: str, value: Any, ttl: Any = None) -> bool:
        return await self.store.add(key, value, ttl)

    async def compare_and_set(self, key: str, expected: Any, value: Any, ttl: Any = None) -> bool:
        return await self.store.compare_and_set(key, expected, value, ttl)


@everywhere("redis")
async def test_redis_and_memory_decide_alike(place: Place) -> None:
    """The step in Lua is the step in Python: the same hits in the same instant have the same answers."""
    memory = MemoryBackend(clock=lambda: 1.0)
    for algorithm in ALGORITHMS:
        for rates in (("7/h",), ("7/h", "9/day"), ("1000/h burst 3" if algorithm == "gcra" else "9/2h", "5/day")):
            ours = place.make(Throttle, *rates, algorithm=algorithm)
            theirs = Throttle(memory, *rates, algorithm=algorithm)
            for cost in (1, 2, 1, 3, 2, 1, 1, 1, 1, 3, 1):
                one, other = await ours.hit("k", cost), drive(theirs.hit("k", cost))
                assert (one.allowed, one.remaining) == (other.allowed, other.remaining)
                assert one.reset_after == pytest.approx(other.reset_after, abs=5)
                assert one.retry_after == pytest.approx(other.retry_after, abs=5)


HOUR = 3_600_000_000
# The latest time and the times in the numbers relative to now, then the lag. By name, which numbers are times.
TIMES = {"fixed-window": (0,), "sliding-window": (0,), "gcra": ()}
STATES = {
    "fixed-window": [(HOUR // 2, 5), (-1, 5), (HOUR // 3, 9), (HOUR // 3, 0)],
    "sliding-window": [
        (-HOUR // 2, 5, 0), (-HOUR // 4, 3, 9), (-HOUR // 4, 9, 0), (-HOUR * 5 // 4, 8, 9), (-HOUR * 3, 9, 9),
    ],
    "gcra": [(6 * HOUR,), (9 * HOUR,), (5 * HOUR,), (0,)],
}  # fmt: skip
CLOCKS = [
    (-HOUR // 4, 0), (-1, 0), (HOUR // 10, 0), (HOUR // 2, 0), (HOUR * 30, 0),
    (HOUR // 10, HOUR // 2), (HOUR // 2, HOUR), (HOUR // 2, HOUR // 10), (HOUR * 30, HOUR * 31), (-1, HOUR // 2),
    (-1, 5 * HOUR),
]  # fmt: skip


@everywhere("redis")
async def test_redis_and_memory_read_what_is_stored_alike(place: Place) -> None:
    """Whatever time has passed since, and if a clock was set back. Rates of nine an hour, and nine in two."""
    assert place.server is not None
    clock = FakeClock(2_000_000_000)
    memory = MemoryBackend(clock=clock)
    for algorithm, states in STATES.items():
        for rates in (("9/h",), ("9/h", "9/2h")):
            if algorithm == "fixed-window" and len(rates) == 1:
                continue
            ours = place.make(Throttle, *rates, algorithm=algorithm)
            theirs = Throttle(memory, *rates, algorithm=algorithm)  # type: ignore[arg-type]
            name = f"throttle:{algorithm}:{'+'.join(rates)}:k"
            for (offset, lag), numbers in itertools.product(CLOCKS, states):
                here = round(clock() * 1e6)
                there = int(place.server.command("TIME").split(b"\r\n")[2]) * 1_000_000
                for store, now in ((memory, here), (place.verbs, there)):
                    latest = now + offset
                    kept = [latest + n if at in TIMES[algorithm] else n for at, n in enumerate(numbers)]
                    state = [latest, lag, *kept * len(rates)]
                    await store.set(name, struct.pack(f"<{len(state)}d", *state), 10**6)
                for cost in (3, 1):
                    one, other = await ours.hit("k", cost), drive(theirs.hit("k", cost))
                    what = algorithm, offset, lag, numbers, cost
                    assert (one.allowed, one.remaining) == (other.allowed, other.remaining), what
                    for first, second in zip(one.quotas, other.quotas, strict=True):
                        assert first.reset_after == pytest.approx(second.reset_after, abs=5), what
                        assert first.retry_after == pytest.approx(second.retry_after, abs=5), what
                        assert first.refill_after == pytest.approx(second.refill_after, abs=5), what
