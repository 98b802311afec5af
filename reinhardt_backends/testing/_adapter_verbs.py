"""Verbs that adapters to frameworks are built on."""

from __future__ import annotations

import json
import math
from typing import Final

import pytest

from .._backend import Backend
from .._errors import CounterError, DeserializationError, SerializationError
from ._runner import ConformanceRunner, promise

TEXTS: Final = (
    '"text"', "7", "-7", "1.5", "true", "null", "[]", '{"b": 1, "a": [1, 2]}', " 7 ", "7.0", "1e2", "-0", '"\\u0041"',
    '"é"', '{"a":1,"a":2}', "\n[1,\t2]", "1" * 30,
)  # fmt: skip
NOT_JSON: Final = (
    "", " ", "text", "'a'", "[1,]", "{a: 1}", "NaN", "Infinity", "[NaN]", "1 2", '"', '"\\ud800"', "\x00",
)  # fmt: skip


class AdapterVerbs(ConformanceRunner):
    """``increment_existing``, ``get_and_renew``, ``set_json``, ``get_json`` and ``time``."""

    @promise("increment_existing")
    async def test_increment_existing_only_if_live(self, store: Backend) -> None:
        """increment_existing counts a live key, and makes none where it is missing or expired."""
        assert await store.increment_existing("k") is None
        assert not await store.exists("k")
        await store.set("k", 0, self.tick)
        await self.advance(2 * self.tick)
        assert await store.increment_existing("k", by=5) is None
        await store.increment("k", by=40)
        assert await store.increment_existing("k") == 41
        assert await store.increment_existing("k", by=-1) == 40
        assert await store.get("k", int) == 40

    @promise("increment_existing", "ttl")
    async def test_increment_existing_keeps_the_expiry(self, store: Backend) -> None:
        """increment_existing leaves the expiry as it is."""
        await store.set("k", 1, 1000)
        await store.increment_existing("k")
        assert 900 < (await store.ttl("k") or 0) <= 1000
        await store.set("k", 1)
        await store.increment_existing("k")
        assert await store.ttl("k") == math.inf

    @promise("increment_existing")
    async def test_increment_existing_is_exact_or_refused(self, store: Backend) -> None:
        """increment_existing is exact over 64 bits; past them, and for what is no counter, it changes nothing."""
        for start, by in ((2**62, 2**62 - 1), (2**53, 1), (-(2**53), -1), (-(2**62), -(2**62))):
            await store.set("k", start)
            assert await store.increment_existing("k", by=by) == start + by
        await store.set("k", 2**63 - 1)
        with pytest.raises(CounterError):
            await store.increment_existing("k")
        assert await store.get("k") == 2**63 - 1
        for value in ("7", 1.0, None, True, [1], b"7"):
            await store.set("k", value)
            with pytest.raises(CounterError):
                await store.increment_existing("k")
            assert await store.get("k") == value
        with pytest.raises(ValueError, match="64"):
            await store.increment_existing("k", by=2**63)

    @promise("increment_existing")
    async def test_increment_existing_loses_no_count(self, store: Backend) -> None:
        """Callers at the same time all count."""
        await store.set("k", 0)
        results = await self.at_once(20, lambda: store.increment_existing("k"))
        assert sorted(result or 0 for result in results) == list(range(1, 21))

    @promise("get_and_renew", "ttl")
    async def test_get_and_renew_moves_an_expiry_that_is_there(self, store: Backend) -> None:
        """get_and_renew resets the expiry of a key that has one, sooner or later, and gives none to others."""
        await store.set("k", [1], 1000)
        for ttl in (5000, 100):
            assert await store.get_and_renew("k", ttl, list[int]) == [1]
            assert ttl - 30 < (await store.ttl("k") or 0) <= ttl
        for value in ([1], "text", 7, None, b"raw"):
            await store.set("k", value)
            assert await store.get_and_renew("k", 100) == value
            assert await store.ttl("k") == math.inf

    @promise("get_and_renew")
    async def test_get_and_renew_of_a_missing_key(self, store: Backend) -> None:
        """get_and_renew of a missing key is the default, and makes no key."""
        default = object()
        await store.set("k", 1, self.tick)
        await self.advance(2 * self.tick)
        assert await store.get_and_renew("k", 100, default=default) is default
        assert await store.get_and_renew("k", 100, int) is None
        assert not await store.exists("k")

    @promise("get_and_renew", "ttl")
    async def test_get_and_renew_of_a_misfit_changes_nothing(self, store: Backend) -> None:
        """get_and_renew of a value that is not valid as the type leaves the expiry."""
        await store.set("k", "text", 1000)
        with pytest.raises(DeserializationError):
            await store.get_and_renew("k", 5000, int)
        assert 900 < (await store.ttl("k") or 0) <= 1000
        await store.set("k", "text")
        with pytest.raises(DeserializationError):
            await store.get_and_renew("k", 5000, int)
        assert await store.ttl("k") == math.inf
        with pytest.raises(TypeError):
            await store.get_and_renew("k", None)  # type: ignore[call-overload]

    @promise("set_json", "get_json")
    async def test_json_text_is_kept_as_it_is(self, store: Backend) -> None:
        """get_json gives the text of set_json back byte for byte, and get the value that it spells."""
        for text in TEXTS:
            for given in (text, text.encode()):
                await store.set_json("k", given)
                assert await store.get_json("k") == text
                assert await store.get("k") == json.loads(text)
        assert await store.get_json("missing") is None

    @promise("set_json")
    async def test_json_text_is_a_value_like_others(self, store: Backend) -> None:
        """What set_json stores is read by its type, and counted where it is an integer as set would store it."""
        await store.set_json("k", "[1, 2]")
        assert await store.get("k", list[int]) == [1, 2]
        await store.set_json("k", "41")
        assert await store.increment("k") == 42
        for text in ("41.0", '"41"', " 41"):
            await store.set_json("k", text)
            with pytest.raises(CounterError):
                await store.increment("k")

    @promise("get_json")
    async def test_every_value_but_bytes_has_a_text(self, store: Backend) -> None:
        """get_json gives the text of what another verb stored; of bytes there is none."""
        for value in ("é", 7, 1.5, None, True, [1, {"a": None}], 10**30):
            await store.set("k", value)
            text = await store.get_json("k")
            assert text is not None
            assert json.loads(text) == value
        await store.set("k", b"[1]")
        with pytest.raises(DeserializationError):
            await store.get_json("k")

    @promise("set_json")
    async def test_what_is_not_json_is_refused(self, store: Backend) -> None:
        """set_json of other text is a SerializationError, of something else a TypeError, and changes nothing."""
        await store.set("k", "old")
        for text in NOT_JSON:
            for given in (text, text.encode()):
                with pytest.raises(SerializationError):
                    await store.set_json("k", given)
        with pytest.raises(SerializationError):
            await store.set_json("k", "\ud800")
        with pytest.raises(SerializationError):
            await store.set_json("k", b'"\xff"')
        for wrong in (None, 1, [1], bytearray(b"1")):
            with pytest.raises(TypeError):
                await store.set_json("k", wrong)  # type: ignore[arg-type]
        assert await store.get("k") == "old"

    @promise("set_json", "compare_and_set", "compare_and_delete")
    async def test_json_text_is_compared_byte_for_byte(self, store: Backend) -> None:
        """A text is the value that spells it in the same way, and no other."""
        await store.set_json("k", "[1, 2]")
        assert not await store.compare_and_set("k", [1, 2], "new")
        await store.set_json("k", "[1,2]")
        assert await store.compare_and_set("k", [1, 2], "new")
        await store.set_json("k", " 7")
        assert not await store.compare_and_delete("k", 7)
        await store.set_json("k", "7")
        assert await store.compare_and_delete("k", 7)

    @promise("time")
    async def test_time_goes_on(self, store: Backend) -> None:
        """time is in seconds, and moves as expiry does; a view has the time of its store."""
        before = await store.time()
        assert isinstance(before, float)
        await self.advance(2 * self.tick)
        after = await store.namespace("a").with_timeout(60).time()
        assert self.tick < after - before < 3600
