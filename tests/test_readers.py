"""How types are read: the cache of readers, what ``bytes`` a type takes, and data of the wrong shape."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Hashable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, NewType, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    RootModel,
    TypeAdapter,
    model_validator,
)
from typing_extensions import TypeAliasType

from reinhardt_backends import DeserializationError, SerializationError, decode, encode
from reinhardt_backends._values import takes_bytes

from .codec_types import Box, Cat, Color, Node, Pair, Pet, Point, Session, Thing

T = TypeVar("T")
Raw = NewType("Raw", bytes)
RawOrText = TypeAliasType("RawOrText", bytes | str)
RawOr = TypeAliasType("RawOr", bytes | list[T], type_params=(T,))


class Decoded(BaseModel):
    """Is made of JSON or of bytes."""

    size: int

    @model_validator(mode="before")
    @classmethod
    def decode(cls, value: Any) -> Any:
        return {"size": len(value)} if isinstance(value, bytes) else value


# The cache.


class Reentrant:
    """Metadata of a type; hashing it reads with another type, as a signal handler in the middle of a look-up does."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        assert decode(b"[1]", list[int | None]) == [1]
        return hash(self.number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reentrant) and self.number == other.number


def test_a_read_in_the_middle_of_a_read_does_not_deadlock() -> None:
    read: list[int] = []
    reading = threading.Thread(
        target=lambda: read.extend(decode(b"1", Annotated[int, Reentrant(number % 3)]) for number in range(9)),
        daemon=True,
    )
    reading.start()
    reading.join(10)
    assert read == [1] * 9


