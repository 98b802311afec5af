"""What the memory backend promises beyond its verbs: time, memory, bounds, threads, signals and forks."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from reinhardt_backends import (
    KEEP_TTL,
    BackendClosedError,
    CapacityError,
    CounterError,
    DeserializationError,
    MemoryBackend,
)
from reinhardt_backends._blocking import drive
from reinhardt_backends.testing import FakeClock

SWEEP_AT_MOST = 256
POLICIES = ("lru", "lfu", "fifo")


def held(backend: MemoryBackend) -> int:
    """How many entries take up memory, expired ones included."""
    return len(backend._data)


def filed(backend: MemoryBackend) -> int:
    """How many keys the expiry ring holds."""
    ring = backend._ring
    return sum(map(len, ring.slots)) + sum(map(len, ring._passed)) + len(ring._taken)


def run_alone(code: str, *, timeout: float = 60) -> str:
    """Run a program that could hang in a process of its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> MemoryBackend:
    return MemoryBackend(clock=clock)


# Time.


@pytest.mark.parametrize("ttl", [0.001, 0.1, 0.2, 0.25, 0.3, 1, 1.1, 15.5, 60, 496, 3600.001, 86_400 * 400, 10**9])
@pytest.mark.parametrize("start", [0.0, 0.1, 0.7, 1000.0, 1e6 + 0.3])
def test_expiry_is_exact(ttl: float, start: float) -> None:
    """A key is live until its ttl has run out, and missing from that very instant."""
    for passed, left in ((ttl - 0.0005, 2), (ttl, 0)):
        clock = FakeClock(start)
        backend = MemoryBackend(clock=clock)
        drive(backend.set("k", "v", ttl))
        drive(backend.increment("n", ttl))
        clock.advance(passed)
        assert len(drive(backend.get_many(["k", "n"]))) == left
        assert drive(backend.exists("k")) is bool(left)
        assert len(backend) == left


def test_expiry_is_exact_in_small_steps(backend: MemoryBackend, clock: FakeClock) -> None:
    """A ttl of 3 seconds has run out after 30 steps of a tenth, and not after 29."""
    clock.advance(0.7)
    drive(backend.set("k", "v", 3))
    for _ in range(29):
        clock.advance(0.1)
        assert drive(backend.exists("k"))
    clock.advance(0.1)
    assert not drive(backend.exists("k"))


@given(st.floats(1e-9, 1e6), st.floats(0, 1e5))
def test_a_ttl_is_rounded_up_to_a_millisecond(ttl: float, start: float) -> None:
    """ttl tells whole milliseconds, never less than was asked for and not a millisecond more."""
    backend = MemoryBackend(clock=FakeClock(start))
    drive(backend.set("k", 1, ttl))
    left = drive(backend.ttl("k"))
    assert left is not None
    assert left == round(left, 3) > 0
    assert ttl * (1 - 1e-12) - 1e-12 <= left <= ttl + 0.001


@pytest.mark.parametrize(
    ("ttl", "left"),
    [
        (0.0001, 0.001),
        (1.1, 1.1),
        (2.675, 2.675),
        (0.29, 0.29),
        (1.0004, 1.001),
        (timedelta(microseconds=1001), 0.002),
        (5, 5.0),
    ],
)
def test_how_a_ttl_is_rounded(backend: MemoryBackend, ttl: Any, left: float) -> None:
    """Numbers of whole milliseconds stay as they are, though floats cannot quite spell them."""
    drive(backend.set("k", 1, ttl))
    assert drive(backend.ttl("k")) == left


