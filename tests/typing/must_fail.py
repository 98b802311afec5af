"""What type checkers must report: each line that is marked, and no other. Checked, never run."""

from __future__ import annotations

from pydantic import BaseModel

from reinhardt_backends import (
    KEEP_TTL,
    Backend,
    Cache,
    Lock,
    MemoryBackend,
    RedisBackend,
    SessionStore,
    SyncBackend,
    SyncCache,
    Throttle,
)


class User(BaseModel):
    id: int


async def wrong(backend: Backend, blocking: SyncBackend) -> None:
    await backend.get(1)  # error
    await backend.get("k", "fallback")  # error
    await backend.get("k", 0)  # error
    await backend.set("k", 1, "60")  # error
    await backend.add("k", 1, KEEP_TTL)  # error
    await backend.increment("k", by="1")  # error
    await backend.increment("k", 60, 2)  # error
    number: int = await backend.get("k", int)  # error
    popped: User = await backend.pop("k", User)  # error
    print(number, popped)
    blocking.get("k", "fallback")  # error
    Backend()  # error
    MemoryBackend(policy="random")  # error


cache = Cache(MemoryBackend(), ttl=60)
blocking_cache = SyncCache(MemoryBackend(), ttl=60)
sessions = SessionStore(MemoryBackend(), User, ttl=60)


@blocking_cache.cached(key="coroutine:{n}")
async def coroutine(n: int) -> int:
    return n


@cache.cached(key="plain:{n}")  # error
def plain(n: int) -> int:
    return n


@cache.cached(key="number:{n}")
async def number(n: int) -> int:
    return n


async def load() -> int:
    return 1


async def components() -> None:
    coroutine(1)  # error
    await number("1")  # error
    await number.invalidate("1")  # error
    text: str = await number(1)  # error
    await cache.get_or_set("k", load(), int)  # error
    user: str = await cache.get_or_set("k", load, int)  # error
    fallback: User = await MemoryBackend().get("k", User, default="nobody")  # error
    await sessions.create("ada")  # error
    Throttle(MemoryBackend(), 10)  # error
    Throttle(MemoryBackend(), "10/s", on_error="ignore")  # error
    Lock(MemoryBackend(), "l")  # error
    memory: MemoryBackend = RedisBackend.from_url("redis://localhost")  # error
    MemoryBackend().observed("listener")  # error
    print(text, user, fallback, memory)
