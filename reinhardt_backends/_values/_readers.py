"""Reading a type: one ``Reader`` per type expression, kept in a bounded cache.

Building what pydantic needs to validate a type takes up to milliseconds, a look-up less than a microsecond. The cache
is bounded because a program can create types without end (local classes, generic models). A type that cannot be hashed
is built on every call; wrap it in a ``TypeAdapter``, which is cached like any other type.

The cache is ``functools.lru_cache``: it has no lock of its own in Python, so neither a fork beside a reading thread nor
a signal handler in the middle of a read can deadlock. At worst a type is built twice.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Container, Iterator
from functools import lru_cache
from typing import Annotated, Any, Final, NewType, Union, get_args, get_origin

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import SchemaValidator, from_json
from typing_extensions import TypeAliasType

CACHED_TYPES: Final = 1024
LARGE: Final = 10_000
"""Bytes of JSON text past which validation stops at the first error of each container."""

NOT_JSON: Final = "it is not JSON text"

_N: Final = ord("N")
_I: Final = ord("I")
_EXPLAINED_ERRORS: Final = 5
_COUNTED_ERRORS: Final = 1000
_NAME_LENGTH: Final = 200
_FIELD_SCHEMAS: Final = frozenset({"model-fields", "typed-dict", "dataclass-args", "arguments", "arguments-v3"})
_CONTAINERS: Final = frozenset({"list", "set", "frozenset", "tuple", "dict", "deque", "ordered-dict"})
_LAZY: Final = "generator"
"""The kind of schema of an ``Iterable``."""
# What a schema holds beside schemas.
_NOT_SCHEMAS: Final = frozenset({"metadata", "cls", "config", "default", "expected", "members", "custom_error_context"})
_TYPING_MODULES: Final = frozenset({"typing", "typing_extensions", "types"})
_UNIONS: Final = (Union, types.UnionType)
_NOTHING: Final = object()

# Kinds of schema whose strict validator refuses every ``bytes`` object.
_REFUSES_BYTES: Final = _CONTAINERS | {
    _LAZY, "none", "bool", "int", "float", "decimal", "complex", "str", "date", "time", "datetime", "timedelta", "uuid",
    "enum", "model-fields", "dataclass-args", "typed-dict", "named-tuple",
}  # fmt: skip
# Kinds of schema that refuse ``bytes`` if the schema under this name does.
_INNER_SCHEMA: Final = {
    "definitions": "schema", "nullable": "schema", "function-after": "schema", "custom-error": "schema",
    "model": "schema", "dataclass": "schema", "lax-or-strict": "strict_schema", "json-or-python": "python_schema",
}  # fmt: skip


class Reader:
    """Validates stored data as one type.

    ``bytes`` are read as ``bytes`` only where ``bytes`` were stored. JSON has no bytes, and pydantic would accept any
    string for them, so JSON is validated against the type without the ``bytes`` at its top.

    An ``Iterable`` is read as a list. pydantic's iterator would validate each item when it is asked for, not strictly
    and with its own errors, and could be read only once.
    """

    __slots__ = ("_adapter", "_bounded", "_bytes", "_json", "_json_adapter")

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        # With ``defer_build`` there is only a placeholder for the schema until now.
        adapter.rebuild(raise_errors=True)
        self._adapter = adapter
        self._json_adapter = _json_adapter(adapter)
        self._json: Any = None if self._json_adapter is None else _eager(self._json_adapter)
        self._bytes: Any = self._json if self._json_adapter is adapter else _eager(adapter)
        self._bounded: SchemaValidator | None = None

    @property
    def schema(self) -> Any:
        """The core schema of the type."""
        return self._adapter.core_schema

    @property
    def serializer(self) -> Any:
        return self._adapter.serializer

    @property
    def takes_bytes(self) -> bool:
        """Whether a value stored as ``bytes`` might be valid as this type; ``False`` only if that is certain."""
        schema = self.schema
        return _takes_bytes(schema, {part["ref"]: part for part in schema.get("definitions", ())})

    def read_json(self, data: bytes) -> Any:
        """Validate JSON text.

        Raises:
            ValueError: It is not valid; ``explain`` says why.
        """
        # pydantic's validators accept NaN and infinities. A byte is found much faster than a word.
        if (_N in data and b"NaN" in data) or (_I in data and b"Infinity" in data):
            from_json(data, allow_inf_nan=False)
        validator = self._json if len(data) <= LARGE else self._bounded or self._build_bounded()
        if validator is None:
            from_json(data, allow_inf_nan=False)
            raise NotBytesError
        return validator.validate_json(data, strict=True, by_alias=True, by_name=True)

    def read_bytes(self, data: bytes) -> Any:
        """Validate what was stored as ``bytes``.

        Raises:
            ValueError: It is not valid; ``explain`` says why.
        """
        return self._bytes.validate_python(data, strict=True)

    def explain(self, error: ValueError) -> str:
        """Describe an error of ``read_json`` or ``read_bytes`` without data."""
        return explain(error, self.schema)

    def _build_bounded(self) -> Any:
        """Return a validator that stops at the first error of each container.

        An error of pydantic takes about a kilobyte. 2 MB of ``{}`` read as a list of models would have two million.

        The fields of a model have no such option: each key that ``extra="forbid"`` refuses, and each extra field of a
        wrong type, has an error of about 220 bytes. That takes no longer than to read the same keys as a ``dict``.
        """
        if self._json_adapter is not None:
            self._bounded = _validator(_eager_schema(self._json_adapter.core_schema, fail_fast=True))
        return self._bounded


class NotBytesError(ValueError):
    """JSON text was stored where the type asked for is nothing but ``bytes``."""


def reader_for(type: Any) -> Reader:
    """Return the reader of a type expression or ``TypeAdapter``.

    Raises:
        TypeError: It is not a type that pydantic can validate.
    """
    try:
        return _cached_reader(type, None if isinstance(type, _class) else _member_order(type))
    except TypeError:
        pass
    # Either it cannot be hashed, or it is not a type; building it tells.
    return _build(type)


def explain(error: ValueError, schema: Any) -> str:
    """Describe an error by error types and declared field names. Everything else in it may be stored data."""
    if isinstance(error, NotBytesError):
        return "it was not stored as bytes"
    if not isinstance(error, ValidationError):
        # What a validator raises pydantic wraps, so this comes from the parser.
        return NOT_JSON
    if error.error_count() > _COUNTED_ERRORS:
        return f"{error.error_count()} errors"
    details = error.errors(include_url=False, include_context=False, include_input=False)
    if details[0]["type"] == "json_invalid" and not details[0]["loc"]:
        return NOT_JSON
    declared = frozenset(_declared_names(schema))
    parts = [f"{_place(detail['loc'], declared)}{detail['type']}" for detail in details[:_EXPLAINED_ERRORS]]
    if len(details) > _EXPLAINED_ERRORS:
        parts.append(f"and {len(details) - _EXPLAINED_ERRORS} more")
    return ", ".join(parts)


def schema_parts(schema: Any, within: Container[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield every mapping of a core schema: the schemas in it, and their mappings of fields.

    Args:
        schema: The schema, or a part of one.
        within: Kinds of schema that are yielded but not entered.
    """
    pending = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, (list, tuple)):
            pending.extend(part)
        elif isinstance(part, dict):
            yield part
            kind = _kind(part)
            if kind is None:
                pending.extend(part.values())
            elif kind not in within:
                pending.extend(value for name, value in part.items() if name not in _NOT_SCHEMAS)


