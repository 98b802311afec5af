"""How fast ``RedisBackend`` is, beside the clients that people use otherwise.

    python tests/bench/bench_redis.py [--server NAME] [asyncio] [uvloop] [trio] [sync] [counter] [large] [headline]

GET and SET of a 20-byte string go through the public ``get`` and ``set``, which validate the value as ``str``; the
other clients move bytes. All talk to one server from one process, in short slices that take turns, since separate runs
differ by more than the clients do. What is printed is the median time of one operation, and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import anyio
import redis
import redis.asyncio

from reinhardt_backends import RedisBackend, SyncBackend
from tests.servers import Server, available, running

VALUE = "a value of 20 bytes."
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


async def _compare(title: str, target: dict[int, float], ours: Operation, theirs: Operation) -> None:
    """Take turns at both operations with each number of callers, and print how they compare."""
    for callers, wanted in target.items():
        turns = {}
        for operation in (ours, theirs):
            sample = await _slice(operation, callers, 10)
            turns[operation] = max(2, int(SLICE * 1e6 / sample / callers))
        times: dict[Operation, list[float]] = {ours: [], theirs: []}
        for _ in range(ROUNDS):
            for operation in (ours, theirs):
                times[operation].append(await _slice(operation, callers, turns[operation]))
        _report(f"{title}, {callers} callers", wanted, times[ours], times[theirs])


def _report(title: str, target: float, ours: list[float], theirs: list[float]) -> None:
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"{title:34} {mine:8.1f} us  {other:8.1f} us  {other / mine:6.2f} x   (target {target:g} x)", flush=True)


async def _on_asyncio(loop: str, url: str) -> None:
    target = {1: 1.0, 16: 4.0, 128: 10.0}
    other = redis.asyncio.Redis.from_url(url, max_connections=1000)
    async with RedisBackend(url) as backend:
        await backend.set("k", VALUE)
        await other.set("k", VALUE)
        await _compare(f"{loop} GET, redis.asyncio", target, lambda: backend.get("k", str), lambda: other.get("k"))
        await _compare(
            f"{loop} SET, redis.asyncio", target, lambda: backend.set("k", VALUE), lambda: other.set("k", VALUE)
        )
    await other.aclose()


async def _on_trio(url: str) -> None:
    import coredis

    target = {1: 1.3, 16: 4.0, 128: 8.0}
    async with RedisBackend(url) as backend, coredis.Redis.from_url(url) as other:
        await backend.set("k", VALUE)
        await other.set("k", VALUE)
        await _compare("trio GET, coredis", target, lambda: backend.get("k", str), lambda: other.get("k"))
        await _compare("trio SET, coredis", target, lambda: backend.set("k", VALUE), lambda: other.set("k", VALUE))


async def _counter(name: str, url: str) -> None:
    """``increment`` with a ttl beside ``get``: how much of its throughput is left."""
    target = 0.5 if "valkey" in name else 0.6
    async with RedisBackend(url) as backend:
        await backend.set("k", VALUE)
        await backend.increment("n", 3600)
        await _compare(
            "increment with a ttl, get",
            {128: target},
            lambda: backend.increment("n", 3600),
            lambda: backend.get("k", str),
        )


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
    with SyncBackend(RedisBackend(url)) as backend, redis.Redis.from_url(url) as other:
        backend.set("k", VALUE)
        other.set("k", VALUE)
        pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "GET": (lambda: backend.get("k", str), lambda: other.get("k")),
            "SET": (lambda: backend.set("k", VALUE), lambda: other.set("k", VALUE)),
        }
        for verb, pair in pairs.items():
            for count in (1, 16):
                times: tuple[list[float], list[float]] = ([], [])
                for operation in pair:
                    _threads(operation, count, 10)
                for _ in range(ROUNDS):
                    for operation, taken in zip(pair, times, strict=True):
                        taken.append(_threads(operation, count, 1600 // count))
                _report(f"blocking {verb}, redis-py, {count} threads", 1.0, *times)


async def _large(runtime: str, url: str) -> None:
    """The median latency of small reads, alone and beside a large value that is fetched in a loop."""
    fetched = 0
    latencies: dict[bool, list[float]] = {False: [], True: []}

    async def fetch() -> None:
        nonlocal fetched
        while True:
            await backend.get("large")
            fetched += 1

    async def read(beside: bool) -> None:
        end = time.perf_counter() + 0.3
        while (began := time.perf_counter()) < end:
            await backend.get("k", str)
            latencies[beside].append((time.perf_counter() - began) * 1e6)

    async with RedisBackend(url) as backend:
        await backend.set("k", VALUE)
        await backend.set("large", b"x" * 5_000_000)
        for _ in range(8):
            await read(False)
            async with anyio.create_task_group() as group:
                group.start_soon(fetch)
                await read(True)
                group.cancel_scope.cancel()
    alone, beside = (statistics.median(latencies[state]) for state in (False, True))
    print(
        f"{runtime} small reads alone {alone:.0f} us, beside a 5 MB value {beside:.0f} us: {beside / alone:.2f} x"
        f"   (target below 2 x; {fetched / 2.4:.0f} large reads a second)",
        flush=True,
    )


async def _headline(server: Server) -> None:
    """Operations a second at 128 callers, beside ``redis-benchmark`` without pipelining."""
    tool = shutil.which("redis-benchmark")
    ours: list[float] = []
    theirs: list[float] = []
    async with RedisBackend(server.url) as backend:
        await backend.set("k", VALUE)
        for _ in range(ROUNDS // 3):
            ours.append(1e6 / await _slice(lambda: backend.get("k", str), 128, 200))
            if tool is not None:
                command = [tool, "-p", str(server.port), "-c", "128", "-n", "30000", "-t", "get", "-d", "20", "-q"]
                output = (await anyio.run_process(command)).stdout.decode()
                theirs += [float(number) for number in re.findall(r"([\d.]+) requests per second", output)[-1:]]
    line = f"asyncio GET, 128 callers: {statistics.median(ours):,.0f} a second"
    if theirs:
        line += f"; redis-benchmark, 128 clients: {statistics.median(theirs):,.0f}"
    print(line, flush=True)


def _run(server: Server, wanted: set[str]) -> None:
    import trio

    if "asyncio" in wanted:
        asyncio.run(_on_asyncio("asyncio", server.url))
    if "uvloop" in wanted:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_on_asyncio("uvloop", server.url))
    if "trio" in wanted:
        trio.run(_on_trio, server.url)
    if "sync" in wanted:
        _blocking(server.url)
    if "counter" in wanted:
        asyncio.run(_counter(server.name, server.url))
    if "large" in wanted:
        asyncio.run(_large("asyncio", server.url))
        trio.run(_large, "trio", server.url)
    if "headline" in wanted:
        asyncio.run(_headline(server))


def main() -> None:
    """Run what the command line asks for, or everything."""
    parts = ["asyncio", "uvloop", "trio", "sync", "counter", "large", "headline"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)}; all of them by default")
    parser.add_argument("--server", choices=sorted(available()), help="the server binary; each in turn by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    gc.freeze()
    for name in [arguments.server] if arguments.server else available():
        with running(name) as server:
            version = subprocess.run(
                [available()[name], "--version"], capture_output=True, text=True, check=True
            ).stdout
            print(f"== {version.strip()}", flush=True)
            _run(server, set(arguments.parts or parts))


if __name__ == "__main__":
    main()
