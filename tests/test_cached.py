"""The decorator of ``Cache``, and the keys that it makes."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import BaseModel

from reinhardt_backends import (
    Cache,
    MemoryBackend,
    SyncCache,
)

from .caching import ALL, ON_FAKE_TIME, User, decorated
from .places import Place, everywhere


@everywhere(*ALL)
async def test_a_function_is_cached(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    calls: list[int] = []

    def load(user_id: int) -> User | None:
        calls.append(user_id)
        return User(id=user_id) if user_id else None

    get = decorated(place, cache, load, key="user:{user_id}")
    for _ in range(2):
        assert await get(1) == User(id=1)
        assert await get(user_id=2) == User(id=2)
        assert await get(0) is None
    assert calls == [1, 2, 0]
    await get.invalidate(1)
    await get.invalidate(user_id=0)
    assert [await get(0), await get(1), await get(2)] == [None, User(id=1), User(id=2)]
    assert calls == [1, 2, 0, 0, 1]
    await cache.invalidate("user:2")
    assert await get(2) == User(id=2)
    assert calls == [1, 2, 0, 0, 1, 2]
    assert await place.at_once(5, lambda: get(7)) == [User(id=7)] * 5
    assert calls[6:] == [7]


@everywhere(*ON_FAKE_TIME)
async def test_the_options_of_the_decorator(place: Place) -> None:
    cache = place.make(Cache, ttl=10)
    calls: list[int] = []

    def count(a: Any, b: Any = 2, *, c: Any = 3) -> int:
        calls.append(1)
        return len(calls)

    get = decorated(place, cache, count, key="{a}/{b}", ttl=5, stale=20, tags=["a:{a}", "all"])
    assert [await get(1), await get(1, 2), await get(a=1, c=9), await get(1, b=3)] == [1, 1, 1, 2]
    await cache.invalidate_tag("a:1")
    assert [await get(1), await get(1, 3), await get(2)] == [3, 4, 5]
    await cache.invalidate_tag("a:1")
    assert [await get(2), await get(1)] == [5, 6]
    await cache.invalidate_tag("all")
    assert [await get(2), await get(1)] == [7, 8]
    place.clock.advance(5)
    assert await get(2) == 9
    place.clock.advance(24)
    assert await get(2) == 10
    await get.invalidate(2)
    assert await get(2) == 11


@everywhere("memory", "redis", "six")
async def test_a_method_is_cached(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    target = cache._face if place.runtime == "sync" else cache

    if place.runtime == "sync":

        class Repository:
            name = "r"
            calls = 0

            @target.cached(key="{self.name}:{user_id}")
            def get(self, user_id: int) -> int:
                """Say hello."""
                type(self).calls += 1
                return user_id * 2

        repository = Repository()
        assert [repository.get(1), repository.get(user_id=1), repository.get(2)] == [2, 2, 4]
        assert Repository.calls == 2
        repository.get.invalidate(1)
        Repository.get.invalidate(repository, user_id=2)
        assert [repository.get(1), repository.get(2)] == [2, 4]
        assert Repository.calls == 4
    else:

        class AsyncRepository:
            name = "r"
            calls = 0

            @target.cached(key="{self.name}:{user_id}")
            async def get(self, user_id: int) -> int:
                """Say hello."""
                type(self).calls += 1
                return user_id * 2

        one = AsyncRepository()
        assert [await one.get(1), await one.get(user_id=1), await one.get(2)] == [2, 2, 4]
        assert AsyncRepository.calls == 2
        await one.get.invalidate(1)
        await AsyncRepository.get.invalidate(one, user_id=2)
        assert [await one.get(1), await one.get(2)] == [2, 4]
        assert AsyncRepository.calls == 4
        assert inspect.iscoroutinefunction(AsyncRepository.get)
        assert inspect.iscoroutinefunction(one.get)
        assert str(inspect.signature(one.get)) == "(user_id: 'int') -> 'int'"
        assert (AsyncRepository.get.__name__, AsyncRepository.get.__doc__) == ("get", "Say hello.")


@everywhere("memory", "redis", "comparing", "six")
async def test_a_function_without_a_type(place: Place) -> None:
    """Its results are plain JSON data or bytes, and never what the cache itself writes there."""
    cache = place.make(Cache, ttl=60)
    values: dict[str, Any] = {"bytes": b"L" + bytes(16), "model": User(id=1), "none": None}
    get = decorated(place, cache, lambda key: values[key], key="{key}", type=Any)
    for _ in range(2):
        assert await get("bytes") == values["bytes"]
        assert await get("model") == {"id": 1, "born": None}
        assert await get("none") is None


@everywhere("memory", "six")
async def test_a_call_that_is_none(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    get = decorated(place, cache, lambda a, b=1: a, key="{a}:{b}", type=int)
    for args, kwargs in (((), {}), ((1, 2, 3), {}), ((1,), {"c": 1}), ((1,), {"a": 1})):
        with pytest.raises(TypeError, match="argument"):
            await get(*args, **kwargs)
        with pytest.raises(TypeError, match="argument"):
            await get.invalidate(*args, **kwargs)
    assert await place.contents() == {}


def test_what_can_be_decorated() -> None:
    cache, face = Cache(MemoryBackend(), ttl=60), SyncCache(MemoryBackend(), ttl=60)

    def plain(a: int) -> int:
        return a

    async def later(a: int) -> int:
        return a

    async def items(a: int) -> Any:
        yield a

    def pieces(a: int) -> Any:
        yield a

    def unknown(a: int) -> NoSuchThing:  # type: ignore[name-defined]  # noqa: F821
        return a

    def bad(a: int) -> 5:  # type: ignore[valid-type]
        return a

    for function in (plain, items, pieces, 5, print):
        with pytest.raises(TypeError, match="decorates an async def"):
            cache.cached(key="k")(function)  # type: ignore[arg-type]
    for function in (later, items, pieces, 5):
        with pytest.raises(TypeError, match="decorates a plain function"):
            face.cached(key="k")(function)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"return annotation of .*unknown cannot be resolved.*type="):
        face.cached(key="k")(unknown)
    assert face.cached(key="k", type=int)(unknown)(3) == 3
    with pytest.raises(TypeError):
        face.cached(key="k")(bad)
    for template in ("{b}", "{}", "{0}", "{a", "a}", "{a:{a}}", "{a!x}", "{.x}", "{[0]}"):
        for decorate in (
            lambda template=template: face.cached(key=template)(plain),
            lambda template=template: cache.cached(key="k", tags=[template])(later),
        ):
            with pytest.raises(ValueError, match=r"template|format|'[{}]'"):
                decorate()
    with pytest.raises(TypeError, match="template must be a str"):
        face.cached(key=5)(plain)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="one str"):
        face.cached(key="k", tags="abc")
    for options in ({"ttl": 0}, {"stale": -1}):
        with pytest.raises(ValueError, match="a ttl must be"):
            face.cached(key="k", **options)


def test_a_local_type_as_annotation() -> None:
    class Local(BaseModel):
        n: int

    face = SyncCache(MemoryBackend(), ttl=60)

    @face.cached(key="local")
    def get() -> list[Local]:
        return [Local(n=1)]

    assert [get(), get()] == [[Local(n=1)], [Local(n=1)]]

    @face.cached(key="untyped")
    def untyped():
        return Local(n=1)

    assert [untyped(), untyped()] == [{"n": 1}, {"n": 1}]
