"""The table of the README: this library beside well-known others, doing the same work in the same process.

    python tests/bench/bench_peers.py

Each line is how many times as fast this library is: the median over rounds in which both take turns. Values are read
as ``str`` here; the others return what they stored. On Redis all use one server on the loopback interface.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import aiocache
import cashews
import limits.aio.storage
import limits.aio.strategies
import redis
import redis.asyncio
import throttled.asyncio

from reinhardt_backends import Cache, MemoryBackend, RedisBackend, SyncBackend, Throttle
from tests.bench.table import Line, at_least, beside, report
from tests.servers import available, running

ROUNDS = 9
VALUE = "a value of 20 bytes."
PLENTY = 10**9

Call = Callable[[], Awaitable[Any]]


def cached(cache: Any) -> Callable[[int], Awaitable[str]]:
    """Return a function that is cached by this library."""

    @cache.cached(key="user:{user_id}")
    async def function(user_id: int) -> str:
        return VALUE

    return function


def cached_by_cashews(url: str) -> Any:
    cache = cashews.Cache()
    cache.setup(url)

    @cache(ttl="1h", key="cashews:{user_id}")
    async def function(user_id: int) -> str:
        return VALUE

    return function


def cached_by_aiocache(**options: Any) -> Any:
    @aiocache.cached(ttl=3600, key_builder=lambda function, user_id: f"aiocache:{user_id}", **options)
    async def function(user_id: int) -> str:
        return VALUE

    return function


async def in_memory() -> list[Line]:
    backend = MemoryBackend()
    throttle = Throttle(backend, f"{PLENTY}/min")
    other = aiocache.SimpleMemoryCache()
    await backend.set("k", VALUE, 3600)
    await other.set("k", VALUE, 3600)
    limiter = limits.aio.strategies.FixedWindowRateLimiter(limits.aio.storage.MemoryStorage())
    names = {
        "backend": backend,
        "other": other,
        "throttle": throttle,
        "limiter": limiter,
        "item": limits.parse(f"{PLENTY}/minute"),
        "throttled": throttled.asyncio.Throttled(key="k", quota=throttled.per_min(PLENTY)),
        "ours": cached(Cache(backend, ttl=3600)),
        "cashews": cached_by_cashews("mem://"),
        "aiocache": cached_by_aiocache(),
    }

    async def line(what: str, ours: str, theirs: str) -> Line:
        return at_least(what, await beside(ours, theirs, rounds=ROUNDS, calls=5000, **names))

    hit = 'await throttle.hit("ada")'
    return [
        await line("get / aiocache", 'await backend.get("k", str)', 'await other.get("k")'),
        await line("set / aiocache", 'await backend.set("k", "v", 60)', 'await other.set("k", "v", 60)'),
        await line("increment / aiocache", 'await backend.increment("n")', 'await other.increment("n")'),
        await line("Throttle.hit / limits", hit, 'await limiter.hit(item, "ada")'),
        await line("Throttle.hit / throttled-py", hit, 'await throttled.limit("ada")'),
        await line("@cached hit / cashews", "await ours(42)", "await cashews(42)"),
        await line("@cached hit / aiocache", "await ours(42)", "await aiocache(42)"),
    ]


async def _timed(call: Call, callers: int, turns: int) -> float:
    async def caller() -> None:
        for _ in range(turns):
            await call()

    gc.collect()
    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return time.perf_counter() - began


async def _times_as_fast(ours: Call, theirs: Call, callers: int) -> float:
    turns = max(2000 // callers, 10)
    ratios = []
    for _ in range(ROUNDS + 1):
        mine = await _timed(ours, callers, turns)
        ratios.append(await _timed(theirs, callers, turns) / mine)
    return statistics.median(ratios[1:])


async def on_redis(url: str, port: int) -> list[Line]:
    lines = []
    client = redis.asyncio.Redis.from_url(url, max_connections=1000)
    pool = redis.asyncio.ConnectionPool.from_url(url, max_connections=1000)
    storage = limits.aio.storage.RedisStorage(f"async+{url}", connection_pool=pool, implementation="redispy")
    limiter = limits.aio.strategies.FixedWindowRateLimiter(storage)
    item = limits.parse(f"{PLENTY}/minute")
    theirs_cashews = cached_by_cashews(url)
    options = {"cache": aiocache.RedisCache, "endpoint": "127.0.0.1", "port": port, "pool_max_size": 1000}
    theirs_aiocache = cached_by_aiocache(**options)
    async with RedisBackend(url) as backend:
        await backend.set("k", VALUE)
        await client.set("k", VALUE)
        throttle = Throttle(backend, f"{PLENTY}/min")
        ours = cached(Cache(backend, ttl=3600))
        pairs: list[tuple[str, Call, Call]] = [
            ("get / redis.asyncio", lambda: backend.get("k", str), lambda: client.get("k")),
            ("Throttle.hit / limits", lambda: throttle.hit("ada"), lambda: limiter.hit(item, "ada")),
            ("@cached hit / cashews", lambda: ours(42), lambda: theirs_cashews(42)),
            ("@cached hit / aiocache", lambda: ours(42), lambda: theirs_aiocache(42)),
        ]
        for what, mine, other in pairs:
            for callers in (1, 128):
                title = f"{what}, {callers} caller{'s' * (callers > 1)}"
                lines.append(at_least(title, await _times_as_fast(mine, other, callers)))
    await client.aclose()
    return lines


def blocking(url: str) -> Line:
    ratios = []
    with SyncBackend(RedisBackend(url)) as backend, redis.Redis.from_url(url) as client:
        backend.set("k", VALUE)
        client.set("k", VALUE)
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            for _ in range(1000):
                backend.get("k", str)
            between = time.perf_counter()
            for _ in range(1000):
                client.get("k")
            ratios.append((time.perf_counter() - between) / (between - began))
    return at_least("get / redis-py, blocking", statistics.median(ratios[1:]))


def main() -> None:
    report("in memory: this library / another, times as fast", asyncio.run(in_memory()))
    with running(next(iter(available()))) as server:
        lines = asyncio.run(on_redis(server.url, server.port))
        report(f"on {server.name}: this library / another, times as fast", [*lines, blocking(server.url)])


if __name__ == "__main__":
    main()
