"""Checks by the definition of what ``set`` promises: write a value, read the text as its type, compare.

Right for every schema, and the slow way: it is for values and schemas of which nothing simpler is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import SchemaSerializer, core_schema, from_json

from ._checks import PLAIN, Check, Refused
from ._readers import eager_validator, explain, type_name
from ._walk import find_loss, is_secret

ANY: Final = SchemaSerializer(core_schema.any_schema())
"""Writes each value by its own class."""


class ReadBack(Check):
    """Checks a value by its schema."""

    __slots__ = ("_built", "_schema")

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._built: tuple[SchemaSerializer, Any] | None = None

    def __call__(self, value: Any) -> bool:
        reason = self._reason(value)
        if reason is not None:
            raise Refused(value, reason)
        return False

    def _reason(self, value: Any) -> str | None:
        if self._built is None:
            self._built = (SchemaSerializer(self._schema), eager_validator(self._schema))
        serializer, validator = self._built
        data = serializer.to_json(value, round_trip=True, warnings=False)
        found = failure = None
        try:
            found = validator.validate_json(data, strict=True, by_alias=True, by_name=True)
        except ValueError as error:
            failure = f"it is not valid as declared: {explain(error, self._schema)}"
        if failure is None and same(found, value) and not is_secret(value):
            return None
        loss = find_loss(serializer.to_python(value, round_trip=True, warnings=False), from_json(data))
        return loss or failure or _difference(found, value)


class AnyData(Check):
    """Checks a value whose declared type is ``Any``: it comes back as plain JSON data."""

    __slots__ = ()

    def __call__(self, value: Any) -> bool:
        cls = value.__class__
        if cls in PLAIN or (cls is float and value - value == 0.0):
            return False
        parsed = from_json(ANY.to_json(value, round_trip=True, warnings=False))
        if parsed == value:
            return False
        loss = find_loss(ANY.to_python(value, round_trip=True, warnings=False), parsed)
        raise Refused(value, loss or f"it is declared as Any, and {_difference(parsed, value)}")

    def passes(self, values: Collection[Any]) -> bool:
        if PLAIN.issuperset(map(type, values)):
            return True
        try:
            written = list(values)
            return bool(from_json(ANY.to_json(written, round_trip=True, warnings=False)) == written)
        except Exception:
            return False  # a look at each will show the same


def same(found: Any, value: Any) -> bool:
    """Return whether a value that was read is the one that was written.

    Private attributes and excluded fields of models are not stored, so they may differ; so may instances of classes
    that do not define equality.
    """
    if found == value:
        return True
    cls = value.__class__
    if found.__class__ is not cls:
        return False
    if isinstance(value, BaseModel):
        return _same_model(found, value)
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return all(same(getattr(found, name, None), getattr(value, name, None)) for name in names)
    if isinstance(value, (list, tuple)):
        return len(found) == len(value) and all(map(same, found, value))
    if isinstance(value, Mapping):
        return found.keys() == value.keys() and all(same(found[key], value[key]) for key in value)
    return bool(cls.__eq__ is object.__eq__)


def _same_model(found: BaseModel, value: BaseModel) -> bool:
    names = [name for name, field in value.__class__.model_fields.items() if not field.exclude]
    fields, others = found.__dict__, value.__dict__
    return (
        all(name in fields and name in others and same(fields[name], others[name]) for name in names)
        and found.model_extra == value.model_extra
    )


def _difference(found: Any, value: Any) -> str:
    if found.__class__ is value.__class__:
        return "it comes back with another content"
    return f"it comes back as a value of type {type_name(found.__class__)}"
