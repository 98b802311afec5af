"""Values to bytes and back: what comes back as itself, what is refused, and what errors show."""

from __future__ import annotations

import collections
import copy
import math
import sys
import time as time_module
import traceback
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NaiveDatetime,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    create_model,
)
from pydantic_core import to_json

from reinhardt_backends import DeserializationError, MemoryBackend, SerializationError, decode, encode
from reinhardt_backends._blocking import drive
from reinhardt_backends._values._codec import pack, packed_size, same_packed, unpack
from reinhardt_backends._values._readers import CACHED_TYPES, _cached_reader

from .codec_types import (
    Account,
    Aliased,
    Anything,
    Blob,
    Box,
    BytesSub,
    Cat,
    Checked,
    Color,
    Computed,
    Dog,
    Frozen,
    IntSub,
    Keyring,
    Later,
    Level,
    Loose,
    Mixed,
    Node,
    Nones,
    Numbers,
    Owner,
    Pair,
    Pairs,
    Pet,
    PlainBlob,
    Point,
    Revealing,
    Rights,
    Session,
    TextSub,
    Thing,
    Word,
)  # fmt: skip

T = TypeVar("T")
Through = Callable[..., Any]


def through_bytes(value: Any, type: Any = Any) -> Any:
    """As a server keeps it."""
    return decode(encode(value), type)


def through_memory(value: Any, type: Any = Any) -> Any:
    """As the memory backend keeps it."""
    return unpack(pack(value), type, "k")


@pytest.fixture(params=[through_bytes, through_memory])
def through(request: pytest.FixtureRequest) -> Through:
    function: Through = request.param
    return function


OWNER = Owner(
    id=uuid.UUID(int=2**127), pets=[Cat(lives=3), Dog(name="鍵")], best=Cat(), since=datetime(2024, 2, 29, tzinfo=UTC),
    balance=Decimal("0.10"),
)  # fmt: skip

