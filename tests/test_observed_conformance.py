"""Observed views keep every promise of the contract, over memory and over a user's backend."""

from __future__ import annotations

from typing import Any

import pytest

from reinhardt_backends import Backend, MemoryBackend
from reinhardt_backends.testing import FURTHER_VERBS, BackendConformance, FakeClock


class Observing(BackendConformance):
    """A view of a backend that reports to a listener."""

    provides = FURTHER_VERBS
    tick = 1.0

    @pytest.fixture(params=["asyncio"])
    def runtime(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    @pytest.fixture
    def backend(self) -> Backend:
        self.clock = FakeClock()
        return self.observed(MemoryBackend(clock=self.clock))

    def observed(self, backend: Backend) -> Backend:
        return backend.observed(lambda event: None, keys=True)

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


class TestObserved(Observing):
    pass


class TestObservedNamespace(Observing):
    @pytest.fixture(params=["sync"])
    def runtime(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    def observed(self, backend: Backend) -> Backend:
        return backend.namespace("a").observed(lambda event: None).with_timeout(5).observed(lambda event: None)
