"""Backends for the middlewares: one in memory, one on a real server."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator

import pytest

from reinhardt_backends import Backend, MemoryBackend, RedisBackend

_numbers = itertools.count()


@pytest.fixture(params=["memory", "redis"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """An empty backend of each kind."""
    if request.param == "memory":
        yield MemoryBackend()
        return
    server = request.getfixturevalue("server")
    async with RedisBackend(server.url, prefix=f"{os.getpid()}-asgi-{next(_numbers)}:") as redis:
        yield redis