def test_time_is_monotonic_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of the wall clock moves nothing."""
    backend = MemoryBackend()
    drive(backend.set("k", 1, 60))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10_000)
    assert drive(backend.exists("k"))


def test_len_counts_live_keys(backend: MemoryBackend, clock: FakeClock) -> None:
    """len counts a key until its expiry and not after, swept or not; an empty backend is still true."""
    assert len(backend) == 0
    assert backend
    drive(backend.set_many({f"k{number}": number for number in range(10)}, 1.5))
    drive(backend.set("stays", 1))
    assert len(backend) == 11
    clock.advance(1.499)
    assert len(backend) == 11
    clock.advance(0.001)
    assert len(backend) == 1


def test_cleanup_tells_how_many_went(backend: MemoryBackend, clock: FakeClock) -> None:
    """cleanup_expired frees every expired key at once, those of this very instant too, and returns their number."""
    for number in range(1000):
        drive(backend.set(f"k{number}", number, 1 + number / 1000))
    clock.advance(1.5)
    assert backend.cleanup_expired() == 501
    assert held(backend) == filed(backend) == 499
    assert backend.cleanup_expired() == 0
    clock.advance(100)
    assert backend.cleanup_expired() == 499
    assert held(backend) == filed(backend) == 0


def test_cleanup_knows_moved_expiries(backend: MemoryBackend, clock: FakeClock) -> None:
    """Keys whose expiry was moved, removed or shortened are cleaned up when their time has come, not before."""
    for key in ("later", "never", "sooner", "kept"):
        drive(backend.set(key, 1, 100))
    drive(backend.touch("later", 1000))
    drive(backend.touch("never", None))
    drive(backend.touch("sooner", 1))
    drive(backend.set("kept", 2, KEEP_TTL))
    clock.advance(1)
    assert backend.cleanup_expired() == 1
    clock.advance(99)
    assert backend.cleanup_expired() == 1
    clock.advance(900)
    assert backend.cleanup_expired() == 1
    assert drive(backend.get_many(["later", "never", "sooner", "kept"])) == {"never": 1}


# Memory.

USES: dict[str, Callable[[MemoryBackend, int], Awaitable[Any]]] = {
    "new keys": lambda backend, number: backend.set(f"new{number}", 1),
    "one key": lambda backend, number: backend.set("one", 1, 60),
    "increment": lambda backend, number: backend.increment("one", 60),
    "misses": lambda backend, number: backend.get("missing"),
    "hits": lambda backend, number: backend.get("stays"),
    "delete": lambda backend, number: backend.delete("missing"),
    "add": lambda backend, number: backend.add("one", 1),
    "touch": lambda backend, number: backend.touch("stays", None),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("options", [{}, {"maxsize": 10**6}], ids=["unbounded", "bounded"])
def test_mere_use_frees_memory(use: Callable[[MemoryBackend, int], Awaitable[Any]], options: Any) -> None:
    """Each call of any verb removes a bounded number of expired keys, until none is left."""
    clock = FakeClock()
    backend = MemoryBackend(clock=clock, **options)
    drive(backend.set("stays", 1))
    drive(backend.set_many({f"k{number}": number for number in range(5000)}, 1))
    clock.advance(2)
    calls = 0
    while held(backend) > 100:
        before = held(backend)
        drive(use(backend, calls))
        assert before - held(backend) <= SWEEP_AT_MOST
        calls += 1
        assert calls < 100
    assert calls >= 5000 // SWEEP_AT_MOST
    assert drive(backend.get("stays")) == 1


def test_memory_is_given_back() -> None:
    """After many keys have expired and the backend is used a little, their memory is back."""
    clock = FakeClock()
    backend = MemoryBackend(clock=clock)
    gc.collect()
    tracemalloc.start()
    try:
        empty = tracemalloc.get_traced_memory()[0]
        for number in range(30_000):
            drive(backend.set(f"session:{number}", f"user {number}", 1 + number / 30_000))
        full = tracemalloc.get_traced_memory()[0] - empty
        clock.advance(3)
        for number in range(200):
            drive(backend.set("k", number, 60))
        left = tracemalloc.get_traced_memory()[0] - empty
    finally:
        tracemalloc.stop()
    assert held(backend) == 1
    assert left < full * 0.2


@pytest.mark.parametrize("ttl", [None, 60, "other", KEEP_TTL])
def test_one_key_overwritten_holds_one_entry(backend: MemoryBackend, clock: FakeClock, ttl: Any) -> None:
    """A key that is overwritten many times, with any ttl, takes the memory of one key."""
    drive(backend.set("k", "value", 60))
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(5_000):
            drive(backend.set("k", "value", 1 + number % 977 if ttl == "other" else ttl))
            if number % 10 == 0:
                clock.advance(0.01)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held(backend) == 1
    assert filed(backend) <= 2
    assert after - before < 5_000


def test_deleted_keys_leave_nothing_behind(backend: MemoryBackend) -> None:
    """Set and delete, again and again: neither the store nor the ring grows."""
    for number in range(2000):
        drive(backend.set(f"k{number}", 1, 1 + number))
        drive(backend.delete(f"k{number}"))
    assert held(backend) == filed(backend) == 0
    drive(backend.set_many({f"k{number}": 1 for number in range(100)}, 60))
    drive(backend.clear())
    assert held(backend) == filed(backend) == 0


def test_entries_are_nothing_to_the_garbage_collector(backend: MemoryBackend) -> None:
    """Entries drop out of the collector's sight, so that many keys make no long pauses."""
    values = ("text", 1, 1.5, None, b"raw", [1, 2], {"a": {"b": 1}})
    drive(backend.set_many({f"k{number}": value for number, value in enumerate(values)}, 60))
    gc.collect()
    for number in range(len(values)):
        assert not gc.is_tracked(backend._data[f"k{number}"])