ROUND_TRIPS: list[tuple[Any, Any]] = [
    # Plain JSON data.
    ("", str), ("active", str), ('"quoted" \\ \x00\x1f\x7f\u2028 é 鍵 \U0001f511', str), ("1", str), ("null", str),
    (0, int), (-1, int),
    (2**53 + 1, int), (2**63 - 1, int), (-(2**63), int), (2**63, int), (2**64, int), (10**4300 - 1, int),
    (-(10**4298), int),  # older releases of pydantic count the sign as a digit
    (0.0, float), (-0.0, float), (0.1, float), (1e16, float), (1e-7, float), (5e-324, float),
    (sys.float_info.max, float), (1e300, float),
    (True, bool), (False, bool), (None, type(None)), ([], list[int]), ([1, 2, 3], list[int]),
    ([[1], [], [2, 3]], list[list[int]]),
    ({}, dict[str, int]), ({"": 0, "é": 1}, dict[str, int]), ({"a": [1, {"b": None}]}, dict[str, Any]),
    ([1, "a", None, True, 1.5], list[Any]),
    # Raw bytes.
    (b"", bytes), (bytes(range(256)), bytes), (b"\x00", bytes), (b"\x00\x00", bytes), (b"{}", bytes), (b"1", bytes),
    (b"x" * 5_000_000, bytes),
    # What JSON spells as a list or as a string.
    ({1, 2, 3}, set[int]), (set(), set[str]), (frozenset({"a"}), frozenset[str]), ((), tuple[int, ...]),
    ((1, 2), tuple[int, ...]),
    ((1, "a", None), tuple[int, str, None]), (collections.deque([1, 2]), collections.deque[int]),
    (datetime(2024, 2, 29, 23, 59, 59, 999999), datetime), (datetime(2024, 2, 29, tzinfo=UTC), datetime),
    (datetime(1, 1, 1), datetime),
    (datetime(2024, 2, 29, tzinfo=UTC), AwareDatetime), (datetime(2024, 2, 29), NaiveDatetime),
    (datetime(9999, 12, 31, 23, 59, 59, 999999), datetime),
    (datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))), datetime),
    (date(1, 1, 1), date), (date(2024, 2, 29), date), (time(0), time), (time(23, 59, 59, 999999), time),
    (time(1, 2, tzinfo=UTC), time),
    (timedelta(0), timedelta), (timedelta(days=400, microseconds=1), timedelta),
    (timedelta(microseconds=-1), timedelta),
    (timedelta(days=-3, hours=5), timedelta), (Decimal("1.10"), Decimal), (Decimal("1E+3"), Decimal),
    (Decimal("-0"), Decimal),
    (Decimal("0.1234567890123456789012345678901"), Decimal), (uuid.UUID(int=0), uuid.UUID), (Path("a b/c"), Path),
    (IPv4Address("127.0.0.1"), IPv4Address), (IPv6Network("::/8"), IPv6Network), (3 + 4j, complex),
    (Color.RED, Color), (Level.HIGH, Level), (Word.YES, Word), (Rights.READ, Rights), (Mixed.ONE, Mixed),
    (Mixed.HALF, Mixed), (Mixed.TEXT, Mixed), (Nones.NONE, Nones),
    # Keys of mappings.
    ({1: "a", -2: "b"}, dict[int, str]), ({uuid.UUID(int=1): 1}, dict[uuid.UUID, int]),
    ({date(2024, 2, 29): 1}, dict[date, int]),
    ({Color.RED: 1}, dict[Color, int]), ({Level.LOW: 1}, dict[Level, int]), ({1.5: 1}, dict[float, int]),
    ({Decimal("1.0"): 1}, dict[Decimal, int]),
    # Models and their kin.
    (OWNER, Owner), ([OWNER, OWNER], list[Owner]), ({"o": OWNER}, dict[str, Owner]), ((OWNER, 1), tuple[Owner, int]),
    (Cat(), Pet), (Dog(name="x"), Pet),
    ([Cat(), Dog(name="x")], list[Pet]), (Box[int](content=1), Box[int]),
    (Box[list[Cat]](content=[Cat()]), Box[list[Cat]]),
    (Box[Box[str]](content=Box[str](content="x")), Box[Box[str]]), (Node(name="a", children=[Node(name="b")]), Node),
    (Later(thing=Thing(size=1)), Later),
    (Computed(ratio=0.5), Computed), (Blob(data=bytes(range(256))), Blob), (PlainBlob(data="é".encode()), PlainBlob),
    (Numbers([1, 2]), Numbers),
    (Revealing(password=SecretStr("hunter2")), Revealing), (Aliased(userId=1, o=2), Aliased), (Point(1, 2.0), Point),
    (Frozen((Point(1), Point(2))), Frozen),
    (Checked(1, "a"), Checked), (Pair(1, Point(1)), Pair), (Pair(1), Pair), ({"user": 1, "roles": []}, Session),
    ([Point(1)], list[Point]),
    # Type expressions.
    (1, int | str), ("1", int | str), ("1", str | int), (None, int | None), (1, int | None), (b"x", bytes | None),
    (None, bytes | None), (b"x", bytes | str),
    ("x", bytes | str), ("x", str | bytes), ([1], list[int] | bytes), (b"[1]", list[int] | bytes),
    (1, Literal[1, "a"]), ("a", Literal[1, "a"]),
    (5, Annotated[int, Field(gt=0)]), (1, TypeAdapter(int | str)), (OWNER, TypeAdapter(Owner)),
    ([1], TypeAdapter(list[int])), (b"x", TypeAdapter(bytes)),
    (b"x", Annotated[bytes, Field(max_length=3)]), (1, Any), ("x", object), ([1], list), ({"a": 1}, dict),
]  # fmt: skip


@pytest.mark.parametrize(("value", "type_"), ROUND_TRIPS, ids=lambda part: repr(part)[:40])
def test_a_value_comes_back_as_itself(value: Any, type_: Any, through: Through) -> None:
    """What set accepts, get with the same type gives back equal and of the same type."""
    found = through(value, type_)
    assert found == value
    assert type(found) is type(value)
    if isinstance(value, (float, Decimal, str)):
        # -0.0 and 1E+3 are more than their equality tells.
        assert repr(found) == repr(value)


