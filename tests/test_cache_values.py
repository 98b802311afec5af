"""A hit of ``Cache`` is equal to the miss before it, for every type that the codec takes."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    Json,
    PlainValidator,
    RootModel,
    TypeAdapter,
    WrapValidator,
    model_validator,
)
from typing_extensions import TypedDict

from reinhardt_backends import BackendError, Cache, MemoryBackend, SyncCache
from reinhardt_backends._values import takes_bytes

from .caching import ALL, Counted, User
from .extent import examples
from .places import Place, everywhere


def starting_with(letter: bytes) -> Any:
    """Return a validator of bytes that refuses all that do not start with a letter."""

    def check(value: Any) -> Any:
        if isinstance(value, bytes) and value[:1] != letter:
            raise ValueError("no")
        return value

    return check


class Text(RootModel[str]):
    pass


class Blob(RootModel[bytes]):
    pass


class Leaf(BaseModel):
    value: int = 0
    child: Leaf | None = None


class FromBytes(BaseModel):
    """A model that also takes bytes, and some only."""

    size: int

    @model_validator(mode="before")
    @classmethod
    def measured(cls, value: Any) -> Any:
        return {"size": len(value)} if isinstance(value, bytes) and value[:1] == b"B" else value


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


class Row(TypedDict):
    id: int


class Color(enum.Enum):
    RED = "red"


class Packed(enum.Enum):
    ONE = b"1"


class Fits(bytes):
    pass


BYTES: list[Any] = [
    bytes,
    bytes | None,
    str | bytes,
    Annotated[bytes, AfterValidator(starting_with(b"x"))],
    Annotated[bytes, AfterValidator(starting_with(b"B"))],
    Annotated[bytes, AfterValidator(lambda value: value[::-1])],
    Annotated[bytes | None, AfterValidator(starting_with(b"L"))],
    Annotated[Any, PlainValidator(starting_with(b"M"))],
    Annotated[str | bytes, WrapValidator(lambda value, handler: handler(value))],
    Annotated[str, BeforeValidator(lambda value: value.hex() if isinstance(value, bytes) else value)],
    Base64Bytes,
    Base64Bytes | None,
    Blob,
    FromBytes,
    Json[Any],
    Literal[b"x", "y"],
    Sequence[int],
    TypeAdapter(bytes),
    Any,
    object,
]
PLAIN: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text()),
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (type(None), st.none()),
    (str | None, st.none() | st.text()),
    (int | str | list[int], st.integers() | st.text() | st.lists(st.integers())),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (UUID, st.uuids()),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas(timedelta(-1000), timedelta(1000))),
    (list[str], st.lists(st.text())),
    (set[int], st.sets(st.integers())),
    (tuple[int, str], st.tuples(st.integers(), st.text())),
    (dict[str, int], st.dictionaries(st.text(), st.integers())),
    (dict[int, float], st.dictionaries(st.integers(), st.floats(allow_nan=False, allow_infinity=False))),
    (Text, st.builds(Text, st.text())),
    (Leaf, st.builds(Leaf, value=st.integers(), child=st.none() | st.builds(Leaf, value=st.integers()))),
    (list[Leaf], st.lists(st.builds(Leaf, value=st.integers()))),
    (Point, st.builds(Point, st.integers(), st.floats(allow_nan=False, allow_infinity=False))),
    (Row, st.fixed_dictionaries({"id": st.integers()})),
    (Color, st.sampled_from(Color)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (TypeAdapter(list[int]), st.lists(st.integers())),
]
MARKS = st.sampled_from([b"L", b"O", b"B", b"M", b"x"])
ODD_BYTES = st.binary(max_size=8) | st.builds(bytes.__add__, MARKS, st.binary())


@st.composite
def types_and_values(draw: st.DrawFn) -> tuple[Any, Any]:
    if draw(st.booleans()):
        type_, values = draw(st.sampled_from(PLAIN))
        return type_, draw(values)
    return draw(st.sampled_from(BYTES)), draw(ODD_BYTES | st.text() | st.none() | st.lists(st.integers(0, 255)))


def outcome(call: Callable[[], Any]) -> Any:
    """What a caller sees: the value and its type, or the error."""
    try:
        got = call()
    except BackendError as error:
        return type(error), str(error)
    return type(got), got


@examples(150)
@given(types_and_values())
def test_a_hit_equals_the_miss(typed: tuple[Any, Any]) -> None:
    """With tags and ``stale``, too, by ``get_or_set`` and by the decorator."""
    type_, value = typed
    cache = SyncCache(MemoryBackend(), ttl=60)
    for number, options in enumerate(({}, {"tags": ["t"]}, {"stale": 5}, {"tags": ["t"], "stale": 5})):
        get = cache.cached(key=f"{number}", type=type_, **options)(lambda: value)
        asked = [lambda o=options: cache.get_or_set("key", lambda: value, type_, **o), get]
        for call in asked:
            cache.invalidate("key")
            miss, hit = outcome(call), outcome(call)
            assert miss == hit


# What is read as the last one is validated only while it is used.
@pytest.mark.parametrize("type_", BYTES, ids=range(len(BYTES)))
def test_types_that_may_take_bytes_are_not_read_by_their_type(type_: Any) -> None:
    assert takes_bytes(type_)


@pytest.mark.parametrize("type_", [type_ for type_, _ in PLAIN], ids=range(len(PLAIN)))
def test_common_types_are_read_by_their_type(type_: Any) -> None:
    assert not takes_bytes(type_)


@everywhere(*ALL)
async def test_bytes_of_a_type_that_takes_some_of_them(place: Place) -> None:
    """A lease, and what tells bytes apart in the store, never reaches a validator that might take it."""
    cache = place.make(Cache, ttl=60)
    for number, type_ in enumerate((Annotated[bytes, AfterValidator(starting_with(b"x"))], Base64Bytes)):
        value = b"xyz" if number == 0 else b"aGVsbG8="
        expected = b"xyz" if number == 0 else b"hello"
        for options in ({}, {"tags": ["t"]}, {"stale": 5}):
            counted = Counted(place, lambda _, value=value: value)
            key = f"{number}{options}"
            assert [await cache.get_or_set(key, counted.factory, type_, **options) for _ in range(3)] == [expected] * 3
            assert counted.calls == 1


def test_a_type_that_pydantic_does_not_know_is_refused() -> None:
    cache = SyncCache(MemoryBackend(), ttl=60)
    for wrong in (5, None, "int", User(id=1)):
        with pytest.raises(TypeError, match="type"):
            cache.get_or_set("k", lambda: 1, wrong)


def test_datetimes_come_back_as_they_are() -> None:
    cache = SyncCache(MemoryBackend(), ttl=60)
    made = datetime.fromisoformat("2026-01-02T03:04:05.000006+02:00")
    assert [cache.get_or_set("k", lambda: made, datetime) for _ in range(2)] == [made] * 2
