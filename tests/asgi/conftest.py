"""Backends for the middlewares: one in memory, one on a real server."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from reinhardt_backends import Backend, MemoryBackend, RedisBackend

from ..redis.servers import Server, available, running

_numbers = itertools.count()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """One real server for the tests that do it no harm."""
    if not available():
        pytest.skip("no server binary found")
    with running() as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """An empty backend of each kind."""
    if request.param == "memory":
        yield MemoryBackend()
        return
    server = request.getfixturevalue("redis_server")
    async with RedisBackend(server.url, prefix=f"{os.getpid()}-asgi-{next(_numbers)}:") as redis:
        yield redis
