"""The six verbs that every backend has, and what is composed of them."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest

from .._backend import Backend
from .._errors import CounterError, DeserializationError, UnsupportedOperationError
from .._types import KEEP_TTL, MAX_COUNT, MIN_COUNT
from ._runner import FURTHER_VERBS, ConformanceRunner, promise
from ._verb_tables import BY_KEY, WITHOUT_KEY, scanned

NO_COUNTERS: Final[tuple[Any, ...]] = (
    "", "5", "text", 1.0, 5.5, True, False, None, [1], {"a": 1}, b"5", b"", MAX_COUNT + 1, MIN_COUNT - 1, 10**100
)  # fmt: skip


class SixVerbs(ConformanceRunner):
    """``set``, ``get``, ``delete``, ``exists``, ``increment``, ``clear``; the plural verbs; namespaces."""

    @promise()
    async def test_set_then_get(self, store: Backend) -> None:
        """What was set is what get returns, and set returns None."""
        assert await store.set("k", "v") is None  # type: ignore[func-returns-value]
        assert await store.get("k", str) == "v"
        assert await store.get("k") == "v"

    @promise()
    async def test_a_missing_key_gives_the_default(self, store: Backend) -> None:
        """get of a missing key returns the default itself, None if none is given, whatever the type asked for."""
        default = object()
        assert await store.get("k") is None
        assert await store.get("k", int) is None
        assert await store.get("k", default=default) is default
        assert await store.get("k", list[int], default=default) is default

    @promise()
    async def test_none_is_not_missing(self, store: Backend) -> None:
        """None is a value: it exists, and get returns it rather than the default."""
        await store.set("k", None)
        assert await store.exists("k")
        assert await store.get("k", default="default") is None
        assert await store.get_many(["k", "other"]) == {"k": None}
        assert await store.delete("k")

    @promise()
    async def test_set_replaces_the_value(self, store: Backend) -> None:
        """A later set replaces the value, of whatever type either is."""
        for value in ("text", 1, [1, 2], {"a": None}, b"raw", None, True):
            await store.set("k", value)
            assert await store.get("k") == value

    @promise()
    async def test_set_without_a_ttl_removes_the_expiry(self, store: Backend) -> None:
        """set with no ttl removes an earlier expiry."""
        await store.set("k", 1, self.tick)
        await store.set("k", 2)
        await self.advance(2 * self.tick)
        assert await store.get("k", int) == 2

    @promise()
    async def test_set_replaces_the_expiry(self, store: Backend) -> None:
        """A later set's ttl counts, whether it is longer or shorter."""
        await store.set("longer", 1, self.tick)
        await store.set("longer", 2, 1000)
        await store.set("shorter", 1, 1000)
        await store.set("shorter", 2, self.tick)
        await self.advance(2 * self.tick)
        assert await store.get_many(["longer", "shorter"]) == {"longer": 2}

    @promise()
    async def test_keep_ttl_keeps_having_none(self, store: Backend) -> None:
        """With KEEP_TTL a key without expiry, or a missing one, has none afterwards."""
        await store.set("there", 1)
        await store.set("there", 2, KEEP_TTL)
        await store.set("new", 2, KEEP_TTL)
        await self.advance(2 * self.tick)
        assert await store.get_many(["there", "new"]) == {"there": 2, "new": 2}

    @promise()
    async def test_keep_ttl_keeps_the_expiry(self, store: Backend) -> None:
        """With KEEP_TTL an expiry stays what it was, and runs out when it would have."""

        async def steps() -> None:
            await store.set("k", 1, 5 * self.tick)
            await store.set("k", 2, KEEP_TTL)

        await self.in_time(5 * self.tick, steps)
        await self.advance(6 * self.tick)
        assert not await store.exists("k")

    @promise()
    async def test_renew_sets_the_expiry_anew(self, store: Backend) -> None:
        """get with renew sets the expiry of a live key, one without expiry too, and returns the value."""
        await store.set("without", 1)
        await store.set("longer", 2, 1000)
        assert await store.get("without", int, renew=self.tick) == 1
        assert await store.get("longer", renew=self.tick) == 2
        await self.advance(2 * self.tick)
        assert await store.get_many(["without", "longer"]) == {}

    @promise()
    async def test_renew_makes_a_session_slide(self, store: Backend) -> None:
        """get with renew lets a key live on past its first expiry."""

        async def steps() -> None:
            await store.set("k", "session", 5 * self.tick)
            assert await store.get("k", str, renew=1000) == "session"

        await self.in_time(5 * self.tick, steps)
        await self.advance(6 * self.tick)
        assert await store.get("k") == "session"

    @promise()
    async def test_renew_of_a_missing_key_is_a_miss(self, store: Backend) -> None:
        """get with renew makes no key out of nothing."""
        assert await store.get("k", int, default=7, renew=60) == 7
        assert not await store.exists("k")

    @promise()
    async def test_renew_of_a_misfit_changes_nothing(self, store: Backend) -> None:
        """get with renew of a value that is not valid as the type leaves the expiry alone."""
        await store.set("k", "text")
        is_told = "ttl" in self.provides
        with pytest.raises(DeserializationError):
            await store.get("k", list[int], renew=1000 if is_told else self.tick)
        if is_told:
            assert await store.ttl("k") == float("inf")
        else:
            await self.advance(2 * self.tick)
        assert await store.get("k") == "text"

    @promise()
    async def test_delete_tells_whether_it_was_there(self, store: Backend) -> None:
        """delete is True for a live key, and False when there is nothing left to delete."""
        await store.set("k", 0)
        assert await store.delete("k") is True
        assert await store.delete("k") is False
        assert await store.get("k") is None

    @promise()
    async def test_exists(self, store: Backend) -> None:
        """exists is True from set to delete."""
        assert await store.exists("k") is False
        await store.set("k", False)
        assert await store.exists("k") is True
        await store.delete("k")
        assert await store.exists("k") is False

    @promise()
    async def test_increment_counts_from_zero(self, store: Backend) -> None:
        """increment counts a missing key as 0 and returns the new value, which get then returns."""
        assert await store.increment("k") == 1
        assert await store.increment("k", by=41) == 42
        assert await store.increment("k", by=-50) == -8
        assert await store.increment("k", by=0) == -8
        assert await store.get("k", int) == -8
        assert await store.increment("zero", by=0) == 0
        assert await store.exists("zero")

    @promise()
    async def test_a_stored_integer_is_a_counter(self, store: Backend) -> None:
        """An integer that was set can be incremented, and a counter can be overwritten."""
        await store.set("k", 41)
        assert await store.increment("k") == 42
        await store.set("k", 0)
        assert await store.increment("k") == 1

    @promise()
    async def test_increment_is_exact_over_64_bits(self, store: Backend) -> None:
        """increment is exact over the whole signed 64-bit range, past the integers that a double can tell."""
        for ttl in (None, 1000):
            for start in (2**53, 2**62 + 1, MAX_COUNT - 1, MIN_COUNT, -(2**53) - 1):
                await store.delete("k")
                assert await store.increment("k", ttl, by=start) == start
                assert await store.increment("k", ttl) == start + 1
                assert await store.get("k", int) == start + 1
        await store.delete("k")
        await store.increment("k", by=MAX_COUNT)
        assert await store.increment("k", by=MIN_COUNT) == -1

    @promise()
    async def test_increment_does_not_overflow(self, store: Backend) -> None:
        """A step that would leave the signed 64-bit range is a CounterError, and the counter stays."""
        for ttl in (None, 1000):
            for edge, by in ((MAX_COUNT, 1), (MIN_COUNT, -1), (MAX_COUNT, MAX_COUNT), (-2, MIN_COUNT)):
                await store.set("k", edge)
                with pytest.raises(CounterError):
                    await store.increment("k", ttl, by=by)
                assert await store.get("k", int) == edge

    @promise()
    async def test_increment_needs_an_integer(self, store: Backend) -> None:
        """increment of anything but a 64-bit integer is a CounterError; value and expiry stay as they were."""
        for value in NO_COUNTERS:
            for ttl in (None, self.tick):
                await store.set("k", value)
                with pytest.raises(CounterError):
                    await store.increment("k", ttl)
                assert await store.get("k") == value
            if "ttl" in self.provides:
                assert await store.ttl("k") == float("inf")
        await self.advance(2 * self.tick)
        assert await store.exists("k")

    @promise()
    async def test_by_is_a_64_bit_integer(self, store: Backend) -> None:
        """by is an int and no bool (TypeError), of the signed 64-bit range (ValueError); else nothing changes."""
        for by in (True, 1.0, "1", None):
            with pytest.raises(TypeError):
                await store.increment("k", by=by)  # type: ignore[arg-type]
        for by in (MAX_COUNT + 1, MIN_COUNT - 1, 10**100):
            with pytest.raises(ValueError, match="by"):
                await store.increment("k", by=by)
        assert not await store.exists("k")

    @promise()
    async def test_increment_sets_an_expiry(self, store: Backend) -> None:
        """increment with a ttl gives a new counter, and one without expiry, that expiry."""
        await store.increment("new", self.tick)
        await store.set("there", 1)
        assert await store.increment("there", self.tick) == 2
        await self.advance(2 * self.tick)
        assert await store.get_many(["new", "there"]) == {}
        assert await store.increment("new", self.tick) == 1

    @promise()
    async def test_increment_does_not_move_an_expiry(self, store: Backend) -> None:
        """increment never moves an expiry that is there: the window is fixed."""
        assert await store.increment("k", 1000) == 1
        assert await store.increment("k", self.tick) == 2
        assert await store.increment("k") == 3
        await self.advance(2 * self.tick)
        assert await store.get("k", int) == 3

    @promise()
    async def test_clear_removes_everything(self, store: Backend) -> None:
        """clear leaves no key, and the store is usable after it."""
        await store.set_many({f"k{number}": number for number in range(50)}, 1000)
        await store.set("without", 1)
        assert await store.clear() is None  # type: ignore[func-returns-value]
        assert await store.get_many(["without", *(f"k{number}" for number in range(50))]) == {}
        await store.clear()
        assert await store.increment("k1") == 1

    @promise()
    async def test_get_many_returns_live_keys_in_order(self, store: Backend) -> None:
        """get_many returns the live keys only, in the order asked, validated as the type."""
        await store.set_many({"a": 1, "b": 2, "c": 3})
        await store.set("gone", 4, self.tick)
        await self.advance(2 * self.tick)
        found = await store.get_many(["c", "missing", "gone", "a"], int)
        assert list(found.items()) == [("c", 3), ("a", 1)]
        with pytest.raises(DeserializationError):
            await store.get_many(["a", "b"], str)

    @promise()
    async def test_set_many_sets_every_pair(self, store: Backend) -> None:
        """set_many sets every pair as set would, with the ttl for all of them."""
        await store.set("a", "old", 1000)
        await store.set_many({"a": [1], "b": b"raw", "c": None})
        assert await store.get_many(["a", "b", "c"]) == {"a": [1], "b": b"raw", "c": None}
        await store.set_many({"a": 1, "b": 2}, self.tick)
        await self.advance(2 * self.tick)
        assert await store.get_many(["a", "b", "c"]) == {"c": None}

    @promise()
    async def test_set_many_takes_a_mapping(self, store: Backend) -> None:
        """set_many of anything but a mapping is a TypeError."""
        for pairs in ([("a", 1)], "a", None, 1):
            with pytest.raises(TypeError):
                await store.set_many(pairs)  # type: ignore[arg-type]

    @promise()
    async def test_delete_many_counts_live_keys(self, store: Backend) -> None:
        """delete_many removes the keys given and returns how many of them were live."""
        await store.set_many({"a": 1, "b": 2, "c": 3})
        assert await store.delete_many(["a", "missing", "b", "a"]) == 2
        assert await store.get_many(["a", "b", "c"]) == {"c": 3}

    @promise()
    async def test_many_keys_at_once(self, store: Backend) -> None:
        """The plural verbs take thousands of keys; of a store that needs a trip for each, hundreds are asked."""
        began = time.monotonic()
        await store.set_many({f"k{number}": number for number in range(100)}, 1000)
        count = 200 if time.monotonic() - began > 0.04 else 2500
        pairs = {f"k{number}": number for number in range(count)}
        await store.set_many(pairs, 1000)
        assert await store.get_many(pairs, int) == pairs
        assert await store.delete_many(pairs) == count

    @promise()
    async def test_namespaces_do_not_meet(self, store: Backend) -> None:
        """A namespace holds keys of its own, whatever its name, and two of one name are one."""
        names = ("a", "b", "a:b", "a*", "[ab]", "{a}", "é")
        for number, name in enumerate(names):
            await store.namespace(name).set("k", number)
        await store.set("k", "parent")
        assert [await store.namespace(name).get("k") for name in names] == list(range(len(names)))
        assert await store.get("k") == "parent"
        assert await store.get("a:k") == 0

    @promise()
    async def test_a_namespace_in_a_namespace(self, store: Backend) -> None:
        """Namespaces nest: their names follow one another in the key."""
        inner = store.namespace("a").namespace("b")
        assert await inner.increment("k", by=3) == 3
        await inner.set_many({"x": 1, "": 2})
        assert await store.get("a:b:k") == 3
        assert await store.namespace("a").get_many(["b:x", "b:", "x"]) == {"b:x": 1, "b:": 2}

    @promise()
    async def test_a_namespace_has_a_name(self, store: Backend) -> None:
        """The name of a namespace is text, not empty, with a UTF-8 form."""
        for name in ("", "\ud800"):
            with pytest.raises(ValueError, match=r"empty|surrogate"):
                store.namespace(name)
        for wrong in (b"a", None, 1):
            with pytest.raises(TypeError):
                store.namespace(wrong)  # type: ignore[arg-type]

    @promise()
    async def test_closing_a_namespace_closes_the_view_only(self, store: Backend) -> None:
        """Closing a view leaves its store, and other views of it, open."""
        async with store.namespace("a") as view:
            await view.set("k", 1)
        assert await store.namespace("a").get("k") == 1

    @promise()
    async def test_ping(self, store: Backend) -> None:
        """ping returns nothing where the store is there."""
        assert await store.ping() is None  # type: ignore[func-returns-value]

    @promise()
    async def test_what_is_not_provided_says_so(self, store: Backend) -> None:
        """A verb that the backend does not provide raises UnsupportedOperationError, with its name, for any key."""
        for verb in FURTHER_VERBS - self.provides - {"aclose"}:
            with pytest.raises(UnsupportedOperationError) as caught:
                await {**BY_KEY, **WITHOUT_KEY}[verb](store, "k")
            assert caught.value.verb == verb
            assert caught.value.class_name
        if "scan" not in self.provides:
            with pytest.raises(UnsupportedOperationError):
                await store.namespace("a").clear()
            with pytest.raises(UnsupportedOperationError):
                await scanned(store.namespace("a"))
