"""The conformance suite over Redis: every server binary, every runtime, and a namespace."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from reinhardt_backends import Backend, RedisBackend
from reinhardt_backends.testing import BackendConformance

from ..servers import Server, available

_prefixes = itertools.count()


@pytest.fixture(params=sorted(available()))
def any_server(request: pytest.FixtureRequest, started: Callable[[str], Server]) -> Server:
    """Each server binary that was found."""
    return started(request.param)


def at(server: Server) -> RedisBackend:
    """A backend under a prefix that no other test uses, and that a careless pattern would match too much with."""
    return RedisBackend(server.url, prefix=f"test[{next(_prefixes)}]*:")


class TestRedis(BackendConformance):
    """The Redis backend."""

    @pytest.fixture
    def backend(self, any_server: Server) -> Backend:
        return at(any_server)


class TestRedisNamespace(BackendConformance):
    """A namespace of the Redis backend. The servers differ in nothing that it adds, so one will do."""

    @pytest.fixture
    def backend(self, server: Server) -> Backend:
        return at(server).namespace("n?s")


class TestRedisOverResp3(BackendConformance):
    """The Redis backend with the newer protocol."""

    @pytest.fixture(params=["asyncio", "sync"])
    def runtime(self, request: pytest.FixtureRequest) -> str:
        runtime: str = request.param
        return runtime

    @pytest.fixture
    def backend(self, server: Server) -> Backend:
        return RedisBackend(server.url, prefix=f"three{next(_prefixes)}:", protocol=3)