def type_name(type: Any) -> str:
    """Return the name of a type expression, for messages."""
    name = type.__qualname__ if isinstance(type, _class) else repr(type)
    return name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}..."


_class = type


@lru_cache(CACHED_TYPES)
def _cached_reader(type: Any, order: Any) -> Reader:  # the order is part of the key
    return _build(type)


def _member_order(type: Any) -> Any:
    # int | str equals str | int, but pydantic prefers the first member where both fit.
    arguments = getattr(type, "__args__", None)
    return tuple(map(_member_order, arguments)) if isinstance(arguments, tuple) and arguments else type


def _build(type: Any) -> Reader:
    if isinstance(type, TypeAdapter):
        return Reader(type)
    if not _is_type(type):
        kind = "None" if type is None else f"a value of type {_class(type).__name__}"
        raise TypeError(f"get takes a type to validate, not {kind}; to give a fallback, write default=")
    try:
        return Reader(TypeAdapter(type))
    except Exception as error:
        # Nothing has been read yet, so this cause is about the program's types only.
        reason = str(error).partition("\n")[0]
        raise TypeError(f"pydantic cannot validate {type_name(type)}: {reason}") from error


def _is_type(type: Any) -> bool:
    if isinstance(type, _class):
        return True
    return _class(type).__module__ in _TYPING_MODULES and not isinstance(type, typing.ForwardRef)


def _json_adapter(adapter: TypeAdapter[Any]) -> TypeAdapter[Any] | None:
    """Return the adapter for JSON: that of the type less the ``bytes`` at its top, ``None`` if nothing is left."""
    whole = adapter._type
    part = _without_bytes(whole)
    if part is whole:
        return adapter
    if part is _NOTHING:
        return None
    try:
        return TypeAdapter(part, config=adapter._config)
    except PydanticUserError:
        return TypeAdapter(part)  # one member is left, and it has a configuration of its own


