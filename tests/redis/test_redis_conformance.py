"""The conformance suite over Redis: every runtime, every server binary, and a namespace."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from reinhardt_backends import Backend, RedisBackend
from reinhardt_backends.testing import BackendConformance

from ..extent import only_on
from ..servers import Server, available

_prefixes = itertools.count()


def at(server: Server) -> RedisBackend:
    """A backend under a prefix that no other test uses, and that a careless pattern would match too much with."""
    return RedisBackend(server.url, prefix=f"test[{next(_prefixes)}]*:")


class TestRedis(BackendConformance):
    """The Redis backend."""

    @pytest.fixture
    def backend(self, server: Server) -> Backend:
        return at(server)


class TestOtherServers(BackendConformance):
    """The Redis backend on every other server that was found. It does not matter to them who calls."""

    @pytest.fixture(params=list(available())[1:])
    def backend(self, request: pytest.FixtureRequest, started: Callable[[str], Server]) -> Backend:
        return at(started(request.param))

    runtime = only_on("sync")


class TestRedisNamespace(BackendConformance):
    """A namespace of the Redis backend."""

    runtime = only_on("trio", "sync")

    @pytest.fixture
    def backend(self, server: Server) -> Backend:
        return at(server).namespace("n?s")


class TestRedisOverResp3(BackendConformance):
    """The Redis backend with the newer protocol."""

    runtime = only_on("asyncio", "sync")

    @pytest.fixture
    def backend(self, server: Server) -> Backend:
        return RedisBackend(server.url, prefix=f"three{next(_prefixes)}:", protocol=3)
