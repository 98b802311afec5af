"""The connections of blocking callers: no place is lost, no wake-up is wasted, no wait outlives its deadline."""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
import time
from typing import Any

import pytest

pytest.importorskip("redis")
from reinhardt_backends import BackendClosedError, BackendTimeoutError
from reinhardt_backends._redis import _pool as _pool_module
from reinhardt_backends._redis._client import Client

from ..servers import Server
from .driving import ONCE, READ, client_for, drive, in_thread

main_thread_signals = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers")


class Interrupted(Exception):
    """Raised by a signal handler."""


def _pool(client: Client) -> Any:
    pool = client._node.pool
    assert pool is not None
    return pool


# An interrupt between making a coroutine and starting it leaves it unawaited.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@main_thread_signals
def test_exceptions_from_signal_handlers_lose_no_places(
    server: Server, monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    # One in a finalizer is ignored. The hook of pytest would keep it until the test ends, with the connection it is in.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    client = client_for(server.url, max_connections=3).blocking()
    drive(client.call(READ, "PING"))
    rng = random.Random(1)
    interrupted = 0
    wanted = 40_017 if long else 150

    def handler(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    try:
        while interrupted < wanted:
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.00001, 0.0004))
                for _ in range(10):
                    drive(client.call(READ, "ECHO", "a"))
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    gc.collect()
    pool = _pool(client)
    assert len(pool._places) == len(pool._idle)
    free: list[bool] = []
    with in_thread(lambda: free.append(pool._lock.acquire(blocking=False))):
        pass
    assert free == [True]
    drive(client.aclose())


@main_thread_signals
def test_exceptions_while_waiting_for_a_place_lose_nothing(server: Server) -> None:
    client = client_for(server.url, max_connections=1).blocking()
    drive(client.call(READ, "PING"))
    pool = _pool(client)

    def handler(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(20):
            with in_thread(lambda: drive(client.call(ONCE, "BLPOP", "nothing", "0.03"))):
                while pool._idle:
                    time.sleep(0.001)
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                with pytest.raises(Interrupted):
                    drive(client.call(READ, "ECHO", "a"))
            assert drive(client.call(READ, "ECHO", "b")) == b"b"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not pool._sleepers
    drive(client.aclose())


def test_a_returned_connection_serves_a_waiter_that_has_time_left(server: Server) -> None:
    client = client_for(server.url, max_connections=1, timeout=10).blocking()
    drive(client.call(READ, "PING"))
    pool = _pool(client)
    took: list[float] = []

    def hasty() -> None:
        with pytest.raises(BackendTimeoutError):
            drive(client.with_timeout(0.1).call(READ, "ECHO", "hasty"))

    def patient() -> None:
        began = time.monotonic()
        assert drive(client.call(READ, "ECHO", "patient")) == b"patient"
        took.append(time.monotonic() - began)

    with in_thread(lambda: drive(client.call(ONCE, "BLPOP", "nothing", "0.3"))):
        while pool._idle:
            time.sleep(0.001)
        with in_thread(hasty), in_thread(patient):
            pass
    assert took[0] < 0.3 + 0.4
    drive(client.aclose())


def test_a_waiter_whose_time_is_up_passes_the_wake_up_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_for(server.url, max_connections=1).blocking()
    drive(client.call(READ, "PING"))
    pool = _pool(client)
    link = pool._idle.pop()
    times = iter([0.0])
    monkeypatch.setattr(_pool_module, "monotonic", lambda: next(times, 10.0))
    monkeypatch.setattr(_pool_module, "LOOK", 20.0)
    other = threading.Lock()
    other.acquire()
    with in_thread(lambda: pool._wait_for_place(5.0)):
        while not pool._sleepers:
            time.sleep(0.001)
        pool._sleepers.append(other)
        pool._wake_one()
    assert other.acquire(blocking=False)
    pool.give_back(link)
    drive(client.aclose())


def test_a_timeout_of_centuries_is_one(server: Server) -> None:
    client = client_for(server.url, max_connections=1, timeout=1e10).blocking()
    drive(client.call(READ, "PING"))
    pool = _pool(client)
    with in_thread(lambda: drive(client.call(ONCE, "BLPOP", "nothing", "0.1"))):
        while pool._idle:
            time.sleep(0.001)
        assert drive(client.call(READ, "ECHO", "a")) == b"a"
    drive(client.aclose())


def test_closing_ends_threads_that_wait_for_a_place(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise each of them looks again by itself.
    monkeypatch.setattr(_pool_module, "LOOK", 20.0)
    client = client_for(server.url, max_connections=1, timeout=20).blocking()
    drive(client.call(READ, "PING"))
    pool = _pool(client)

    def caller() -> None:
        with pytest.raises(BackendClosedError):
            drive(client.call(READ, "ECHO", "a"))

    def holder() -> None:
        with pytest.raises(BackendClosedError):
            drive(client.call(ONCE, "BLPOP", "nothing", "20"))

    began = time.monotonic()
    with in_thread(holder):
        while pool._idle:
            time.sleep(0.001)
        # The connection that ends wakes some of them too.
        with in_thread(caller), in_thread(caller), in_thread(caller), in_thread(caller):
            while len(pool._sleepers) < 4:
                time.sleep(0.001)
            drive(client.aclose())
    assert time.monotonic() - began < 5