FORK = """
import faulthandler, os, threading, warnings
from typing import Literal
from reinhardt_backends import decode
warnings.simplefilter("ignore", DeprecationWarning)

def read():
    number = 0
    while True:
        number += 1
        decode(b"1", Literal[1, number])
        for _ in range(200):
            decode(b"[1]", list[int])

# pydantic imports modules for its first types, and no fork may interrupt an import.
decode(b"[1]", list[int])
decode(b"1", Literal[1, "first"])
for _ in range(2):
    threading.Thread(target=read, daemon=True).start()
for _ in range(60):
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later(30, exit=True)
        decode(b"[1]", list[int])
        decode(b"1", Literal[1, "new"])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_child_forked_beside_reading_threads_can_read() -> None:
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=120)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this platform has no interval timers")
def test_a_signal_handler_can_read() -> None:
    """Also with types that are not cached yet, in the middle of building one."""
    read: list[int] = []
    before = signal.signal(
        signal.SIGALRM,
        lambda *_: read.append(decode(b"1", Literal[1, f"handler {len(read)}"])),  # type: ignore[valid-type]
    )
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        deadline = time.monotonic() + 10
        number = 0
        while len(read) < 50 and time.monotonic() < deadline:
            number += 1
            assert decode(b"1", Literal[1, f"main {number}"]) == 1  # type: ignore[valid-type]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(read) >= 50


# Bytes at the top of a type.


BYTES_OR: list[tuple[Any, bytes, Any]] = [
    (bytes | str, b'"x"', "x"), (str | bytes, b'"x"', "x"), (TypeAdapter(bytes | str), b'"x"', "x"),
    (RawOrText, b'"x"', "x"), (RawOr[int], b"[1]", [1]), (Annotated[bytes | str, Field(max_length=3)], b'"x"', "x"),
    (Raw | None, b"null", None), (Base64Bytes | int, b"1", 1), (bytes | Thing, b'{"size":1}', Thing(size=1)),
    (TypeAdapter(bytes | Annotated[str, Field(max_length=3)], config=ConfigDict(str_to_upper=True)), b'"x"', "X"),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "data", "expected"), BYTES_OR)
def test_json_is_not_read_as_bytes(type_: Any, data: bytes, expected: Any) -> None:
    """A union with bytes reads JSON by its other members, and what was stored as bytes as bytes."""
    assert decode(data, type_) == expected
    if type_ != Base64Bytes | int:
        assert decode(encode(b"xyz"), type_) == b"xyz"


@pytest.mark.parametrize("type_", [bytes, Raw, Base64Bytes, Annotated[bytes, Field(max_length=9)], TypeAdapter(bytes)])
def test_json_is_no_value_of_a_type_that_is_only_bytes(type_: Any) -> None:
    with pytest.raises(DeserializationError, match=r"not stored as bytes|of another type"):
        decode(b'"eHg="', type_)


TAKE_BYTES: list[Any] = [
    Any, object, bytes, Raw, RawOrText, RawOr[int], bytes | None, bytes | Thing, Base64Bytes, Hashable, Json[list[int]],
    Annotated[bytes, Field(min_length=9)], Annotated[int, BeforeValidator(len)], Annotated[bytes, AfterValidator(len)],
    RootModel[bytes], RootModel[Any], RootModel[int | bytes], TypeAdapter(bytes | str),
    Decoded, Decoded | None,
    Annotated[Thing, BeforeValidator(lambda value: {"size": len(value)})],
]  # fmt: skip
REFUSE_BYTES: list[Any] = [
    str, int, float, bool, None | int, datetime, Decimal, uuid.UUID, IPv4Address, Color, Literal["a", 1], list[int],
    list[bytes], set[str], tuple[int, ...], dict[str, int], dict, list, Thing, Node, Pet, Cat | Thing, Box[int], Point,
    Session, list[Node] | None, Annotated[int, Field(gt=0)], Annotated[str, AfterValidator(str.strip)],
    TypeAdapter(list[Thing]), TypeAdapter(Thing), RootModel[list[bytes]], list[Thing | bytes],
]  # fmt: skip


@pytest.mark.parametrize("type_", TAKE_BYTES)
def test_a_type_that_may_take_bytes_is_known(type_: Any) -> None:
    assert takes_bytes(type_)


@pytest.mark.parametrize("type_", REFUSE_BYTES)
def test_a_type_that_never_takes_bytes_is_known(type_: Any) -> None:
    assert not takes_bytes(type_)


@given(
    st.sampled_from([*REFUSE_BYTES, Pair, Sequence[int]]), st.binary() | st.sampled_from([b"1", b"[]", b"{}", b'"a"'])
)
def test_no_bytes_are_valid_as_a_type_that_takes_none(type_: Any, data: bytes) -> None:
    with pytest.raises(DeserializationError):
        decode(encode(data), type_)


# What is not JSON.


@pytest.mark.parametrize("data", [b"", b"word", b'{"a":', b"1 2", b"NaN", b"[-Infinity]", b"\xff"])
@pytest.mark.parametrize("type_", [Any, int, str, bool, bytes, float, Thing, list[float], bytes | int, Literal[1]])
def test_what_is_not_json_is_said_to_be_so(data: bytes, type_: Any) -> None:
    with pytest.raises(DeserializationError, match="it is not JSON text"):
        decode(data, type_)


def test_words_of_javascript_in_strings_are_json() -> None:
    assert decode(b'["NaN"]', list[str]) == ["NaN"]
    assert decode(b'{"name":"Infinity"}', Node).name == "Infinity"


def test_what_was_stored_as_bytes_is_said_to_be_so() -> None:
    for type_ in (int, Thing, list[int]):
        with pytest.raises(DeserializationError, match="it was stored as bytes"):
            decode(encode(b"1"), type_)


# Data of the wrong shape.


class Odd(BaseModel):
    """Has fields with the names of what schemas consist of."""

    type: int
    metadata: Thing
    default: list[int]


def test_fields_may_have_the_names_of_schema_parts() -> None:
    with pytest.raises(DeserializationError, match=r"type: missing.*metadata\.size: int_type.*default: missing"):
        decode(b'{"metadata":{"size":"x"}}', Odd)
    with pytest.raises(DeserializationError, match=r"default\.\*: int_type"):
        decode(b'{"type":1,"metadata":{"size":1},"default":["' + b"x" * 20_000 + b'"]}', Odd)


WRONG = """
import resource, sys, time
from typing import Any
from pydantic import BaseModel
from reinhardt_backends import DeserializationError, decode
from reinhardt_backends._values._readers import reader_for

