"""What type checkers infer of the cache's further verbs and options. Checked, never run."""

from __future__ import annotations

from typing import assert_type

from reinhardt_backends import Cache, MemoryBackend, SyncCache

cache = Cache(ttl=60, jitter=0.1)
cache.bind(MemoryBackend())
blocking_cache = SyncCache(ttl=60, enabled=False)
blocking_cache.bind(MemoryBackend())


@cache.cached(ttl=lambda token: token["expires_in"], keep=lambda token: bool(token))
async def token(user: str) -> dict[str, int]:
    return {"expires_in": len(user)}


@blocking_cache.cached(tags=["rates"])
def rate(currency: str) -> float:
    return float(len(currency))


class Shop:
    @cache.cached(key="outside:{item}")
    @classmethod
    async def outside(cls, item: str) -> float:
        return float(len(item))

    @classmethod
    @cache.cached(key="inside:{item}")
    async def inside(cls, item: str) -> float:
        return float(len(item))

    @classmethod
    @blocking_cache.cached(key="blocking:{item}")
    def blocking(cls, item: str) -> float:
        return float(len(item))

    @staticmethod
    @cache.cached(key="static:{item}")
    async def static(item: str) -> float:
        return float(len(item))

    @cache.cached(key="method:{item}")
    async def method(self, item: str) -> float:
        return float(len(item))


async def methods(shop: Shop) -> None:
    assert_type(await Shop.outside("tea"), float)
    assert_type(await shop.outside("tea"), float)
    assert_type(await Shop.outside.refresh("tea"), float)
    assert_type(Shop.outside.key("tea"), str)
    await shop.outside.invalidate("tea")
    assert_type(await Shop.inside("tea"), float)
    assert_type(await shop.inside("tea"), float)
    assert_type(Shop.blocking("tea"), float)
    assert_type(await Shop.static("tea"), float)
    await Shop.static.invalidate("tea")
    assert_type(await shop.method("tea"), float)
    assert_type(await Shop.method(shop, "tea"), float)
    await shop.method.invalidate("tea")


async def verbs() -> None:
    assert_type(await cache.get("k", int), int | None)
    assert_type(await cache.get("k", list[int], default=b"".decode()), list[int] | str)
    await cache.set("k", [1], list[int], ttl=5, tags=["t"])
    assert_type(await cache.refresh("k", load, int), int)
    assert_type(await token.refresh("ada"), dict[str, int])
    assert_type(token.key("ada"), str)


def blocking_verbs() -> None:
    assert_type(blocking_cache.get("k", int), int | None)
    blocking_cache.set("k", 1)
    assert_type(blocking_cache.refresh("k", lambda: 1, int), int)
    assert_type(rate.refresh("EUR"), float)
    with blocking_cache.disabled():
        assert_type(rate("EUR"), float)


async def load() -> int:
    return 1