SUBCLASSES: list[tuple[Any, Any, Any]] = [
    (TextSub("a"), str, "a"), (IntSub(5), int, 5), (Level.HIGH, int, 2), (Word.YES, str, "yes"),
    (BytesSub(b"a"), bytes, b"a"),
    (collections.OrderedDict(b=1, a=2), dict[str, int], {"b": 1, "a": 2}),
    (collections.Counter("aab"), dict[str, int], {"a": 2, "b": 1}),
    ([TextSub("a")], list[str], ["a"]), ((1, 2), list[int], [1, 2]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "type_", "expected"), SUBCLASSES)
def test_a_subclass_is_what_its_json_is(value: Any, type_: Any, expected: Any, through: Through) -> None:
    """A subclass of a plain type comes back as the plain type."""
    found = through(value, type_)
    assert found == expected
    assert type(found) is type(expected)


PLAIN: list[tuple[Any, Any]] = [
    ((1, 2), [1, 2]), ({1}, [1]), ({1: 2}, {"1": 2}), (Color.RED, "red"), (Level.LOW, 1),
    (date(2024, 2, 29), "2024-02-29"), (Decimal("1.10"), "1.10"),
    (uuid.UUID(int=0), str(uuid.UUID(int=0))), (Path("a"), "a"), (Cat(), {"kind": "cat", "lives": 9}),
    (Point(1), {"x": 1, "y": 0.0}), (b"x", b"x"), ("x", "x"),
    (1, 1), (1.0, 1.0), (True, True), (None, None), (timedelta(seconds=1), "PT1S"), (Pair(1), [1, None]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), PLAIN)
def test_without_a_type_it_is_plain_json(value: Any, expected: Any, through: Through) -> None:
    """Without a type, the value is JSON data of the plain types, or bytes."""
    found = through(value)
    assert found == expected
    assert type(found) is type(expected)


def test_the_bytes_on_the_wire() -> None:
    """JSON text in UTF-8 without an envelope or spaces; bytes raw behind one zero byte."""
    assert encode("active") == b'"active"'
    assert encode([1, 2, 3]) == b"[1,2,3]"
    assert encode({"id": 1}) == b'{"id":1}'
    assert encode(Thing(size=1)) == b'{"size":1}'
    assert encode(42) == b"42"
    assert encode("é") == '"é"'.encode()
    assert encode(None) == b"null"
    assert encode(b"\x00\xff") == b"\x00\x00\xff"
    assert encode(Aliased(userId=1)) in (b'{"user_id":1,"other":0}', b'{"userId":1,"other":0}')


def test_foreign_spacing_is_read() -> None:
    """JSON text that others wrote may have spaces, escapes and any order of fields."""
    assert decode(b' { "id" : 1 } ') == {"id": 1}
    assert decode(b'"\\u00e9"', str) == "é"
    assert decode(b' {"name": "x", "kind": "dog"}', Pet) == Dog(name="x")


def test_aliases_and_names_are_both_read() -> None:
    """A field is found by its alias and by its name."""
    assert decode(b'{"userId":1,"o":2}', Aliased).user_id == 1
    assert decode(b'{"user_id":1,"other":2}', Aliased).other == 2


class Unserialisable:
    def __repr__(self) -> str:
        return "s3cret"


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = ["s3cret"]
    value.append(value)
    return value


def cyclic_dict() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["s3cret"] = {"deep": value}
    return value


def cyclic_model() -> Node:
    node = Node(name="s3cret")
    node.children.append(node)
    return node


def raising_model() -> Any:
    class Raising(BaseModel):
        secret: str

        def __eq__(self, other: object) -> bool:
            raise RuntimeError(self.secret)

    return Loose.model_construct(number=Raising(secret="s3cret"))


