"""How a type is read: one ``Reader`` for a type expression, kept in a bounded cache.

Building what pydantic needs to validate a type costs up to milliseconds, looking it up less than one microsecond. The
cache is bounded since a program can make types without end (local classes, generic models); a type that cannot be
hashed is simply built anew, or given as a ``TypeAdapter``, which is kept as any type is.
"""

from __future__ import annotations

import threading
import typing
from typing import Any, Final

from cachetools import LRUCache
from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator, core_schema

CACHED_TYPES: Final = 1024

_EXPLAINED_ERRORS: Final = 5
_MOST_ERRORS: Final = 1000
_NAME_LENGTH: Final = 200
_FIELD_SCHEMAS: Final = frozenset({"model-fields", "typed-dict", "dataclass-args", "arguments", "arguments-v3"})
_TYPING_MODULES: Final = frozenset({"typing", "typing_extensions", "types"})

_cache: LRUCache[Any, Reader] = LRUCache(CACHED_TYPES)
_lock = threading.Lock()


class NotBytesError(ValueError):
    """JSON text was stored where the type asked for takes nothing but ``bytes``."""


class Reader:
    """Validates stored data as one type.

    ``bytes`` are read as ``bytes`` only where ``bytes`` were stored. JSON has no bytes, and pydantic would take any
    string for them, so JSON is read by the type without the ``bytes`` that it has at its top.
    """

    __slots__ = ("_adapter", "_declared", "_json")

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        # With ``defer_build`` there is only a stand-in for the schema until somebody asks.
        adapter.rebuild(raise_errors=True)
        self._adapter = adapter
        self._json: Any = adapter
        self._declared: frozenset[str] | None = None
        whole = adapter.core_schema
        schema = _without_bytes(whole)
        if schema is None:
            self._json = None
        elif schema is not whole:
            self._json = SchemaValidator(schema)

    def read_json(self, data: bytes) -> Any:
        if self._json is None:
            raise NotBytesError
        return self._json.validate_json(data, strict=True, by_alias=True, by_name=True)

    def read_bytes(self, data: bytes) -> Any:
        return self._adapter.validate_python(data, strict=True)

    @property
    def serializer(self) -> Any:
        return self._adapter.serializer

    def explain(self, error: ValueError) -> str:
        """Tell what was wrong in error types and declared field names; everything else may be data."""
        if isinstance(error, NotBytesError):
            return "it was not stored as bytes"
        if not isinstance(error, ValidationError):
            return f"a validator raised {type(error).__name__}"
        if self._declared is None:
            self._declared = frozenset(_declared_names(self._adapter.core_schema))
        if error.error_count() > _MOST_ERRORS:
            return f"{error.error_count()} errors"
        details = error.errors(include_url=False, include_context=False, include_input=False)
        told = [f"{self._place(detail['loc'])}{detail['type']}" for detail in details[:_EXPLAINED_ERRORS]]
        if len(details) > _EXPLAINED_ERRORS:
            told.append(f"and {len(details) - _EXPLAINED_ERRORS} more")
        return ", ".join(told)

    def _place(self, location: tuple[int | str, ...]) -> str:
        declared = self._declared or frozenset()
        path = ".".join(str(part) if part in declared else "*" for part in location)
        return f"{path}: " if path else ""


def reader_for(type: Any) -> Reader:
    """Return the reader of a type expression or ``TypeAdapter``.

    Raises:
        TypeError: It is not a type that pydantic can validate.
    """
    key = (type, _shape(type))
    reader = None
    hashable = True
    try:
        with _lock:
            reader = _cache.get(key)
    except TypeError:
        hashable = False
    if reader is None:
        reader = _build(type)
        if hashable:
            with _lock:
                _cache[key] = reader
    return reader


def type_name(type: Any) -> str:
    """The name of a type expression, for messages."""
    name = type.__qualname__ if isinstance(type, _class) else repr(type)
    return name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}..."


_class = type


def _build(type: Any) -> Reader:
    if isinstance(type, TypeAdapter):
        return Reader(type)
    if not _is_type(type):
        kind = "None" if type is None else f"a value of type {_class(type).__name__}"
        raise TypeError(f"get takes a type to validate, not {kind}; to give a fallback, write default=")
    try:
        return Reader(TypeAdapter(type))
    except Exception as error:
        # Nothing has been read yet, so that this cause speaks of the program's types only.
        reason = str(error).partition("\n")[0]
        raise TypeError(f"pydantic cannot validate {type_name(type)}: {reason}") from error


def _is_type(type: Any) -> bool:
    if isinstance(type, _class):
        return True
    return _class(type).__module__ in _TYPING_MODULES and not isinstance(type, typing.ForwardRef)


def _shape(type: Any) -> Any:
    # int | str equals str | int, but pydantic prefers the first one where both fit.
    arguments = getattr(type, "__args__", None)
    return tuple(map(_shape, arguments)) if isinstance(arguments, tuple) and arguments else type


def _without_bytes(schema: Any) -> Any:
    """Return the schema less the ``bytes`` at its top, the same object if it has none, ``None`` if nothing is left."""
    kind = schema["type"]
    if kind == "bytes":
        return None
    if kind == "nullable":
        inner = _without_bytes(schema["schema"])
        if inner is None:
            return core_schema.none_schema()
        return schema if inner is schema["schema"] else {**schema, "schema": inner}
    if kind == "union":
        return _union_without_bytes(schema)
    if kind in ("definitions", "function-before", "function-after", "function-wrap", "default"):
        inner = _without_bytes(schema["schema"])
        if inner is schema["schema"]:
            return schema
        return None if inner is None else {**schema, "schema": inner}
    return schema


def _union_without_bytes(schema: Any) -> Any:
    choices = []
    for choice in schema["choices"]:
        part = choice[0] if isinstance(choice, tuple) else choice
        kept = _without_bytes(part)
        if kept is part:
            choices.append(choice)
        elif kept is not None:
            choices.append((kept, *choice[1:]) if isinstance(choice, tuple) else kept)
    if not choices:
        return None
    unchanged = len(choices) == len(schema["choices"]) and all(map(_same, choices, schema["choices"]))
    return schema if unchanged else {**schema, "choices": choices}


def _same(one: Any, other: Any) -> bool:
    return one is other


def _declared_names(schema: Any) -> typing.Iterator[str]:
    pending = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, (list, tuple)):
            pending.extend(part)
        elif isinstance(part, dict):
            if part.get("type") in _FIELD_SCHEMAS:
                yield from _field_names(part)
            pending.extend(value for name, value in part.items() if name not in ("metadata", "cls", "config"))


def _field_names(schema: dict[str, Any]) -> typing.Iterator[str]:
    fields = schema.get("fields") or schema.get("arguments_schema") or ()
    named = fields.items() if isinstance(fields, dict) else ((field["name"], field) for field in fields)
    for name, field in named:
        yield name
        for alias in (field.get("validation_alias"), field.get("alias")):
            if isinstance(alias, str):
                yield alias
