"""How fast and how large ``MemoryBackend`` is, beside what Python itself costs.

Run it with ``nox -s bench``, or from the root of the project with ``python tests/bench/bench_memory.py``.

Times are ratios to what is measured beside them, as ``table.py`` describes. The floor of the verbs is awaiting a method
whose body is ``return d.get(k)``, for the blocking face and the components too. Memory is what tracemalloc counts
between two points. The comparison with a plain dict leaves out the keys themselves, which both have; what is back after
expiry counts them, since they go with the rest.

Nothing here fails: a benchmark informs, and a test that measures time is a coin toss.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import platform
import time
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any, Self

if __package__:
    from .table import Line, at_least, at_most, in_floors, report
else:
    from table import Line, at_least, at_most, in_floors, report

from reinhardt_backends import Cache, MemoryBackend, SyncBackend, Throttle

HOUR = 3600
MIB = 2**20
Insert = Callable[[str, float], Any]


# Verbs and components, beside awaiting one look-up in a dict: what, must, aim, and the statement.

VERBS = (
    ("get(key, str)", 2.6, 2.3, 'await backend.get("k", str)'),
    ('set(key, "active", 3600)', 4.8, 4, 'await backend.set("k", "active", 3600)'),
    ("increment(key, 60)", 4.8, 4, 'await backend.increment("c", 60)'),
    ("get(key, str), blocking", 2, None, 'face.get("k", str)'),
    ('set(key, "active", 3600), blocking', 4.5, None, 'face.set("k", "active", 3600)'),
    ("increment(key, 60), blocking", 4.5, None, 'face.increment("c", 60)'),
    ("maxsize=10_000, lru: get", 5, 4.2, 'await lru.get("key:9999", str)'),
    ("maxsize=10_000, lru: set of a key that is there", 10, 6, 'await lru.set("key:9999", "active", 3600)'),
    ("maxsize=10_000, lru: set that evicts", 22, 12, 'await lru.set(f"new:{i}", "active", 3600)'),
    ("maxsize=10_000, fifo: set that evicts", None, None, 'await fifo.set(f"new:{i}", "active", 3600)'),
    ("maxsize=10_000, lfu: get", None, None, 'await lfu.get("key:9999", str)'),
    ("maxsize=10_000, lfu: set that evicts", None, None, 'await lfu.set(f"new:{i}", "active", 3600)'),
    ("get through one namespace", 4.5, 3.5, 'await view.get("k", str)'),
    ("get through one namespace, blocking", 6, 4, 'view_face.get("k", str)'),
    ("Throttle.allow, fixed-window", 9, 7, 'await fixed.allow("k")'),
    ("Throttle.hit, fixed-window", 25, 18, 'await fixed.hit("k")'),
    ("Throttle.allow, gcra", 18, 14, 'await gcra.allow("k")'),
    ("Throttle.allow, sliding-window", 18, 14, 'await sliding.allow("k")'),
    ("@cached hit, one argument", 6.5, 5, "await cached(1)"),
)
RATE = "1000000000/h"


async def things() -> dict[str, Any]:
    """Return what the statements use."""
    names: dict[str, Any] = {"backend": MemoryBackend()}
    for policy in ("lru", "fifo", "lfu"):
        names[policy] = MemoryBackend(maxsize=10_000, policy=policy)
    for backend in list(names.values()):
        held = 1000 if backend is names["backend"] else 10_000
        await backend.set_many({f"key:{number}": "active" for number in range(held)}, HOUR)
    backend = names["backend"]
    view = backend.namespace("n")
    for store in (backend, view):
        await store.set("k", "active", HOUR)

    @Cache(backend, ttl=HOUR).cached(key="cached/{number}")
    async def cached(number: int) -> int:
        return number

    return names | {
        "face": SyncBackend(backend),
        "view": view,
        "view_face": SyncBackend(view),
        "fixed": Throttle(backend, RATE),
        "gcra": Throttle(backend, RATE, algorithm="gcra"),
        "sliding": Throttle(backend, RATE, algorithm="sliding-window"),
        "cached": cached,
    }


async def verbs(rounds: int, calls: int) -> list[Line]:
    names = await things()
    lines = []
    for what, must, aim, statement in VERBS:
        cost = await in_floors(statement, rounds=rounds, calls=calls, **names)
        lines.append(at_most(what, cost, must=must, aim=aim, unit="floors"))
    return lines


# New keys, beside inserting ``(value, monotonic() + ttl)`` into a plain dict of the same size.


async def new_keys(rounds: int, held: int, fresh: int, spread: bool) -> float:
    monotonic = time.monotonic
    ttls: list[float] = [1 + HOUR * number / fresh if spread else HOUR for number in range(fresh)]
    plain = {f"key:{number}": ("active", monotonic() + HOUR * number / held) for number in range(held)}
    backend = MemoryBackend()
    for number in range(held):
        await backend.set(f"key:{number}", "active", 1 + HOUR * number / held)
    fastest_plain = fastest = math.inf
    for turn in range(rounds + 1):
        pairs = [(f"new:{turn}:{number}", ttls[number]) for number in range(fresh)]
        start = time.perf_counter()
        for key, ttl in pairs:
            plain[key] = ("active", monotonic() + ttl)
        middle = time.perf_counter()
        for key, ttl in pairs:
            await backend.set(key, "active", ttl)
        fastest = min(fastest, time.perf_counter() - middle)
        fastest_plain = min(fastest_plain, middle - start)
        for key, _ in pairs:
            del plain[key]
        await backend.delete_many([key for key, _ in pairs])
    return fastest / fastest_plain


async def growth(rounds: int, keys: int) -> list[Line]:
    few, many = min(keys, 1000), min(keys, 10_000)
    return [
        at_most(f"new key, {few:,} there", await new_keys(rounds, few, few, spread=False), 5.5),
        at_most(f"new key, {few:,} there, each another ttl", await new_keys(rounds, few, few, spread=True)),
        at_most(f"new key, {keys:,} there", await new_keys(rounds, keys, many, spread=False), 3),
        at_most(f"new key, {keys:,} there, each another ttl", await new_keys(rounds, keys, many, spread=True), 3),
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
        at_most(f"plain dict of {keys:,} (value, expiry)", plain_size / MIB, unit="MiB"),
        at_most(f"memory of {keys:,} keys, each another ttl, in plain dicts", kept_size / plain_size, 1.6),
        at_most(f"more memory after a key is set {keys:,} times", max(grown, 0), 1024, unit="B"),
        at_least(f"memory back after {keys:,} keys expired", back, 80, unit="%"),
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
        at_most(f"longest call while {keys:,} keys are swept", sweep, 10, unit="ms"),
        at_most(f"longest insertion of {keys:,}, plain dict", plain_growth, unit="ms"),
        at_most(f"longest insertion of {keys:,}, backend", growth, unit="ms"),
        at_most(f"longest collection, {keys:,} in a plain dict", plain_collection, unit="ms"),
        at_most(f"longest collection, {keys:,} in a backend", collection, plain_collection + 10, unit="ms"),
    ]


def main(rounds: int, keys: int, calls: int) -> None:
    print(f"{platform.python_implementation()} {platform.python_version()}, {rounds} rounds")
    report("Verbs, in floors", asyncio.run(verbs(rounds, calls)))
    report("New keys, in insertions into a plain dict", asyncio.run(growth(rounds, keys)))
    report("Memory", memory(keys))
    report("Pauses", pauses(keys))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure MemoryBackend beside what Python itself costs.")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each measurement (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=1_000_000, help="how many keys are many (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=20_000, help="calls in one round (default: %(default)s)")
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.keys, arguments.calls)
