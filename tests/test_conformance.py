"""The conformance suite over every kind of backend in the process.

Each runtime meets the memory backend, and all but uvloop a backend that suspends: without input or output uvloop runs
the same tasks as asyncio. What is built on those need not meet all again.
"""

from __future__ import annotations

from typing import Any

import anyio.lowlevel
import pytest

from reinhardt_backends import Backend, MemoryBackend
from reinhardt_backends.testing import BackendConformance, FakeClock

from .extent import only_on


class OnFakeTime(BackendConformance):
    """Backends over a ``MemoryBackend`` whose clock the tests move."""

    tick = 1.0

    @pytest.fixture(autouse=True)
    def clock(self) -> FakeClock:
        self._clock = FakeClock()
        return self._clock

    async def advance(self, seconds: float) -> None:
        self._clock.advance(seconds)


class TestMemory(OnFakeTime):
    """The memory backend."""

    @pytest.fixture
    def backend(self, clock: FakeClock) -> Backend:
        return MemoryBackend(clock=clock)


class TestMemoryOnRealTime(BackendConformance):
    """The memory backend on the clock that applications use."""

    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()

    runtime = only_on("asyncio", "sync")


class TestBoundedMemory(OnFakeTime):
    """A bounded memory backend in which there is room for everything."""

    runtime = only_on("asyncio", "sync")

    @pytest.fixture
    def backend(self, clock: FakeClock) -> Backend:
        return MemoryBackend(maxsize=10**9, maxbytes=10**12, clock=clock)


class TestOtherPolicies(TestBoundedMemory):
    """The other eviction policies."""

    @pytest.fixture(params=["lfu", "fifo"])
    def backend(self, request: pytest.FixtureRequest, clock: FakeClock) -> Backend:
        return MemoryBackend(maxsize=10**9, policy=request.param, clock=clock)

    runtime = only_on("sync")


class TestNamespace(OnFakeTime):
    """A namespace of the memory backend, beside whose keys there are others."""

    runtime = only_on("trio", "sync")

    @pytest.fixture
    def backend(self, clock: FakeClock) -> Backend:
        return beside_others(MemoryBackend(clock=clock)).namespace("ns")


class TestNamespaceOfNamespace(OnFakeTime):
    """A namespace of a namespace."""

    runtime = only_on("uvloop", "sync")

    @pytest.fixture
    def backend(self, clock: FakeClock) -> Backend:
        return beside_others(MemoryBackend(clock=clock)).namespace("ns").namespace("*")


class TestSixVerbs(OnFakeTime):
    """A user's subclass that writes the six verbs, suspends in each, and calls no ``__init__`` of ours."""

    provides = frozenset()

    runtime = only_on("asyncio", "trio", "sync")

    @pytest.fixture
    def backend(self, clock: FakeClock) -> Backend:
        return SixVerbs(MemoryBackend(clock=clock))


class TestNamespaceOfSixVerbs(OnFakeTime):
    """A namespace of such a subclass. Closing it closes the view only."""

    provides = frozenset({"aclose"})

    runtime = only_on("trio", "sync")

    @pytest.fixture
    def backend(self, clock: FakeClock) -> Backend:
        return SixVerbs(MemoryBackend(clock=clock)).namespace("ns")

    # It has no clear either, as test_what_is_not_provided_says_so shows.
    test_clear_removes_everything = None


class SixVerbs(Backend):
    def __init__(self, store: MemoryBackend) -> None:
        self._store = store

    async def set(self, key: str, value: Any, ttl: Any = None) -> None:
        await anyio.lowlevel.checkpoint()
        await self._store.set(key, value, ttl)

    async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: Any = None) -> Any:
        await anyio.lowlevel.checkpoint()
        return await self._store.get(key, type, default=default, renew=renew)

    async def delete(self, key: str) -> bool:
        await anyio.lowlevel.checkpoint()
        return await self._store.delete(key)

    async def exists(self, key: str) -> bool:
        await anyio.lowlevel.checkpoint()
        return await self._store.exists(key)

    async def increment(self, key: str, ttl: Any = None, *, by: int = 1) -> int:
        await anyio.lowlevel.checkpoint()
        return await self._store.increment(key, ttl, by=by)

    async def clear(self) -> None:
        await anyio.lowlevel.checkpoint()
        await self._store.clear()


def beside_others(store: MemoryBackend) -> MemoryBackend:
    for key in ("k", "ns", "nsx:k", "NS:k", "ns*:k", "other:k"):
        store._set(key, f"not in the namespace: {key}")
    return store
