"""What sessions cost, beside the verbs they are made of: ``python tests/bench/bench_sessions.py``.

On memory in floors: awaiting a method whose body is ``return d.get(k)``. On a real server in calls of ``get``, one
caller. A visitor's ``load`` is two verbs, a user's ``load`` three.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from reinhardt_backends import Backend, MemoryBackend, RedisBackend, SessionStore
from tests.bench.table import Line, at_most, beside, in_floors, report
from tests.servers import available, running

SESSIONS = 50


async def sessions(backend: Backend) -> dict[str, Any]:
    """Return a store, a session of a visitor, and one of a user that has many."""
    store = SessionStore(backend, dict[str, Any], ttl=3600)
    for _ in range(SESSIONS):
        user = await store.create({"basket": [1, 2]}, user="ada")
    await backend.set("plain", "active", 3600)
    return {"store": store, "visitor": await store.create({"basket": [1, 2]}), "user": user, "backend": backend}


STATEMENTS = {
    "load, a visitor": "await store.load(visitor.id)",
    f"load, a user with {SESSIONS} sessions": "await store.load(user.id)",
    "save": "await store.save(visitor)",
    "create": 'await store.create({"basket": [1, 2]})',
    f"sessions_of, {SESSIONS} sessions": 'await store.sessions_of("ada")',
}


async def in_memory() -> list[Line]:
    given = await sessions(MemoryBackend())
    return [
        at_most(what, await in_floors(statement, rounds=5, calls=300, **given), unit="floors")
        for what, statement in STATEMENTS.items()
    ]


async def on_redis(url: str) -> list[Line]:
    async with RedisBackend(url) as backend:
        given = await sessions(backend)
        get = 'await backend.get("plain", str)'
        return [
            at_most(what, await beside(get, statement, rounds=5, calls=100, **given), unit="gets")
            for what, statement in STATEMENTS.items()
        ]


async def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.parse_args()
    short = report(f"Sessions in memory, Python {platform.python_version()}", await in_memory())
    if available():
        with running() as server:
            short += report("Sessions on Redis", await on_redis(server.url))
    return short


if __name__ == "__main__":
    asyncio.run(main())
