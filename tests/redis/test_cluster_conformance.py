"""The conformance suite over a cluster, on an event loop and through the blocking face."""

from __future__ import annotations

import itertools

import pytest

from reinhardt_backends import Backend, RedisBackend
from reinhardt_backends.testing import BackendConformance

from ..topologies import Cluster

pytestmark = pytest.mark.xdist_group("cluster")

_prefixes = itertools.count()


class TestCluster(BackendConformance):
    """The Redis backend on a cluster. What differs from one server does not depend on the kind of event loop."""

    @pytest.fixture(params=["asyncio", "sync"])
    def runtime(self, request: pytest.FixtureRequest) -> str:
        runtime: str = request.param
        return runtime

    @pytest.fixture
    def backend(self, cluster: Cluster) -> Backend:
        return RedisBackend(cluster.url, prefix=f"test[{next(_prefixes)}]*:")


class TestNamespaceInCluster(BackendConformance):
    """A namespace whose names a careless client would take for hash tags."""

    @pytest.fixture(params=["sync"])
    def runtime(self, request: pytest.FixtureRequest) -> str:
        runtime: str = request.param
        return runtime

    @pytest.fixture
    def backend(self, cluster: Cluster) -> Backend:
        return RedisBackend(cluster.url, prefix=f"a{{b{next(_prefixes)}:").namespace("}{")
