"""How much a hit of ``Cache`` costs, beside the ``get`` that it is made of.

Run it from the root of the project with ``python tests/bench/bench_cache.py``.

Every number is a ratio to a ``get`` of the same value by the same type, measured right beside each sample in the same
process, and the median of all rounds. Nothing here fails: a benchmark informs, and a test that measures time is a coin
toss.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel

from reinhardt_backends import Cache, MemoryBackend, SyncBackend, SyncCache


class User(BaseModel):
    id: int
    name: str
    tags: list[str]


USER = User(id=42, name="Ada", tags=["a", "b"])

LINES = (
    ("cached hit, str, one argument", 3, "await name(42)", 'await backend.get("plain", str)'),
    ("cached hit, str, by keyword", None, "await name(user_id=42)", 'await backend.get("plain", str)'),
    ("cached hit, str, two arguments", 3, 'await pair("x", 42)', 'await backend.get("plain", str)'),
    ("cached hit, model", 3, "await user(42)", 'await backend.get("model", User)'),
    ("cached hit, model with a tag", None, "await tagged(42)", 'await backend.get("model", User)'),
    ("cached hit, str, blocking", 3, "blocking(42)", 'face.get("plain", str)'),
    ("get_or_set hit, str", None, 'await cache.get_or_set("name:42", None_, str)', 'await backend.get("plain", str)'),
)


def loop(statement: str, calls: int) -> Callable[..., Awaitable[None]]:
    """Return a coroutine function that runs a statement so many times, with nothing else in the way."""
    names: dict[str, Any] = {"User": User}
    parameters = "backend, face, cache, name, pair, user, tagged, blocking, None_"
    exec(f"async def loop({parameters}):\n  for _ in range({calls}):\n    {statement}", names)
    run: Callable[..., Awaitable[None]] = names["loop"]
    return run


async def things() -> tuple[Any, ...]:
    backend = MemoryBackend()
    face = SyncBackend(backend)
    cache, blocking_cache = Cache(backend, ttl=3600), SyncCache(face, ttl=3600)

    @cache.cached(key="name:{user_id}")
    async def name(user_id: int) -> str:
        return "active"

    @cache.cached(key="pair:{kind}:{user_id}")
    async def pair(kind: str, user_id: int) -> str:
        return "active"

    @cache.cached(key="user:{user_id}")
    async def user(user_id: int) -> User:
        return USER

    @cache.cached(key="tagged:{user_id}", tags=["user:{user_id}"])
    async def tagged(user_id: int) -> User:
        return USER

    @blocking_cache.cached(key="blocking:{user_id}")
    def blocking(user_id: int) -> str:
        return "active"

    async def none() -> None:
        raise AssertionError

    await backend.set_many({f"key:{number}": "active" for number in range(1000)}, 3600)
    await backend.set("plain", "active", 3600)
    await backend.set("model", USER, 3600)
    for call in (name(42), pair("x", 42), user(42), tagged(42)):
        await call
    blocking(42)
    return backend, face, cache, name, pair, user, tagged, blocking, none


async def ratio(statement: str, floor: str, rounds: int, calls: int) -> float:
    given = await things()
    measured, bottom = loop(statement, calls), loop(floor, calls)
    ratios: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        await bottom(*given)
        between = time.perf_counter()
        await measured(*given)
        ratios.append((time.perf_counter() - between) / (between - began))
    return statistics.median(ratios)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--calls", type=int, default=5000)
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}: times a get of the same value")
    for what, limit, statement, floor in LINES:
        reached = await ratio(statement, floor, arguments.rounds, arguments.calls)
        print(f"  {what:34} {reached:6.2f} x" + (f"   (at most {limit} x)" if limit else ""))


if __name__ == "__main__":
    asyncio.run(main())
