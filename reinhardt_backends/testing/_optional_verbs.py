"""The verbs beyond the first six."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from .._backend import Backend
from .._errors import BackendClosedError, DeserializationError
from .._types import KEEP_TTL
from ._runner import ConformanceRunner, promise
from ._verb_tables import BY_KEY, WITHOUT_KEY, provided, scanned


class FurtherVerbs(ConformanceRunner):
    """``add``, ``replace``, ``pop``, ``ttl``, ``touch``, ``compare_and_*``, ``scan``, ``clear`` of a namespace."""

    @promise("add")
    async def test_add_only_if_missing(self, store: Backend) -> None:
        """add stores a missing key and is True; of a live one it changes nothing and is False."""
        assert await store.add("k", None) is True
        assert await store.add("k", 2, self.tick) is False
        await self.advance(2 * self.tick)
        assert await store.get("k", default="missing") is None

    @promise("add")
    async def test_add_after_expiry(self, store: Backend) -> None:
        """An expired key is missing for add, whose own ttl then counts: a lock can be taken again."""
        await store.add("k", 1, self.tick)
        await self.advance(2 * self.tick)
        assert await store.add("k", 2, self.tick) is True
        await self.advance(2 * self.tick)
        assert await store.exists("k") is False

    @promise("replace")
    async def test_replace_only_if_live(self, store: Backend) -> None:
        """replace stores a live key and is True; of a missing one it makes none and is False."""
        assert await store.replace("k", 1) is False
        assert await store.exists("k") is False
        await store.set("k", 1, self.tick)
        await store.set("k", None)
        assert await store.replace("k", 2) is True
        assert await store.get("k") == 2

    @promise("replace", "ttl")
    async def test_replace_and_the_expiry(self, store: Backend) -> None:
        """replace treats the expiry as set does: replaced, removed without a ttl, left alone with KEEP_TTL."""
        await store.set("k", 1, 1000)
        assert await store.replace("k", 2, KEEP_TTL)
        assert 900 < _left(await store.ttl("k")) <= 1000
        assert await store.replace("k", 3, 5000)
        assert 4900 < _left(await store.ttl("k")) <= 5000
        assert await store.replace("k", 4)
        assert await store.ttl("k") == math.inf

    @promise("pop")
    async def test_pop_returns_and_removes(self, store: Backend) -> None:
        """pop returns the value and removes the key; of a missing one it returns the default."""
        default = object()
        for value in ("text", 7, None, [1, None], {"a": 1}, b"raw"):
            await store.set("k", value)
            assert await store.pop("k", default=default) == value
            assert await store.pop("k", default=default) is default
        assert await store.pop("k") is None
        assert await store.pop("k", list[int], default=default) is default

    @promise("pop")
    async def test_pop_of_a_misfit_keeps_the_key(self, store: Backend) -> None:
        """pop of a value that is not valid as the type raises, and the key stays as it is."""
        await store.set("k", ["a"])
        with pytest.raises(DeserializationError):
            await store.pop("k", list[int])
        assert await store.pop("k", list[str]) == ["a"]
        assert not await store.exists("k")

    @promise("ttl")
    async def test_ttl_tells_what_is_left(self, store: Backend) -> None:
        """ttl is the seconds left, infinity without expiry, None if missing."""
        assert await store.ttl("k") is None
        await store.set("k", 1)
        assert await store.ttl("k") == math.inf
        for ttl in (1000, 1000.5, timedelta(seconds=1000), 10**11):
            await store.set("k", 1, ttl)
            seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
            assert seconds - 30 < _left(await store.ttl("k")) <= seconds

    @promise("ttl")
    async def test_ttl_runs_down(self, store: Backend) -> None:
        """What ttl tells gets less as time passes."""
        await store.set("k", 1, 1000)
        before = _left(await store.ttl("k"))
        await self.advance(2 * self.tick)
        assert before - 30 < _left(await store.ttl("k")) < before - self.tick

    @promise("ttl")
    async def test_what_increment_does_to_the_expiry(self, store: Backend) -> None:
        """increment sets an expiry where there is none, and moves none that is there, neither way."""
        await store.increment("k")
        assert await store.ttl("k") == math.inf
        await store.increment("k", 1000)
        for later in (5000, 60, None):
            await store.increment("k", later)
            assert 900 < _left(await store.ttl("k")) <= 1000

    @promise("ttl")
    async def test_what_renew_does_to_the_expiry(self, store: Backend) -> None:
        """get with renew resets the expiry, later or sooner; get without leaves it."""
        await store.set("k", [1], 1000)
        for renew in (5000, 100):
            await store.get("k", list[int], renew=renew)
            assert renew - 30 < _left(await store.ttl("k")) <= renew
        await store.get("k")
        assert 70 < _left(await store.ttl("k")) <= 100

    @promise("touch", "ttl")
    async def test_touch_sets_the_expiry(self, store: Backend) -> None:
        """touch is True for every live key and sets, moves or removes its expiry; False for a missing one."""
        assert await store.touch("k", 60) is False
        assert await store.exists("k") is False
        await store.set("k", "v")
        for ttl in (None, 1000, 100, 5000):
            assert await store.touch("k", ttl) is True
            left = _left(await store.ttl("k"))
            assert left == math.inf if ttl is None else ttl - 30 < left <= ttl
        assert await store.touch("k", None) is True
        assert await store.ttl("k") == math.inf
        assert await store.get("k") == "v"

    @promise("touch")
    async def test_touch_makes_a_key_expire(self, store: Backend) -> None:
        """A key that was touched is missing once the new ttl has run out."""
        await store.set("k", 1)
        await store.touch("k", self.tick)
        await self.advance(2 * self.tick)
        assert await store.get("k") is None

    @promise("compare_and_set")
    async def test_compare_and_set_of_equal_values(self, store: Backend) -> None:
        """compare_and_set writes if the stored value is the one expected, for every kind of value."""
        values = ("", "text", 0, -1, 1.5, True, None, [1, [2]], {"a": {"b": None}}, b"", b"\x00raw", 10**30)
        for value in values:
            await store.set("k", value)
            assert await store.compare_and_set("k", value, "new") is True
            assert await store.get("k") == "new"

    @promise("compare_and_set", "compare_and_delete")
    async def test_comparing_is_by_stored_bytes(self, store: Backend) -> None:
        """What is stored differently is different: 1, 1.0 and True; text and bytes; the order of a dict."""
        await store.set("missing", 0)
        await store.delete("missing")
        assert await store.compare_and_set("missing", None, 1) is False
        assert await store.compare_and_delete("missing", None) is False
        groups = ((1, 1.0, True, "1", b"1", [1]), (0, 0.0, -0.0, False, None, ""), ("a", b"a", ["a"]))
        for group in groups:
            for stored in group:
                await store.set("k", stored, 1000)
                for expected in group:
                    if expected is not stored:
                        assert await store.compare_and_set("k", expected, "new") is False, (stored, expected)
                        assert await store.compare_and_delete("k", expected) is False, (stored, expected)
                assert await store.get("k") == stored
        await store.set("k", {"a": 1, "b": 2})
        assert await store.compare_and_delete("k", {"b": 2, "a": 1}) is False
        assert await store.compare_and_delete("k", {"a": 1, "b": 2}) is True
        assert await store.exists("k") is False

    @promise("compare_and_set", "ttl")
    async def test_compare_and_set_and_the_expiry(self, store: Backend) -> None:
        """compare_and_set treats the expiry as set does when it writes, and leaves it when it does not."""
        await store.set("k", 1, 1000)
        assert await store.compare_and_set("k", 2, 3) is False
        assert await store.compare_and_set("k", 1, 2, KEEP_TTL) is True
        assert 900 < _left(await store.ttl("k")) <= 1000
        assert await store.compare_and_set("k", 2, 3, 5000) is True
        assert 4900 < _left(await store.ttl("k")) <= 5000
        assert await store.compare_and_set("k", 3, 4) is True
        assert await store.ttl("k") == math.inf

    @promise("compare_and_set")
    async def test_a_counter_can_be_compared(self, store: Backend) -> None:
        """A counter is compared as the integer that it is."""
        await store.increment("k", by=41)
        assert await store.compare_and_set("k", 41, 42) is True
        assert await store.increment("k") == 43

    @promise("scan")
    async def test_scan_yields_live_keys(self, store: Backend) -> None:
        """A scan yields every live key that starts with the prefix, exactly as it is spelled, and no other."""
        await store.set_many({"a:1": 1, "a:2": 2, "a*": 3, "A:1": 4, "b": 5, "é": 6})
        await store.set("a:gone", 1, self.tick)
        await self.advance(2 * self.tick)
        assert await scanned(store) == sorted(["a:1", "a:2", "a*", "A:1", "b", "é"])
        assert await scanned(store, "a:") == ["a:1", "a:2"]
        assert await scanned(store, "a*") == ["a*"]
        assert await scanned(store, "?") == []
        assert await scanned(store, "e") == []
        assert await scanned(store, "b") == ["b"]

    @promise("scan")
    async def test_scan_yields_all_of_many(self, store: Backend) -> None:
        """A scan of thousands of keys misses none, even if others are written and deleted meanwhile."""
        await store.set_many({f"k{number}": number for number in range(3000)})
        seen = set()
        number = 0
        async for key in store.scan("k"):
            seen.add(key)
            number += 1
            if number % 500 == 0:
                await store.set(f"new{number}", 1)
                await store.delete(f"new{number - 500}")
        assert len(seen) == 3000

    @promise("scan")
    async def test_namespaces_scan_and_clear_their_own(self, store: Backend) -> None:
        """A namespace scans and clears its keys and those of its children, and no other, however it is spelled."""
        names = ("a", "a*", "[a]", "a?", "{a}", "a\\", "ab", "A", "é", "e\u0301")
        for name in names:
            await store.namespace(name).set_many({"k": name, "": 0})
            await store.namespace(name).namespace("child").set("k", 1)
        await store.set("a", "parent")
        for name in names:
            assert await scanned(store.namespace(name)) == ["", "child:k", "k"]
            assert await scanned(store.namespace(name), "ch") == ["child:k"]
        await store.namespace("a").namespace("child").clear()
        assert await scanned(store.namespace("a")) == ["", "k"]
        for gone, name in enumerate(names, start=1):
            await store.namespace(name).clear()
            assert await scanned(store.namespace(name)) == []
            assert len(await scanned(store)) == 1 + 3 * (len(names) - gone)
        assert await store.get("a") == "parent"

    @promise("scan")
    async def test_clear_reaches_namespaces(self, store: Backend) -> None:
        """clear of a store removes what its namespaces hold."""
        await store.namespace("a").namespace("b").set("k", 1)
        await store.clear()
        assert await scanned(store) == []

    @promise("aclose")
    async def test_a_closed_backend_refuses_every_verb(self, store: Backend) -> None:
        """After aclose, which may be called again, every verb raises BackendClosedError."""
        await store.set("k", 1)
        await store.aclose()
        await store.aclose()
        for _, call in provided(BY_KEY, self.provides):
            with pytest.raises(BackendClosedError):
                await call(store, "k")
        for _, call in provided(WITHOUT_KEY, self.provides):
            with pytest.raises(BackendClosedError):
                await call(store, None)
        nothing: tuple[Callable[[], Awaitable[Any]], ...] = (
            store.clear,
            store.ping,
            lambda: store.get_many([]),
            lambda: store.set_many({}),
            lambda: store.delete_many([]),
        )
        for verb in nothing:
            with pytest.raises(BackendClosedError):
                await verb()

    @promise("aclose")
    async def test_leaving_the_block_closes(self, store: Backend) -> None:
        """async with gives the backend itself and closes it at the end, also when an error ends the block."""
        with pytest.raises(ZeroDivisionError):
            async with store as same:
                assert same is store
                raise ZeroDivisionError
        with pytest.raises(BackendClosedError):
            await store.get("k")


def _left(seconds: float | None) -> float:
    assert seconds is not None
    return seconds
