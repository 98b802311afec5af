"""A scan asks for its next page before that is wanted. Nothing but its speed may depend on that."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import redis

from reinhardt_backends import BackendClosedError, RedisBackend, SyncBackend
from reinhardt_backends._redis._scan import SCANNED

from ..servers import Server
from .runtimes import Runtime, on, on_every_runtime

KEYS = {f"k{number}" for number in range(5 * SCANNED)}
PREFIX = "ahead:"


@pytest.fixture(autouse=True)
def bare(server: Server) -> Iterator[redis.Redis]:
    """A bare client of a server that has several pages of keys."""
    client = redis.Redis(port=server.port)
    client.flushall()
    client.mset(dict.fromkeys([PREFIX + key for key in KEYS], "1"))
    yield client
    client.flushall()
    client.close()


async def _begun(backend: Any) -> Any:
    """Return a scan of which the third page is asked for, and what it has yielded."""
    keys = backend.scan()
    return keys, {await anext(keys) for _ in range(SCANNED + SCANNED // 2)}


@on_every_runtime
async def test_a_scan_that_is_left_and_continued_is_complete(at: Runtime, server: Server) -> None:
    """Calls in the meantime get their own replies."""
    backend = at.open(server.url, prefix=PREFIX)
    keys, seen = await _begun(backend)
    for _ in range(3):
        assert await backend.get("k1", int) == 1
        assert await backend.increment("k2") > 1
    assert seen | {key async for key in keys} == KEYS
    keys, _ = await _begun(backend)
    del keys
    gc.collect()
    assert await backend.get("k3", int) == 1


@on("asyncio", "blocking")
async def test_a_broken_connection_does_not_end_a_scan(at: Runtime, server: Server, bare: redis.Redis) -> None:
    backend = at.open(server.url, prefix=PREFIX)
    keys, seen = await _begun(backend)
    bare.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert seen | {key async for key in keys} == KEYS


@on("asyncio", "blocking")
async def test_a_scan_of_a_closed_backend_is_an_error(at: Runtime, server: Server) -> None:
    """It does not end as if it were complete."""
    backend = at.open(server.url, prefix=PREFIX)
    keys, seen = await _begun(backend)
    await backend.aclose()
    with pytest.raises(BackendClosedError):
        seen.update([key async for key in keys])
    assert len(seen) >= SCANNED


@on("asyncio", "trio")
async def test_other_tasks_run_during_a_scan(at: Runtime, server: Server) -> None:
    """Also if the server is always faster than the caller."""
    backend = at.open(server.url, prefix=PREFIX)
    turns = 0
    async with anyio.create_task_group() as group:

        async def other() -> None:
            nonlocal turns
            while True:
                await anyio.lowlevel.checkpoint()
                turns += 1

        group.start_soon(other)
        assert {key async for key in backend.scan()} == KEYS
        group.cancel_scope.cancel()
    assert turns >= 3


@on("asyncio", "trio")
async def test_a_cancelled_scan_can_be_continued(at: Runtime, server: Server) -> None:
    backend = at.open(server.url, prefix=PREFIX)
    keys, seen = await _begun(backend)
    with anyio.CancelScope() as scope:
        scope.cancel()
        async for key in keys:
            seen.add(key)
    assert seen | {key async for key in keys} == KEYS
    assert await backend.get("k1", int) == 1


def test_a_scan_goes_on_in_another_loop(server: Server) -> None:
    backend = RedisBackend(server.url, prefix=PREFIX)
    keys, seen = asyncio.run(_begun(backend))

    async def rest() -> set[str]:
        return {key async for key in keys}

    assert seen | asyncio.run(rest()) == KEYS
    asyncio.run(backend.aclose())


def test_a_scan_leaves_a_connection_to_others(server: Server) -> None:
    """With the last connection of a pool nothing is asked ahead, so that a call in the loop finds one."""
    backend = RedisBackend(server.url, prefix=PREFIX, max_connections=2, timeout=2)
    with SyncBackend(backend) as face:
        scans = [face.scan() for _ in range(3)]
        for keys in scans:
            for _ in range(SCANNED + 10):
                next(keys)
            assert face.get("k1", int) == 1
        assert all(len(list(keys)) >= 2 * SCANNED for keys in scans)
        assert (face.stats().connections or 0) <= 2


def test_a_closed_scan_gives_its_connection_back(server: Server) -> None:
    with SyncBackend(RedisBackend(server.url, prefix=PREFIX, max_connections=2)) as face:
        keys: Any = face.scan()
        for _ in range(SCANNED + 10):
            next(keys)
        assert face.stats().in_flight == 1
        keys.close()
        assert list(keys) == []
        assert face.stats().in_flight == 0
