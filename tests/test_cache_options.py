"""What a cache can be told: default keys, ttl and keeping by the value, jitter, binding later, keeping nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from reinhardt_backends import Cache, MemoryBackend, SyncBackend, SyncCache, UnsupportedOperationError
from reinhardt_backends.testing import FakeClock

from .places import SixVerbs

MODULE = __name__


class Numbers:
    """A cached function whose results are given, and that counts its calls."""

    def __init__(self, cache: SyncCache, *results: Any, **options: Any) -> None:
        self.calls = 0
        self.results = results

        @cache.cached(key="number:{n}", type=int, **options)
        def number(n: int) -> Any:
            self.calls += 1
            return self.results[min(self.calls, len(self.results)) - 1]

        self.ask = number


def price(item: str, currency: str = "EUR") -> str:
    return f"{item} in {currency}"


async def price_later(item: str) -> str:
    return item


class TestDefaultKey:
    def test_it_has_the_module_the_qualified_name_and_all_arguments(self) -> None:
        cached = SyncCache(MemoryBackend(), ttl=60).cached()(price)
        assert cached.key("tea") == cached.key(currency="EUR", item="tea") == f"{MODULE}.price:tea:EUR"
        assert cached.key("a:b", "1") == f"{MODULE}.price:a%3Ab:'1"
        assert cached("tea") == cached("tea", "EUR") == "tea in EUR"
        assert Cache(MemoryBackend(), ttl=60).cached()(price_later).key("tea") == f"{MODULE}.price_later:tea"

    def test_a_function_without_arguments_has_one_key(self) -> None:
        @SyncCache(MemoryBackend(), ttl=60).cached()
        def constant() -> int:
            return 1

        assert constant() == constant() == 1
        assert constant.key().endswith("<locals>.constant")

    def test_functions_of_one_name_share_nothing(self) -> None:
        cache = SyncCache(MemoryBackend(), ttl=60)

        def make() -> Any:
            @cache.cached()
            def inner(n: int) -> int:
                return n

            return inner

        make()
        with pytest.raises(ValueError, match="give it another template"):
            make()

    def test_what_it_cannot_spell_is_refused(self) -> None:
        cache = SyncCache(MemoryBackend(), ttl=60)

        @cache.cached()
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        with pytest.raises(TypeError, match="numbers"):
            total([1])
        with pytest.raises(ValueError, match="any number of arguments"):

            @cache.cached()
            def many(*numbers: int) -> int:
                return 0

        with pytest.raises(ValueError, match="is a method"):

            class _Shop:
                @cache.cached()
                def price(self, item: str) -> str:
                    return item


class TestTTLOfTheValue:
    def test_it_is_asked_for_each_result(self) -> None:
        clock = FakeClock()
        cache = SyncCache(MemoryBackend(clock=clock), ttl=60)
        ttls: dict[int, Any] = {1: 5, 2: timedelta(seconds=10), 3: None}
        numbers = Numbers(cache, 1, 2, 3, 4, ttl=ttls.get)
        for value, lasts in ((1, 5), (2, 10), (3, 60)):
            assert numbers.ask(1) == value
            clock.advance(lasts - 0.1)
            assert numbers.ask(1) == value
            clock.advance(0.2)
        assert numbers.ask(1) == 4

    @pytest.mark.parametrize("ttl", [0, -1, timedelta(seconds=-1)])
    def test_what_has_expired_already_is_not_kept(self, ttl: Any) -> None:
        backend = MemoryBackend()
        numbers = Numbers(SyncCache(backend, ttl=60), 1, 2, ttl=lambda value: ttl)
        assert (numbers.ask(1), numbers.ask(1)) == (1, 2)
        assert list(SyncBackend(backend).scan()) == []

    @pytest.mark.parametrize(("ttl", "error"), [("5", TypeError), (True, TypeError), (float("nan"), ValueError)])
    def test_what_is_no_ttl_is_an_error(self, ttl: Any, error: type[Exception]) -> None:
        numbers = Numbers(SyncCache(MemoryBackend(), ttl=60), 1, ttl=lambda value: ttl)
        with pytest.raises(error):
            numbers.ask(1)


class TestKeep:
    def test_what_it_refuses_is_returned_and_not_kept(self) -> None:
        backend = MemoryBackend()
        seen: list[Any] = []

        def keep(value: int) -> bool:
            seen.append(value)
            return value > 1

        numbers = Numbers(SyncCache(backend, ttl=60), 1, 2, 3, keep=keep)
        assert [numbers.ask(1) for _ in range(4)] == [1, 2, 2, 2]
        assert seen == [1, 2]
        # A refresh that gives nothing to keep leaves what there is.
        numbers.results = (0,)
        assert numbers.ask.refresh(1) == 0
        assert numbers.ask(1) == 2

    def test_get_or_set_takes_it_too(self) -> None:
        cache = SyncCache(MemoryBackend(), ttl=60)
        assert cache.get_or_set("k", lambda: None, keep=lambda value: value is not None) is None
        assert cache.get("k", default="nothing") == "nothing"

    def test_its_error_reaches_the_caller(self) -> None:
        numbers = Numbers(SyncCache(MemoryBackend(), ttl=60), 1, keep=lambda value: value.missing)
        with pytest.raises(AttributeError):
            numbers.ask(1)

    def test_it_is_a_function(self) -> None:
        with pytest.raises(TypeError, match="keep must be a function"):
            SyncCache(MemoryBackend(), ttl=60).cached(key="k", keep=True)  # type: ignore[arg-type]


class TestJitter:
    def test_values_expire_earlier_by_a_random_part_of_their_ttl(self) -> None:
        backend = MemoryBackend()
        cache = SyncCache(backend, ttl=100, jitter=0.2)
        for number in range(200):
            cache.get_or_set(str(number), lambda: 1)
        face = SyncBackend(backend)
        ttls = [face.ttl(key) or 0 for key in face.scan()]
        assert all(79.9 <= ttl <= 100 for ttl in ttls)
        assert max(ttls) - min(ttls) > 10

    @pytest.mark.parametrize(
        ("jitter", "error"), [(-0.1, ValueError), (1, ValueError), ("1", TypeError), (True, TypeError)]
    )
    def test_other_values_are_refused(self, jitter: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match="jitter"):
            SyncCache(MemoryBackend(), ttl=100, jitter=jitter)


class TestBinding:
    def test_an_unbound_cache_says_what_is_missing(self) -> None:
        cache = SyncCache(ttl=60)
        numbers = Numbers(cache, 1)
        calls: list[Any] = [
            lambda: numbers.ask(1),
            lambda: numbers.ask.refresh(1),
            lambda: numbers.ask.invalidate(1),
            lambda: cache.get("k"),
            lambda: cache.set("k", 1),
            lambda: cache.get_or_set("k", lambda: 1, tags=["t"]),
            lambda: cache.invalidate_tag("t"),
        ]
        for call in calls:
            with pytest.raises(RuntimeError, match=r"no backend yet: call its bind\(backend\)"):
                call()
        assert numbers.calls == 0
        assert numbers.ask.key(1) == "number:1"

    @pytest.mark.anyio
    async def test_functions_decorated_before_use_the_backend_that_is_bound(self) -> None:
        cache = Cache(ttl=60)
        calls = 0

        @cache.cached(key="{n}", tags=["t"])
        async def number(n: int) -> int:
            nonlocal calls
            calls += 1
            return n

        with pytest.raises(RuntimeError, match="no backend yet"):
            await number(1)
        for _ in range(2):
            # As each test may bind a store of its own.
            cache.bind(SixVerbs(MemoryBackend()))
            assert [await number(1), await number(1)] == [1, 1]
        assert calls == 2

    def test_a_blocking_cache_takes_a_backend_and_a_face(self) -> None:
        backend = MemoryBackend()
        for given in (backend, SyncBackend(backend)):
            cache = SyncCache(ttl=60)
            cache.bind(given)
            assert cache.get_or_set("k", lambda: 1) == 1
        with pytest.raises(TypeError):
            SyncCache(ttl=60).bind("redis://")  # type: ignore[arg-type]

    def test_what_a_cache_needs_is_checked_when_it_is_bound(self) -> None:
        cache = Cache(ttl=60, lease=5)
        with pytest.raises(UnsupportedOperationError):
            cache.bind(SixVerbs(MemoryBackend()))


class TestDisabled:
    def test_each_call_computes_and_nothing_is_kept(self) -> None:
        backend = MemoryBackend()
        cache = SyncCache(backend, ttl=60)
        numbers = Numbers(cache, 1, 2, 3, 4)
        assert (numbers.ask(1), numbers.ask(1)) == (1, 1)
        with cache.disabled():
            assert not cache.enabled
            assert (numbers.ask(1), numbers.ask(1), numbers.ask.refresh(1)) == (2, 3, 4)
            assert cache.get("k") is None
            cache.set("k", 1)
            numbers.ask.invalidate(1)
            cache.invalidate_tag("t")
        assert cache.enabled
        assert numbers.ask(1) == 1
        assert cache.get("k") is None

    def test_blocks_may_overlap(self) -> None:
        cache = SyncCache(MemoryBackend(), ttl=60)
        one, other = cache.disabled(), cache.disabled()
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        assert not cache.enabled
        other.__exit__(None, None, None)
        assert cache.enabled

    @pytest.mark.anyio
    async def test_a_disabled_cache_needs_no_backend(self) -> None:
        cache = Cache(ttl=60, enabled=False)

        @cache.cached(key="{n}", tags=["t"])
        async def tagged(n: int) -> list[int]:
            return kept

        @cache.cached()
        async def plain(n: int) -> tuple[int, ...]:
            return (n,)

        kept = [1]
        assert await tagged(1) == kept
        assert await tagged(1) is not kept
        assert await plain(1) == (1,)
        assert await cache.get_or_set("k", lambda: plain(2), tuple[int, ...]) == (2,)
        cache.bind(MemoryBackend())
        assert not cache.enabled
