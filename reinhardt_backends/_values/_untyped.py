"""Checks of values whose type is not declared: what ``set`` is given, and what its lists and mappings hold.

A container does not know the type it will be read as: ``[1]`` may be read as a list, a set or a tuple of many types. So
only its members are checked, each by its own class.
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

from ._checks import PLAIN, Check, Refused, check_fields, check_items
from ._compile import check_of, walk_text
from ._readers import CACHED_TYPES

_SEQUENCES: Final = (list, tuple, set, frozenset, deque)
# Distinct keys of one of these classes are distinct strings that come back.
_KEYS: Final = (frozenset({str}), frozenset({UUID}), frozenset({date}))


@lru_cache(CACHED_TYPES)
def check_for(cls: type) -> Check | None:
    """Return the check for a value of a class; ``None`` if its text always comes back."""
    if issubclass(cls, Enum):
        return check_of(cls)
    if cls in PLAIN or issubclass(cls, (str, int, bytes)):
        # A subclass is what its JSON is.
        return None
    if issubclass(cls, float):
        return _check_float
    if issubclass(cls, Mapping):
        return _check_mapping
    if issubclass(cls, _SEQUENCES) and not hasattr(cls, "_fields"):
        return _check_members
    if getattr(cls, "__parameters__", ()):
        # An instance of a generic class does not know its type arguments.
        return _check_generic
    return check_of(cls) or walk_text


def check_untyped(value: Any) -> bool:
    """Check a value by its own class."""
    check = check_for(value.__class__)
    return check is not None and check(value)


def _check_float(value: float) -> bool:
    if value - value != 0.0:
        raise Refused(value, "JSON has no NaN and no infinity")
    return False


def _check_members(members: Collection[Any], place: str = "[{}]") -> bool:
    classes: set[Any] = set(map(type, members))
    checks = {check_for(cls) for cls in classes}
    if checks <= {None}:
        return False
    only = checks.pop() if len(checks) == 1 else None
    return check_items(only or check_untyped, members, place)


def _check_mapping(mapping: Mapping[Any, Any]) -> bool:
    walk = frozenset(map(type, mapping)) not in _KEYS and bool(mapping)
    return _check_members(mapping.values(), "[value {}]") or walk


def _check_generic(value: Any) -> bool:
    if isinstance(value, BaseModel):
        parts: Mapping[str, Any] = value.__dict__
    elif dataclasses.is_dataclass(value):
        parts = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    elif hasattr(value, "_asdict"):
        parts = value._asdict()
    else:
        return True
    check_fields((name, part, check_untyped) for name, part in parts.items())
    return True
