"""What JSON text lost of a value, found by walking what pydantic wrote and what was parsed from it side by side.

pydantic writes more than it reads: NaN becomes ``null``, a secret ten asterisks, two mapping keys one, a UTC offset
loses its seconds. The walk names such a loss. It runs where ``_checks.py`` cannot tell from the type that nothing is
lost, and to find the reason of a refusal. Custom serialisers have run by then, so a secret that its field's serialiser
reveals is no loss.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from ._readers import type_name

LISTS: Final = (list, tuple, deque)

_NO_NUMBER: Final = (None, "NaN", "Infinity", "-Infinity")


def find_loss(written: Any, parsed: Any) -> str | None:
    """Return what the JSON text lost, if anything.

    Args:
        written: The value as pydantic wrote it, in Python's types.
        parsed: What was parsed from the JSON text.
    """
    if isinstance(written, Enum):
        return _enum_loss(written, parsed)
    if isinstance(written, Mapping):
        return _mapping_loss(written, parsed)
    if isinstance(written, LISTS):
        if isinstance(parsed, list) and len(parsed) == len(written):
            return _first(map(find_loss, written, parsed))
    elif isinstance(written, (set, frozenset)):
        return _first(find_loss(member, None) for member in written)
    return _leaf_loss(written, parsed)


def is_secret(value: Any) -> bool:
    """Return whether a value is one of pydantic's secrets."""
    # Importing pydantic's types takes a while. A program that has not imported them has no secret.
    types = sys.modules.get("pydantic.types")
    return types is not None and isinstance(value, (types.SecretStr, types.SecretBytes, types.Secret))


def has_odd_offset(moment: datetime | time) -> bool:
    """Return whether the UTC offset has seconds, which pydantic does not write."""
    offset = moment.utcoffset()
    return offset is not None and bool(offset.seconds % 60 or offset.microseconds)


def _leaf_loss(written: Any, parsed: Any) -> str | None:
    if isinstance(written, Iterator):
        return "an iterator can be read only once"
    if isinstance(written, bytearray):
        return "JSON has no bytearray; give bytes"
    if isinstance(written, (float, Decimal)):
        if not math.isfinite(written) and parsed in _NO_NUMBER:
            return "JSON has no NaN and no infinity"
    elif isinstance(written, complex):
        if not (math.isfinite(written.real) and math.isfinite(written.imag)):
            return "JSON has no NaN and no infinity"
    elif isinstance(written, (datetime, time)):
        if has_odd_offset(written) and isinstance(parsed, str | None):
            return "a UTC offset with seconds is written without them"
    elif is_secret(written) and (not parsed or parsed != _revealed(written)):
        return "a secret is written masked; give its field a serialiser if it is meant to be stored"
    return None


def _enum_loss(written: Enum, parsed: Any) -> str | None:
    value = written.value
    if parsed.__class__ is value.__class__ and parsed == value:
        return None
    loss = find_loss(value, parsed)
    if loss is None and isinstance(value, (bytes, tuple, frozenset, type(None))):
        return "an Enum of such values does not come back from JSON"
    return loss


def _mapping_loss(written: Mapping[Any, Any], parsed: Any) -> str | None:
    if not isinstance(parsed, dict):
        return None
    odd = [key for key in written if key.__class__ is not str]
    if odd and len(parsed) < len(written):
        return "two of its keys are the same as JSON strings"
    loss = _first(map(_key_loss, odd))
    if loss is None and len(parsed) == len(written):
        return _first(map(find_loss, written.values(), parsed.values()))
    return loss


def _key_loss(key: Any) -> str | None:
    if isinstance(key, Enum) and not isinstance(key.value, str) and not isinstance(key, int):
        return "an Enum key that is neither a string nor an IntEnum does not come back from JSON"
    if key is None or isinstance(key, (tuple, frozenset)):
        return "a key of type " + type_name(key.__class__) + " does not come back from JSON"
    return _leaf_loss(key, None)


def _first(losses: Iterable[str | None]) -> str | None:
    return next((loss for loss in losses if loss is not None), None)


def _revealed(secret: Any) -> Any:
    value = secret.get_secret_value()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
