"""Writing only what can be read back.

pydantic writes more than it reads: NaN becomes ``null``, a secret ten asterisks, two mapping keys one, a UTC offset
loses its seconds. So a value that is not a plain scalar is written, the text is parsed again (which refuses what no
reader would take: nesting past 200, integers past 4,300 digits), and the two are compared. Plain JSON data is equal to
what was parsed, in one step in C. Anything else is walked side by side with the parsed text, which shows where
something was lost. Custom serialisers have run by then, so a field whose serialiser reveals a secret is stored.

The reason of a refusal and the place are told by types and declared field names, never by data.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import SchemaSerializer, core_schema, from_json

from .._errors import SerializationError
from ._readers import reader_for, type_name

_ANY: Final = SchemaSerializer(core_schema.any_schema())
_LISTS: Final = (list, tuple, deque)
_NO_NUMBER: Final = (None, "NaN", "Infinity", "-Infinity")
_MOST_BITS: Final = 14_285  # of 10**4300 - 1; writing more digits takes quadratic time
_MOST_ATTEMPTS: Final = 1_000
_LONGEST_PLACE: Final = 200


def json_of(value: Any) -> bytes:
    """Return ``value`` as JSON text that reads back as it.

    Raises:
        SerializationError: There is no such text.
    """
    data, reason = _attempt(value)
    if data is None:
        part, place, reason = _locate(value, reason)
        where = f" (at {place} of a {type_name(value.__class__)})" if place else ""
        raise SerializationError(f"cannot store a value of type {type_name(part.__class__)}{where}: {reason}")
    return data


def _attempt(value: Any) -> tuple[bytes | None, str]:
    # The caller raises, outside of every except block: messages and contexts of these errors carry the value.
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return None, _REASONS["number out of range"]
    try:
        data, python = _dump(value)
        reason = _lost(value, python, data)
    except RecursionError:
        return None, "it is nested too deeply"
    except Exception as error:
        return None, _reason(error)
    return (data, "") if reason is None else (None, reason)


def _dump(value: Any) -> tuple[bytes, Any]:
    """Return the JSON text, and the serialiser that wrote it."""
    serializer = _serializer(value)
    try:
        return serializer.to_json(value, round_trip=True, warnings="error", fallback=_by_its_type), serializer
    except Exception:
        # pydantic warns of more than is wrong. What its warning is about counts as fine if it reads back equal.
        data = serializer.to_json(value, round_trip=True, warnings=False, fallback=_by_its_type)
        if reader_for(value.__class__).read_json(data) != value:
            raise
        return data, serializer


def _serializer(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.__class__.__pydantic_serializer__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return reader_for(value.__class__).serializer
    return _ANY


def _by_its_type(value: Any) -> Any:
    """Write what pydantic knows by its type only, such as a ``PurePath``."""
    written = reader_for(value.__class__).serializer.to_python(value, mode="json")
    if written is value:
        raise TypeError("unknown type")
    return written


def _lost(value: Any, serializer: Any, data: bytes) -> str | None:
    """Return what the JSON text lost of the value, if anything."""
    parsed = from_json(data, allow_inf_nan=False)
    if value.__class__ in (list, dict) and value == parsed:
        return None
    return _compare(serializer.to_python(value, round_trip=True, warnings=False), parsed)


def _compare(written: Any, parsed: Any) -> str | None:
    if isinstance(written, Enum):
        return _compare_enum(written, parsed)
    if isinstance(written, Mapping):
        return _compare_mapping(written, parsed)
    if isinstance(written, _LISTS):
        if isinstance(parsed, list) and len(parsed) == len(written):
            return _first(map(_compare, written, parsed))
    elif isinstance(written, (set, frozenset)):
        return _first(_compare(member, None) for member in written)
    return _compare_leaf(written, parsed)


def _compare_leaf(written: Any, parsed: Any) -> str | None:
    if isinstance(written, Iterator):
        return "an iterator can be read only once"
    if isinstance(written, bytearray):
        return "JSON has no bytearray; give bytes"
    if isinstance(written, (float, Decimal)):
        if not math.isfinite(written) and parsed in _NO_NUMBER:
            return "JSON has no NaN and no infinity"
    elif isinstance(written, complex):
        if not (math.isfinite(written.real) and math.isfinite(written.imag)):
            return "JSON has no NaN and no infinity"
    elif isinstance(written, (datetime, time)):
        offset = written.utcoffset()
        if offset is not None and (offset.seconds % 60 or offset.microseconds) and isinstance(parsed, str | None):
            return "a UTC offset with seconds is written without them"
    elif _is_secret(written) and (not parsed or parsed != _revealed(written)):
        return "a secret is written masked; give its field a serialiser if it is meant to be stored"
    return None


def _compare_enum(written: Enum, parsed: Any) -> str | None:
    value = written.value
    if parsed.__class__ is value.__class__ and parsed == value:
        return None
    lost = _compare(value, parsed)
    if lost is None and isinstance(value, (bytes, tuple, frozenset, type(None))):
        return "an Enum of such values does not come back from JSON"
    return lost


def _compare_mapping(written: Mapping[Any, Any], parsed: Any) -> str | None:
    if not isinstance(parsed, dict):
        return None
    odd = [key for key in written if key.__class__ is not str]
    if odd and len(parsed) < len(written):
        return "two of its keys are the same as JSON strings"
    lost = _first(map(_compare_key, odd))
    if lost is None and len(parsed) == len(written):
        return _first(map(_compare, written.values(), parsed.values()))
    return lost


def _compare_key(key: Any) -> str | None:
    if isinstance(key, Enum) and not isinstance(key.value, str) and not isinstance(key, int):
        return "an Enum key that is neither a string nor an IntEnum does not come back from JSON"
    if key is None or isinstance(key, (tuple, frozenset)):
        return "a key of type " + type_name(key.__class__) + " does not come back from JSON"
    return _compare_leaf(key, None)


def _first(reasons: Iterable[str | None]) -> str | None:
    return next((reason for reason in reasons if reason is not None), None)


def _is_secret(value: Any) -> bool:
    # Importing pydantic's types takes its time, and where nobody has done so, nobody has a secret.
    types = sys.modules.get("pydantic.types")
    return types is not None and isinstance(value, (types.SecretStr, types.SecretBytes, types.Secret))


def _revealed(secret: Any) -> Any:
    value = secret.get_secret_value()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _reason(error: Exception) -> str:
    # These texts are matched, not passed on.
    text = str(error)
    for sign, reason in _REASONS.items():
        if sign in text:
            return reason
    return "pydantic cannot write it as JSON that reads back as it"


_REASONS: Final = {
    "recursion limit": "it is nested deeper than 200 levels",
    "depth exceeded": "it is nested deeper than 200 levels",
    "number out of range": "it has an integer of more than 4,300 digits",
    "set_int_max_str_digits": "it has an integer of more than 4,300 digits",
    "Circular reference": "it contains itself",
    "surrogates not allowed": "it has a lone surrogate",
    "unicode": "it has bytes that are not UTF-8",
    "utf-8": "it has bytes that are not UTF-8",
    "cannot validate": "pydantic cannot serialise it",
    "unknown type": "pydantic cannot serialise it",
}


def _locate(value: Any, reason: str) -> tuple[Any, str, str]:
    """Return the innermost part of a refused value that is refused by itself, the path to it, and why.

    A value that is too large or too deep to be searched in a moment is told as far as the search came.
    """
    place = ""
    attempts = 0
    parts = _parts(value)
    while attempts < _MOST_ATTEMPTS and (step := next(parts, None)) is not None:
        attempts += 1
        data, why = _attempt(step[1])
        if data is None:
            place, value, reason = place + step[0], step[1], why
            parts = _parts(value)
    return value, place if len(place) <= _LONGEST_PLACE else place[:_LONGEST_PLACE] + "...", reason


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        yield from ((f".{name}", getattr(value, name, None)) for name in value.__class__.model_fields)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((f".{field.name}", getattr(value, field.name, None)) for field in dataclasses.fields(value))
    elif isinstance(value, Mapping):
        yield from ((f"[value {index}]", part) for index, part in enumerate(value.values()))
    elif isinstance(value, (*_LISTS, set, frozenset)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
