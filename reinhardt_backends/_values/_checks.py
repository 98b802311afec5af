"""Checks that a value comes back from its JSON text, made once per class from its schema.

A ``Check`` is a function of one value. It is quick for a value of exactly the declared types that JSON can spell.
Anything else is read back: written, validated as its type and compared, which is the definition of what ``set``
promises. ``_compile.py`` makes a check of a schema; here is what checks consist of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import SchemaSerializer, SchemaValidator, core_schema, from_json

from ._readers import explain, type_name
from ._walk import find_loss, is_secret

Check = Callable[[Any], bool]
"""Returns ``False`` if the value comes back, ``True`` if only a walk of the whole text can tell; raises ``Refused``."""

ANY: Final = SchemaSerializer(core_schema.any_schema())


class Refused(Exception):
    """A value that would not come back.

    Attributes:
        part: The innermost value that is refused.
        reason: Why, in words that show no data.
        path: Where it is, innermost step first.
    """

    def __init__(self, part: Any, reason: str) -> None:
        super().__init__(reason)
        self.part = part
        self.reason = reason
        self.path: list[str] = []


class Leaf:
    """Checks a value by its exact class and, where that is not enough, by a predicate.

    Attributes:
        classes: The classes whose values come back if the predicate holds.
        holds: The predicate, if there is one; best a function written in C, since it is mapped over many values.
        image: What JSON spells them as: "string", "number", "bool", "null".
        as_key: Whether distinct values, as keys of a mapping, are distinct strings that come back.
        otherwise: Checks any other value.
    """

    __slots__ = ("as_key", "classes", "holds", "image", "otherwise")

    def __init__(
        self,
        classes: AbstractSet[type],
        image: AbstractSet[str],
        otherwise: Check,
        holds: Callable[[Any], object] | None = None,
        as_key: bool = False,
    ) -> None:
        self.classes = frozenset(classes)
        self.image = frozenset(image)
        self.otherwise = otherwise
        self.holds = holds
        self.as_key = as_key

    def __call__(self, value: Any) -> bool:
        if value.__class__ in self.classes and (self.holds is None or self.holds(value)):
            return False
        return self.otherwise(value)

    def passes(self, values: Collection[Any]) -> bool:
        """Return whether all the values pass by class and predicate."""
        return self.classes.issuperset(map(type, values)) and (self.holds is None or all(map(self.holds, values)))


class ReadBack:
    """Checks a value by writing it, validating the text and comparing. Right for every schema; the slow way."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._built: tuple[SchemaSerializer, SchemaValidator] | None = None

    def __call__(self, value: Any) -> bool:
        reason = self._reason(value)
        if reason is not None:
            raise Refused(value, reason)
        return False

    def _reason(self, value: Any) -> str | None:
        if self._built is None:
            self._built = (SchemaSerializer(self._schema), SchemaValidator(self._schema))
        serializer, validator = self._built
        data = serializer.to_json(value, round_trip=True, warnings=False)
        failure = None
        try:
            found = validator.validate_json(data, strict=True, by_alias=True, by_name=True)
        except ValueError as error:
            failure = f"it is not valid as declared: {explain(error, self._schema)}"
        if failure is None and same(found, value) and not is_secret(value):
            return None
        loss = find_loss(serializer.to_python(value, round_trip=True, warnings=False), from_json(data))
        return loss or failure or _difference(found, value)


def check_items(check: Check, items: Collection[Any], place: str) -> bool:
    """Check the items of a container, each of which is at ``place.format(index)``."""
    if isinstance(check, Leaf) and check.passes(items):
        return False
    walk = False
    index = 0
    try:
        for index, item in enumerate(items):  # noqa: B007  # needed if it fails
            if check(item):
                walk = True
    except Refused as refused:
        refused.path.append(place.format(index))
        raise
    return walk


def check_fields(fields: Iterable[tuple[str, Any, Check]]) -> bool:
    """Check fields, each given as its name, its value and its check."""
    walk = False
    for name, part, check in fields:
        try:
            if check(part):
                walk = True
        except Refused as refused:
            refused.path.append(f".{name}")
            raise
    return walk


def check_any(value: Any) -> bool:
    """Check a value whose declared type is ``Any``: it comes back as plain JSON data."""
    cls = value.__class__
    if cls in PLAIN or (cls is float and value - value == 0.0):
        return False
    data = ANY.to_json(value, round_trip=True, warnings=False)
    parsed = from_json(data)
    if parsed == value:
        return False
    loss = find_loss(ANY.to_python(value, round_trip=True, warnings=False), parsed)
    raise Refused(value, loss or f"it is declared as Any, and {_difference(parsed, value)}")


PLAIN: Final = frozenset({str, int, bool, type(None)})
"""Classes whose values always come back, but for what the text shows (integers past 4,300 digits)."""


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
    return cls.__eq__ is object.__eq__


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
