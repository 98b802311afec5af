"""``Cache``: what is kept, for how long, and in what form, over every backend and runtime."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import anyio
import anyio.lowlevel
import pytest
from pydantic import AfterValidator, SecretStr

from reinhardt_backends import (
    Backend,
    BackendConnectionError,
    BackendTimeoutError,
    Cache,
    CapacityError,
    MemoryBackend,
    OutcomeUnknownError,
    ResponseError,
    SerializationError,
    SyncBackend,
    SyncCache,
    UnsupportedOperationError,
)
from reinhardt_backends._cache._stored import new_lease

from .caching import ALL, ON_FAKE_TIME, WAIT, Counted, Counter, User, decorated, verbs_of
from .places import Comparing, Place, SixVerbs, everywhere


@everywhere(*ALL)
async def test_a_value_is_computed_once(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    counted = Counted(place)
    assert [await cache.get_or_set("k", counted.factory) for _ in range(3)] == [1, 1, 1]
    assert await cache.get_or_set("other", counted.factory) == 2
    assert await place.make(Cache, ttl=60).get_or_set("k", counted.factory) == 1
    assert await place.make(Cache, ttl=60, prefix="p").get_or_set("k", counted.factory) == 3


@everywhere(*ALL)
async def test_falsy_results_are_kept(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    values: list[tuple[Any, Any]] = [
        (None, None | int),
        (None, type(None)),
        (False, bool),
        (0, int),
        (0.0, float),
        ("", str),
        ([], list[int]),
        ({}, dict[str, int]),
        (b"", bytes),
        (b"", bytes | None),
        (None, bytes | None),
    ]
    for options in ({}, {"tags": ["t"]}, {"stale": 5}):
        for number, (value, type_) in enumerate(values):
            counted = Counted(place, lambda _, value=value: value)
            for _ in range(2):
                for asked in (type_, Any):
                    got = await cache.get_or_set(f"{options}{number}", counted.factory, asked, **options)
                    assert (got, type(got)) == (value, type(value))
            assert counted.calls == 1


@everywhere(*ALL)
async def test_a_miss_gives_what_a_hit_gives(place: Place) -> None:
    """Validated as the type, and a copy of one's own: not what the factory returned, or what others got."""
    cache = place.make(Cache, ttl=60)
    made = User(id=1, born=datetime(2026, 1, 2, tzinfo=UTC))
    for options in ({}, {"tags": ["t"]}, {"stale": 5}):
        counted = Counted(place, lambda _: made, pause=0.01)
        got = await place.at_once(5, partial(cache.get_or_set, f"{options}", counted.factory, User, **options))
        got.append(await cache.get_or_set(f"{options}", counted.factory, User, **options))
        assert counted.calls == 1
        assert got == [made] * 6
        assert len({id(one) for one in [made, *got]}) == 7
        assert await cache.get_or_set(f"plain {options}", counted.factory, **options) == {
            "id": 1,
            "born": "2026-01-02T00:00:00Z",
        }
    pair = Counted(place, lambda _: (1, "x"))
    assert [await cache.get_or_set("pair", pair.factory, tuple[int, str]) for _ in range(2)] == [(1, "x")] * 2
    assert [await cache.get_or_set("list", pair.factory) for _ in range(2)] == [[1, "x"]] * 2


@everywhere(*ALL)
async def test_bytes_are_kept_as_bytes(place: Place) -> None:
    """Whatever they are, also what the cache itself writes: a lease is never taken for a value."""

    def image(data: bytes) -> str:
        return f"image of {data!r}"

    cache = place.make(Cache, ttl=60)
    values = [b"", b"L", b"B", b"M", b"M{}\n1", b"L" + bytes(16), bytes(range(256)), b"\x00", new_lease(), b"null"]
    for number, value in enumerate(values):
        for options in ({}, {"tags": ["t"]}):
            counted = Counted(place, lambda _, value=value: value)
            key = f"{number}{options}"
            assert [await cache.get_or_set(key, counted.factory, bytes, **options) for _ in range(2)] == [value] * 2
            assert [await cache.get_or_set(key, counted.factory, **options) for _ in range(2)] == [value] * 2
            assert await cache.get_or_set(key, counted.factory, Annotated[bytes, AfterValidator(image)]) == image(value)
            assert counted.calls == 1


