"""Values that come and go as JSON text: checked, but neither parsed into Python objects nor written again."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json, to_json

from .._errors import DeserializationError, SerializationError
from ._codec import pack_data


def encode_json(text: str | bytes) -> bytes:
    """Return JSON text as it is stored.

    Raises:
        TypeError: It is neither ``str`` nor ``bytes``.
        SerializationError: It is not JSON that can be read as plain data.
    """
    if not isinstance(text, (str, bytes)):
        raise TypeError(f"JSON text must be str or bytes, not {type(text).__name__}")
    data = _utf8(text) if isinstance(text, str) else bytes(text)
    if data is None or not _is_json(data):
        # Raised outside of the except block: what pydantic says may show the value.
        raise SerializationError("the text is not valid JSON")
    return data


def decode_json(data: bytes, *, key: str | None = None) -> str:
    """Return the JSON text that ``data`` holds.

    Args:
        data: What was stored.
        key: The key it was read from, for the error.

    Raises:
        DeserializationError: It was stored as ``bytes``, or is not JSON.
    """
    if _is_json(data):
        return data.decode()
    where = "" if key is None else f" of key {key!r}"
    raise DeserializationError(f"the value{where} is not JSON text", key=key, type_name="JSON text")


def pack_json(text: str | bytes) -> Any:
    """Return JSON text in the form that the memory backend keeps, as ``pack`` does for values."""
    return pack_data(encode_json(text))


def unpack_json(stored: Any, key: str | None = None) -> str:
    """Return the JSON text of a packed value."""
    return decode_json(stored, key=key) if stored.__class__ is bytes else to_json(stored).decode()


def _utf8(text: str) -> bytes | None:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def _is_json(data: bytes) -> bool:
    try:
        from_json(data, allow_inf_nan=False)
    except ValueError:
        return False
    return True
