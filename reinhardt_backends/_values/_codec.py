"""Values to bytes and back: JSON by pydantic, strict on reading; top-level ``bytes`` raw behind one ``0x00`` byte.

Writing has no type to go by but that of the value, so it writes what pydantic writes for it and then makes sure of what
``set`` promises: that the same type reads it back. ``_round_trip.py`` does that part.

Reading never coerces: what is not a valid value of the type asked for is a ``DeserializationError``. Text that JSON
can only spell as a string (a datetime, a UUID, ...) is read as itself, which is what pydantic's strict mode means for
JSON. Fields are read by their name and by their alias, since they are written by name unless the model says otherwise.

Nothing is pickled and no stored byte is evaluated. No error carries a stored value: pydantic's own messages and
locations do, so they are read for error types and declared field names and then let go.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from pydantic_core import from_json, to_json

from .._errors import DeserializationError
from .._types import is_encodable
from ._readers import NOT_JSON, Reader, reader_for, type_name
from ._round_trip import json_of

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from typing_extensions import TypeForm

T = TypeVar("T")

RAW: Final = 0
"""The first byte of a value that was stored as ``bytes``. No JSON text starts with it."""

_SMALL: Final = 2**63
_BROKEN: Final = object()


def encode(value: Any) -> bytes:
    """Return ``value`` as it is stored.

    Args:
        value: Anything pydantic can turn into JSON, or ``bytes``.

    Raises:
        SerializationError: It could not be read back: pydantic cannot serialise it, or it has NaN or an infinity, a
            lone surrogate, a secret, an integer past 4,300 digits, nesting past 200, a cycle, mapping keys that JSON
            cannot tell apart or cannot spell.
    """
    cls = value.__class__
    if cls is bytes:
        data: bytes = b"\x00" + value
        return data
    if cls is str:
        plain = value.isascii() or is_encodable(value)
    elif cls is int:
        plain = -_SMALL <= value < _SMALL
    elif cls is float:
        plain = value - value == 0.0
    else:
        plain = cls is bool or value is None
    if plain:
        return to_json(value)
    if isinstance(value, bytes) and not isinstance(value, Enum):
        return b"\x00" + bytes(value)
    return json_of(value)


@overload
def decode(data: bytes, *, key: str | None = None) -> Any: ...
@overload
def decode(data: bytes, type: type[T], *, key: str | None = None) -> T: ...
@overload
def decode(data: bytes, type: TypeAdapter[T], *, key: str | None = None) -> T: ...
@overload
def decode(data: bytes, type: TypeForm[T], *, key: str | None = None) -> T: ...
def decode(data: bytes, type: Any = Any, *, key: str | None = None) -> Any:
    """Return the value that ``data`` holds, validated as ``type``.

    Args:
        data: What ``encode`` returned, or JSON text from elsewhere.
        type: Any type expression that pydantic can validate, or a ``TypeAdapter``; plain JSON data or ``bytes``
            without.
        key: The key it was read from, for the error.

    Raises:
        TypeError: ``type`` is not a type.
        DeserializationError: ``data`` is not a valid value of the type.
    """
    if type is str:
        # The usual case, by the shortest way.
        try:
            value = from_json(data, allow_inf_nan=False)
        except ValueError:
            value = _BROKEN
        if value.__class__ is str:
            return value
    raw = data[:1] == b"\x00"
    if raw and (type is Any or type is bytes):
        return data[1:]
    if raw or not (type is Any or type is str or type is int or type is bool):
        reader = reader_for(type)
        try:
            return reader.read_bytes(data[1:]) if raw else reader.read_json(data)
        except Exception as error:
            detail = _explain(reader, error, raw)
    else:
        value = _plain(data)
        if value is not _BROKEN and (type is Any or value.__class__ is type):
            return value
        detail = NOT_JSON if value is _BROKEN else "it is of another type"
    # Raised outside of the except block: what pydantic says holds the data, and a context would keep it.
    name = "plain JSON data" if type is Any else type_name(type)
    where = "" if key is None else f" of key {key!r}"
    raise DeserializationError(f"the value{where} is not valid as {name}: {detail}", key=key, type_name=name)


def pack(value: Any) -> Any:
    """Return ``value`` in the form that the memory backend keeps: a scalar as itself, everything else as ``encode``.

    Two values have the same form, type included, if and only if ``encode`` gives the same bytes for both, but for
    the sign of a zero.

    Raises:
        SerializationError: As for ``encode``.
    """
    cls = value.__class__
    if cls is str:
        if value.isascii() or is_encodable(value):
            return value
    elif cls is bool or value is None or (cls is int and -_SMALL <= value < _SMALL):
        return value
    elif cls is float and value - value == 0.0:
        return value
    return pack_data(encode(value))


def pack_data(data: bytes) -> Any:
    """Return stored bytes in the form that the memory backend keeps."""
    # A datetime or an IntEnum is stored as JSON that a plain str or int has too: one form for both.
    if data[0] != RAW and data[0] not in b"[{":
        scalar = from_json(data)
        if to_json(scalar) == data:
            return scalar
    return data


def unpack(stored: Any, type: Any, key: str | None) -> Any:
    """Return the value that ``pack`` gave ``stored`` for, validated as ``type``; otherwise as ``decode``."""
    if stored.__class__ is bytes:
        return decode(stored, type, key=key)
    if type is Any or (type is stored.__class__ and type is not bytes):
        return stored
    return decode(to_json(stored), type, key=key)


def same_packed(stored: Any, expected: Any) -> bool:
    """Whether two packed values stand for the same stored bytes."""
    if stored.__class__ is not expected.__class__ or stored != expected:
        return False
    return stored.__class__ is not float or stored != 0.0 or str(stored) == str(expected)


def packed_size(stored: Any) -> int:
    """How many bytes a packed value has as it would be stored elsewhere."""
    return len(stored) if stored.__class__ is bytes else len(to_json(stored))


def check_type(type: Any) -> None:
    """Check what ``get`` takes as a type, before anything is read.

    Raises:
        TypeError: It is not a type that pydantic can validate.
    """
    if type is not Any and type is not str:
        reader_for(type)


def takes_bytes(type: Any) -> bool:
    """Return whether a value that was stored as ``bytes`` might be valid as ``type``.

    ``False`` is certain: whatever the bytes are, ``decode`` raises ``DeserializationError`` for them. So bytes with a
    meaning of their own (a lease, a header) can be stored in place of such a value, and a read by its type never
    takes them for one. ``True`` may be caution: a type whose validators run before pydantic's own, or that pydantic
    does not describe, can make a value of anything.

    The answer comes from the type itself, not from samples. It is not cached; keep it with the type.

    Raises:
        TypeError: ``type`` is not a type that pydantic can validate.
    """
    return reader_for(type).takes_bytes


def _plain(data: bytes) -> Any:
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError:
        return _BROKEN


def _explain(reader: Reader, error: Exception, raw: bool) -> str:
    if not isinstance(error, ValueError):
        return f"a validator raised {error.__class__.__name__}"
    return "it was stored as bytes" if raw and not reader.takes_bytes else reader.explain(error)
