"""What holds for every key, every ttl and every key that is missing."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import pytest

from .._backend import Backend
from .._errors import SerializationError
from .._types import KEEP_TTL
from ._runner import ConformanceRunner, promise
from ._verb_tables import BY_KEY, BY_TTL, BY_VALUE, provided, scanned

KEYS: Final = (
    "", " ", "a", "A", "a ", "a:b", "a*", "a?", "[a]", "a\\", "{a}", "a\x00b", "\n", "é", "e\u0301", "ß", "SS",
    "鍵", "\U0001f511", "\ufeff", "\x7f", "k" * 10_000,
)  # fmt: skip


class TextKey(str):
    """A ``str`` that would spell itself otherwise."""

    def __str__(self) -> str:
        return "otherwise"


class Terms(ConformanceRunner):
    """Section 1 of the contract."""

    @promise()
    async def test_any_text_is_a_key(self, store: Backend) -> None:
        """Any text with a UTF-8 form is a key, the empty string too, and two different strings are two keys."""
        for number, key in enumerate(KEYS):
            await store.set(key, number)
        for number, key in enumerate(KEYS):
            assert await store.get(key, int) == number
        assert await store.get_many(KEYS, int) == {key: number for number, key in enumerate(KEYS)}
        assert await store.delete_many(KEYS) == len(KEYS)

    @promise("scan")
    async def test_any_key_is_scanned(self, store: Backend) -> None:
        """A scan yields every key as it was written, whatever is in it."""
        await store.set_many(dict.fromkeys(KEYS, 1))
        assert await scanned(store) == sorted(KEYS)

    @promise()
    async def test_a_key_of_a_subclass_of_str_is_its_text(self, store: Backend) -> None:
        """A key of a class derived from str counts as the text that it holds."""
        await store.set(TextKey("k"), 1)
        assert await store.get("k") == 1
        assert await store.get_many([TextKey("k")]) == {"k": 1}

    @promise()
    async def test_a_key_is_a_str(self, store: Backend) -> None:
        """A key that is not a str is a TypeError for every verb, and changes nothing."""
        await self._fill(store)
        for name, call in provided(BY_KEY, self.provides):
            for key in (b"bytes", 1, None, ("t",), ["l"]):
                if name == "set_many" and isinstance(key, list):
                    continue
                with pytest.raises(TypeError):
                    await call(store, key)
                await self._check_unchanged(store, name)

    @promise()
    async def test_a_key_encodes_to_utf8(self, store: Backend) -> None:
        """A key with a lone surrogate is a ValueError for every verb, and changes nothing."""
        await self._fill(store)
        for name, call in provided(BY_KEY, self.provides):
            with pytest.raises(ValueError, match="surrogate"):
                await call(store, "k\ud800")
            await self._check_unchanged(store, name)

    @promise()
    async def test_keys_are_not_one_str(self, store: Backend) -> None:
        """Where keys come as an iterable, one str is a TypeError, not an iterable of its characters."""
        await store.set("f", 1)
        with pytest.raises(TypeError):
            await store.get_many("fine")
        with pytest.raises(TypeError):
            await store.delete_many("fine")
        assert await store.exists("f")

    @promise()
    async def test_keys_are_any_iterable(self, store: Backend) -> None:
        """Keys may come as any iterable, one given twice counts once, and none at all is fine."""
        await store.set_many({"a": 1, "b": 2})
        assert list(await store.get_many(key for key in ("b", "a", "b", "c"))) == ["b", "a"]
        assert await store.delete_many(key for key in ("a", "a", "c")) == 1
        assert await store.get_many([]) == {}
        assert await store.delete_many(()) == 0
        await store.set_many({})

    @promise()
    async def test_a_ttl_is_seconds(self, store: Backend) -> None:
        """A ttl is an int, a float or a timedelta, up to 10**11 seconds."""
        for ttl in (60, 60.5, timedelta(minutes=1), 10**11, 1e11, timedelta(days=1_000_000), None):
            for name, call in provided(BY_TTL, self.provides):
                await self._fill(store)
                await call(store, ttl)
                assert await store.exists("fine"), (name, ttl)

    @promise()
    async def test_a_ttl_is_not_of_another_type(self, store: Backend) -> None:
        """A ttl that is a bool, or no number at all, is a TypeError, and changes nothing."""
        await self._fill(store)
        for name, call in provided(BY_TTL, self.provides):
            for ttl in (True, False, "60", b"60", Decimal(60), 60j, [60], object()):
                with pytest.raises(TypeError):
                    await call(store, ttl)
                await self._check_unchanged(store, name)

    @promise()
    async def test_a_ttl_is_in_range(self, store: Backend) -> None:
        """A ttl that is 0, negative, past 10**11 seconds, infinite or NaN is a ValueError, and changes nothing."""
        await self._fill(store)
        bad = (0, 0.0, -0.0, -1, -1e-9, 10**11 + 1, 1e12, 10**400, math.inf, -math.inf, math.nan)
        spans = (timedelta(0), timedelta(microseconds=-1), timedelta.max)
        for name, call in provided(BY_TTL, self.provides):
            for ttl in (*bad, *spans):
                with pytest.raises(ValueError, match="ttl"):
                    await call(store, ttl)
                await self._check_unchanged(store, name)

    @promise()
    async def test_keep_ttl_is_for_writes_only(self, store: Backend) -> None:
        """KEEP_TTL is a TypeError where no expiry could be kept: increment, add, touch and both ways to renew."""
        await self._fill(store)
        for name, call in provided(BY_TTL, self.provides):
            if name in ("get", "increment", "add", "touch", "get_and_renew"):
                with pytest.raises(TypeError):
                    await call(store, KEEP_TTL)
                await self._check_unchanged(store, name)

    @promise()
    async def test_the_smallest_ttl_is_rounded_up(self, store: Backend) -> None:
        """A ttl below the resolution of 1 ms is neither refused nor "no expiry"."""
        smallest: tuple[float | timedelta, ...] = (1e-9, 5e-324, timedelta(microseconds=1))
        for number, ttl in enumerate(smallest):
            await store.set(f"k{number}", 1, ttl)
        await self.advance(max(self.tick, 0.002))
        assert await store.get_many(["k0", "k1", "k2"]) == {}

    @promise()
    async def test_an_expired_key_is_missing(self, store: Backend) -> None:
        """A key whose ttl has run out is missing for every verb."""
        calls = {f"{name} of": (name, call) for name, call in provided(BY_KEY, self.provides)}
        await store.set_many(dict.fromkeys(calls, "old"), self.tick)
        await self.advance(2 * self.tick)
        for key, (name, call) in calls.items():
            outcome = await call(store, key)
            assert outcome == MISSING_OUTCOMES.get(name, outcome), name
            expected = {"set": "new", "add": "new", "set_many": "new", "set_json": "new", "increment": 1}.get(name)
            assert await store.get(key) == expected, name
            await store.delete("fine")

    @promise()
    async def test_a_refused_value_changes_nothing(self, store: Backend) -> None:
        """A value that cannot be stored is a SerializationError for every verb, and changes nothing."""
        await self._fill(store)
        for name, call in provided(BY_VALUE, self.provides):
            for value in (object(), math.nan, [math.inf], "\ud800", {"deep": {1, object()}}):
                with pytest.raises(SerializationError):
                    await call(store, value)
                await self._check_unchanged(store, name)

    async def _fill(self, store: Backend) -> None:
        await store.delete_many(["free", "new"])
        await store.set_many({"fine": "old", "count": 5})

    async def _check_unchanged(self, store: Backend, name: str) -> None:
        found: dict[str, Any] = await store.get_many(["fine", "count", "free", "new"])
        assert found == {"fine": "old", "count": 5}, name
        if "ttl" in self.provides:
            assert [await store.ttl("fine"), await store.ttl("count")] == [math.inf, math.inf], name


MISSING_OUTCOMES: Final[dict[str, Any]] = {
    "get": None,
    "get typed": None,
    "get renewing": None,
    "delete": False,
    "exists": False,
    "increment": 1,
    "add": True,
    "replace": False,
    "pop": None,
    "pop typed": None,
    "ttl": None,
    "touch": False,
    "get_many": {},
    "delete_many": 0,
    "compare_and_set": False,
    "compare_and_delete": False,
    "increment_existing": None,
    "get_and_renew": None,
    "get_and_renew typed": None,
    "get_json": None,
    "scan": [],
}
