"""What counters, throttles, sweeps over many keys and large values cost on Redis, beside what they must not exceed.

    python tests/bench/bench_redis_table.py [--server NAME] [throughput] [sweeps] [large]

Throughput is that of 128 callers, as a part of what ``get`` reaches with as many. Sweeps go over 100,000 keys, beside
redis-py's ``scan_iter``, with UNLINK of each page for ``clear``; it gives keys as bytes, and we as text. A value of 5
MB is read in a loop by a new client, beside a new client of redis-py.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import redis
import redis.asyncio

from reinhardt_backends import RedisBackend, SyncBackend, Throttle
from tests.bench.table import Line, at_least, at_most, report
from tests.servers import available, running

CALLERS = 128
TURNS = 40
ROUNDS = 15
KEYS = 100_000
SWEEPS = 5
LARGE = 5_000_000
READS = 10
PARTS = frozenset({"throughput", "sweeps", "large"})
PAGE = 1000

Operation = Callable[[], Awaitable[Any]]


async def _timed(operation: Operation) -> float:
    """Seconds that 128 callers take for so many turns each."""

    async def caller() -> None:
        for _ in range(TURNS):
            await operation()

    gc.collect()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())
    return time.perf_counter() - began


async def _throughput(url: str) -> list[Line]:
    async with RedisBackend(url) as backend:
        await backend.set("k", "a value of 20 bytes.")
        plenty = 10**9
        fixed = Throttle(backend, f"{plenty}/h", prefix="fixed")
        gcra = Throttle(backend, f"{plenty}/h", algorithm="gcra", prefix="gcra")
        several = Throttle(backend, f"{plenty}/s", f"{plenty}/m", f"{plenty}/h", prefix="several")
        operations: dict[str, tuple[Operation, float, float | None]] = {
            "increment with a ttl": (lambda: backend.increment("n", 3600), 0.65, 0.75),
            "Throttle.allow, fixed-window": (lambda: fixed.allow("k"), 0.65, 0.75),
            "Throttle.allow, gcra": (lambda: gcra.allow("k"), 0.5, None),
            "Throttle.allow, three rates": (lambda: several.allow("k"), 0.42, None),
        }
        ratios: dict[str, list[float]] = {name: [] for name in operations}
        for _ in range(ROUNDS + 1):
            for name, (operation, _, _) in operations.items():
                floor = await _timed(lambda: backend.get("k", str))
                ratios[name].append(floor / await _timed(operation))
        return [
            at_least(name, statistics.median(ratios[name][1:]), must, aim, "of get")
            for name, (_, must, aim) in operations.items()
        ]


async def _sweeps(url: str) -> list[Line]:
    other = redis.asyncio.Redis.from_url(url)
    times: dict[str, list[float]] = {}

    async def scan() -> int:
        return sum([1 async for _ in backend.scan()])

    async def scan_iter() -> int:
        return sum([1 async for _ in other.scan_iter("sweep:*", count=PAGE)])

    async def unlink() -> None:
        page: list[bytes] = []
        async for key in other.scan_iter("sweep:*", count=PAGE):
            page.append(key)
            if len(page) == PAGE:
                await other.unlink(*page)
                page.clear()
        if page:
            await other.unlink(*page)

    async with RedisBackend(url, prefix="sweep:") as backend:
        for _ in range(SWEEPS):
            for name, sweep in {"scan": scan, "scan_iter": scan_iter, "clear": backend.clear, "unlink": unlink}.items():
                await backend.set_many({f"key:{number}": number for number in range(KEYS)})
                gc.collect()
                began = time.perf_counter()
                await sweep()
                times.setdefault(name, []).append(time.perf_counter() - began)
    await other.aclose()
    return _compared("asyncio", times)


def _blocking_sweeps(url: str) -> list[Line]:
    times: dict[str, list[float]] = {}
    with redis.Redis.from_url(url) as other, SyncBackend(RedisBackend(url, prefix="sweep:")) as backend:

        def unlink() -> None:
            page: list[bytes] = []
            for key in other.scan_iter("sweep:*", count=PAGE):
                page.append(key)
                if len(page) == PAGE:
                    other.unlink(*page)
                    page.clear()
            if page:
                other.unlink(*page)

        sweeps: dict[str, Callable[[], Any]] = {
            "scan": lambda: sum(1 for _ in backend.scan()),
            "scan_iter": lambda: sum(1 for _ in other.scan_iter("sweep:*", count=PAGE)),
            "clear": backend.clear,
            "unlink": unlink,
        }
        for _ in range(SWEEPS):
            for name, sweep in sweeps.items():
                backend.set_many({f"key:{number}": number for number in range(KEYS)})
                gc.collect()
                began = time.perf_counter()
                sweep()
                times.setdefault(name, []).append(time.perf_counter() - began)
    return _compared("blocking", times)


async def _large(url: str) -> list[Line]:
    ratios = []
    async with RedisBackend(url, prefix="") as backend:
        await backend.set("large", b"x" * LARGE)
    for _ in range(ROUNDS):
        async with RedisBackend(url, prefix="") as backend, redis.asyncio.Redis.from_url(url) as other:
            await backend.ping()
            await other.ping()
            ours = await _repeated(lambda: backend.get("large"))
            ratios.append(ours / await _repeated(lambda: other.get("large")))
    return [at_most("get of 5 MB in a loop / redis.asyncio, first read included", statistics.median(ratios), 1.8, 1.3)]


async def _repeated(operation: Operation) -> float:
    gc.collect()
    began = time.perf_counter()
    for _ in range(READS):
        await operation()
    return time.perf_counter() - began


def _compared(where: str, times: dict[str, list[float]]) -> list[Line]:
    best = {name: min(taken) for name, taken in times.items()}
    print({name: f"{taken * 1000:.0f} ms" for name, taken in best.items()}, flush=True)
    return [
        at_most(f"scan of 100,000 keys, {where} / scan_iter", best["scan"] / best["scan_iter"], 1.0, 0.7),
        at_most(f"clear of 100,000 keys, {where} / scan_iter and UNLINK", best["clear"] / best["unlink"], 1.0, 0.7),
    ]


def main() -> None:
    """Print the tables that the command line asks for, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="throughput, sweeps, large; all by default")
    parser.add_argument("--server", choices=sorted(available()), help="the server binary; the preferred one by default")
    arguments = parser.parse_args()
    parts = set(arguments.parts or PARTS)
    if unknown := parts - PARTS:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    gc.freeze()
    with running(arguments.server) as server:
        if "throughput" in parts:
            report("128 callers on Redis", asyncio.run(_throughput(server.url)))
        if "large" in parts:
            report("a large value on Redis", asyncio.run(_large(server.url)))
        if "sweeps" in parts:
            report("many keys on Redis", asyncio.run(_sweeps(server.url)) + _blocking_sweeps(server.url))


if __name__ == "__main__":
    main()