def _without_bytes(type: Any) -> Any:
    """Return the type less the ``bytes`` at its top; the same object without any, ``_NOTHING`` if nothing is left."""
    if type is bytes:
        return _NOTHING
    origin = get_origin(type)
    if origin in _UNIONS:
        members = get_args(type)
        parts = [_without_bytes(member) for member in members]
        if all(part is member for part, member in zip(parts, members, strict=True)):
            return type
        kept = tuple(part for part in parts if part is not _NOTHING)
        return Union[kept] if kept else _NOTHING  # noqa: UP007  # of a tuple
    if origin is Annotated:
        inner, *metadata = get_args(type)
        part = _without_bytes(inner)
        if part is inner:
            return type
        return part if part is _NOTHING else Annotated[(part, *metadata)]
    # Names of other types are replaced only if they hide bytes.
    if isinstance(type, NewType):
        hidden = type.__supertype__
    elif isinstance(type, TypeAliasType):
        hidden = type.__value__
    elif isinstance(origin, TypeAliasType):
        hidden = origin.__value__[get_args(type)]
    else:
        return type
    part = _without_bytes(hidden)
    return type if part is hidden else part


def _takes_bytes(schema: Any, definitions: dict[str, Any]) -> bool:
    kind = schema["type"]
    if schema.get("custom_init"):
        return True
    if kind in _REFUSES_BYTES:
        return False
    if kind == "definition-ref":
        # A definition that is nothing but a reference to itself cannot be built, so this ends.
        return _takes_bytes(definitions[schema["schema_ref"]], definitions)
    if kind in _INNER_SCHEMA:
        return _takes_bytes(schema[_INNER_SCHEMA[kind]], definitions)
    if kind == "default":
        return schema.get("on_error", "raise") != "raise" or _takes_bytes(schema["schema"], definitions)
    if kind in ("union", "tagged-union"):
        choices = schema["choices"]
        parts = choices.values() if isinstance(choices, dict) else choices
        return any(_takes_bytes(part[0] if isinstance(part, tuple) else part, definitions) for part in parts)
    if kind == "chain":
        return _takes_bytes(schema["steps"][0], definitions)
    if kind == "is-instance":
        return not isinstance(schema["cls"], type) or issubclass(bytes, schema["cls"])
    if kind == "literal":
        return any(isinstance(value, bytes) for value in schema["expected"])
    return True


def _eager(adapter: TypeAdapter[Any]) -> Any:
    return eager_validator(adapter.core_schema, adapter.validator)


def eager_validator(schema: Any, known: Any = None) -> Any:
    """Return a validator that reads an ``Iterable`` as a list.

    Args:
        schema: The core schema.
        known: The validator of the schema, if there is one already.
    """
    if any(_kind(part) == _LAZY for part in schema_parts(schema)):
        return _validator(_eager_schema(schema))
    return SchemaValidator(schema) if known is None else known


def _validator(schema: Any) -> Any:
    try:
        # Otherwise pydantic takes the validators that nested models already have.
        return SchemaValidator(schema, _use_prebuilt=False)
    except TypeError:
        return SchemaValidator(schema)  # a pydantic without the option


def _eager_schema(schema: Any, fail_fast: bool = False) -> Any:
    if schema.__class__ is dict:
        others = _NOT_SCHEMAS if _kind(schema) else ()
        copy = {name: part if name in others else _eager_schema(part, fail_fast) for name, part in schema.items()}
        if _kind(copy) == _LAZY:
            copy["type"] = "list"
        if fail_fast and _kind(copy) in _CONTAINERS:
            copy["fail_fast"] = True
        return copy
    if schema.__class__ in (list, tuple):
        return type(schema)([_eager_schema(part, fail_fast) for part in schema])
    return schema


def _place(location: tuple[int | str, ...], declared: Container[object]) -> str:
    path = ".".join(str(part) if part in declared else "*" for part in location)
    return f"{path}: " if path else ""


def _declared_names(schema: Any) -> Iterator[str]:
    for part in schema_parts(schema):
        if _kind(part) in _FIELD_SCHEMAS:
            yield from _field_names(part)


def _kind(schema: dict[str, Any]) -> str | None:
    """Return the kind of a schema; ``None`` for a mapping of fields, where "type" may be a field's name."""
    kind = schema.get("type")
    return kind if isinstance(kind, str) else None


def _field_names(schema: dict[str, Any]) -> Iterator[str]:
    fields = schema.get("fields") or schema.get("arguments_schema") or ()
    named = fields.items() if isinstance(fields, dict) else ((field["name"], field) for field in fields)
    for name, field in named:
        yield name
        for alias in (field.get("validation_alias"), field.get("alias")):
            if isinstance(alias, str):
                yield alias
