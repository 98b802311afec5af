"""How fast the shared connection is, beside the clients that people use otherwise.

    python tests/bench/bench_connection.py [asyncio] [uvloop] [trio] [sync] [large]

Both clients talk to one server from one process, in short slices that take turns, since separate runs differ by more
than the clients do. What is printed is the median time of one operation and the ratio of the medians.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "redis"))

import anyio
import redis
import redis.asyncio
from servers import Server, running

from reinhardt_backends._redis._options import Options
from reinhardt_backends._redis._topology import Client, Kind

VALUE = b"a value of 20 bytes."
CALLERS = (1, 16, 128)
SLICE = 0.06
ROUNDS = 15

Operation = Callable[[], Awaitable[Any]]


async def _slice(operation: Operation, callers: int, turns: int) -> float:
    """Microseconds for one operation, with so many callers at a time."""

    async def caller() -> None:
        for _ in range(turns):
            await operation()

    began = time.perf_counter()
    if callers == 1:
        await caller()
    else:
        async with anyio.create_task_group() as group:
            for _ in range(callers):
                group.start_soon(caller)
    return (time.perf_counter() - began) / (turns * callers) * 1e6


async def _compare(title: str, ours: Operation, theirs: Operation) -> None:
    for callers in CALLERS:
        turns = {}
        for name, operation in (("ours", ours), ("theirs", theirs)):
            sample = await _slice(operation, callers, 10)
            turns[name] = max(2, int(SLICE * 1e6 / sample / callers))
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(ROUNDS):
            for name, operation in (("ours", ours), ("theirs", theirs)):
                times[name].append(await _slice(operation, callers, turns[name]))
        _report(f"{title}, {callers} callers", times)


def _report(title: str, times: dict[str, list[float]]) -> None:
    ours, theirs = statistics.median(times["ours"]), statistics.median(times["theirs"])
    sys.stdout.write(f"{title:42} ours {ours:8.1f} us   theirs {theirs:8.1f} us   {theirs / ours:6.2f} x\n")
    sys.stdout.flush()


async def _on_asyncio(name: str, url: str) -> None:
    client = Client(Options.from_url(url))
    other = redis.asyncio.Redis.from_url(url, max_connections=1000)
    await client.call(Kind.IDEMPOTENT, "SET", "k", VALUE)
    await _compare(f"{name}: GET", lambda: client.call(Kind.READ, "GET", "k"), lambda: other.get("k"))
    await _compare(
        f"{name}: SET", lambda: client.call(Kind.IDEMPOTENT, "SET", "k", VALUE), lambda: other.set("k", VALUE)
    )
    await client.aclose()
    await other.aclose()


async def _on_trio(url: str) -> None:
    import coredis

    client = Client(Options.from_url(url))
    async with coredis.Redis.from_url(url) as other:
        await client.call(Kind.IDEMPOTENT, "SET", "k", VALUE)
        await _compare("trio: GET", lambda: client.call(Kind.READ, "GET", "k"), lambda: other.get("k"))
        await _compare(
            "trio: SET", lambda: client.call(Kind.IDEMPOTENT, "SET", "k", VALUE), lambda: other.set("k", VALUE)
        )
    await client.aclose()


def _drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("suspended")


def _threads(operation: Callable[[], Any], count: int, turns: int) -> float:
    def work() -> None:
        for _ in range(turns):
            operation()

    began = time.perf_counter()
    if count == 1:
        work()
    else:
        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return (time.perf_counter() - began) / (turns * count) * 1e6


def _blocking(url: str) -> None:
    client = Client(Options.from_url(url)).blocking()
    other = redis.Redis.from_url(url)
    _drive(client.call(Kind.IDEMPOTENT, "SET", "k", VALUE))
    operations: dict[str, Callable[[], Any]] = {
        "ours": lambda: _drive(client.call(Kind.READ, "GET", "k")),
        "theirs": lambda: other.get("k"),
    }
    for count in (1, 16):
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for operation in operations.values():
            _threads(operation, count, 10)
        for _ in range(ROUNDS):
            for name, operation in operations.items():
                times[name].append(_threads(operation, count, 1600 // count))
        _report(f"sync: GET, {count} threads", times)
    _drive(client.aclose())
    other.close()


async def _large(name: str, url: str) -> None:
    """The median latency of small reads, alone and beside a large value that is fetched in a loop."""
    client = Client(Options.from_url(url))
    await client.call(Kind.IDEMPOTENT, "SET", "k", VALUE)
    await client.call(Kind.IDEMPOTENT, "SET", "large", b"x" * 5_000_000)
    fetched = 0
    latencies: dict[bool, list[float]] = {False: [], True: []}

    async def fetch() -> None:
        nonlocal fetched
        while True:
            await client.call(Kind.READ, "GET", "large")
            fetched += 1

    async def read(beside: bool) -> None:
        end = time.perf_counter() + 0.3
        while (began := time.perf_counter()) < end:
            await client.call(Kind.READ, "GET", "k")
            latencies[beside].append((time.perf_counter() - began) * 1e6)

    for _ in range(8):
        await read(False)
        async with anyio.create_task_group() as group:
            group.start_soon(fetch)
            await read(True)
            group.cancel_scope.cancel()
    alone, beside = (statistics.median(latencies[state]) for state in (False, True))
    sys.stdout.write(
        f"{name}: small reads alone {alone:.0f} us, beside 5 MB {beside:.0f} us: {beside / alone:.2f} x "
        f"({fetched / 2.4:.0f} large reads a second)\n"
    )
    await client.aclose()


def _run(server: Server, wanted: set[str]) -> None:
    if "asyncio" in wanted:
        asyncio.run(_on_asyncio("asyncio", server.url))
    if "uvloop" in wanted:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_on_asyncio("uvloop", server.url))
    if "sync" in wanted:
        _blocking(server.url)
    if "trio" in wanted:
        import trio

        trio.run(_on_trio, server.url)
    if "large" in wanted:
        import trio

        asyncio.run(_large("asyncio", server.url))
        trio.run(_large, "trio", server.url)


def main() -> None:
    """Run what the command line asks for, or everything."""
    wanted = set(sys.argv[1:]) or {"asyncio", "uvloop", "trio", "sync", "large"}
    gc.freeze()
    with running() as server:
        _run(server, wanted)


if __name__ == "__main__":
    main()
