"""Backends for the middlewares: one in memory, one on a real server."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator

import pytest

from reinhardt_backends import Backend, MemoryBackend, RedisBackend

_numbers = itertools.count()


@pytest.fixture(params=[("asyncio", {"use_uvloop": False}), ("trio", {})], ids=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run on two runtimes: to the middlewares, which do no input or output of their own, uvloop is asyncio.

    ``test_served.py`` runs them under uvicorn, which uses uvloop.
    """
    runtime: tuple[str, dict[str, bool]] = request.param
    return runtime


@pytest.fixture(params=["memory", "redis"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """An empty backend of each kind."""
    if request.param == "memory":
        yield MemoryBackend()
        return
    server = request.getfixturevalue("server")
    async with RedisBackend(server.url, prefix=f"{os.getpid()}-asgi-{next(_numbers)}:") as redis:
        yield redis
