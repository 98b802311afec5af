"""Writing only what can be read back.

A value that is not a plain scalar is written by pydantic, and then checked for what pydantic loses: by the class of the
value (``_untyped.py``, ``_compile.py``), and on the text for what readers refuse of any text: nesting past 200 levels
and integers past 4,300 digits. Plain JSON data is equal to what is parsed from its text, which takes two steps in C.
Where a check cannot tell, the text is walked (``_walk.py``).

The reason of a refusal and the place are given in types and declared field names, never in data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import from_json

from .._errors import SerializationError
from ._checks import PLAIN, Refused
from ._read_back import ANY
from ._readers import reader_for, type_name
from ._untyped import check_for, is_flat
from ._walk import LISTS, find_loss

_MOST_BITS: Final = 14_285  # of 10**4300 - 1; writing more digits takes quadratic time
_MOST_DIGITS: Final = 4_300
_MOST_LEVELS: Final = 200
_SHORT: Final = 2 * _MOST_LEVELS
"""Text of so many bytes is neither nested too deeply nor has too many digits in a row."""
_STRIDE: Final = 100
_DIGITS: Final = b"0" * (_MOST_DIGITS // _STRIDE)
_DIGITS_AS_ZERO: Final = bytes(ord("0") if chr(code).isdecimal() else code for code in range(256))
_JSON_CLASSES: Final = PLAIN | {float, list, dict}
_MOST_ATTEMPTS: Final = 1_000
_LONGEST_PLACE: Final = 200


def json_of(value: Any) -> bytes:
    """Return ``value`` as JSON text that reads back as it.

    Raises:
        SerializationError: There is no such text.
    """
    try:
        return _write(value)
    except Exception:  # noqa: S110  # raised below, without what carries the value
        pass
    raise SerializationError(_refusal(value))


def _refusal(value: Any) -> str:
    _, part, place, reason = _attempt(value)
    if not place:
        part, place, reason = _locate(value, part, reason)
    where = f" (at {place} of a {type_name(value.__class__)})" if place else ""
    return f"cannot store a value of type {type_name(part.__class__)}{where}: {reason}"


def _attempt(value: Any) -> tuple[bytes | None, Any, str, str]:
    """Return the JSON text; or ``None``, and the part that is refused, its place and the reason."""
    # Messages and contexts of these errors carry the value, so none of them is passed on.
    try:
        return _write(value), value, "", ""
    except Refused as refused:
        return None, refused.part, _shortened("".join(reversed(refused.path))), refused.reason
    except RecursionError:
        return None, value, "", "it is nested too deeply"
    except Exception as error:
        return None, value, "", _reason(error)


def _write(value: Any) -> bytes:
    cls = value.__class__
    if cls is list or cls is dict:
        return _write_container(value)
    if cls is int and value.bit_length() > _MOST_BITS:
        raise Refused(value, _REASONS["number out of range"])
    serializer = _serializer(cls)
    data: bytes = serializer.to_json(value, round_trip=True, warnings=False, fallback=_by_its_type)
    if len(data) > _SHORT:
        _check_text(data, (cls,))
    if check_for(cls)(value):
        _walk(value, serializer, data)
    return data


def _write_container(value: Any) -> bytes:
    data = ANY.to_json(value, round_trip=True, warnings=False, fallback=_by_its_type)
    classes = set(map(type, value if value.__class__ is list else value.values()))
    if classes <= _JSON_CLASSES:
        if from_json(data, allow_inf_nan=False) == value:
            return data
    elif len(data) > _SHORT:
        _check_text(data, classes)
    if check_for(value.__class__)(value):
        _walk(value, ANY, data)
    return data


def _check_text(data: bytes, classes: Iterable[type]) -> None:
    """Raise an error if the text, of values of these classes, is nested too deeply or has too many digits in a row."""
    # Of so many digits in a row, so many are among every hundredth byte. Strings may have them too: the parser decides.
    digits = _DIGITS in data[::_STRIDE].translate(_DIGITS_AS_ZERO)
    if digits or (not all(map(is_flat, classes)) and data.count(b"[") + data.count(b"{") >= _MOST_LEVELS):
        from_json(data)


def _walk(value: Any, serializer: Any, data: bytes) -> None:
    """Refuse a value whose class leaves it to its author what is stored, if anything was lost that is known."""
    loss = find_loss(serializer.to_python(value, round_trip=True, warnings=False), from_json(data, allow_inf_nan=False))
    if loss is not None:
        raise Refused(value, loss)
    try:
        serializer.to_json(value, round_trip=True, warnings="error", fallback=_by_its_type)
    except Exception:
        # pydantic warns of more than is wrong. What its warning is about counts as fine if it reads back equal.
        if reader_for(value.__class__).read_json(data) != value:
            raise


def _serializer(cls: Any) -> Any:
    serializer = cls.__dict__.get("__pydantic_serializer__")
    if serializer is not None:
        return serializer  # of a model, or a dataclass of pydantic's
    return reader_for(cls).serializer if dataclasses.is_dataclass(cls) else ANY


def _by_its_type(value: Any) -> Any:
    """Write what pydantic knows by its type only, such as a ``PurePath``."""
    written = reader_for(value.__class__).serializer.to_python(value, mode="json")
    if written is value:
        raise TypeError("unknown type")
    return written


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


def _locate(value: Any, part: Any, reason: str) -> tuple[Any, str, str]:
    """Return the innermost part of a refused value that is refused by itself, the path to it, and why.

    The search ends after a bounded number of parts; the place is then as close as it came.
    """
    place = ""
    attempts = 0
    parts = _parts(value)
    while attempts < _MOST_ATTEMPTS and (step := next(parts, None)) is not None:
        attempts += 1
        data, inner, path, why = _attempt(step[1])
        if data is None:
            place, part, reason = place + step[0] + path, inner, why
            parts = iter(()) if path else _parts(step[1])
    return part, _shortened(place), reason


def _shortened(place: str) -> str:
    return place if len(place) <= _LONGEST_PLACE else place[:_LONGEST_PLACE] + "..."


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        yield from ((f".{name}", getattr(value, name, None)) for name in value.__class__.model_fields)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((f".{field.name}", getattr(value, field.name, None)) for field in dataclasses.fields(value))
    elif isinstance(value, Mapping):
        yield from ((f"[value {index}]", part) for index, part in enumerate(value.values()))
    elif isinstance(value, (*LISTS, set, frozenset)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
