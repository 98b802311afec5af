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


async def verbs() -> None:
    assert_type(await cache.get("k", int), int | None)
    assert_type(await cache.get("k", list[int], default=""), list[int] | str)
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
