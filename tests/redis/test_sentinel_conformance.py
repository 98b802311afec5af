"""The conformance suite over the primary of a service that Sentinels watch."""

from __future__ import annotations

import itertools

import pytest

from reinhardt_backends import Backend, RedisBackend
from reinhardt_backends.testing import BackendConformance

from ..topologies import Sentinels

pytestmark = pytest.mark.xdist_group("sentinels")

_prefixes = itertools.count()


class TestSentinel(BackendConformance):
    """The Redis backend over Sentinels."""

    @pytest.fixture(
        params=["asyncio", "sync", *(pytest.param(name, marks=pytest.mark.long) for name in ("uvloop", "trio"))]
    )
    def runtime(self, request: pytest.FixtureRequest) -> str:
        runtime: str = request.param
        return runtime

    @pytest.fixture
    def backend(self, sentinels: Sentinels) -> Backend:
        return RedisBackend(sentinels.url, prefix=f"conforming[{next(_prefixes)}]*:")