def test_expired_counters_start_again(backend: MemoryBackend, clock: FakeClock) -> None:
    """A fixed window: the counter expires with its first ttl and starts again."""
    for _ in range(3):
        assert [drive(backend.increment("k", 10)) for _ in range(3)] == [1, 2, 3]
        clock.advance(9.9)
        assert drive(backend.increment("k", 10)) == 4
        clock.advance(0.1)


# Bounds.


def test_the_least_recently_used_goes() -> None:
    """lru: get, set, increment and touch count as use; exists, ttl and scan do not."""
    backend = MemoryBackend(maxsize=3, policy="lru")
    drive(backend.set_many({"a": 1, "b": 2, "c": 3}))
    drive(backend.get("a"))
    drive(backend.exists("b"))
    drive(backend.ttl("b"))
    drive(keys_of(backend))
    drive(backend.set("d", 4))
    assert drive(keys_of(backend)) == ["a", "c", "d"]
    drive(backend.increment("a"))
    drive(backend.set("c", 3))
    drive(backend.set("e", 5))
    assert drive(keys_of(backend)) == ["a", "c", "e"]


def test_the_least_frequently_used_goes() -> None:
    """lfu: the least used key is evicted first."""
    backend = MemoryBackend(maxsize=3, policy="lfu")
    drive(backend.set_many({"a": 1, "b": 2, "c": 3}))
    for key, times in (("a", 3), ("b", 1), ("c", 2)):
        for _ in range(times):
            drive(backend.get(key))
    drive(backend.set("d", 4))
    assert drive(keys_of(backend)) == ["a", "c", "d"]


def test_the_oldest_goes() -> None:
    """fifo: the first that came goes first, however much it was read."""
    backend = MemoryBackend(maxsize=3, policy="fifo")
    drive(backend.set_many({"a": 1, "b": 2, "c": 3}))
    for _ in range(5):
        drive(backend.get("a"))
    drive(backend.set("d", 4))
    assert drive(keys_of(backend)) == ["b", "c", "d"]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_bound_is_never_passed(policy: Any) -> None:
    """A backend never holds more entries or bytes than it may, and what it evicts is not filed any more."""
    backend = MemoryBackend(maxsize=50, maxbytes=1000, policy=policy)
    for number in range(1000):
        drive(backend.set(f"k{number}", "x" * (number % 97), 60 + number % 7))
        drive(backend.increment(f"n{number % 20}"))
        assert len(backend) <= 50
        entries = {key: backend._data[key][0] for key in backend._data}
        assert sum(len(key) + len(str(value)) for key, value in entries.items()) <= 1000
    assert filed(backend) <= 50


