"""How fast ``RedisBackend`` is on a cluster, beside the clients that people use otherwise, and beside one server.

    python tests/bench/bench_cluster.py [asyncio] [trio] [blocking] [many] [single] [recovery]

3 primaries and 3 replicas on the loopback interface. GET and SET of a 20-byte string go through the public ``get`` and
``set``; the other clients move bytes. Each caller goes through keys of all nodes. Clients of event loops run in
processes of their own, as in applications, and take turns: in one process each leaves cold caches to the other, and
servers that sleep. Their lines are medians of the ratios of neighbouring turns; the others, of the shortest times.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
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


async def _open(client: str, url: str, stack: AsyncExitStack) -> dict[str, Operation]:
    """Return GET and SET of a client."""
    if client == "ours":
        backend = await stack.enter_async_context(RedisBackend(url))
        return {"GET": lambda key: backend.get(key, str), "SET": lambda key: backend.set(key, VALUE)}
    host, port = url.partition("//")[2].partition(",")[0].split(":")
    other: Any
    if client == "coredis":
        import coredis

        other = await stack.enter_async_context(coredis.RedisCluster(host, int(port)))
    else:
        other = redis.asyncio.cluster.RedisCluster(host=host, port=int(port), max_connections=1000)
        stack.push_async_callback(other.aclose)
    return {"GET": other.get, "SET": lambda key: other.set(key, VALUE)}


async def _serve(client: str, url: str) -> None:
    """Measure what the lines of the standard input ask for."""
    async with AsyncExitStack() as stack:
        operations = await _open(client, url, stack)
        for key in KEYS:
            await operations["SET"](key)
        gc.freeze()
        for line in sys.stdin:
            verb, callers, turns = line.split()
            print(await _slice(operations[verb], int(callers), int(turns)), flush=True)


class Side:
    """A client in a process of its own."""

    def __init__(self, runtime: str, client: str, url: str) -> None:
        command = [sys.executable, __file__, "--serve", runtime, client, url]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self, verb: str, callers: int, turns: int) -> float:
        """Return the microseconds for one operation."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(verb, callers, turns, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def _ratio(ours: Side, theirs: Side, verb: str, callers: int) -> tuple[float, float]:
    """How many times as long the other side takes, and the microseconds of ours."""
    turns = {side: max(2, int(SLICE * 1e6 / side.measure(verb, callers, 20) / callers)) for side in (ours, theirs)}
    ratios, mine = [], []
    for _ in range(ROUNDS):
        mine.append(ours.measure(verb, callers, turns[ours]))
        ratios.append(theirs.measure(verb, callers, turns[theirs]) / mine[-1])
    return statistics.median(ratios), statistics.median(mine)


def _compared(
    title: str, runtime: str, ours: str, theirs: tuple[str, str], musts: dict[str, dict[int, float | None]]
) -> list[Line]:
    """Return a line for each verb and number of callers; ``theirs`` is the other client and the url that it uses."""
    sides = Side(runtime, "ours", ours), Side(runtime, *theirs)
    lines = []
    for verb, by_callers in musts.items():
        for callers, must in by_callers.items():
            ratio, mine = _ratio(*sides, verb, callers)
            lines.append(at_least(f"{title.format(verb)}, {callers} callers ({mine:.1f} us)", ratio, must))
    for side in sides:
        side.close()
    return lines


def _on_asyncio(cluster: Cluster) -> list[Line]:
    musts: dict[str, dict[int, float | None]] = {"GET": {1: 1.5, 16: 4, 128: 8}, "SET": {1: 1.5, 16: 4, 128: 7}}
    return _compared("asyncio {} / redis.asyncio", "asyncio", cluster.url, ("redis.asyncio", cluster.url), musts)


def _on_trio(cluster: Cluster) -> list[Line]:
    musts: dict[str, dict[int, float | None]] = {"GET": {1: 2, 16: 5, 128: 8}}
    return _compared("trio {} / coredis", "trio", cluster.url, ("coredis", cluster.url), musts)


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


def _single(cluster: Cluster) -> list[Line]:
    with running() as server:
        musts: dict[str, dict[int, float | None]] = {"GET": {1: None, 16: None, 128: 0.75}}
        return _compared("{} on a cluster / on one server", "asyncio", cluster.url, ("ours", server.url), musts)


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
    if sys.argv[1:2] == ["--serve"]:
        runtime, client, url = sys.argv[2:]
        anyio.run(_serve, client, url, backend=runtime)
        return
    parts: dict[str, Callable[[Cluster], list[Line]]] = {
        "asyncio": _on_asyncio,
        "trio": _on_trio,
        "blocking": _blocking,
        "many": lambda cluster: asyncio.run(_many(cluster)),
        "single": _single,
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
