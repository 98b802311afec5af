"""What the components cost, beside the verbs they are made of: ``python tests/bench/bench_components.py``.

On memory a decision is measured in floors, on a real server, with 128 callers in one event loop, as a share of the
throughput of ``get``. Nothing here fails: a benchmark informs.
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
from tests.bench.table import Line, at_least, at_most, in_floors, report
from tests.servers import available, running

RATE = "100000000/h"
CALLERS = 128

Call = Callable[[], Awaitable[object]]


def throttles(backend: MemoryBackend | RedisBackend) -> dict[str, Throttle]:
    return {
        "fixed-window": Throttle(backend, RATE),
        "fixed-window, two rates": Throttle(backend, RATE, "1000000000/day"),
        "sliding-window": Throttle(backend, RATE, algorithm="sliding-window"),
        "gcra": Throttle(backend, RATE, algorithm="gcra"),
    }


# By call and throttle: the most floors on memory, and the aim.
ON_MEMORY: dict[tuple[str, str], tuple[float, float] | tuple[None, None]] = {
    ("allow", "fixed-window"): (9, 7),
    ("hit", "fixed-window"): (25, 18),
    ("allow", "gcra"): (18, 14),
    ("allow", "sliding-window"): (18, 14),
    ("allow", "fixed-window, two rates"): (None, None),
}
# By throttle: the least share of the throughput of get, and the aim.
ON_REDIS: dict[str, tuple[float, float | None]] = {
    "fixed-window": (0.65, 0.75),
    "gcra": (0.5, None),
    "sliding-window": (0.5, None),
    "fixed-window, two rates": (0.42, None),
}


async def on_memory(rounds: int, calls: int) -> list[Line]:
    backend = MemoryBackend()
    made = throttles(backend)
    lines = []
    for (verb, name), (must, aim) in ON_MEMORY.items():
        cost = await in_floors(f'await throttle.{verb}("user:1")', rounds=rounds, calls=calls, throttle=made[name])
        lines.append(at_most(f"Throttle.{verb}, {name}", cost, must, aim, unit="floors"))
    return lines


async def together(calls: int, call: Call) -> float:
    """Return the seconds that so many calls take, by all callers at once."""

    async def caller() -> None:
        for _ in range(calls // CALLERS):
            await call()

    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(CALLERS):
            group.start_soon(caller)
    return time.perf_counter() - began


async def share(rounds: int, calls: int, base: Call, call: Call) -> float:
    """Return the throughput of a call as a share of that of the base: the median over rounds that take turns."""
    ratios = []
    for _ in range(rounds + 1):
        below = await together(calls, base)
        ratios.append(below / await together(calls, call))
    return statistics.median(ratios[1:])


async def on_redis(url: str, rounds: int, calls: int) -> list[Line]:
    lines = []
    async with RedisBackend(url) as backend:
        await backend.set("k", "active")
        for name, throttle in throttles(backend).items():
            reached = await share(
                rounds,
                calls,
                lambda: backend.get("k", str),
                lambda throttle=throttle: throttle.allow("user:1"),  # type: ignore[misc]
            )
            must, aim = ON_REDIS[name]
            lines.append(at_least(f"Throttle.allow, {name}, of get", reached, must, aim))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=20_000)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}")
    report("Components on memory", asyncio.run(on_memory(options.rounds, options.calls)))
    if available():
        with running() as server:
            lines = asyncio.run(on_redis(server.url, options.rounds, options.calls))
            report(f"Components on Redis, {CALLERS} callers", lines)


if __name__ == "__main__":
    main()