@everywhere(*ON_FAKE_TIME)
async def test_a_value_expires(place: Place) -> None:
    cache = place.make(Cache, ttl=10)
    counted = Counted(place)

    async def get(key: str, **options: Any) -> Any:
        return await cache.get_or_set(key, counted.factory, int, **options)

    assert (await get("a"), await get("b", ttl=20), await get("c", ttl=0.5), await get("d", tags=["t"])) == (1, 2, 3, 4)
    place.clock.advance(9)
    assert (await get("a"), await get("b", ttl=20), await get("c", ttl=0.5), await get("d", tags=["t"])) == (1, 2, 5, 4)
    place.clock.advance(1)
    assert (await get("a"), await get("b", ttl=20), await get("d", tags=["t"])) == (6, 2, 7)
    place.clock.advance(10)
    assert await get("b", ttl=20) == 8
    place.clock.advance(10**9)
    assert await place.contents() == {}


@everywhere("redis")
async def test_a_value_expires_on_a_server(place: Place) -> None:
    cache = place.make(Cache, ttl=0.02)
    counted = Counted(place)
    began = time.monotonic()
    while await cache.get_or_set("k", counted.factory) == 1:
        assert time.monotonic() - began < WAIT


@everywhere(*ALL)
async def test_invalidating_a_key(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    for options in ({}, {"tags": ["t"]}, {"stale": 60}):
        counted = Counted(place)
        assert await cache.get_or_set("k", counted.factory, **options) == 1
        await cache.invalidate("other")
        assert await cache.get_or_set("k", counted.factory, **options) == 1
        await cache.invalidate("k")
        assert await cache.get_or_set("k", counted.factory, **options) == 2
        await cache.invalidate("k")


@everywhere(*ALL)
async def test_invalidating_a_tag(place: Place) -> None:
    """Everything that has the tag is invalidated, and nothing else, for every caller and any tags."""
    cache = place.make(Cache, ttl=60)
    counted = Counted(place)
    tags = {"a": ["x"], "b": ["x", "y"], "c": ["y"], "d": [], "e": ["x:y"]}
    for key, names in tags.items():
        await cache.get_or_set(key, counted.factory, tags=names)
    assert [await cache.get_or_set(key, counted.factory, tags=tags[key]) for key in tags] == [1, 2, 3, 4, 5]
    await cache.invalidate_tag("x")
    # It also holds for callers that name no tags.
    assert await cache.get_or_set("a", counted.factory) == 6
    assert [await cache.get_or_set(key, counted.factory, tags=tags[key]) for key in "bcde"] == [7, 3, 4, 5]
    await cache.invalidate_tag("never used")
    await cache.invalidate_tag("y")
    assert [await cache.get_or_set(key, counted.factory, tags=tags[key]) for key in "bcde"] == [8, 9, 4, 5]
    # A value stored without the tag does not satisfy a caller that names it.
    assert await cache.get_or_set("d", counted.factory, tags=["z"]) == 10
    await cache.invalidate_tag("z")
    assert await cache.get_or_set("d", counted.factory, tags=["z"]) == 11


def test_invalidating_a_tag_is_one_call() -> None:
    calls: list[str] = []

    class Counting(Comparing):
        def __getattribute__(self, name: str) -> Any:
            if name in ("get", "set", "delete", "add", "compare_and_set", "increment", "exists", "scan"):
                calls.append(name)
            return super().__getattribute__(name)

    async def main() -> None:
        cache = Cache(Counting(MemoryBackend()), ttl=60)
        for number in range(200):
            await cache.get_or_set(str(number), Counter(), tags=["t"])
        calls.clear()
        await cache.invalidate_tag("t")
        assert calls == ["delete"]

    anyio.run(main)


@everywhere(*ON_FAKE_TIME)
async def test_the_token_of_a_tag_outlives_what_has_it(place: Place) -> None:
    """A value is not lost before its time since its tag was last used long ago."""
    cache = place.make(Cache, ttl=60)
    counted = Counted(place)
    month = 30 * 86400
    await cache.get_or_set("short", counted.factory, tags=["t"])
    for number in range(3):
        key = f"long {number}"
        kept = await cache.get_or_set(key, counted.factory, tags=["t"], ttl=month)
        place.clock.advance(month - 1)
        assert await cache.get_or_set(key, counted.factory, tags=["t"], ttl=month) == kept
    place.clock.advance(10 * month)
    assert await place.contents() == {}


@everywhere(*ON_FAKE_TIME)
async def test_a_stale_value_is_served_while_one_computes(place: Place) -> None:
    cache, other = place.make(Cache, ttl=10), place.make(Cache, ttl=10)
    counted = Counted(place)

    async def get(which: Any = cache, factory: Any = None) -> Any:
        return await which.get_or_set("k", factory or counted.factory, int, stale=30, tags=["t"])

    assert await get() == 1
    place.clock.advance(9)
    assert await get() == 1
    place.clock.advance(1)
    during: list[Any] = []

    async def asks_meanwhile() -> Any:
        # While the new value is computed, all other callers get the old one immediately.
        if place.kind != "six":
            during.append(await get(other))
        during.extend(await place.at_once(3, get))
        return 2

    if place.runtime == "sync":
        gate, asked = threading.Event(), threading.Event()

        def compute() -> int:
            asked.set()
            assert gate.wait(WAIT)
            return 2

        def others() -> None:
            assert asked.wait(WAIT)
            during.extend(
                which._face.get_or_set("k", counted.plain, int, stale=30, tags=["t"])
                for which in (cache, *([other] if place.kind != "six" else []))
            )
            gate.set()

        thread = threading.Thread(target=others)
        thread.start()
        assert await get(cache, compute) == 2
        thread.join()
    else:
        asked_for, done = anyio.Event(), anyio.Event()

        async def compute_async() -> int:
            asked_for.set()
            await done.wait()
            return 2

        async def others_async() -> None:
            await asked_for.wait()
            await asks_meanwhile()
            done.set()

        with anyio.fail_after(WAIT):
            async with anyio.create_task_group() as group:
                group.start_soon(others_async)
                assert await get(cache, compute_async) == 2
    assert during
    assert set(during) == {1}
    assert counted.calls == 1
    assert await get() == 2
    place.clock.advance(9)
    assert await get() == 2
    # Past its time altogether, it is not served any more.
    place.clock.advance(31)
    assert await get() == 2
    assert counted.calls == 2


@everywhere(*ON_FAKE_TIME)
async def test_a_stale_value_is_served_only_on_request(place: Place) -> None:
    cache = place.make(Cache, ttl=10)
    counted = Counted(place)
    assert await cache.get_or_set("k", counted.factory, stale=30) == 1
    place.clock.advance(10)
    assert await cache.get_or_set("k", counted.factory) == 2
    assert await cache.get_or_set("k", counted.factory, stale=30) == 2
    await cache.invalidate("k")
    assert await cache.get_or_set("k", counted.factory, stale=30, tags=["t"]) == 3
    place.clock.advance(10)
    await cache.invalidate_tag("t")
    assert await cache.get_or_set("k", counted.factory, stale=30, tags=["t"]) == 4
    await cache.invalidate("k")
    assert await cache.get_or_set("k", counted.factory, stale=30, tags=["t"]) == 5


@everywhere(*ON_FAKE_TIME)
async def test_a_failed_refresh_leaves_the_stale_value(place: Place) -> None:
    cache = place.make(Cache, ttl=10)
    counted = Counted(place)

    def fail(_: int) -> Any:
        raise LookupError

    assert await cache.get_or_set("k", counted.factory, stale=30) == 1
    place.clock.advance(10)
    for _ in range(2):
        with pytest.raises(LookupError):
            await cache.get_or_set("k", Counted(place, fail).factory, stale=30)
    assert await cache.get_or_set("k", counted.factory, stale=30) == 2


@everywhere(*ALL)
async def test_a_broken_value_is_computed_again(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    verbs = verbs_of(place)
    broken: list[Any] = [
        "text", 5, None, [], {"id": "x"}, {"born": 1}, b"", b"x", b"M", b"M\n", b"Mx\n{}", b"M[{},null]\n",
        b"M[5,6]\n7",
        b'M[{"t":"gone"},null]\n{"id":9}', b'M[{},"gone"]\n{"id":9}', b"\xff",
    ]  # fmt: skip
    for options in ({}, {"tags": ["t"]}, {"stale": 5}):
        for value in broken:
            await verbs.set("cache:value:k", value)
            counted = Counted(place, lambda count: User(id=count))
            got = [await cache.get_or_set("k", counted.factory, User, **options) for _ in range(2)]
            assert got == [User(id=1)] * 2, value
    await verbs.set("cache:tag:t", 5)
    assert await cache.get_or_set("k2", counted.factory, User, tags=["t"]) == User(id=2)
    assert await cache.get_or_set("k2", counted.factory, User, tags=["t"]) == User(id=2)


@everywhere("redis")
async def test_foreign_data_is_computed_over(place: Place) -> None:
    """What is no JSON, JSON in another spelling, and no string at all."""
    assert place.server is not None
    name = f"{place.store._prefix}cache:value:"  # type: ignore[attr-defined]
    for on_error in ("miss", "raise"):
        cache = place.make(Cache, ttl=60, on_error=on_error)
        for options in ({}, {"tags": ["t"]}, {"stale": 5}):
            for number, words in enumerate((["SET", "{"], ["SET", "\\xff"], ["SET", '{ "id" : "x" }'], ["LPUSH", "1"])):
                key = "-".join([on_error, *options, str(number)])
                place.server.command(words[0], name + key, *words[1:])
                counted = Counted(place, lambda count: User(id=count))
                got = [await cache.get_or_set(key, counted.factory, User, **options) for _ in range(2)]
                assert got == [User(id=1)] * 2, key
                get = decorated(place, cache, lambda key: User(id=0), key="{key}{__shared__}", type=User)
                assert await get(key) == User(id=1)
        place.server.command("LPUSH", name + "direct", "1")
        get = decorated(place, cache, lambda key: User(id=5), key="{key}{__shared__}", type=User)
        assert [await get("direct") for _ in range(2)] == [User(id=5)] * 2
        await cache.invalidate("direct")


@everywhere(*ALL)
async def test_a_value_that_could_not_be_read_back_is_refused(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    for value, type_ in ((object(), Any), (SecretStr("hush"), Any), ("hush", int), ({"id": "hush"}, User), (1, bytes)):
        counted = Counted(place, lambda _, value=value: value)
        with pytest.raises(SerializationError) as caught:
            await cache.get_or_set("k", counted.factory, type_)
        assert "hush" not in str(caught.value)
        assert await place.contents() == {}


class Faulty(Comparing):
    """Raises an error on request."""

    error: Exception | None = None
    verbs: tuple[str, ...] = ()


READING = ("get", "get_many")


WRITING = ("set", "add", "compare_and_set", "compare_and_delete", "delete", "delete_many")


def _faulty(name: str) -> Any:
    works = getattr(Comparing, name)

    async def verb(self: Faulty, *args: Any, **kwargs: Any) -> Any:
        if self.error is not None and name in self.verbs:
            raise self.error
        return await works(self, *args, **kwargs)

    return verb


for _name in (*READING, *WRITING):
    setattr(Faulty, _name, _faulty(_name))


ERRORS = (
    BackendConnectionError("away"),
    BackendTimeoutError("away"),
    OutcomeUnknownError("lost"),
    ResponseError("no", code="OOM"),
    CapacityError("large"),
)


@everywhere("memory")
async def test_it_works_while_the_store_is_away(place: Place) -> None:
    for error in ERRORS:
        for verbs in (READING, WRITING, READING + WRITING, ("compare_and_set",), ("compare_and_delete",)):
            backend = Faulty(MemoryBackend())
            cache = place.make(Cache, ttl=60, backend=backend)
            counted = Counted(place, pause=0.01)
            get = decorated(place, cache, lambda key: 7, key="{key}", type=int)
            backend.error, backend.verbs = error, verbs
            factory = counted.factory if place.runtime == "sync" else partial(when_all_wait, counted)
            for options in ({}, {"tags": ["t"]}, {"stale": 5}):
                got = await place.at_once(5, partial(cache.get_or_set, f"k{options}", factory, int, **options))
                # Simultaneous callers still share one computation.
                assert len(set(got)) == 1 or (place.runtime == "sync" and len(set(got)) < 5)
                assert await get("k") == 7
            backend.error = None
            assert await cache.get_or_set("later", counted.factory, int) in (counted.calls, counted.calls - 1)


async def when_all_wait(counted: Counted) -> int:
    """Compute when every other caller waits, however slow the machine is."""
    await anyio.wait_all_tasks_blocked()
    computed: int = await counted.later()
    return computed


@everywhere("memory")
async def test_it_can_tell_of_the_store(place: Place) -> None:
    backend = Faulty(MemoryBackend())
    cache = place.make(Cache, ttl=60, backend=backend, on_error="raise")
    get = decorated(place, cache, lambda key: 7, key="{key}", type=int)
    for error in ERRORS:
        for verbs in (READING, ("add",), ("compare_and_set",)):
            backend.error, backend.verbs = error, verbs
            for call in (lambda: cache.get_or_set("k", Counted(place).factory), lambda: get("k2")):
                with pytest.raises(type(error)):
                    await call()
    backend.error = None
    assert await cache.get_or_set("k", Counted(place).factory) == 1


@everywhere("memory")
async def test_invalidating_never_fails_silently(place: Place) -> None:
    backend = Faulty(MemoryBackend())
    cache = place.make(Cache, ttl=60, backend=backend)
    get = decorated(place, cache, lambda key: 7, key="{key}", type=int)
    backend.error, backend.verbs = BackendConnectionError("away"), WRITING
    for call in (lambda: cache.invalidate("k"), lambda: cache.invalidate_tag("t"), lambda: get.invalidate("k")):
        with pytest.raises(BackendConnectionError):
            await call()


@pytest.mark.parametrize("make", [Cache, SyncCache])
def test_what_it_is_built_of(make: Any) -> None:
    backend = MemoryBackend()
    for option in ("ttl", "lease"):
        for value in (0, -1, float("nan"), 10**12):
            with pytest.raises(ValueError, match="a ttl must be"):
                make(backend, **{"ttl": 1, option: value})
        for wrong in (True, "1"):
            with pytest.raises(TypeError):
                make(backend, **{"ttl": 1, option: wrong})
    with pytest.raises(TypeError, match="ttl"):
        make(backend, ttl=None)
    with pytest.raises(ValueError, match="on_error must be"):
        make(backend, ttl=1, on_error="ignore")
    with pytest.raises(ValueError, match="empty"):
        make(backend, ttl=1, prefix="")
    with pytest.raises(TypeError, match="not dict"):
        make({}, ttl=1)
    for poor in (SixVerbs(backend), SixVerbs(backend).namespace("ns")):
        make(poor, ttl=1)
        make(poor, ttl=1, lease=None)
        with pytest.raises(UnsupportedOperationError, match="SixVerbs does not provide add, compare_and_set"):
            make(poor, ttl=1, lease=10)


@everywhere("memory", "six")
async def test_arguments_are_checked_first(place: Place) -> None:
    cache = place.make(Cache, ttl=60)
    counted = Counted(place)
    for key in (5, None, b"k"):
        for call in (lambda key=key: cache.get_or_set(key, counted.factory), lambda key=key: cache.invalidate(key)):
            with pytest.raises(TypeError, match="a key must be a str"):
                await call()
        with pytest.raises(TypeError, match="a key must be a str"):
            await cache.invalidate_tag(key)
    with pytest.raises(ValueError, match="surrogate"):
        await cache.get_or_set("\ud800", counted.factory)
    with pytest.raises(TypeError, match="factory"):
        await cache.get_or_set("k", 5)
    with pytest.raises(TypeError, match="one str"):
        await cache.get_or_set("k", counted.factory, tags="abc")
    with pytest.raises(TypeError, match="a key must be a str"):
        await cache.get_or_set("k", counted.factory, tags=[5])
    with pytest.raises(TypeError, match="type"):
        await cache.get_or_set("k", counted.factory, 5)
    for options in ({"ttl": 0}, {"stale": 0}):
        with pytest.raises(ValueError, match="a ttl must be"):
            await cache.get_or_set("k", counted.factory, **options)
    assert (await place.contents(), counted.calls) == ({}, 0)


@pytest.mark.parametrize("kind", [lambda store: store, Comparing, SixVerbs], ids=["memory", "comparing", "six"])
def test_a_blocking_cache_calls_in_the_callers_thread(kind: Callable[[MemoryBackend], Backend]) -> None:
    """A factory may use the store and the cache itself, on any backend."""
    backend = SyncBackend(kind(MemoryBackend()))
    cache = SyncCache(backend, ttl=60)

    def compute() -> int:
        assert threading.current_thread() is threading.main_thread()
        backend.set("mine", 1)
        return cache.get_or_set("other", lambda: backend.get("mine", int), int)

    assert [cache.get_or_set("k", compute, int) for _ in range(2)] == [1, 1]

    async def later() -> int:
        return 1

    with pytest.raises(TypeError, match="a plain function"):
        cache.get_or_set("k2", later)
    gc.collect()
    backend.close()
