"""What a hit of ``Cache`` costs, beside the ``get`` that it is made of: ``python tests/bench/bench_cache.py``.

On memory in floors: awaiting a method whose body is ``return d.get(k)``. On a real server one caller is compared with
``get``, and 64 callers of values with tags with cashews, if it is installed: each with a key of its own, and all with
the same key. (For the same key cashews lets calls at the same time share one ``GET``, so that a caller may see a value
from before its question; here callers share the next read, which begins after their questions.)
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import platform
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parents[2]))

from reinhardt_backends import Cache, MemoryBackend, RedisBackend, SyncCache
from tests.bench.table import Line, at_least, at_most, beside, in_floors, report
from tests.servers import available, running

CALLERS = 64


class User(BaseModel):
    id: int
    name: str
    tags: list[str]


USER = User(id=42, name="Ada", tags=["a", "b"])


def functions(cache: Cache) -> dict[str, Any]:
    """Return cached functions of every kind."""

    @cache.cached(key="name:{user_id}")
    async def name(user_id: int) -> str:
        return "active"

    @cache.cached(key="pair:{kind}:{user_id}")
    async def pair(kind: str, user_id: int) -> str:
        return "active"

    @cache.cached(key="user:{user_id}")
    async def user(user_id: int) -> User:
        return USER

    @cache.cached(key="tagged:{user_id}", tags=["user:{user_id}", "users"])
    async def tagged(user_id: int) -> User:
        return USER

    return {"name": name, "pair": pair, "user": user, "tagged": tagged}


async def in_memory() -> list[Line]:
    backend = MemoryBackend()
    given = {**functions(Cache(backend, ttl=3600)), "backend": backend}
    await backend.set("plain", "active", 3600)

    @SyncCache(backend, ttl=3600).cached(key="blocking:{user_id}")
    def blocking(user_id: int) -> str:
        return "active"

    async def floors(statement: str) -> float:
        return await in_floors(statement, **given, blocking=blocking)

    return [
        at_most("@cached hit, str, one int", await floors("await name(42)"), 6.5, 5, "floors"),
        at_most("@cached hit, str, one str", await floors('await name("ada")'), 6.5, 5, "floors"),
        at_most("@cached hit, str, by keyword", await floors("await name(user_id=42)"), unit="floors"),
        at_most("@cached hit, str, two arguments", await floors('await pair("x", 42)'), unit="floors"),
        at_most("@cached hit, blocking", await floors("blocking(42)"), unit="floors"),
        at_most("the get alone", await floors('await backend.get("plain", str)'), unit="floors"),
        at_most("@cached hit, model, beside its get", await _beside_get(backend, given), unit="x"),
    ]


async def _beside_get(backend: MemoryBackend, given: dict[str, Any]) -> float:
    await backend.set("model", USER, 3600)
    return await beside('await backend.get("model", User)', "await user(42)", calls=5000, **given, User=User)


async def on_redis(url: str) -> list[Line]:
    backend = RedisBackend(url)
    given = {**functions(Cache(backend, ttl=3600)), "backend": backend, "User": User}
    await backend.set("plain", "active", 3600)
    await backend.set("model", USER, 3600)
    one = {
        "str": await beside('await backend.get("plain", str)', "await name(42)", calls=1500, **given),
        "model": await beside('await backend.get("model", User)', "await user(42)", calls=1500, **given),
    }
    lines = [at_most(f"@cached hit, {kind}, one caller / the get", cost, 1.25, 1.1) for kind, cost in one.items()]
    lines += await _beside_cashews(url, given["tagged"])
    await backend.aclose()
    return lines


async def _beside_cashews(url: str, tagged: Any) -> list[Line]:
    try:
        cashews = importlib.import_module("cashews").Cache()
    except ImportError:
        return []
    cashews.setup(url, client_side=False)

    @cashews(ttl=3600, key="user:{user_id}", tags=["user:{user_id}", "users"])
    async def theirs(user_id: int) -> User:
        return USER

    own = await beside("await load(theirs, own)", "await load(tagged, own)", **_loads(theirs, tagged))
    same = await beside("await load(theirs, same)", "await load(tagged, same)", **_loads(theirs, tagged))
    await cashews.close()
    return [
        at_least(f"{CALLERS} callers with tags, a key each, of cashews", 1 / own, 1),
        at_least(f"{CALLERS} callers with tags, one key, of cashews", 1 / same, 1),
    ]


def _loads(theirs: Any, tagged: Any) -> dict[str, Any]:
    async def load(call: Callable[[int], Awaitable[Any]], key: Callable[[int], int]) -> None:
        async def caller(number: int) -> None:
            for _ in range(20):
                await call(key(number))

        await asyncio.gather(*map(caller, range(CALLERS)))

    return {
        "load": load, "theirs": theirs, "tagged": tagged, "own": lambda number: number, "same": lambda _: 0, "calls": 3,
    }  # fmt: skip


async def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.parse_args()
    short = report(f"Cache in memory, Python {platform.python_version()}", await in_memory())
    if available():
        with running() as server:
            short += report("Cache on Redis", await on_redis(server.url))
    return short


if __name__ == "__main__":
    asyncio.run(main())
