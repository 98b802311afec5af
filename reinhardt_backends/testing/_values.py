"""What comes back of what was stored."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from pydantic import BaseModel, TypeAdapter
from typing_extensions import TypedDict

from .._backend import Backend
from .._errors import DeserializationError
from ._runner import ConformanceRunner, promise


class Color(enum.Enum):
    """An Enum of strings."""

    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    """A model within another."""

    street: str
    number: int | None = None


class User(BaseModel):
    """A model as an application has it."""

    id: int
    name: str
    tags: set[str] = set()
    address: Address | None = None
    joined: datetime | None = None


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int
    y: float


class Pair(NamedTuple):
    """A named tuple."""

    left: int
    right: str


class Session(TypedDict):
    """A typed dict."""

    user: int
    roles: list[str]


def _pairs(*pairs: tuple[Any, Any]) -> tuple[tuple[Any, Any], ...]:
    # Values and the types to read them as: whatever they are to a type checker.
    return pairs


USER: Final = User(
    id=2**70, name="Zoë", tags={"a", "b"}, address=Address(street="鍵"), joined=datetime(2024, 2, 29, tzinfo=UTC)
)

TYPED: Final = _pairs(
    ("active", str), ("", str), ('\x00 é \U0001f511 \u2028 "quoted"', str), (0, int), (-(2**63), int),
    (2**100, int), (10**4299, int), (1.5, float), (-0.0, float), (1e308, float), (5e-324, float), (True, bool),
    (None, type(None)), (b"", bytes),
    (bytes(range(256)), bytes), (b"\x00", bytes), (b"[1]", bytes), ([1, 2, 3], list[int]), ([], list[str]),
    ({"a": [1, {"b": None}]}, dict[str, Any]), ({1: "x", 2: "y"}, dict[int, str]), ({1, 2}, set[int]),
    (frozenset({"a"}), frozenset[str]),
    ((1, "a"), tuple[int, str]), (Color.RED, Color), ([Color.RED], list[Color]), (USER, User), ([USER], list[User]),
    (USER, User | None), (None, User | None), ({"u": USER}, dict[str, User]), (Point(1, 2.5), Point),
    (Pair(1, "r"), Pair),
    ({"user": 1, "roles": ["a"]}, Session), (datetime(2024, 2, 29, 12, 30, 15, 123456), datetime),
    (datetime(2024, 2, 29, 12, tzinfo=UTC), datetime), (date(2024, 2, 29), date), (time(12, 30, 0, 1), time),
    (timedelta(days=-1, microseconds=1), timedelta), (Decimal("0.10"), Decimal), (uuid.UUID(int=5), uuid.UUID),
    (Path("a b"), Path), (7, int | str), ("7", int | str), ("x" * 300_000, str),
    (b"x" * 300_000, bytes),
)  # fmt: skip

MISFITS: Final = _pairs(
    ("1", int), (True, int), (1, bool), (1, str), (1.5, int), (None, int), (None, str), ("red", int), ([1], list[str]),
    (["1"], list[int]), ({"id": 1}, User), ("green", Color), ("text", bytes), (b"text", str), (b"1", int), ([1], bytes),
    (b"[1]", list[int]), (b"\xff", str), ("not a date", datetime), ("nonsense", uuid.UUID), ([1, 2], tuple[int, str]),
    ({"user": 1}, Session), (1, Address), ({"x": "1", "y": 1.0}, Point),
)  # fmt: skip

FALLBACKS: Final = _pairs(("fallback", 0), (0, 0), (False, 0), (1.5, 0), (None, 0), ([], 0), ({}, 0), (b"", 0))


class Values(ConformanceRunner):
    """Section 3 of the contract."""

    @promise()
    async def test_a_value_comes_back_as_itself(self, store: Backend) -> None:
        """What set accepts, get with the same type gives back equal and of the same type."""
        for value, type_ in TYPED:
            await store.set("k", value)
            found = await store.get("k", type_)
            assert found == value, type_
            assert type(found) is type(value)
            assert await store.get("k", TypeAdapter(type_)) == value
            assert await store.get_many(["k"], type_) == {"k": value}

    @promise("pop")
    async def test_pop_gives_the_same(self, store: Backend) -> None:
        """What get gives, pop gives too."""
        for value, type_ in TYPED:
            await store.set("k", value)
            assert await store.pop("k", type_) == value
            assert not await store.exists("k")

    @promise()
    async def test_without_a_type_it_is_plain_json(self, store: Backend) -> None:
        """Without a type, get returns what the JSON says; sets and tuples are lists, models dicts."""
        plain = (
            ((1, 2), [1, 2]), ({1: 2}, {"1": 2}), (Color.RED, "red"), (date(2024, 2, 29), "2024-02-29"),
            (Address(street="s"), {"street": "s", "number": None}), (uuid.UUID(int=0), str(uuid.UUID(int=0))),
            (Point(1, 2.0), {"x": 1, "y": 2.0}), (b"raw", b"raw"), (1, 1), (1.0, 1.0), (True, True), (None, None),
        )  # fmt: skip
        for value, expected in plain:
            await store.set("k", value)
            found = await store.get("k")
            assert found == expected
            assert type(found) is type(expected)

    @promise()
    async def test_reading_is_strict(self, store: Backend) -> None:
        """A value that is not valid as the type is a DeserializationError, and the key stays as it is."""
        for value, type_ in MISFITS:
            await store.set("k", value)
            with pytest.raises(DeserializationError) as caught:
                await store.get("k", type_)
            assert (caught.value.key or "").endswith("k")
            assert caught.value.type_name
            assert await store.exists("k")

    @promise()
    async def test_a_misfit_shows_no_value(self, store: Backend) -> None:
        """The error of a value that does not fit shows nothing of it, nor do its cause and context."""
        for value in ("s3cret", {"s3cret": "s3cret"}, ["s3cret"], b"s3cret"):
            await store.set("k", value)
            for type_ in (int, list[int], User, dict[str, int]):
                with pytest.raises(DeserializationError) as caught:
                    await store.get("k", type_)
                assert "s3cret" not in f"{caught.value!r} {caught.value}"
                assert caught.value.__cause__ is None
                assert caught.value.__context__ is None

    @promise()
    async def test_a_type_is_a_type(self, store: Backend) -> None:
        """What is not a type at all is a TypeError that points to default=, whether the key is there or not."""
        await store.set("there", 1)
        for key in ("there", "missing"):
            for fallback, _ in FALLBACKS:
                with pytest.raises(TypeError, match="default="):
                    await store.get(key, fallback)
                with pytest.raises(TypeError, match="default="):
                    await store.get_many([key], fallback)

    @promise()
    async def test_the_store_shares_no_object(self, store: Backend) -> None:
        """Changing an object after it was stored, or one that was returned, changes nothing that is stored."""
        value: dict[str, list[int]] = {"list": [1]}
        await store.set("k", value)
        value["list"].append(2)
        found = await store.get("k", dict[str, list[int]])
        assert found is not None
        assert found == {"list": [1]}
        found["list"].append(3)
        plain: Any = await store.get("k")
        plain["list"].append(4)
        many: Any = await store.get_many(["k"])
        many["k"]["list"].append(5)
        assert await store.get("k") == {"list": [1]}
        raw = bytearray(b"raw")
        await store.set("raw", bytes(raw))
        raw.clear()
        assert await store.get("raw") == b"raw"
