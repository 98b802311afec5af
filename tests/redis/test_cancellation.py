"""A caller that is cancelled, wherever it is, takes nothing with it that belongs to the others."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import anyio
import anyio.lowlevel
import pytest

pytest.importorskip("redis")
import trio

from reinhardt_backends._redis import _link

from ..servers import Server
from .driving import IDEMPOTENT, READ, assert_idle, client_for, links
from .peers import listening, relay

SIZES = [3, 20, 1_000, 40_000, 300_000, 1_000_000]

try:
    import uvloop
except ImportError:
    LOOPS = ["asyncio", "trio"]
else:
    LOOPS = ["asyncio", "uvloop", "trio"]


def _run(runtime: str, function: Any, *args: Any) -> None:
    if runtime == "trio":
        trio.run(function, *args)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if runtime == "uvloop" else None) as runner:
            runner.run(function(*args))


def _value(size: int) -> bytes:
    return (b"%d," % size) * (size // 4) + b"x" * (size % 4)


async def _prepare(client: Any) -> None:
    for size in SIZES:
        await client.call(IDEMPOTENT, "SET", f"size {size}", _value(size))


async def _one_call(client: Any, rng: random.Random) -> None:
    size = rng.choices(SIZES, [20, 20, 10, 5, 1, 0.5])[0]
    match rng.randrange(4):
        case 0:
            assert await client.call(READ, "GET", f"size {size}") == _value(size)
        case 1:
            assert await client.call(IDEMPOTENT, "SET", f"size {size}", _value(size)) == b"OK"
        case 2:
            text = b"%d" % rng.getrandbits(64)
            assert await client.call(READ, "ECHO", text) == text
        case _:
            texts = [b"%d" % rng.getrandbits(64) for _ in range(rng.randrange(1, 5))]
            assert await client.call_many(READ, [("ECHO", text) for text in texts]) == texts


async def _assert_well(client: Any, connections: int) -> None:
    """Every connection still answers, and nothing of the past is left on it."""
    assert await client.call(READ, "ECHO", "well") == b"well"
    found = links(client)
    assert len(found) <= connections
    for link in found:
        assert await link.exchange(b"*2\r\n$4\r\nECHO\r\n$2\r\nme\r\n", 1, float("inf")) == b"me"
        assert not link.mux.slots
    assert_idle(client)


async def _scoped(client: Any, rng: random.Random) -> None:
    """A caller that anyio cancels after some turns of the loop."""
    async with anyio.create_task_group() as group:
        group.start_soon(_one_call, client, rng)
        for _ in range(rng.randrange(8)):
            await anyio.lowlevel.checkpoint()
        if rng.random() < 0.7:
            group.cancel_scope.cancel()


async def _native(client: Any, rng: random.Random) -> None:
    """A caller that asyncio cancels after some turns of the loop."""
    task = asyncio.ensure_future(_one_call(client, rng))
    for _ in range(rng.randrange(8)):
        await asyncio.sleep(0)
    if rng.random() < 0.7:
        task.cancel()
    result = (await asyncio.gather(task, return_exceptions=True))[0]
    assert result is None or isinstance(result, asyncio.CancelledError)


async def _storm(url: str, seeds: range, native: bool) -> None:
    client = client_for(url, timeout=30)
    await _prepare(client)
    for seed in seeds:
        rng = random.Random(seed)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for _ in range(rng.randrange(1, 12)):
                    group.start_soon(_native if native else _scoped, client, random.Random(rng.random()))
            await _assert_well(client, 2)
    await client.aclose()


@pytest.mark.parametrize("runtime", LOOPS)
def test_cancelled_by_anyio_in_many_runs(server: Server, runtime: str, long: bool) -> None:
    _run(runtime, _storm, server.url, range(1000 if long else 150), False)


@pytest.mark.parametrize("runtime", [name for name in LOOPS if name != "trio"])
def test_cancelled_by_asyncio_in_many_runs(server: Server, runtime: str, long: bool) -> None:
    _run(runtime, _storm, server.url, range(1000 if long else 150), True)


@pytest.mark.parametrize("runtime", LOOPS)
def test_cancelled_while_there_is_hardly_any_room(
    server: Server, runtime: str, long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_link, "MAX_SLOTS", 3)
    monkeypatch.setattr(_link, "MAX_UNSENT", 500)
    _run(runtime, _storm, server.url, range(500 if long else 80), False)


async def _step(url: str, native: bool) -> None:
    """Cancel one of three callers after exactly ``turns`` turns of the loop, for every number that can matter."""
    client = client_for(url, timeout=30)
    await _prepare(client)
    for victim in range(3):
        for size in (3, 300_000):
            for turns in range(12):
                await _one_step(client, victim, size, turns, native)
                await _assert_well(client, 2)
    await client.aclose()


async def _one_step(client: Any, victim: int, size: int, turns: int, native: bool) -> None:
    answered = []

    async def caller(number: int) -> None:
        assert await client.call(READ, "GET", f"size {size}") == _value(size)
        answered.append(number)

    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()
        task: Any = None
        for number in range(3):
            if number != victim:
                group.start_soon(caller, number)
            elif native:
                task = asyncio.ensure_future(caller(number))
            else:
                group.start_soon(_within, scope, caller, number)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        if native:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        else:
            scope.cancel()
    assert {0, 1, 2} - {victim} <= set(answered)


async def _within(scope: anyio.CancelScope, function: Any, *args: Any) -> None:
    with scope:
        await function(*args)


@pytest.mark.parametrize("runtime", LOOPS)
def test_cancelled_by_anyio_at_every_turn(server: Server, runtime: str) -> None:
    _run(runtime, _step, server.url, False)


@pytest.mark.parametrize("runtime", [name for name in LOOPS if name != "trio"])
def test_cancelled_by_asyncio_at_every_turn(server: Server, runtime: str) -> None:
    _run(runtime, _step, server.url, True)


async def _connecting(url: str) -> None:
    """Cancel the caller that connects for all callers."""
    for turns in range(12):
        client = client_for(url)
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(_within, scope, client.call, READ, "PING")
            for _ in range(3):
                group.start_soon(client.call, READ, "PING")
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
        await _assert_well(client, 1)
        await client.aclose()


@pytest.mark.parametrize("runtime", LOOPS)
def test_when_the_one_that_connects_is_cancelled_another_does(server: Server, runtime: str) -> None:
    _run(runtime, _connecting, server.url)


async def _blocked_writer(url: str) -> None:
    """Cancel a caller whose large command has left in part."""
    client = client_for(url, timeout=30)
    for turns in range(10):
        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()
            group.start_soon(_within, scope, client.call, IDEMPOTENT, "SET", "blocked", b"x" * 10_000_000)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.start_soon(client.call, IDEMPOTENT, "SET", "blocked", b"y" * 300_000)
            await anyio.lowlevel.checkpoint()
            scope.cancel()
        await _assert_well(client, 2)
    await client.aclose()


@pytest.mark.parametrize("runtime", LOOPS)
def test_a_command_that_left_in_part_is_completed_by_others(server: Server, runtime: str) -> None:
    with listening(relay(("127.0.0.1", server.port))) as proxy:
        _run(runtime, _blocked_writer, proxy.url)
