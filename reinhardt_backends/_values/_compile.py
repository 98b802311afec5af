"""From the schema of a class to the check of its values.

A schema says what can be lost: of an exact ``str`` nothing, of a ``float`` NaN and infinities, of a union which of its
members it was. So the check of a schema looks no further than it must. What is not known here, such as a validator, a
constraint or a configuration, is read back.

A custom serialiser or an excluded field means that the author of the class decides what is stored. Such a part need not
come back equal, and nothing around it is read back; its text is walked for NaN, masked secrets and the like.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Flag
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from ._checks import ByClass, Check, Fields, Items, Keys, Leaf, Nullable, Pairs, Reference, Walked
from ._read_back import AnyData, ReadBack
from ._readers import CACHED_TYPES, reader_for, schema_parts
from ._walk import has_odd_offset

_MOST_DAYS: Final = 999_999
_WITH_FIELDS: Final = frozenset({"model", "dataclass", "typed-dict", "named-tuple", "call"})
_OWN_SERIALISERS: Final = frozenset({"function-plain", "function-wrap", "format"})
_NOT_OWN: Final = ("pydantic", "operator", "_operator")
# Configuration that changes neither what is written nor what is read strictly.
_HARMLESS_CONFIG: Final = frozenset({
    "title", "strict", "extra_fields_behavior", "from_attributes", "loc_by_alias", "revalidate_instances", "frozen",
    "validate_default", "allow_inf_nan", "ser_json_inf_nan", "hide_input_in_errors", "validation_error_cause",
    "coerce_numbers_to_str", "regex_engine", "cache_strings", "validate_by_alias", "validate_by_name",
    "serialize_by_alias",
})  # fmt: skip
_HARMLESS_FIELDS: Final = frozenset({
    "type", "ref", "metadata", "fields", "model_name", "dataclass_name", "computed_fields", "strict", "extra_behavior",
    "from_attributes", "collect_init_only",
})  # fmt: skip
_HARMLESS: Final = frozenset({"type", "ref", "metadata", "strict", "fail_fast"})


@lru_cache(CACHED_TYPES)
def check_of(cls: type) -> Check:
    """Return the check for the values of a class.

    Raises:
        TypeError: pydantic does not know the class.
    """
    return _Compiler(reader_for(cls).schema).check


class _Compiler:
    """Compiles one schema and the schemas in it."""

    def __init__(self, schema: Any) -> None:
        self._definitions = {part["ref"]: part for part in schema.get("definitions", ())}
        self._references: dict[str, Reference] = {}
        self._own_definitions = any(map(_is_own, schema_parts(list(self._definitions.values()))))
        self.check = self._compile(schema)

    def _compile(self, schema: Any) -> Check:
        compiler, harmless = _KINDS.get(schema["type"], (None, frozenset()))
        check = None
        if compiler is not None and "serialization" not in schema and schema.keys() <= _HARMLESS | harmless:
            check = compiler(self, schema)
        return self._unknown(schema) if check is None else check

    def _unknown(self, schema: Any) -> Check:
        """Return the check for a schema of which nothing is known."""
        for part in schema_parts(schema):
            if _is_own(part) or (self._own_definitions and part.get("type") == "definition-ref"):
                return Walked()
        if self._definitions and schema["type"] != "definitions":
            schema = {"type": "definitions", "schema": schema, "definitions": list(self._definitions.values())}
        return ReadBack(schema)

    def _leaf(
        self,
        schema: Any,
        classes: AbstractSet[type],
        images: AbstractSet[str],
        holds: Any = None,
        *,
        as_key: bool = False,
    ) -> Leaf:
        return Leaf(classes, images, self._unknown(schema), holds, as_key=as_key)

    # One value.

    def _any(self, schema: Any) -> Check:
        return AnyData()

    def _scalar(self, schema: Any) -> Check:
        cls, image, holds = _SCALARS[schema["type"]]
        bounds = _bounds_of(schema)
        if bounds is not None:
            known = holds
            holds = bounds if known is None else lambda value: known(value) and bounds(value)
        return self._leaf(schema, {cls}, {image}, holds, as_key=schema["type"] in _KEYS)

    def _enum(self, schema: Any) -> Check | None:
        kinds = {type(member.value) for member in schema["members"]}
        if issubclass(schema["cls"], Flag) or kinds not in ({str}, {int}):
            return None
        image = {"string"} if kinds == {str} else {"number"}
        return self._leaf(schema, {schema["cls"]}, image, as_key=kinds == {str})

    def _literal(self, schema: Any) -> Check | None:
        kinds = set(map(type, schema["expected"]))
        if kinds not in ({str}, {int}):
            return None
        holds = frozenset(schema["expected"]).__contains__
        return self._leaf(schema, kinds, {"string"} if kinds == {str} else {"number"}, holds, as_key=kinds == {str})

    # Several schemas.

    def _inner(self, schema: Any) -> Check:
        return self._compile(schema["schema"])

    def _reference(self, schema: Any) -> Check:
        ref = schema["schema_ref"]
        if ref not in self._references:
            self._references[ref] = Reference()
            self._references[ref].check = self._compile(self._definitions[ref])
        return self._references[ref]

    def _nullable(self, schema: Any) -> Check:
        inner = self._compile(schema["schema"])
        if isinstance(inner, Leaf) and inner.holds is None:
            return self._leaf(schema, inner.classes | {type(None)}, inner.images | {"null"})
        return Nullable(inner)

    def _union(self, schema: Any) -> Check | None:
        classes: frozenset[type] = frozenset()
        images: frozenset[str] = frozenset()
        for choice in schema["choices"]:
            leaf = self._compile(choice[0] if isinstance(choice, tuple) else choice)
            if not isinstance(leaf, Leaf) or leaf.holds is not None or images & leaf.images:
                return None  # it takes a reader to tell which member a text stands for
            classes |= leaf.classes
            images |= leaf.images
        return self._leaf(schema, classes, images)

    def _tagged_union(self, schema: Any) -> Check | None:
        checks: dict[type, Check] = {}
        for choice in schema["choices"].values():
            model = self._definitions[choice["schema_ref"]] if choice["type"] == "definition-ref" else choice
            if model["type"] != "model" or not isinstance(schema["discriminator"], str):
                return None
            checks[model["cls"]] = self._compile(choice)
        return ByClass(checks, self._unknown(schema))

    # Containers.

    def _sequence(self, schema: Any) -> Check:
        items = self._compile(schema.get("items_schema") or _ANY_SCHEMA)
        return Items(_SEQUENCES[schema["type"]], items, self._unknown(schema))

    def _tuple(self, schema: Any) -> Check | None:
        if len(schema["items_schema"]) != 1 or "variadic_item_index" not in schema:
            return None
        return Items(tuple, self._compile(schema["items_schema"][0]), self._unknown(schema))

    def _dict(self, schema: Any) -> Check | None:
        declared = schema.get("keys_schema", _ANY_SCHEMA)
        keys = self._compile({"type": "str"} if declared["type"] == "any" else declared)
        values = self._compile(schema.get("values_schema") or _ANY_SCHEMA)
        if not isinstance(keys, Leaf) or not keys.as_key:
            return None
        return Pairs(keys, values, self._unknown(schema))

    # Classes with fields.

    def _model(self, schema: Any) -> Check | None:
        inner, config = schema["schema"], schema.get("config", {})
        if schema.get("custom_init") or _runs_code(schema) or not config.keys() <= _HARMLESS_CONFIG:
            return None
        if schema.get("root_model"):
            fields = {"root": {"schema": inner}}
            extra = None
        elif inner["type"] == "model-fields" and inner.keys() <= _HARMLESS_FIELDS and _are_attributes(inner["fields"]):
            fields = inner["fields"]
            extra = schema.get("extra_behavior") or inner.get("extra_behavior") or config.get("extra_fields_behavior")
        else:
            return None
        return Fields(
            schema["cls"], self._checks(fields), self._unknown(schema), AnyData() if extra == "allow" else None
        )

    def _dataclass(self, schema: Any) -> Check | None:
        inner, config = schema["schema"], schema.get("config", {})
        if (
            schema.get("post_init")
            or inner["type"] != "dataclass-args"
            or not inner.keys() <= _HARMLESS_FIELDS
            or not config.keys() <= _HARMLESS_CONFIG
            or config.get("extra_fields_behavior") == "allow"
            or any(not field.get("init", True) or field.get("init_only") for field in inner["fields"])
            or _runs_code(schema)
        ):
            return None
        fields = self._checks({field["name"]: field for field in inner["fields"]})
        return Fields(schema["cls"], fields, self._unknown(schema))

    def _typed_dict(self, schema: Any) -> Check | None:
        if not schema.get("config", {}).keys() <= _HARMLESS_CONFIG or _runs_code(schema):
            return None
        fields = self._checks(schema["fields"])
        total = schema.get("total", True)
        required = {name for name, field in schema["fields"].items() if field.get("required", total)} & fields.keys()
        return Keys(fields, required, self._unknown(schema))

    def _checks(self, fields: Mapping[str, Any]) -> dict[str, Check]:
        """Return the check of each field that is stored."""
        return {
            name: self._compile(field["schema"])
            for name, field in fields.items()
            if not field.get("serialization_exclude") and "serialization_exclude_if" not in field
        }


# What schemas say.


def _is_own(part: Mapping[str, Any]) -> bool:
    """Return whether the author of a class decides here what is stored."""
    if part.get("serialization_exclude") is True or callable(part.get("serialization_exclude_if")):
        return True
    how = part.get("serialization")
    if not isinstance(how, dict) or how.get("type") not in _OWN_SERIALISERS:
        return False
    module = getattr(how.get("function"), "__module__", None) or ""
    return not module.startswith(_NOT_OWN)


def _runs_code(schema: Mapping[str, Any]) -> bool:
    """Return whether a validator of the class needs the other fields, or runs after all of them."""
    cls = schema.get("cls")
    after = getattr(cls, "model_post_init", None) if schema.get("post_init") else None
    if after is not None and after.__name__ != "init_private_attributes":
        return True
    fields = schema.get("fields") or schema["schema"]
    return any(part.get("type") == "with-info" for part in schema_parts(fields, within=_WITH_FIELDS))


def _bounds_of(schema: Mapping[str, Any]) -> Callable[[Any], bool] | None:
    """Return the predicate for the bounds that a schema sets; ``None`` without bounds."""
    if not schema.keys() & (_BOUNDS | _LENGTHS):
        return None
    if schema["type"] == "str":
        shortest, longest = schema.get("min_length", 0), schema.get("max_length", math.inf)
        return lambda text: shortest <= len(text) <= longest
    above, least = schema.get("gt", -math.inf), schema.get("ge", -math.inf)
    below, most = schema.get("lt", math.inf), schema.get("le", math.inf)
    return lambda number: above < number < below and least <= number <= most


def _are_attributes(names: Iterable[str]) -> bool:
    return all(map(str.isidentifier, names))


def _has_written_offset(moment: datetime | time) -> bool:
    return moment.tzinfo is None or moment.tzinfo is UTC or not has_odd_offset(moment)


def _is_readable(duration: timedelta) -> bool:
    return -_MOST_DAYS < duration.days < _MOST_DAYS


_ANY_SCHEMA: Final = {"type": "any"}
_SEQUENCES: Final[dict[str, type]] = {"list": list, "set": set, "frozenset": frozenset, "deque": deque}
_SCALARS: Final[dict[str, tuple[type, str, Any]]] = {
    "none": (type(None), "null", None),
    "bool": (bool, "bool", None),
    "int": (int, "number", None),
    "float": (float, "number", math.isfinite),
    "str": (str, "string", None),
    "bytes": (bytes, "string", None),
    "decimal": (Decimal, "string", Decimal.is_finite),
    "uuid": (UUID, "string", None),
    "date": (date, "string", None),
    "time": (time, "string", _has_written_offset),
    "datetime": (datetime, "string", _has_written_offset),
    "timedelta": (timedelta, "string", _is_readable),
}
_BOUNDS: Final = frozenset({"gt", "ge", "lt", "le"})
_LENGTHS: Final = frozenset({"min_length", "max_length"})
_KEYS: Final = frozenset({"str", "int", "float", "decimal", "uuid", "date"})
# How a kind of schema is compiled, and what else it may say without changing what comes back. Anything more is unknown.
_KINDS: Final[dict[str, tuple[Callable[[_Compiler, Any], Check | None], frozenset[str]]]] = {
    "any": (_Compiler._any, frozenset()),
    **{kind: (_Compiler._scalar, frozenset({"allow_inf_nan", "microseconds_precision"})) for kind in _SCALARS},
    **{kind: (_Compiler._scalar, _BOUNDS | {"allow_inf_nan"}) for kind in ("int", "float", "decimal")},
    "str": (_Compiler._scalar, _LENGTHS),
    "enum": (_Compiler._enum, frozenset({"cls", "members", "sub_type", "missing"})),
    "literal": (_Compiler._literal, frozenset({"expected"})),
    "definitions": (_Compiler._inner, frozenset({"schema", "definitions"})),
    "definition-ref": (_Compiler._reference, frozenset({"schema_ref"})),
    "default": (
        _Compiler._inner,
        frozenset({"schema", "default", "default_factory", "default_factory_takes_data", "validate_default"}),
    ),
    "nullable": (_Compiler._nullable, frozenset({"schema"})),
    "union": (_Compiler._union, frozenset({"choices", "auto_collapse"})),
    "tagged-union": (_Compiler._tagged_union, frozenset({"choices", "discriminator", "from_attributes"})),
    **{kind: (_Compiler._sequence, frozenset({"items_schema"})) for kind in _SEQUENCES},
    "tuple": (_Compiler._tuple, frozenset({"items_schema", "variadic_item_index"})),
    "dict": (_Compiler._dict, frozenset({"keys_schema", "values_schema"})),
    "model": (
        _Compiler._model,
        frozenset({"cls", "generic_origin", "schema", "custom_init", "root_model", "post_init", "revalidate_instances"})
        | {"frozen", "extra_behavior", "config"},
    ),
    "dataclass": (
        _Compiler._dataclass,
        frozenset({"cls", "generic_origin", "schema", "fields", "cls_name", "post_init", "revalidate_instances"})
        | {"frozen", "slots", "config"},
    ),
    "typed-dict": (
        _Compiler._typed_dict,
        frozenset({"fields", "cls", "cls_name", "computed_fields", "total", "extra_behavior", "config"}),
    ),
}
