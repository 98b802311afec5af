"""How fast ``RedisBackend`` is on a cluster, beside the clients that people use otherwise, and beside one server.

    python tests/bench/bench_cluster.py [asyncio] [trio] [blocking] [many] [single] [recovery]

3 primaries and 3 replicas on the loopback interface. GET and SET of a 20-byte string go through the public ``get`` and
``set``; the other clients move bytes. Each caller goes through keys of all nodes. Both sides take turns in one process,
and a line is the ratio of the shortest times: other processes only ever add to them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import statistics
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
import redis.asyncio.cluster
import redis.cluster

from reinhardt_backends import RedisBackend, SyncBackend
from tests.bench.table import Line, at_least, at_most, report
from tests.servers import running
from tests.topologies import Cluster, running_cluster

VALUE = "a value of 20 bytes."
KEYS = [f"key{number}" for number in range(300)]
SLICE = 0.04
ROUNDS = 25

Operation = Callable[[str], Awaitable[Any]]


async def _slice(operation: Operation, callers: int, turns: int) -> float:
    """Microseconds for one operation, with so many callers at a time."""
    starts = itertools.count()

    async def caller() -> None:
        start = next(starts) * 7
        for turn in range(turns):
            await operation(KEYS[(start + turn) % len(KEYS)])

    began = time.perf_counter()
    if callers == 1:
        await caller()
    else:
        async with anyio.create_task_group() as group:
            for _ in range(callers):
                group.start_soon(caller)
    return (time.perf_counter() - began) / (turns * callers) * 1e6


async def _ratio(ours: Operation, theirs: Operation, callers: int) -> tuple[float, float]:
    """How many times as long the other operation takes, and the microseconds of ours."""
    turns = {}
    for operation in (ours, theirs):
        turns[operation] = max(2, int(SLICE * 1e6 / await _slice(operation, callers, 10) / callers))
    times: dict[Operation, list[float]] = {ours: [], theirs: []}
    for _ in range(ROUNDS):
        for operation in (ours, theirs):
            times[operation].append(await _slice(operation, callers, turns[operation]))
    mine = min(times[ours])
    return min(times[theirs]) / mine, mine


async def _lines(title: str, musts: dict[int, float], ours: Operation, theirs: Operation) -> list[Line]:
    lines = []
    for callers, must in musts.items():
        ratio, mine = await _ratio(ours, theirs, callers)
        lines.append(at_least(f"{title}, {callers} callers ({mine:.1f} us)", ratio, must))
    return lines


async def _on_asyncio(cluster: Cluster) -> list[Line]:
    seed = cluster.servers[0]
    other = redis.asyncio.cluster.RedisCluster(host="127.0.0.1", port=seed.port, max_connections=1000)
    async with RedisBackend(cluster.url) as backend:
        await backend.set_many(dict.fromkeys(KEYS, VALUE))
        for key in KEYS:
            await other.set(key, VALUE)
        lines = await _lines(
            "asyncio GET / redis.asyncio", {1: 1.5, 16: 4, 128: 8}, lambda key: backend.get(key, str), other.get
        )
        lines += await _lines(
            "asyncio SET / redis.asyncio",
            {1: 1.5, 16: 4, 128: 7},
            lambda key: backend.set(key, VALUE),
            lambda key: other.set(key, VALUE),
        )
    await other.aclose()
    return lines


async def _on_trio(cluster: Cluster) -> list[Line]:
    import coredis

    seed = cluster.servers[0]
    async with RedisBackend(cluster.url) as backend, coredis.RedisCluster("127.0.0.1", seed.port) as other:
        await backend.set_many(dict.fromkeys(KEYS, VALUE))
        for key in KEYS:
            await other.set(key, VALUE)
        return await _lines("trio GET / coredis", {1: 2, 16: 5, 128: 8}, lambda key: backend.get(key, str), other.get)


def _blocking(cluster: Cluster) -> list[Line]:
    lines = []
    other = redis.cluster.RedisCluster(host="127.0.0.1", port=cluster.servers[0].port)
    with SyncBackend(RedisBackend(cluster.url)) as backend:
        for key in KEYS:
            backend.set(key, VALUE)
            other.set(key, VALUE)
        for count in (1, 16):
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(ROUNDS):
                for operation, taken in zip((lambda key: backend.get(key, str), other.get), times, strict=True):
                    taken.append(_threads(operation, count, 1600 // count))
            mine, theirs = map(min, times)
            lines.append(at_least(f"blocking GET / redis-py, {count} threads ({mine:.1f} us)", theirs / mine, 1.5))
    other.close()
    return lines


def _threads(operation: Callable[[str], Any], count: int, turns: int) -> float:
    def work(start: int) -> None:
        for turn in range(turns):
            operation(KEYS[(start + turn) % len(KEYS)])

    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=(number * 7,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - began) / (turns * count) * 1e6


async def _many(cluster: Cluster) -> list[Line]:
    keys = [f"many{number}" for number in range(1000)]
    other = redis.cluster.RedisCluster(host="127.0.0.1", port=cluster.servers[0].port)
    names = [f"reinhardt:{key}" for key in keys]
    async with RedisBackend(cluster.url) as backend:
        await backend.set_many(dict.fromkeys(keys, VALUE))
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(ROUNDS * 3):
            began = time.perf_counter()
            assert len(await backend.get_many(keys, str)) == len(keys)
            times[0].append(time.perf_counter() - began)
            began = time.perf_counter()
            assert None not in other.mget_nonatomic(names)
            times[1].append(time.perf_counter() - began)
    other.close()
    mine, theirs = map(min, times)
    return [at_least(f"get_many(1000) / mget_nonatomic ({mine * 1e3:.2f} ms)", theirs / mine, 4)]


async def _single(cluster: Cluster) -> list[Line]:
    with running() as server:
        async with RedisBackend(cluster.url) as backend, RedisBackend(server.url) as one:
            for each in (backend, one):
                await each.set_many(dict.fromkeys(KEYS, VALUE))
            lines = []
            for callers, must in ((1, None), (16, None), (128, 0.75)):
                ratio, _ = await _ratio(lambda key: backend.get(key, str), lambda key: one.get(key, str), callers)
                lines.append(at_least(f"a cluster / one server, {callers} callers", ratio, must))
    return lines


def _recovery(cluster: Cluster) -> list[Line]:
    from tests.redis.test_cluster_failover import failing_over

    lines = []
    for what, incident, must in (("kill", lambda node: node.kill(), 0.5), ("SIGSTOP", lambda node: node.pause(), 1.2)):
        taken = []
        for _ in range(3):
            taken.append(failing_over(cluster, incident, must + 1.5)[0])
            cluster.heal()
        lines.append(at_most(f"answers after the takeover, {what}", statistics.median(taken), must, unit="s"))
    return lines


def main() -> None:
    """Run what the command line asks for, or everything."""
    import trio

    parts: dict[str, Callable[[Cluster], list[Line]]] = {
        "asyncio": lambda cluster: asyncio.run(_on_asyncio(cluster)),
        "trio": lambda cluster: trio.run(_on_trio, cluster),
        "blocking": _blocking,
        "many": lambda cluster: asyncio.run(_many(cluster)),
        "single": lambda cluster: asyncio.run(_single(cluster)),
        "recovery": _recovery,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)}; all of them by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    gc.freeze()
    with running_cluster() as cluster:
        report(
            "3 primaries and 3 replicas", [line for part in arguments.parts or parts for line in parts[part](cluster)]
        )


if __name__ == "__main__":
    main()