@pytest.mark.parametrize("policy", POLICIES)
def test_bytes_are_counted_as_stored(policy: Any) -> None:
    """maxbytes counts the UTF-8 of the key and the stored form of the value."""
    backend = MemoryBackend(maxbytes=10, policy=policy)
    drive(backend.set("é", "abcdef"))  # 2 and 8
    assert len(backend) == 1
    drive(backend.set("k", b"123456"))  # 1 and 7
    assert drive(keys_of(backend)) == ["k"]
    drive(backend.set("n", 1))
    assert drive(keys_of(backend)) == ["k", "n"]
    drive(backend.set("n", [1, 2]))
    assert drive(backend.get("n")) == [1, 2]
    assert drive(keys_of(backend)) == ["n"]


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_too_large_is_refused(policy: Any) -> None:
    """One entry larger than the bound is a CapacityError for every write, and evicts and changes nothing."""
    backend = MemoryBackend(maxbytes=100, policy=policy)
    drive(backend.set_many({"a": "x" * 30, "b": [1, 2], "n": 5}, 60))
    big = "s3cret" * 20
    writes = (
        lambda: backend.set("a", big), lambda: backend.set("new", big), lambda: backend.add("new", big),
        lambda: backend.replace("b", [big]),
        lambda: backend.compare_and_set("b", [1, 2], big), lambda: backend.set_many({"a": big}),
        lambda: backend.set("k" * 101, 1),
        lambda: backend.increment("k" * 101), lambda: backend.set("a", big, KEEP_TTL),
    )  # fmt: skip
    for write in writes:
        with pytest.raises(CapacityError) as caught:
            drive(write())
        assert "s3cret" not in str(caught.value)
        assert drive(backend.get_many(["a", "b", "n"])) == {"a": "x" * 30, "b": [1, 2], "n": 5}
        assert len(backend) == 3
        assert drive(backend.ttl("a")) > 50


@pytest.mark.parametrize("policy", POLICIES)
def test_eviction_and_expiry_together(policy: Any) -> None:
    """Evicted keys that would have expired, expired keys that would have been evicted: both are simply missing."""
    clock = FakeClock()
    backend = MemoryBackend(maxsize=20, policy=policy, clock=clock)
    for number in range(2000):
        drive(backend.set(f"k{number % 50}", number, 1 + number % 13))
        drive(backend.get(f"k{(number * 7) % 50}", renew=5 if number % 3 else None))
        if number % 5 == 0:
            clock.advance(0.3)
        assert held(backend) <= 20
        assert filed(backend) <= 20
    clock.advance(60)
    assert len(backend) == 0
    drive(backend.set("k", 1))
    assert drive(keys_of(backend)) == ["k"]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_sweep_is_no_use(policy: Any) -> None:
    """Moving a key to where its new expiry belongs does not count as its use."""
    clock = FakeClock()
    backend = MemoryBackend(maxsize=3, policy=policy, clock=clock)
    drive(backend.set("a", 1, 1))
    drive(backend.set("a", 1, 1000))
    drive(backend.set("b", 2))
    drive(backend.set("c", 3))
    clock.advance(2)
    drive(backend.delete("missing"))
    drive(backend.set("d", 4))
    assert "d" in drive(keys_of(backend))
    if policy != "lfu":
        assert drive(keys_of(backend)) == ["b", "c", "d"]


def test_clear_keeps_the_bounds() -> None:
    """A bounded backend that was cleared is bounded still."""
    backend = MemoryBackend(maxsize=2)
    for _ in range(2):
        drive(backend.set_many({"a": 1, "b": 2, "c": 3}))
        assert len(backend) == 2
        drive(backend.clear())


@pytest.mark.parametrize("bound", ["maxsize", "maxbytes"])
def test_bounds_are_checked(bound: str) -> None:
    """A bound is a positive int."""
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=bound):
            MemoryBackend(**{bound: wrong})
    for wrong in (True, 1.5, "1", math.inf):
        with pytest.raises(TypeError, match=bound):
            MemoryBackend(**{bound: wrong})
    with pytest.raises(ValueError, match="policy"):
        MemoryBackend(policy="random")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="policy"):
        MemoryBackend(maxsize=1, policy="mru")  # type: ignore[arg-type]


# Many at once.


def test_threads_lose_no_increment() -> None:
    """32 threads of 10,000 increments each: the total is exact, and no number was given twice."""
    backend = MemoryBackend()
    last: list[list[int]] = []

    def work() -> None:
        last.append([drive(backend.increment("k", 3600)) for _ in range(10_000)])

    in_threads([work] * 32)
    assert drive(backend.get("k", int)) == 320_000
    assert len({number for numbers in last for number in numbers}) == 320_000


@pytest.mark.parametrize("policy", POLICIES)
def test_threads_lose_no_increment_of_a_bounded_backend(policy: Any) -> None:
    """The same with bounds, while other keys come and are evicted."""
    backend = MemoryBackend(maxsize=100, policy=policy)
    drive(backend.increment("k", 3600))

    def work() -> None:
        for number in range(300):
            drive(backend.increment("k", 3600))
            drive(backend.get("k"))
            drive(backend.set(f"{threading.get_ident()}:{number % 9}", number))

    in_threads([work] * 8)
    assert drive(backend.get("k", int)) == 2401