REFUSED: dict[str, Callable[[], Any]] = {
    "an object": Unserialisable,
    "an object in a list": lambda: ["s3cret", Unserialisable()],
    "an object in a model": lambda: Anything(value=Unserialisable()),
    "an object as a key": lambda: {Unserialisable(): 1},
    "a function": lambda: len,
    "a class": lambda: Unserialisable,
    "a module": lambda: sys,
    "a lambda in a dict": lambda: {"s3cret": lambda: None},
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "nan in a list": lambda: [1.0, math.nan],
    "inf in a dict": lambda: {"s3cret": math.inf},
    "nan as a key": lambda: {math.nan: 1},
    "inf as a key": lambda: {math.inf: 1},
    "nan in a tuple": lambda: (math.nan,),
    "nan in a set": lambda: {math.nan},
    "nan in a model": lambda: Loose(number=math.nan),
    "inf in a model in a list": lambda: [Loose(number=math.inf)],
    "nan in a dataclass": lambda: Point(1, math.nan),
    "nan in a named tuple": lambda: Pair(1, Point(1, math.nan)),
    "nan in Any of a model": lambda: Anything(value=[math.nan]),
    "Decimal NaN": lambda: Decimal("NaN"),
    "Decimal inf": lambda: [Decimal("Infinity")],
    "complex nan": lambda: complex(math.nan, 1),
    "a lone surrogate": lambda: "s3cret\ud800",
    "a lone surrogate in a list": lambda: ["\udfff"],
    "a lone surrogate as a key": lambda: {"\ud800": 1},
    "a lone surrogate in a model": lambda: Node(name="a").model_copy(update={"name": "\ud800"}),
    "a secret": lambda: SecretStr("s3cret"),
    "secret bytes": lambda: SecretBytes(b"s3cret"),
    "a secret in a list": lambda: [SecretStr("s3cret")],
    "a secret in a dict": lambda: {"a": {"b": SecretStr("s3cret")}},
    "a secret in a model": lambda: Account(name="n", password=SecretStr("s3cret")),
    "secrets in a model": lambda: Keyring(keys=[SecretBytes(b"s3cret")]),
    "a model with a secret in a dict": lambda: {"a": [Account(name="n", password=SecretStr("s3cret"))]},
    "an empty secret": lambda: SecretStr(""),
    "a secret of stars": lambda: [SecretStr("s3cret"), SecretStr("**********")],
    "a huge integer": lambda: 10**4300,
    "a huge negative integer": lambda: -(10**4300),
    "a huge integer in a list": lambda: ["s3cret", 10**5000],
    "a 1 MB integer": lambda: 1 << 8_000_000,
    "deep nesting": lambda: nested(250),
    "very deep nesting": lambda: nested(100_000),
    "a cyclic list": cyclic,
    "a cyclic dict": cyclic_dict,
    "a cyclic model": cyclic_model,
    "keys that collide": lambda: {1: "a", "1": "b"},
    "keys that collide, deep": lambda: {"s3cret": [{True: 1, "true": 2}]},
    "None as a key beside its name": lambda: {None: 1, "None": 2},
    "an Enum of tuples": lambda: Pairs.TUPLE,
    "bytes that are not UTF-8 in a list": lambda: [b"\xff"],
    "bytes that are not UTF-8 in a model": lambda: PlainBlob(data=b"\xff"),
    "a coroutine function": lambda: test_the_bytes_on_the_wire,
    "a generator": lambda: (number for number in [1]),
    "a model whose == raises": raising_model,
    "an offset with seconds": lambda: datetime(2024, 1, 1, tzinfo=timezone(timedelta(seconds=1))),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_what_could_not_be_read_back_is_refused(make: Callable[[], Any]) -> None:
    """set refuses, in well under a second, and its error shows no value, nor do its cause and context."""
    for write in (encode, pack):
        value = make()
        began = time_module.perf_counter()
        with pytest.raises(SerializationError) as caught:
            write(value)
        assert time_module.perf_counter() - began < 2
        check_silent(caught.value)


def check_silent(error: BaseException) -> None:
    """Nothing of a stored value is in an error, in what caused it, or in how it prints."""
    assert error.__cause__ is None
    assert error.__context__ is None
    text = "".join([str(error), repr(error), repr(vars(error)), *traceback.format_exception_only(error)])
    assert "s3cret" not in text
    assert len(text) < 3000


def test_a_refusal_names_type_and_place() -> None:
    """The message of a refusal names the type of what could not be stored, and the place in the value."""
    with pytest.raises(SerializationError, match=r"type Unserialisable.*\[1\]"):
        encode(["fine", Unserialisable()])
    with pytest.raises(SerializationError, match=r"SecretStr.*\.password.*Account"):
        encode(Account(name="n", password=SecretStr("x")))
    with pytest.raises(SerializationError, match=r"float.*\.number.*NaN"):
        encode(Loose(number=math.nan))


def test_a_depth_of_200_is_stored(through: Through) -> None:
    """Nesting is fine up to 200 levels."""
    assert through(nested(199)) == nested(199)


MISFITS: list[tuple[Any, Any]] = [
    ("1", int), ("1", float), ("true", bool), ("s3cret", int), (True, int), (False, int), (True, float), (1, bool),
    (0, bool), (1, str), (None, str), (1.0, int),
    (1.5, int), (None, int), ([1], int), ({"s3cret": 1}, int), ("s3cret", list[int]), (["s3cret"], list[int]),
    (["1"], list[int]), ([1], list[str]),
    ({"s3cret": "s3cret"}, dict[str, int]), ({"s3cret": 1}, dict[int, int]),
    ({"s3cret": {"a": "s3cret"}}, dict[str, dict[str, int]]),
    ("s3cret", bytes), ([1], bytes), (1, bytes), (None, bytes), ("s3cret", bytes | None), (b"s3cret", str),
    (b"s3cret", str | int), (b"1", int), (b"true", bool),
    (b"null", None | int), (b"[1]", list[int]), (b'{"size":1}', Thing), (b"\xffs3cret", str), ("green", Color),
    (3, Level), ("s3cret", datetime),
    (1, datetime), (1.5, date), ("s3cret", uuid.UUID), ("s3cret", Decimal), ({"size": "s3cret"}, Thing),
    ({"s3cret": 1}, Thing), ("s3cret", Thing),
    ({"size": True}, Thing), ({"kind": "s3cret"}, Pet), ({"kind": "dog"}, Pet),
    ([{"kind": "dog", "name": 1}], list[Pet]), ({"x": "s3cret"}, Point),
    ({"user": "s3cret", "roles": []}, Session), ([1, 2, "s3cret"], Pair), ([1, 2, 3], tuple[int, int]),
    ("s3cret", Literal["a"]), (-1, Annotated[int, Field(gt=0)]),
    ({"name": "a", "children": [{"name": "s3cret", "children": [{"s3cret": 1}]}]}, Node),
    ([["s3cret"]], list[list[int]]), ("s3cret", TypeAdapter(int)),
    ({"data": "s3cret"}, Blob), ("s3cret", IPv4Address), ({"content": "s3cret"}, Box[int]),
    (b"s3cret", TypeAdapter(list[bytes])), (["s3cret"] * 5000, list[int]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "type_"), MISFITS)
def test_reading_is_strict(value: Any, type_: Any, through: Through) -> None:
    """What is not valid as the type is refused; the error tells key and type, and shows nothing of the value."""
    with pytest.raises(DeserializationError) as caught:
        through(value, type_)
    check_silent(caught.value)
    assert caught.value.type_name
    assert caught.value.key == ("k" if through is through_memory else None)


BROKEN = {
    "nothing": b"", "a word": b"s3cret", "half a string": b'"s3cret', "half an object": b'{"s3cret":',
    "two values": b"1 2", "not UTF-8": b'"\xff"',
    "a lone surrogate": b'"\\ud800"', "python": b"__import__('os')", "pickle": b"\x80\x04K\x01.",
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000, "100,000 objects": b'{"a":' * 100_000,
    "1 MB integer": b"9" * 1_000_000, "1 MB negative integer": b"-" + b"9" * 1_000_000,
    "an integer past 4,300 digits in a list": b"[" + b"9" * 4301 + b"]",
}  # fmt: skip


@pytest.mark.parametrize(
    "type_", [Any, int, str, bool, float, Thing, list[int], dict[str, Any], Node, bytes, int | str]
)
@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_data_is_a_typed_error(data: bytes, type_: Any) -> None:
    """Foreign data that is no JSON, too deep or too large is refused in well under a second, and shows nothing."""
    began = time_module.perf_counter()
    with pytest.raises(DeserializationError) as caught:
        decode(data, type_, key="the key")
    assert time_module.perf_counter() - began < 2
    check_silent(caught.value)
    assert caught.value.key == "the key"
    assert "'the key'" in str(caught.value)


@pytest.mark.parametrize("data", [b"NaN", b"Infinity", b"-Infinity", b"[NaN]", b'{"a":-Infinity}'])
def test_what_json_has_no_word_for_is_not_plain_json(data: bytes) -> None:
    """NaN and infinities, which some programs write into JSON, are no JSON data."""
    with pytest.raises(DeserializationError):
        decode(data)
    with pytest.raises(DeserializationError):
        decode(data, int)


def test_a_misfit_names_declared_fields() -> None:
    """The message names the declared fields that were wrong, and hides names that came with the data."""
    with pytest.raises(DeserializationError, match=r"Owner.*id: missing"):
        decode(b"{}", Owner)
    with pytest.raises(DeserializationError, match=r"children.*name: string_type") as caught:
        decode(b'{"name":"a","children":[{"name":1}]}', Node)
    assert "children" in str(caught.value)
    with pytest.raises(DeserializationError) as caught:
        decode(b'{"s3cret": "x"}', dict[str, int])
    assert "s3cret" not in str(caught.value)


def test_a_forbidden_extra_field_is_not_named() -> None:
    """The name of a field that the model does not declare is data."""
    strict = create_model("Strict", __config__={"extra": "forbid"}, size=(int, ...))
    with pytest.raises(DeserializationError) as caught:
        decode(b'{"size":1,"s3cret":2}', strict)
    check_silent(caught.value)
    assert "extra_forbidden" in str(caught.value)


def test_a_schema_that_changed() -> None:
    """A value written with one schema and read with a later one that it does not fit is refused, else read."""
    before = create_model("User", name=(str, ...))
    renamed = create_model("User", full_name=(str, ...))
    widened = create_model("User", name=(str, ...), age=(int | None, None))
    data = encode(before(name="s3cret"))
    assert decode(data, widened).age is None
    with pytest.raises(DeserializationError) as caught:
        decode(data, renamed)
    check_silent(caught.value)


def test_a_validator_that_raises_shows_nothing() -> None:
    """An error raised by a type's own validator is a misfit, and its message is not passed on."""

    class Picky(BaseModel):
        name: Annotated[str, Field()]

        def model_post_init(self, context: Any) -> None:
            raise RuntimeError(self.name)

    for type_ in (Picky, list[Picky]):
        value = {"name": "s3cret"}
        with pytest.raises(DeserializationError, match="RuntimeError") as caught:
            decode(encode(value if type_ is Picky else [value]), type_)
        check_silent(caught.value)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes_through(stop: type[BaseException]) -> None:
    """What is no error, such as Ctrl-C in a validator, is not swallowed."""

    class Interrupting(BaseModel):
        def model_post_init(self, context: Any) -> None:
            raise stop

    with pytest.raises(stop):
        decode(b"{}", Interrupting)


@pytest.mark.parametrize("fallback", ["fallback", 0, 1.5, False, [], {}, b"", (), [int], object()])
def test_a_type_is_a_type(fallback: Any) -> None:
    """What is not a type is a TypeError that points to default=."""
    with pytest.raises(TypeError, match="default="):
        decode(b"1", fallback)
    with pytest.raises(TypeError, match="default="):
        unpack(1, fallback, "k")


def test_a_type_that_pydantic_does_not_know() -> None:
    """A class that pydantic cannot validate is a TypeError that says so."""
    with pytest.raises(TypeError, match="Unserialisable"):
        decode(b"1", Unserialisable)
    with pytest.raises(TypeError):
        decode(b"1", list[Unserialisable])


def test_types_are_kept_apart_and_bounded() -> None:
    """int | str and str | int are two types; endless new types do not fill the memory."""
    assert decode(b'"1"', int | str) == "1"
    lax_first = Annotated[int, Field(strict=False)] | str
    lax_last = str | Annotated[int, Field(strict=False)]
    assert decode(b'"1"', lax_last) == "1"
    assert decode(b'"1"', lax_first) == TypeAdapter(lax_first).validate_json(b'"1"', strict=True)
    for number in range(CACHED_TYPES + 50):
        assert decode(b"1", Literal[1, number]) == 1  # type: ignore[valid-type]
    assert _cached_reader.cache_info().currsize <= CACHED_TYPES


def test_types_that_cannot_be_hashed() -> None:
    """A type expression that has no hash is read all the same."""
    assert decode(b"1", Annotated[int, Field(json_schema_extra={"a": []}), []]) == 1


def test_local_and_generic_types(through: Through) -> None:
    """Types made in a function, and generic ones over them, work."""

    class Local(BaseModel):
        size: int

    class Wrapped(BaseModel, Generic[T]):
        inner: T

    assert through(Local(size=1), Local) == Local(size=1)
    assert through([Wrapped[Local](inner=Local(size=1))], list[Wrapped[Local]])[0].inner == Local(size=1)


SAME: list[tuple[Any, Any]] = [
    (1, 1), ("a", "a"), (b"a", b"a"), ([1, 2], [1, 2]), ({"a": 1}, {"a": 1}), ((1, 2), [1, 2]), (Level.LOW, 1),
    (Word.YES, "yes"), (Color.RED, "red"),
    (date(2024, 2, 29), "2024-02-29"), (TextSub("a"), "a"), (IntSub(7), 7), (Thing(size=1), {"size": 1}),
    (2**80, 2**80), (0.0, 0.0), (-0.0, -0.0), (None, None),
    (uuid.UUID(int=1), str(uuid.UUID(int=1))), (BytesSub(b"x"), b"x"), (Decimal("1.5"), "1.5"), ("é", "é"),
]  # fmt: skip
DIFFERENT: list[tuple[Any, Any]] = [
    (1, 1.0), (1, True), (0, False), (0.0, -0.0), (0.0, 0), ("1", 1), ("a", b"a"), (b"1", 1), ("null", None),
    (None, 0), ("", b""), ([1, 2], [2, 1]),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([1], [True]), ([1], "[1]"), ([1], b"[1]"), (2**63, float(2**63)),
    ([0.0], [-0.0]), ({}, []), ("\x00", b""),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equal_bytes_have_one_form_in_memory(one: Any, other: Any) -> None:
    """Values that are stored as the same bytes are the same to compare_and_set."""
    assert encode(one) == encode(other)
    assert same_packed(pack(one), pack(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_bytes_have_two_forms_in_memory(one: Any, other: Any) -> None:
    """Values that are stored as different bytes are different to compare_and_set."""
    assert encode(one) != encode(other)
    assert not same_packed(pack(one), pack(other))
    assert not same_packed(pack(other), pack(one))


def test_the_size_is_that_of_the_bytes() -> None:
    """A packed value counts as many bytes as it would have on a server."""
    for value, _ in ROUND_TRIPS:
        assert packed_size(pack(value)) == len(encode(value))


def test_memory_and_bytes_agree_on_every_value() -> None:
    """A packed value is an immutable scalar of exact type, or bytes."""
    for value, _ in ROUND_TRIPS:
        assert type(pack(value)) in (str, int, float, bool, type(None), bytes)


# The law, over types and values that hypothesis makes up.

SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text()), (int, st.integers()), (int, st.integers(-(2**64), 2**64)),
    (float, st.floats(allow_nan=False, allow_infinity=False)), (bool, st.booleans()),
    (type(None), st.none()), (datetime, st.datetimes()), (datetime, st.datetimes(timezones=st.just(UTC))),
    (date, st.dates()), (time, st.times()),
    (timedelta, st.timedeltas(timedelta(days=-999_999), timedelta(days=999_999))),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)), (uuid.UUID, st.uuids()),
    (Color, st.sampled_from(Color)), (Level, st.sampled_from(Level)), (IPv4Address, st.ip_addresses(v=4)),
    (Cat, st.builds(Cat, lives=st.integers())),
    (Pet, st.one_of(st.builds(Cat, lives=st.integers()), st.builds(Dog, name=st.text()))),
    (Point, st.builds(Point, x=st.integers(), y=st.floats(allow_nan=False, allow_infinity=False))),
    (Pair, st.builds(Pair, left=st.integers(), right=st.none())),
    (Blob, st.builds(Blob, data=st.binary())),
]  # fmt: skip
HASHABLE = [pair for pair in SCALARS if pair[0] in (str, int, bool, date, uuid.UUID, Color, IPv4Address)]


