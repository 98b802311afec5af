"""What every verb takes: keys, ttls and counts, and how they are checked.

A check either returns the argument in the one form the rest of the library works with (an exact ``str``, whole
milliseconds, an exact ``int``) or raises ``TypeError`` or ``ValueError``. Checks come before anything is written, so a
bad argument never leaves half a change behind.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

S = TypeVar("S")

TTL: TypeAlias = float | int | timedelta
"""A time to live: seconds as a number, or a ``timedelta``."""

JSONValue: TypeAlias = "str | int | float | bool | list[JSONValue] | dict[str, JSONValue] | None"
"""Plain JSON data, as ``get`` returns it when no type is asked for."""

MAX_TTL: Final = 100_000_000_000
"""The longest ttl in seconds: some 3,000 years."""

_LONGEST: Final = timedelta(seconds=MAX_TTL)

# A product such as 1.1 * 1000 lies a hair above the whole number that was meant. Taking off less than a float of that
# size can tell makes it round up to 1100, not 1101; a number that is meant to lie above still does.
MILLISECONDS: Final = 1000 * (1 - 2**-51)

MIN_COUNT: Final = -(2**63)
MAX_COUNT: Final = 2**63 - 1


class KeepTTL(enum.Enum):
    """The type of ``KEEP_TTL``."""

    KEEP_TTL = "KEEP_TTL"

    def __repr__(self) -> str:
        return "KEEP_TTL"


KEEP_TTL: Final[Literal[KeepTTL.KEEP_TTL]] = KeepTTL.KEEP_TTL
"""Given as the ttl of a write: leave the expiry of the key as it is (a missing key then gets none)."""


class Secret(Generic[S]):
    """A value that does not print. A traceback may show variables; keep what this holds out of them."""

    __slots__ = ("_value",)

    def __init__(self, value: S) -> None:
        self._value = value

    def reveal(self) -> S:
        """Return the value itself."""
        return self._value

    def __repr__(self) -> str:
        return "***"


class Missing(enum.Enum):
    """The type of ``MISSING``, which tells "no such key" from a stored ``None``."""

    MISSING = "MISSING"


MISSING: Final[Literal[Missing.MISSING]] = Missing.MISSING


def check_key(key: str) -> str:
    """Return ``key`` as an exact ``str``.

    Raises:
        TypeError: It is not a ``str``.
        ValueError: It has a lone surrogate, so that it has no UTF-8 form.
    """
    if not isinstance(key, str):
        raise TypeError(f"a key must be a str, not {type(key).__name__}")
    if not key.isascii():
        _check_encodable(key, "a key")
    return key if type(key) is str else str.__str__(key)


def check_keys(keys: Iterable[str]) -> list[str]:
    """Return the keys in the order given, each once.

    Raises:
        TypeError: ``keys`` is itself a ``str``, or one of them is not a ``str``.
        ValueError: One of them has a lone surrogate.
    """
    if isinstance(keys, str):
        raise TypeError("keys must be an iterable of str, not one str")
    return list(dict.fromkeys([check_key(key) for key in keys]))


def check_prefix(prefix: str) -> str:
    """Return what ``scan`` takes as the beginning of keys; the same checks as for a key."""
    if not isinstance(prefix, str):
        raise TypeError(f"a prefix must be a str, not {type(prefix).__name__}")
    return check_key(prefix)


def check_name(name: str) -> str:
    """Return the name of a namespace: a key that is not empty."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a namespace must be a str, not {type(name).__name__}")
    if not name:
        raise ValueError("the name of a namespace must not be empty")
    return check_key(name)


def check_ttl(ttl: TTL | None) -> int | None:
    """Return ``ttl`` in whole milliseconds, rounded up, or ``None`` for no expiry.

    Raises:
        TypeError: It is a ``bool``, or neither a number nor a ``timedelta``.
        ValueError: It is not finite, not greater than 0, or greater than 10**11 seconds.
    """
    if ttl is None:
        return None
    if isinstance(ttl, timedelta):
        if timedelta(0) < ttl <= _LONGEST:
            return -(-ttl // timedelta(milliseconds=1))
    elif isinstance(ttl, bool) or not isinstance(ttl, (int, float)):
        raise TypeError(f"a ttl must be seconds (int or float), a timedelta or None, not {type(ttl).__name__}")
    elif 0 < ttl <= MAX_TTL:
        return int(ttl) * 1000 if isinstance(ttl, int) else math.ceil(float(ttl) * MILLISECONDS)
    raise ValueError("a ttl must be finite, greater than 0 and at most 10**11 seconds")


def check_some_ttl(ttl: TTL | None) -> TTL:
    """Return ``ttl`` where there must be one. Its range is not checked.

    Raises:
        TypeError: It is ``None``.
    """
    if ttl is None:
        raise TypeError("a ttl must be seconds (int or float) or a timedelta here, not None")
    return ttl


def check_new_ttl(ttl: TTL | KeepTTL | None) -> int | KeepTTL | None:
    """``check_ttl`` for the verbs that also take ``KEEP_TTL``, which is returned as it is."""
    return ttl if isinstance(ttl, KeepTTL) else check_ttl(ttl)


def check_seconds(seconds: float, name: str = "seconds") -> float:
    """Return a timeout in seconds.

    Raises:
        TypeError: It is not a number, or it is a ``bool``.
        ValueError: It is not finite, or not greater than 0.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(seconds).__name__}")
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{name} must be finite and more than 0")
    return float(seconds)


def check_count(by: int) -> int:
    """Return the step of a counter as an exact ``int``.

    Raises:
        TypeError: It is not an ``int``, or it is a ``bool``.
        ValueError: It is outside the signed 64-bit range.
    """
    if isinstance(by, bool) or not isinstance(by, int):
        raise TypeError(f"by must be an int, not {type(by).__name__}")
    if not MIN_COUNT <= by <= MAX_COUNT:
        raise ValueError("by must be within the signed 64-bit range")
    return int(by)


def is_encodable(text: str) -> bool:
    """Whether ``text`` has a UTF-8 form (it has none with a lone surrogate)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_mapping(mapping: Any) -> list[tuple[str, Any]]:
    """Return the pairs that ``set_many`` takes, their keys checked.

    Raises:
        TypeError: It is not a mapping, or a key is not a ``str``.
        ValueError: A key has a lone surrogate.
    """
    items = getattr(mapping, "items", None)
    if items is None:
        raise TypeError(f"set_many takes a mapping of keys to values, not {type(mapping).__name__}")
    return [(check_key(key), value) for key, value in items()]


def _check_encodable(text: str, what: str) -> None:
    # Raised outside the except block, since the original error carries the text.
    if not is_encodable(text):
        raise ValueError(f"{what} must be text that encodes to UTF-8; this one has a lone surrogate")