def test_all_verbs_from_many_threads() -> None:
    """Writers, readers, sweeps and clears at once: no error, no lost lock, and nothing left in the ring in the end."""
    clock = FakeClock()
    backend = MemoryBackend(clock=clock)
    taken = []

    def work() -> None:
        for number in range(400):
            key = f"k{number % 37}"
            drive(backend.set(key, number, 0.1 + number % 5))
            drive(backend.get(key, int, renew=1))
            if drive(backend.add("lock", "mine")):
                taken.append(drive(backend.compare_and_delete("lock", "mine")))
            drive(backend.touch(key, 0.3))
            drive(backend.pop(key))
            drive(backend.delete_many([key, "other"]))
            clock.advance(0.01)
            if number % 50 == 0:
                drive(keys_of(backend))
                backend.cleanup_expired()
                len(backend)

    in_threads([work] * 8)
    assert all(taken)
    clock.advance(100)
    backend.cleanup_expired()
    assert held(backend) == 0
    drive(backend.set("k", 1))
    assert filed(backend) == 0


def test_event_loops_of_two_kinds_and_threads_share_one_backend() -> None:
    """asyncio, trio and threads count on one backend at once."""
    backend = MemoryBackend()

    async def count() -> None:
        for _ in range(2000):
            await backend.increment("k", 60)

    in_threads(
        [lambda: asyncio.run(count()), lambda: trio.run(count), lambda: drive(count()), lambda: asyncio.run(count())]
    )
    assert drive(backend.get("k")) == 8000


def test_validation_runs_without_the_lock() -> None:
    """A type's own validator may use the backend, from another thread too, without a hang."""
    assert run_alone("""
        import threading
        from pydantic import BaseModel
        from reinhardt_backends import MemoryBackend
        from reinhardt_backends._blocking import drive

        backend = MemoryBackend()

        class Nosy(BaseModel):
            size: int
            def model_post_init(self, context):
                thread = threading.Thread(target=lambda: drive(backend.increment("seen")))
                thread.start()
                thread.join(20)
                assert not thread.is_alive()

        drive(backend.set("k", {"size": 1}, 60))
        drive(backend.get("k", Nosy))
        drive(backend.get("k", Nosy, renew=5))
        drive(backend.get_many(["k"], Nosy))
        drive(backend.pop("k", Nosy))
        print(drive(backend.get("seen")))
    """).strip() == "4"  # fmt: skip


# Signals, finalizers, forks.