@st.composite
def typed_values(draw: st.DrawFn, depth: int = 2) -> tuple[Any, Any]:
    """A type expression and a value of it."""
    shape = draw(
        st.sampled_from(["scalar", "list", "dict", "set", "tuple", "optional", "box"] if depth else ["scalar"])
    )
    if shape in ("set", "dict"):
        key, keys = draw(st.sampled_from(HASHABLE))
        if shape == "set":
            return set[key], draw(st.sets(keys, max_size=4))
    if shape == "scalar":
        type_, values = draw(st.sampled_from(SCALARS))
        return type_, draw(values)
    inner, value = draw(typed_values(depth=depth - 1))
    # Copies, so that several members share one type: creating each again would give it a type of its own.
    members = [copy.deepcopy(value) for _ in range(draw(st.integers(0, 3)))]
    if shape == "list":
        return list[inner], members
    if shape == "dict":
        return dict[key, inner], dict(zip(draw(st.lists(keys, max_size=4, unique=True)), members, strict=False))
    if shape == "tuple":
        return tuple[inner, int], (value, 1)
    if shape == "optional":
        return inner | None, draw(st.sampled_from([value, None]))
    return Box[inner], Box[inner](content=value)


@given(typed_values())
def test_the_law(pair: tuple[Any, Any]) -> None:
    """Whatever set accepts, get with the same type gives back equal and of the same type, on memory and as bytes."""
    type_, value = pair
    try:
        data = encode(value)
    except SerializationError as error:
        # What a set or a dict tells apart, JSON keys may not: -0.0 and such. Nothing else here may be refused.
        assert "same as JSON strings" in str(error)
        return
    for found in (decode(data, type_), unpack(pack(value), type_, "k")):
        assert found == value
        assert type(found) is type(value)


