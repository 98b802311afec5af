"""What the benchmarks share: a floor to measure against, and a table that says which lines fall short.

A statement and its floor take turns in the same process, a few milliseconds each, and a line is the ratio of the
fastest turns: machines differ, ratios hardly do, and what else a machine does spares some of the turns.

    cost = await in_floors('await backend.get("k", str)', backend=backend)
    report("in memory", [at_most("get(key, str)", cost, must=2.6, aim=2.3, unit="floors")])

Nothing here fails: a benchmark informs, and a test that measures time is a coin toss.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

#: In how many turns a round is divided.
TURNS = 20


class Line(NamedTuple):
    """One line of a table. ``ok`` is ``None`` where a line has no limit."""

    what: str
    must: str
    aim: str
    measured: str
    ok: bool | None


def at_most(what: str, measured: float, must: float | None = None, aim: float | None = None, unit: str = "x") -> Line:
    """Return a line whose value may not exceed ``must``."""
    ok = None if must is None else measured <= must
    return Line(what, _limit("<=", must, unit), _limit("<=", aim, unit), f"{measured:.2f} {unit}", ok)


def at_least(what: str, measured: float, must: float | None = None, aim: float | None = None, unit: str = "x") -> Line:
    """Return a line whose value must reach ``must``."""
    ok = None if must is None else measured >= must
    return Line(what, _limit(">=", must, unit), _limit(">=", aim, unit), f"{measured:.2f} {unit}", ok)


def _limit(sign: str, value: float | None, unit: str) -> str:
    return "" if value is None else f"{sign} {value:g} {unit}"


def report(title: str, lines: list[Line]) -> int:
    """Print a table and what falls short in it. Return how many lines do."""
    print(f"\n{title:<68} {'measured':>14} {'must':>14} {'aim':>14}")
    for line in lines:
        verdict = {None: "", True: "", False: "  SHORT"}[line.ok]
        print(f"  {line.what:<66} {line.measured:>14} {line.must:>14} {line.aim:>14}{verdict}", flush=True)
    short = [line.what for line in lines if line.ok is False]
    print(f"  {len(short)} of {len(lines)} fall short{': ' if short else ''}{'; '.join(short)}", flush=True)
    return len(short)


class Floor:
    """The cheapest thing that can be awaited and looks something up."""

    def __init__(self) -> None:
        self.data = {"k": "active"}

    async def get(self, key: str) -> str | None:
        return self.data.get(key)


async def in_floors(statement: str, *, rounds: int = 9, calls: int = 20_000, **names: Any) -> float:
    """Return how many floors a statement costs; it may await. ``names`` are what it may use, ``i`` counts its runs."""
    return await beside('await floor.get("k")', statement, rounds=rounds, calls=calls, floor=Floor(), **names)


async def beside(base: str, statement: str, *, rounds: int = 9, calls: int = 20_000, **names: Any) -> float:
    """Return how many times as long as ``base`` a statement takes. ``calls`` are those of one round."""
    below, above = _loop(base, names), _loop(statement, names)
    fastest_below = fastest_above = math.inf
    step = max(calls // TURNS, 1)
    for begin in range(0, rounds * calls, calls):
        gc.collect()
        for start in range(begin, begin + calls, step):
            fastest_below = min(fastest_below, await _timed(below, start, step))
            fastest_above = min(fastest_above, await _timed(above, start, step))
    return fastest_above / fastest_below


def _loop(statement: str, names: dict[str, Any]) -> Callable[[int, int], Awaitable[None]]:
    """Return a coroutine function that repeats a statement with nothing else in the way."""
    arguments = ", ".join(f"{name}={name}" for name in names)
    scope = dict(names)
    exec(f"async def run(start, stop, *, {arguments}):\n  for i in range(start, stop):\n    {statement}", scope)
    run: Callable[[int, int], Awaitable[None]] = scope["run"]
    return run


async def _timed(run: Callable[[int, int], Awaitable[None]], start: int, calls: int) -> float:
    began = time.perf_counter()
    await run(start, start + calls)
    return time.perf_counter() - began