class Item(BaseModel):
    a: int
    b: str
    c: float

class Order(BaseModel):
    items: list[Item] = []
    by_name: dict[str, Item] = {}
    unique: set[int] = set()

class Closed(BaseModel, extra="forbid"):
    a: int = 0

empty = b"[" + b",".join([b"{}"] * 650_000) + b"]"
named = b"{" + b",".join(b'"%d":{}' % number for number in range(200_000)) + b"}"
words = b"[" + b",".join([b'""'] * 650_000) + b"]"
for type_, data in (
    (list[Item], empty), (Order, b'{"items":' + empty + b"}"), (dict[str, Item], named),
    (list[int] | list[Item], empty),
    (Order, b'{"by_name":' + named + b"}"), (Order, b'{"unique":' + words + b"}"), (tuple[Item, ...], empty),
    (list[dict[str, list[int]]], b"[" + named + b"]"), (Closed, named), (list[Closed], b"[" + named + b"]"),
):
    reader_for(type_)
    before = resource.getrusage(resource.RUSAGE_SELF)
    try:
        decode(data, type_)
    except DeserializationError as error:
        assert any(word in str(error) for word in ("missing", "_type", "200000 errors")), error
    else:
        raise AssertionError(type_)
    after = resource.getrusage(resource.RUSAGE_SELF)
    grown = (after.ru_maxrss - before.ru_maxrss) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 200 * 2**20, (type_, grown)
    assert after.ru_utime - before.ru_utime < 1, (type_, after.ru_utime - before.ru_utime)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this platform does not tell the memory of a process")
def test_two_megabytes_of_the_wrong_shape_cost_little() -> None:
    """Validation stops at the first errors, at every depth: neither gigabytes nor seconds."""
    subprocess.run([sys.executable, "-c", WRONG], check=True, timeout=120)


def test_large_values_are_read_as_small_ones_are() -> None:
    many = [Thing(size=number) for number in range(5000)]
    assert decode(encode(many), list[Thing]) == many
    assert decode(encode(Node(name="n" * 20_000)), Node) == Node(name="n" * 20_000)
    assert decode(
        encode({"a": Pair(1, Point(1))} | {str(number): Pair(number) for number in range(5000)}), dict[str, Pair]
    )


def test_members_of_an_enum_are_left_alone_in_large_values() -> None:
    class Shape(Enum):
        LIST = "list"
        TYPES = "type"

    shapes = [Shape.LIST, Shape.TYPES] * 2000
    assert decode(encode(shapes), list[Shape]) == shapes


class Basket(BaseModel):
    """A model with a field that pydantic validates lazily."""

    items: Iterable[int]


@pytest.mark.parametrize("padding", [0, 3_000], ids=["small", "large"])
@pytest.mark.parametrize(
    "type_", [Iterable[int], Iterable[int] | None, TypeAdapter(Iterable[int]), dict[str, Any] | Iterable[int]]
)
def test_an_iterable_is_read_strictly_and_at_once(type_: Any, padding: int) -> None:
    numbers = [*range(padding), 1, 2]
    read = decode(encode(numbers), type_)
    assert list(read) == list(read) == numbers
    for wrong in ("SECRET", "1", 1.0, True):
        with pytest.raises(DeserializationError) as caught:
            decode(encode([*numbers, wrong]), type_)
        assert "SECRET" not in str(caught.value)
    with pytest.raises(DeserializationError):
        decode(encode(b"\x01"), type_)


def test_a_field_that_is_an_iterable_is_read_as_a_list_and_can_be_stored_again() -> None:
    basket = decode(encode({"items": [1, 2]}), Basket)
    assert basket.items == [1, 2]
    assert decode(encode(basket), Basket) == basket
    with pytest.raises(DeserializationError, match="items"):
        decode(encode({"items": ["1"]}), Basket)
    with pytest.raises(SerializationError, match=r"at \.items .*an iterator can be read only once"):
        encode(Basket(items=[1, 2]))
