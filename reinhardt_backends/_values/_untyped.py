"""Checks of values whose type is not declared: what ``set`` is given, and what its lists and mappings hold.

A container does not know the type that it will be read as: ``[1]`` may be read as a list, a set or a tuple of many
types. So only its members are checked, each by its own class.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Collection, Mapping
from datetime import date
from enum import Enum
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

from ._checks import PLAIN, Always, Check, Refused, Walked, check_fields, check_items
from ._compile import check_of
from ._readers import CACHED_TYPES, reader_for, schema_parts

# Of these kinds of schema, each level of a value is a level of the schema.
_FLAT_KINDS: Final = frozenset({
    "none", "bool", "int", "float", "decimal", "str", "bytes", "date", "time", "datetime", "timedelta", "uuid", "enum",
    "literal", "nullable", "default", "union", "tagged-union", "list", "set", "frozenset", "deque", "tuple", "dict",
    "model", "model-fields", "model-field", "dataclass", "dataclass-args", "dataclass-field", "typed-dict",
    "typed-dict-field", "computed-field",
})  # fmt: skip
_SEQUENCES: Final = (list, tuple, set, frozenset, deque)
# Distinct keys of one of these classes are distinct strings that come back.
_KEYS: Final[tuple[frozenset[type], ...]] = (frozenset(), frozenset({str}), frozenset({UUID}), frozenset({date}))


class Untyped(Check):
    """Checks a value by its own class."""

    __slots__ = ()

    def __call__(self, value: Any) -> bool:
        return check_for(value.__class__)(value)

    def passes(self, values: Collection[Any]) -> bool:
        by_class = {cls: check_for(cls) for cls in set(map(type, values))}
        if len(by_class) == 1:
            return next(iter(by_class.values())).passes(values)
        return all(check.passes([value for value in values if type(value) is cls]) for cls, check in by_class.items())


def check_for(cls: Any) -> Check:
    """Return the check for the values of a class."""
    try:
        return _cached_check(cls)
    except TypeError:
        return _WALKED  # pydantic does not know the class, or not yet


@lru_cache(CACHED_TYPES)
def is_flat(cls: Any) -> bool:
    """Return whether the values of a class are nested no deeper than its schema; ``False`` if that is not certain."""
    if issubclass(cls, (str, int, float, bytes, type(None))):
        return True
    try:
        parts = schema_parts(reader_for(cls).schema)
    except TypeError:
        return False
    return all(map(_is_flat, parts))


def _is_flat(part: Mapping[str, Any]) -> bool:
    kind = part.get("type")
    if not isinstance(kind, str):
        return True  # fields by name
    if kind in ("list", "set", "frozenset", "deque") and "items_schema" not in part:
        return False
    if kind == "dict" and "values_schema" not in part:
        return False
    extra = part.get("extra_behavior") or part.get("config", {}).get("extra_fields_behavior")
    return kind in _FLAT_KINDS and extra != "allow"


@lru_cache(CACHED_TYPES)
def _cached_check(cls: Any) -> Check:
    if issubclass(cls, Enum):
        return check_of(cls)
    if cls in PLAIN or issubclass(cls, (str, int, bytes)):
        return Always()  # a subclass is what its JSON is
    if issubclass(cls, float):
        return _Float()
    if issubclass(cls, Mapping):
        return _Mapping()
    if issubclass(cls, _SEQUENCES) and not hasattr(cls, "_fields"):
        return _Members()
    if getattr(cls, "__parameters__", ()):
        return _Generic()
    return check_of(cls)


class _Float(Check):
    __slots__ = ()

    def __call__(self, value: Any) -> bool:
        if value - value != 0.0:
            raise Refused(value, "JSON has no NaN and no infinity")
        return False


class _Members(Check):
    __slots__ = ()

    def __call__(self, value: Any) -> bool:
        return check_items(UNTYPED, value, "[{}]")


class _Mapping(Check):
    __slots__ = ()

    def __call__(self, value: Any) -> bool:
        walk = frozenset(map(type, value)) not in _KEYS
        return check_items(UNTYPED, value.values(), "[value {}]") or walk


class _Generic(Check):
    """An instance of a generic class does not know its type arguments."""

    __slots__ = ()

    def __call__(self, value: Any) -> bool:
        if isinstance(value, BaseModel):
            parts: Mapping[str, Any] = value.__dict__
        elif dataclasses.is_dataclass(value):
            parts = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        elif hasattr(value, "_asdict"):
            parts = value._asdict()
        else:
            return True
        check_fields(parts, [UNTYPED] * len(parts), parts.values())
        return True


UNTYPED: Final = Untyped()
_WALKED: Final = Walked()
