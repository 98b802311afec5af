"""Storages for limits: what its strategies need of one, blocking and asynchronous, and the example."""

from __future__ import annotations

import inspect
import itertools
import subprocess
import sys
import threading
import time
from typing import Any

import anyio
import limits
import pytest
from limits.aio import strategies as asynchronous
from limits.errors import StorageError

from reinhardt_backends import BackendConnectionError, MemoryBackend
from reinhardt_backends._blocking import drive
from reinhardt_backends.limits import AsyncBackendStorage, BackendStorage
from reinhardt_backends.testing import FailingBackend, FakeClock

from ..asgi.serving import ROOT
from ..servers import Server

_prefixes = itertools.count()


class Blocking:
    """Storages and strategies for blocking code."""

    storage = BackendStorage
    strategies = limits.strategies
    scheme = "reinhardt+"

    @staticmethod
    def call(function: Any, *args: Any) -> Any:
        return function(*args)


class Asynchronous(Blocking):
    """The same for asynchronous code."""

    storage = AsyncBackendStorage
    strategies = asynchronous
    scheme = "async+reinhardt+"

    @staticmethod
    def call(function: Any, *args: Any) -> Any:
        assert inspect.iscoroutinefunction(function)
        return anyio.run(function, *args)


@pytest.fixture(params=[Blocking, Asynchronous])
def face(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["memory", "redis"])
def storage(request: pytest.FixtureRequest, face: Any) -> Any:
    if request.param == "memory":
        return face.storage(backend=MemoryBackend())
    server: Server = request.getfixturevalue("server")
    return face.storage(f"{face.scheme}{server.url}", prefix=f"limits{next(_prefixes)}:")


def test_counters(face: Any, storage: Any) -> None:
    call = face.call
    assert call(storage.get, "k") == 0
    assert abs(call(storage.get_expiry, "k") - time.time()) < 5
    assert [call(storage.incr, "k", 100), call(storage.incr, "k", 500, 4), call(storage.get, "k")] == [1, 5, 5]
    assert 90 < call(storage.get_expiry, "k") - time.time() <= 101
    call(storage.incr, "other", 100)
    call(storage.clear, "k")
    assert [call(storage.get, "k"), call(storage.get, "other")] == [0, 1]
    call(storage.reset)
    assert call(storage.get, "other") == 0
    assert call(storage.check) is True


@pytest.mark.parametrize("strategy", ["FixedWindowRateLimiter", "SlidingWindowCounterRateLimiter"])
def test_a_strategy(face: Any, storage: Any, strategy: str) -> None:
    limiter = getattr(face.strategies, strategy)(storage)
    rate, call = limits.parse("5/hour"), face.call
    assert call(limiter.test, rate, "ada") is True
    assert [call(limiter.hit, rate, "ada") for _ in range(6)] == [True] * 5 + [False]
    assert call(limiter.test, rate, "ada") is False
    assert call(limiter.hit, rate, "bob") is True
    stats = call(limiter.get_window_stats, rate, "ada")
    assert stats.remaining == 0
    assert 0 < stats.reset_time - time.time() <= 7201
    call(limiter.clear, rate, "ada")
    assert call(limiter.hit, rate, "ada") is True


@pytest.mark.parametrize("face", [Blocking, Asynchronous])
def test_a_window_slides(face: Any) -> None:
    clock = FakeClock()
    storage = face.storage(backend=MemoryBackend(clock=clock))
    limiter = face.strategies.SlidingWindowCounterRateLimiter(storage)
    rate, call = limits.parse("10/minute"), face.call
    clock.advance(60 - (face.call(storage._store.time) % 60))
    assert [call(limiter.hit, rate) for _ in range(11)] == [True] * 10 + [False]
    clock.advance(60 + 30)
    # Half of the window before counts.
    assert [call(limiter.hit, rate) for _ in range(6)] == [True] * 5 + [False]
    clock.advance(200)
    assert call(limiter.hit, rate) is True


def test_simultaneous_hits_never_exceed_the_limit(storage: Any, face: Any) -> None:
    limiter = face.strategies.SlidingWindowCounterRateLimiter(storage)
    rate, allowed = limits.parse("5/hour"), []

    def hit() -> None:
        allowed.append(face.call(limiter.hit, rate))

    threads = [threading.Thread(target=hit) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert allowed.count(True) <= 5
    assert len(allowed) == 10


def test_urls(face: Any) -> None:
    storage = limits.storage.storage_from_string(f"{face.scheme}memory://?maxsize=10")
    assert isinstance(storage, face.storage)
    for wrong in ({}, {"uri": "reinhardt+memory://", "backend": MemoryBackend()}):
        with pytest.raises(TypeError, match="a backend or a URL"):
            face.storage(**wrong)


def test_errors_of_the_store(face: Any) -> None:
    failing = FailingBackend(MemoryBackend())
    failing.fail()
    with pytest.raises(BackendConnectionError):
        face.call(face.storage(backend=failing).get, "k")
    wrapping = face.storage(wrap_exceptions=True, backend=failing)
    with pytest.raises(StorageError):
        face.call(wrapping.get, "k")
    assert face.call(wrapping.check) is False


def test_counters_are_integers_in_a_namespace() -> None:
    backend = MemoryBackend()
    limits.strategies.FixedWindowRateLimiter(BackendStorage(backend=backend)).hit(limits.parse("5/hour"), "ada")
    assert drive(backend.get("limits:LIMITER/ada/5/1/hour", int)) == 1


def test_the_example() -> None:
    command = [sys.executable, "-W", "error", "examples/limits_app.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "FixedWindowRateLimiter: 3 allowed, 2 not, 0 left",
        "SlidingWindowCounterRateLimiter: 3 allowed, 2 not, 0 left",
    ]
