"""Which types no ``bytes`` are valid as.

A cache stores leases and marked values as ``bytes``. Where the type of a value can never take these, the value is read
with one typed ``get``, and such an entry is an error. That must be known from the type itself: a validator may take
some ``bytes`` and refuse others. A type that is not known to refuse all of them is read without its type first.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

_REFUSING: Final = frozenset(
    ("none", "bool", "int", "float", "decimal", "str", "date", "time", "datetime", "timedelta", "uuid", "enum",
     "list", "tuple", "set", "frozenset", "dict", "typed-dict", "model-fields", "dataclass-args")
)  # fmt: skip
_WRAPPING: Final = frozenset(("nullable", "function-after", "default", "custom-error", "model", "dataclass"))


def refuses_bytes(type: Any) -> bool:
    """Whether no ``bytes`` are valid as a type, in the strict mode in which values are read."""
    if type is Any:
        return False
    adapter = type if isinstance(type, TypeAdapter) else TypeAdapter(type)
    adapter.rebuild(raise_errors=True)
    return _refuses(adapter.core_schema, {})


def _refuses(schema: Any, definitions: dict[str, Any]) -> bool:
    kind = schema["type"]
    if kind in _REFUSING:
        return True
    if kind in _WRAPPING:
        return not schema.get("custom_init") and _refuses(schema["schema"], definitions)
    if kind == "definitions":
        return _refuses(schema["schema"], {one["ref"]: one for one in schema["definitions"]})
    if kind == "definition-ref":
        # A type that consists of itself and nothing else does not exist; it is not looked up twice.
        known = dict(definitions)
        target = known.pop(schema["schema_ref"], None)
        return target is not None and _refuses(target, known)
    if kind in ("union", "tagged-union"):
        choices = schema["choices"]
        parts = choices.values() if isinstance(choices, dict) else choices
        return all(_refuses(part[0] if isinstance(part, tuple) else part, definitions) for part in parts)
    if kind == "literal":
        return not any(isinstance(value, bytes) for value in schema["expected"])
    return False