INTERRUPTED = """
    import gc, signal, sys, time
    from reinhardt_backends import MemoryBackend
    from reinhardt_backends._blocking import drive

    backend = MemoryBackend({options})
    handled = 0

    def call():
        global handled
        handled += 1
        drive(backend.increment("n", 3600))
        drive(backend.set("s", handled, 1 + handled % 7))
        drive(backend.add(f"a{{handled % 50}}", handled, 0.001))
        drive(backend.get("n"))
        drive(backend.delete("w3"))
        if handled % 40 == 0:
            backend.cleanup_expired()
            len(backend)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no interval timer")
@pytest.mark.parametrize("options", ["", "maxsize=1000", "maxbytes=10**6, policy='lfu'"], ids=["plain", "lru", "lfu"])
def test_a_signal_handler_may_use_the_backend(options: str) -> None:
    """A handler that writes in the middle of a write: no hang, no lost increment, no error."""
    code = textwrap.dedent(INTERRUPTED.format(options=options)) + textwrap.dedent("""
        def handler(*_):
            call()
            # Only now, so that handlers do not pile up.
            signal.setitimer(signal.ITIMER_REAL, 0.0003)

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        own = 0
        while handled < 500:
            for number in range(20):
                drive(backend.increment("n", 3600))
                own += 1
                drive(backend.set(f"w{number}", own, 0.001 + number))
                drive(backend.get("n", int, renew=3600))
                drive(backend.pop(f"w{number - 1}"))
            drive(backend.set_many({f"e{number}": own for number in range(200)}, 0.01))
            backend.cleanup_expired()
            len(backend)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        print(drive(backend.get("n")) == own + handled, own > 100)
    """)
    assert run_alone(code).split() == ["True", "True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no interval timer")
@pytest.mark.parametrize("options", ["", *(f"maxsize=50, maxbytes=2000, policy={policy!r}" for policy in POLICIES)])
def test_a_signal_handler_may_raise(options: str, long: bool) -> None:
    """As Ctrl-C and soft time limits do. Hundreds of times, and the backend is sound in the end."""
    assert run_alone(
        f"""
        import signal, threading, time
        from reinhardt_backends import MemoryBackend
        from reinhardt_backends._blocking._face import drive
        from reinhardt_backends.testing import FakeClock

        class TimeLimit(Exception):
            pass

        def handler(*_):
            raise TimeLimit

        clock = FakeClock()
        backend = MemoryBackend(clock=clock, {options})
        signal.signal(signal.SIGALRM, handler)
        interrupts = 0
        while interrupts < {40_017 if long else 300}:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
                for number in range(1000):
                    clock.advance(0.01)
                    drive(backend.increment("n", 3600))
                    drive(backend.set(f"w{{number % 90}}", "x" * (number % 70), 0.001 + number % 7))
                    drive(backend.get(f"w{{number % 17}}", str, renew=0.01))
                    drive(backend.pop(f"w{{number % 13}}"))
                    drive(backend.get("n"))
            except TimeLimit:
                interrupts += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)

        def other_thread():
            for number in range(500):
                drive(backend.set(f"after{{number}}", "x", 1))
                drive(backend.increment("after", 1))
            clock.advance(10_000)
            for number in range(10):
                drive(backend.set("last", number))

        thread = threading.Thread(target=other_thread, daemon=True)
        thread.start()
        thread.join(30)
        print(thread.is_alive(), list(backend._data))
    """,
        timeout=900 if long else 60,
    ).split() == ["False", "['last']"]


@pytest.mark.parametrize("options", ["", "maxsize=1000", "maxbytes=10**6, policy='lfu'"], ids=["plain", "lru", "lfu"])
def test_a_finalizer_may_use_the_backend(options: str) -> None:
    """An object's finalizer that the garbage collector runs in the middle of a write: the same."""
    code = textwrap.dedent(INTERRUPTED.format(options=options)) + textwrap.dedent("""
        class Last:
            def __init__(self):
                self.me = self
            def __del__(self):
                call()

        gc.set_threshold(7, 1, 1)
        own = 0
        for round in range(2000):
            Last()
            for number in range(5):
                drive(backend.increment("n", 3600))
                own += 1
                drive(backend.set(f"w{number}", [own], 0.001 + number))
                drive(backend.get(f"w{number}", list[int], renew=60))
        gc.collect()
        print(drive(backend.get("n")) == own + handled, handled)
    """)
    assert run_alone(code).split() == ["True", "2000"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("options", ["", "maxsize=100"], ids=["plain", "bounded"])
def test_a_fork_while_another_thread_writes(options: str) -> None:
    """A child whose parent was writing at the fork can use the backend: it inherits no lock that is held."""
    assert run_alone(f"""
        import os, signal, threading
        from reinhardt_backends import MemoryBackend
        from reinhardt_backends._blocking import drive

        class Slow:
            def __init__(self):
                self.inside, self.go_on, self.armed = threading.Event(), threading.Event(), False
            def __call__(self):
                if self.armed and threading.current_thread() is not threading.main_thread():
                    self.inside.set()
                    self.go_on.wait(30)
                return 1.0

        clock = Slow()
        backend = MemoryBackend(clock=clock, {options})
        drive(backend.set("k", 1))
        clock.armed = True
        writer = threading.Thread(target=lambda: drive(backend.set("other", 1, 60)), daemon=True)
        writer.start()
        assert clock.inside.wait(30)  # the writer is inside the lock now
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            drive(backend.set("k", 2, 60))
            ok = drive(backend.increment("k")) == 3 and drive(backend.get("k")) == 3 and len(backend) >= 1
            other = threading.Thread(target=lambda: drive(backend.increment("k")))
            other.start()
            clock.armed = False
            clock.go_on = threading.Event()
            os._exit(0 if ok else 1)
        clock.go_on.set()
        writer.join(30)
        assert os.waitpid(child, 0)[1] == 0
        assert drive(backend.get_many(["k", "other"])) == {{"k": 1, "other": 1}}
        print("done")
    """).strip() == "done"  # fmt: skip


# Closing, and what is shown.


def test_a_closed_backend_gives_its_memory_back(backend: MemoryBackend) -> None:
    """Closing frees what was stored; len, cleanup and the verbs say that the backend is closed."""
    drive(backend.set("k", "v", 60))
    view = backend.namespace("n")
    drive(backend.aclose())
    drive(backend.aclose())
    assert filed(backend) == 0
    calls: tuple[Callable[[], Any], ...] = (
        lambda: len(backend), backend.cleanup_expired, lambda: drive(view.set("k", 1)), lambda: drive(view.get("k")),
        lambda: drive(view.clear()), lambda: drive(view.namespace("m").increment("k")), lambda: drive(keys_of(view)),
        lambda: drive(backend.get_many(["k"])), lambda: drive(backend.set_many({"k": 1})),
        lambda: drive(backend.delete_many(["k"])),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(BackendClosedError):
            call()


def test_a_view_is_closed_without_its_backend(backend: MemoryBackend) -> None:
    """Every verb of a closed view says so, while its backend and other views go on."""
    view = backend.namespace("n")
    drive(view.set("k", 1))
    drive(view.aclose())
    for call in (
        view.get("k"),
        view.set("k", 1),
        view.get_many([]),
        view.set_many({}),
        view.delete_many([]),
        view.ping(),
        view.clear(),
    ):
        with pytest.raises(BackendClosedError):
            drive(call)
    with pytest.raises(BackendClosedError):
        view.namespace("m")
    assert drive(backend.namespace("n").get("k")) == 1


def test_closing_while_threads_write() -> None:
    """Writers that are cut off by closing get BackendClosedError, and nothing is kept."""
    backend = MemoryBackend()
    started = threading.Barrier(5)
    ends: list[BaseException] = []

    def work() -> None:
        started.wait()
        try:
            while True:
                drive(backend.set("k", 1, 60))
                drive(backend.increment("n"))
        except BackendClosedError as error:
            ends.append(error)

    def close() -> None:
        started.wait()
        drive(backend.aclose())

    in_threads([work, work, work, work, close])
    assert len(ends) == 4
    assert filed(backend) == 0


def test_nothing_shows_a_value(backend: MemoryBackend) -> None:
    """No repr and no error shows what is stored."""
    drive(backend.set("k", "s3cret"))
    drive(backend.set("list", ["s3cret"]))
    assert "s3cret" not in repr(backend) + repr(backend.namespace("n"))
    for call in (backend.increment("k"), backend.increment("list"), backend.get("k", int), backend.pop("list", int)):
        with pytest.raises((CounterError, DeserializationError)) as caught:
            drive(call)
        assert "s3cret" not in str(caught.value)
        assert caught.value.__context__ is None


async def keys_of(backend: Any) -> list[str]:
    return sorted([key async for key in backend.scan()])


def in_threads(works: list[Callable[[], object]]) -> None:
    """Run all at once, let the interpreter switch often, and raise what one of them raised."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if failures:
        raise failures[0]


def test_a_bounded_backend_keeps_nothing_of_what_was_deleted() -> None:
    """Neither in its mapping nor beside it."""
    backend = MemoryBackend(maxbytes=10**9)
    drive(backend.set("k", b"x" * 1000))
    assert drive(backend.delete("k"))
    assert len(backend._data) == 0
    gc.collect()
    assert sum(isinstance(part, bytes) and len(part) > 900 for part in gc.get_referents(backend._data)) == 0
    for verb in (backend.exists, backend.delete):
        with pytest.raises(TypeError):
            drive(verb(None))  # type: ignore[arg-type]  # on purpose


def test_a_str_of_another_kind_is_its_text() -> None:
    """However it hashes and compares."""

    class Caseless(str):
        def __eq__(self, other: object) -> bool:
            return str(self).lower() == str(other).lower()

        def __hash__(self) -> int:
            return hash(str(self).lower())

    for backend in (MemoryBackend(), MemoryBackend(maxsize=10)):
        key = Caseless("Key")
        drive(backend.set(key, 1))
        assert drive(backend.get("Key")) == 1
        assert drive(backend.exists(key))
        assert drive(backend.increment(key)) == 2
        assert drive(backend.delete(key))
        assert len(backend) == 0
