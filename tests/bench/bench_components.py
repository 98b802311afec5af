"""What the components cost, beside the verbs they are made of: ``python tests/bench/bench_components.py``.

Ratios of medians of runs that take turns. On memory a decision of ``Throttle.allow`` is compared with an ``increment``,
on a real server, with 128 callers in one event loop, its throughput with that of ``get``.

Nothing here fails: a benchmark informs, and a test that measures time is a coin toss.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parents[2]))

from reinhardt_backends import MemoryBackend, RedisBackend, Throttle
from tests.servers import available, running

RATE = "100000000/h"
CALLERS = 128

Call = Callable[[], Awaitable[object]]


async def together(calls: int, callers: int, call: Call) -> float:
    """Return the seconds that so many calls take, by so many callers at once."""
    each = calls // callers

    async def caller() -> None:
        for _ in range(each):
            await call()

    began = time.perf_counter()
    if callers == 1:
        await caller()
    else:
        async with anyio.create_task_group() as group:
            for _ in range(callers):
                group.start_soon(caller)
    return time.perf_counter() - began


async def compare(rounds: int, calls: int, callers: int, base: Call, call: Call) -> float:
    """Return how often as long a call takes as the base."""
    ratios = []
    for _ in range(rounds + 1):
        below = await together(calls, callers, base)
        ratios.append(await together(calls, callers, call) / below)
    return statistics.median(ratios[1:])


def throttles(backend: MemoryBackend | RedisBackend) -> dict[str, Throttle]:
    return {
        "fixed-window": Throttle(backend, RATE),
        "fixed-window, two rates": Throttle(backend, RATE, "1000000000/day"),
        "sliding-window": Throttle(backend, RATE, algorithm="sliding-window"),
        "gcra": Throttle(backend, RATE, algorithm="gcra"),
    }


def line(what: str, target: str, reached: str) -> None:
    print(f"{what:<60} {target:>10} {reached:>10}", flush=True)


async def on_memory(rounds: int, calls: int) -> None:
    backend = MemoryBackend()
    for name, throttle in throttles(backend).items():
        ratio = await compare(
            rounds, calls, 1, lambda: backend.increment("c", 60), lambda throttle=throttle: throttle.allow("user:1")
        )
        target = "<= 4 x" if name == "fixed-window" else ""
        line(f"memory: allow, {name}, beside increment", target, f"{ratio:.2f} x")


async def on_redis(url: str, rounds: int, calls: int) -> None:
    async with RedisBackend(url) as backend:
        await backend.set("k", "active")
        for name, throttle in throttles(backend).items():
            ratio = await compare(
                rounds,
                calls,
                CALLERS,
                lambda: backend.get("k", str),
                lambda throttle=throttle: throttle.allow("user:1"),
            )
            target = ">= 50 %" if name == "fixed-window" else ""
            line(f"redis, {CALLERS} callers: allow, {name}, of get's throughput", target, f"{100 / ratio:.0f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=20_000)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}")
    asyncio.run(on_memory(options.rounds, options.calls))
    if available():
        with running() as server:
            asyncio.run(on_redis(server.url, options.rounds, options.calls))


if __name__ == "__main__":
    main()
