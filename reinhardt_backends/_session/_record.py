"""The record of a session: what the store keeps under its handle, as plain JSON data.

    {"proof": str, "version": int, "user": str | None, "ttl": int, "created": int, "data": ...}

``ttl`` is in milliseconds, ``created`` in seconds since 1970 on the clock of the machine that created the session.
Plain JSON data can be compared with what is stored later, whatever type the data has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from .._errors import DeserializationError, SerializationError
from .._types import MISSING, check_key
from .._values._codec import decode, encode
from .._values._readers import type_name

_FIELDS: Final = frozenset({"proof", "version", "user", "ttl", "created", "data"})
_SCALARS: Final = (str, int, float, bool, type(None))


def is_record(stored: Any) -> bool:
    """Whether what is stored is the record of a session, and not something that another program wrote."""
    return (
        isinstance(stored, dict)
        and stored.keys() == _FIELDS
        and isinstance(stored["proof"], str)
        and stored["proof"].isascii()
        and isinstance(stored["version"], int)
        and isinstance(stored["user"], str | None)
        and isinstance(stored["ttl"], int)
        and stored["ttl"] > 0
        and isinstance(stored["created"], int)
    )


def data_of(record: dict[str, Any], type: Any) -> Any:
    """Return the data of a record; ``MISSING`` if it is not valid as ``type``."""
    try:
        return decode(encode(record["data"]), type)
    except DeserializationError:
        return MISSING


def plain_data(data: Any, type: Any) -> Any:
    """Return the data of a session as plain JSON data.

    Raises:
        SerializationError: It cannot be stored, or would come back as something else.
    """
    encoded = encode(data)
    back: Any = MISSING
    reason = "it is bytes" if encoded[:1] == b"\x00" else ""
    try:
        back = decode(encoded, type)
    except DeserializationError as error:
        reason = str(error)
    if reason:
        raise SerializationError(f"the data of a session is not a valid {type_name(type)}: {reason}")
    if not _equal(data, back) and (changed := _changed(data, back)):
        raise SerializationError(
            f"the data of a session has {changed}; store plain JSON data, or give the store a type that declares it"
        )
    return decode(encoded)


def check_user(user: str) -> str:
    """Return the name of a user.

    Raises:
        TypeError: It is not a ``str``.
        ValueError: It has a lone surrogate.
    """
    if not isinstance(user, str):
        raise TypeError(f"a user must be a str, not {type(user).__name__}")
    return check_key(user)


def _equal(data: Any, back: Any) -> bool:
    try:
        return bool(data == back)
    except Exception:
        return False


def _changed(given: Any, back: Any) -> str:
    """Describe the first part of ``given`` that JSON turned into plain data of another type; empty if there is none.

    What the type of the store declares comes back as declared, so only plain data can have changed its type.
    """
    if isinstance(back, dict) and isinstance(given, Mapping):
        odd = next((key for key in given if not isinstance(key, str) and key not in back), None)
        if odd is not None:
            return f"a key of type {type_name(odd.__class__)} that would come back as a str"
        pairs: Iterable[tuple[Any, Any]] = zip(given.values(), back.values(), strict=False)
    elif isinstance(back, list) and isinstance(given, list):
        pairs = zip(given, back, strict=False)
    elif isinstance(back, (*_SCALARS, list, dict)) and not isinstance(given, back.__class__):
        name = type_name(given.__class__)
        return f"a value of type {name} that would come back as a {type_name(back.__class__)}"
    else:
        return ""
    return next(filter(None, (_changed(*pair) for pair in pairs)), "")
