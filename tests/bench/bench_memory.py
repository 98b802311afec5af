"""How fast and how large ``MemoryBackend`` is, beside what Python itself costs.

Run it with ``nox -s bench``, or from the root of the project with ``python tests/bench/bench_memory.py``.

Every time is a ratio to a floor that is measured right beside each sample in the same process, and the median of all
rounds: machines differ, ratios hardly. The floor of the verbs is awaiting a method whose body is ``return d.get(k)``,
for the blocking face too. Memory is what tracemalloc counts between two points. The comparison with a plain dict leaves
out the keys themselves, which both have; what is back after expiry counts them, since they go with the rest.

Nothing here fails: a benchmark informs, and a test that measures time is a coin toss.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, Self

from reinhardt_backends import MemoryBackend, SyncBackend

HOUR = 3600
MIB = 2**20
Insert = Callable[[str, float], Any]


class Line(NamedTuple):
    what: str
    target: str
    reached: str
    fine: bool | None = None


def ratio(what: str, limit: float | None, value: float) -> Line:
    if limit is None:
        return Line(what, "", f"{value:.2f} x")
    return Line(what, f"<= {limit:g} x", f"{value:.2f} x", value <= limit)


# Verbs, beside awaiting one look-up in a dict.

VERBS = (
    ("get(key, str)", 2.6, 'await backend.get("k", str)'),
    ('set(key, "active", 3600)', 5, 'await backend.set("k", "active", 3600)'),
    ("increment(key, 60)", 5, 'await backend.increment("c", 60)'),
    ("get(key, str), blocking", 2, 'face.get("k", str)'),
    ('set(key, "active", 3600), blocking', 4.5, 'face.set("k", "active", 3600)'),
    ("increment(key, 60), blocking", 4.5, 'face.increment("c", 60)'),
)


class Floor:
    def __init__(self) -> None:
        self.data = {"k": "active"}

    async def get(self, key: str) -> str | None:
        return self.data.get(key)


def loop(statement: str, calls: int) -> Callable[..., Awaitable[None]]:
    """Return a coroutine function that runs a statement so many times, with nothing else in the way."""
    names: dict[str, Any] = {}
    exec(f"async def loop(floor, backend, face):\n  for _ in range({calls}):\n    {statement}", names)
    run: Callable[..., Awaitable[None]] = names["loop"]
    return run


async def verbs(rounds: int, calls: int) -> list[Line]:
    floor, backend = Floor(), MemoryBackend()
    things = (floor, backend, SyncBackend(backend))
    await backend.set_many({f"key:{number}": "active" for number in range(1000)}, HOUR)
    await backend.set("k", "active", HOUR)
    bottom = loop('await floor.get("k")', calls)
    lines = []
    for what, limit, statement in VERBS:
        run = loop(statement, calls)
        ratios = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            await bottom(*things)
            middle = time.perf_counter()
            await run(*things)
            ratios.append((time.perf_counter() - middle) / (middle - start))
        lines.append(ratio(what, limit, statistics.median(ratios[1:])))
    return lines


# New keys, beside inserting ``(value, monotonic() + ttl)`` into a plain dict of the same size.


async def new_keys(rounds: int, held: int, fresh: int, spread: bool) -> float:
    monotonic = time.monotonic
    ttls: list[float] = [1 + HOUR * number / fresh if spread else HOUR for number in range(fresh)]
    plain = {f"key:{number}": ("active", monotonic() + HOUR * number / held) for number in range(held)}
    backend = MemoryBackend()
    for number in range(held):
        await backend.set(f"key:{number}", "active", 1 + HOUR * number / held)
    ratios = []
    for turn in range(rounds + 1):
        pairs = [(f"new:{turn}:{number}", ttls[number]) for number in range(fresh)]
        start = time.perf_counter()
        for key, ttl in pairs:
            plain[key] = ("active", monotonic() + ttl)
        middle = time.perf_counter()
        for key, ttl in pairs:
            await backend.set(key, "active", ttl)
        ratios.append((time.perf_counter() - middle) / (middle - start))
        for key, _ in pairs:
            del plain[key]
        await backend.delete_many([key for key, _ in pairs])
    return statistics.median(ratios[1:])


async def growth(rounds: int, keys: int) -> list[Line]:
    few, many = min(keys, 1000), min(keys, 10_000)
    return [
        ratio(f"new key, {few:,} there", 5.5, await new_keys(rounds, few, few, spread=False)),
        ratio(f"new key, {few:,} there, each another ttl", None, await new_keys(rounds, few, few, spread=True)),
        ratio(f"new key, {keys:,} there", 3, await new_keys(rounds, keys, many, spread=False)),
        ratio(f"new key, {keys:,} there, each another ttl", 3, await new_keys(rounds, keys, many, spread=True)),
    ]


# Memory.


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def counted() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def memory_of(insert: Insert, pairs: Iterable[tuple[str, float]]) -> int:
    before = counted()
    for key, ttl in pairs:
        insert(key, ttl)
    return counted() - before


def memory(keys: int) -> list[Line]:
    pairs = [(f"key:{number}", 1 + HOUR * number / keys) for number in range(keys)]
    tracemalloc.start()
    plain: dict[str, tuple[str, float]] = {}
    plain_size = memory_of(lambda key, ttl: plain.__setitem__(key, ("active", time.monotonic() + ttl)), pairs)
    plain.clear()
    kept = SyncBackend(MemoryBackend())
    kept_size = memory_of(lambda key, ttl: kept.set(key, "active", ttl), pairs)
    kept.clear()

    again = SyncBackend(MemoryBackend())
    again.set("k", "active", HOUR)
    grown = memory_of(lambda key, ttl: again.set("k", "active", HOUR), pairs)

    clock = Clock()
    swept = SyncBackend(MemoryBackend(clock=clock))
    filled = memory_of(lambda key, ttl: swept.set(f"{key}'", "active", 1), pairs)
    clock.now += 2
    left = filled + memory_of(lambda key, ttl: swept.set("k", "active", HOUR), pairs[: max(1000, keys // 100)])
    tracemalloc.stop()
    back = 100 * (1 - left / filled)
    return [
        Line(f"plain dict of {keys:,} (value, expiry)", "", f"{plain_size / MIB:.1f} MiB"),
        ratio(f"memory of {keys:,} keys, each another ttl", 1.6, kept_size / plain_size),
        Line(f"memory after a key is set {keys:,} times", "<= 1 KiB more", f"{max(grown, 0):,} B more", grown <= 1024),
        Line(f"memory back after {keys:,} keys expired", ">= 80 %", f"{back:.0f} %", back >= 80),
    ]


# Pauses: the longest single call, and the longest turn of the garbage collector.


class Collections:
    """How long each turn of the garbage collector takes while it is watched."""

    def __init__(self) -> None:
        self.longest = self._start = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._start = time.perf_counter()
        else:
            self.longest = max(self.longest, time.perf_counter() - self._start)

    def __enter__(self) -> Self:
        gc.collect()
        gc.callbacks.append(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        gc.callbacks.remove(self)


def longest_collection(insert: Insert, keys: int) -> float:
    with Collections() as collections:
        for number in range(keys):
            insert(f"key:{number}", 1 + HOUR * number / keys)
    return collections.longest * 1000


def longest_call(call: Callable[[str], Any], calls: int) -> float:
    """Return the CPU time of the longest call in milliseconds, its garbage collections left out."""
    clock = time.thread_time
    longest = 0.0
    gc.collect()
    gc.disable()
    for number in range(calls):
        key = f"key:{number}"
        start = clock()
        call(key)
        longest = max(longest, clock() - start)
    gc.enable()
    return longest * 1000


def pauses(keys: int) -> list[Line]:
    plain: dict[str, tuple[str, float]] = {}
    plain_growth = longest_call(lambda key: plain.__setitem__(key, ("active", time.monotonic() + 1)), keys)
    clock = Clock()
    backend = SyncBackend(MemoryBackend(clock=clock))
    growth = longest_call(lambda key: backend.set(key, "active", 1), keys)
    clock.now += 2
    sweep = longest_call(lambda key: backend.set("k", "active", HOUR), max(1000, keys // 100))
    plain.clear()

    plain_collection = longest_collection(
        lambda key, ttl: plain.__setitem__(key, ("active", time.monotonic() + ttl)), keys
    )
    plain.clear()
    backend = SyncBackend(MemoryBackend())
    collection = longest_collection(lambda key, ttl: backend.set(key, "active", ttl), keys)
    return [
        Line(f"longest call while {keys:,} keys are swept", "<= 10 ms", f"{sweep:.2f} ms", sweep <= 10),
        Line(f"longest insertion of {keys:,}, plain dict", "", f"{plain_growth:.2f} ms"),
        Line(f"longest insertion of {keys:,}, backend", "", f"{growth:.2f} ms"),
        Line(f"longest collection, {keys:,} in a plain dict", "", f"{plain_collection:.2f} ms"),
        Line(
            f"longest collection, {keys:,} in a backend",
            f"<= {plain_collection + 10:.2f} ms",
            f"{collection:.2f} ms",
            collection <= plain_collection + 10,
        ),
    ]


# The table.


def show(title: str, lines: list[Line]) -> None:
    print(f"\n{title}")
    for line in lines:
        verdict = {None: "", True: "reached", False: "missed"}[line.fine]
        print(f"  {line.what:52} {line.target:>13}  {line.reached:>12}  {verdict}", flush=True)


def main(rounds: int, keys: int, calls: int) -> None:
    print(f"{platform.python_implementation()} {platform.python_version()}, medians of {rounds} rounds")
    show("Verbs, in floors", asyncio.run(verbs(rounds, calls)))
    show("New keys, in insertions into a plain dict", asyncio.run(growth(rounds, keys)))
    show("Memory", memory(keys))
    show("Pauses", pauses(keys))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure MemoryBackend beside what Python itself costs.")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each measurement (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=1_000_000, help="how many keys are many (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=20_000, help="calls in one round (default: %(default)s)")
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.keys, arguments.calls)