@given(st.binary(max_size=40))
def test_any_bytes_come_back(data: bytes) -> None:
    """Top-level bytes of any content come back as they were."""
    assert decode(encode(data)) == data
    assert decode(encode(data), bytes) == data
    assert unpack(pack(data), bytes, None) == data


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec=None)), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_plain_data_comes_back_or_is_refused(value: Any) -> None:
    """JSON data comes back equal without a type; what JSON cannot say (NaN, lone surrogates) is refused."""
    try:
        data = encode(value)
    except SerializationError:
        assert not is_json(value)
    else:
        assert is_json(value)
        assert decode(data) == value
        assert unpack(pack(value), Any, None) == value
        assert data == to_json(value)


def is_json(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return not any(0xD800 <= ord(character) <= 0xDFFF for character in value)
    if isinstance(value, list):
        return all(map(is_json, value))
    if isinstance(value, dict):
        return all(map(is_json, value)) and all(map(is_json, value.values()))
    return True


@given(st.binary(max_size=60))
def test_foreign_data_never_does_harm(data: bytes) -> None:
    """Any bytes found in a store are a value or a DeserializationError, and nothing else."""
    for type_ in (Any, int, str, bytes, Owner, list[Pet], dict[int, Point]):
        try:
            decode(data, type_)
        except DeserializationError as error:
            assert error.__context__ is None


@given(JSON, JSON)
def test_memory_compares_as_bytes_do(one: Any, other: Any) -> None:
    """Two values are the same to the memory backend if and only if their bytes are."""
    try:
        same = encode(one) == encode(other)
    except SerializationError:
        return
    assert same_packed(pack(one), pack(other)) == same


def test_a_refused_value_leaves_the_backend_alone() -> None:
    """Of everything that is refused, nothing reaches the store."""
    backend = MemoryBackend()
    drive(backend.set("k", "before"))
    for make in REFUSED.values():
        with pytest.raises(SerializationError):
            drive(backend.set("k", make()))
        with pytest.raises(SerializationError):
            drive(backend.set_many({"k": 1, "other": make()}))
    assert drive(backend.get("k")) == "before"
    assert len(backend) == 1


def test_combined_flags_come_back(through: Through) -> None:
    """Flags that are combined come back as the combination."""
    assert through(Rights.READ | Rights.WRITE, Rights) is Rights.READ | Rights.WRITE


class Late(BaseModel):
    """A model whose schema pydantic builds when it is first needed."""

    model_config = ConfigDict(defer_build=True)
    number: int


def test_a_type_whose_schema_is_built_late_is_read() -> None:
    """In a model, nested, and in a TypeAdapter."""
    assert decode(encode(Late(number=1)), Late) == Late(number=1)
    assert decode(encode([Late(number=1)]), list[Late]) == [Late(number=1)]
    late = TypeAdapter(list[int], config=ConfigDict(defer_build=True))
    assert decode(b"[1,2]", late) == [1, 2]
