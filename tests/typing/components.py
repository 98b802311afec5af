"""What type checkers infer of the components: decorators, generics, blocking faces. Checked, never run."""

from __future__ import annotations

from typing import assert_type

from pydantic import BaseModel

from reinhardt_backends import (
    Backend,
    Cache,
    Lock,
    MemoryBackend,
    RedisBackend,
    Session,
    SessionInfo,
    SessionStore,
    SyncBackend,
    SyncCache,
    SyncLock,
    SyncSessionStore,
    SyncThrottle,
    Throttle,
    ThrottleResult,
)


class Cart(BaseModel):
    items: list[str]


backend: Backend = MemoryBackend()
bounded = MemoryBackend(maxsize=10, policy="lfu")
redis = RedisBackend("redis://localhost", timeout=1.0)
view: Backend = backend.namespace("a").with_timeout(0.5)
face: SyncBackend = SyncBackend(backend, runtime="trio").with_timeout(1)
cache = Cache(backend, ttl=60)
blocking_cache = SyncCache(backend, ttl=60)


@cache.cached(key="user:{user_id}")
async def user_name(user_id: int) -> str:
    return str(user_id)


@blocking_cache.cached(key="user:{user_id}")
def blocking_user_name(user_id: int) -> str:
    return str(user_id)


class Shop:
    @cache.cached(key="price:{item}")
    async def price(self, item: str) -> float:
        return float(len(item))

    @blocking_cache.cached(key="stock:{item}")
    def stock(self, item: str) -> int:
        return len(item)


async def cached(shop: Shop) -> None:
    assert_type(await user_name(1), str)
    assert_type(await user_name(user_id=1), str)
    await user_name.invalidate(1)
    assert_type(await shop.price("tea"), float)
    assert_type(await cache.get_or_set("k", load, Cart), Cart)
    await cache.invalidate("k")


async def load() -> Cart:
    return Cart(items=[])


def blocking_cached(shop: Shop) -> None:
    assert_type(blocking_user_name(1), str)
    blocking_user_name.invalidate(1)
    assert_type(shop.stock("tea"), int)
    assert_type(blocking_cache.get_or_set("k", lambda: Cart(items=[]), Cart), Cart)


async def sessions() -> None:
    store = SessionStore(backend, Cart, ttl=3600)
    assert_type(store, SessionStore[Cart])
    session = await store.create(Cart(items=[]), user="ada")
    assert_type(session, Session[Cart])
    assert_type(session.data, Cart)
    assert_type(await store.load("id"), Session[Cart] | None)
    assert_type(await store.sessions_of("ada"), list[SessionInfo[Cart]])


def blocking_sessions() -> None:
    store = SyncSessionStore(face, Cart, ttl=3600)
    assert_type(store, SyncSessionStore[Cart])
    assert_type(store.load("id"), Session[Cart] | None)


async def limits() -> None:
    throttle = Throttle(view, "10/s", algorithm="gcra", on_error="local")
    assert_type(await throttle.allow("k"), bool)
    assert_type(await throttle.hit("k"), ThrottleResult)

    def key(name: str) -> str:
        return f"greet:{name}"

    @throttle.limit(key=key)
    async def greet(name: str) -> int:
        return len(name)

    assert_type(await greet("ada"), int)
    async with Lock(backend, "l", ttl=5) as lock:
        assert_type(lock, Lock)
    await backend.wait_until_ready(5)


def blocking_limits() -> None:
    throttle = SyncThrottle(face, "10/s")
    assert_type(throttle.allow("k"), bool)

    @throttle.limit()
    def greet(name: str) -> int:
        return len(name)

    assert_type(greet(name="ada"), int)
    with SyncLock(face, "l", ttl=5) as lock:
        assert_type(lock, SyncLock)
    face.wait_until_ready(5)
