"""What a cache stores under a key, and how it is read.

A value without tags and ``stale`` is stored as itself, so that reading it is one ``get`` by its type. Anything else is
``bytes`` that begin with one letter: a *lease*, which says that somebody computes the value; a value that is ``bytes``;
or a *marked* value, whose header names its tags and its token of freshness. So an entry says itself what has to hold
for it to count, whoever reads it.

A marked value counts while the token of each of its tags is the one that it was stored with. Deleting the token of a
tag outdates everything that has it, at the cost of one call; a token that is lost does no more harm than that. The
value is fresh while its token of freshness lives, a key of its own that expires after ``ttl``, so that no clock but the
store's decides.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from .._errors import DeserializationError
from .._types import MISSING, TTL, check_ttl
from .._values._codec import check_type, decode, encode

_LEASE: Final = b"L"
_BYTES: Final = b"B"
_MARKED: Final = b"M"

UNREADABLE: Final = object()
"""Stands for a stored value that is neither JSON nor ``bytes`` of ours."""


class Entry(NamedTuple):
    """What was found under a key.

    Attributes:
        found: The value as ``get`` gave it, ``MISSING`` or ``UNREADABLE``: what ``compare_and_set`` expects.
        data: The encoded value; ``None`` if there is none.
        tags: The tags of the value, each with the token it was stored with.
        fresh: The token of freshness, if it has one.
    """

    found: Any
    data: bytes | None = None
    tags: Mapping[str, str] = MappingProxyType({})
    fresh: str | None = None

    @property
    def leased(self) -> bool:
        """Whether somebody computes the value."""
        return is_lease(self.found)


def entry_of(found: Any) -> Entry:
    """Return what a stored value means."""
    if found is MISSING or found is UNREADABLE or is_lease(found):
        return Entry(found)
    if found.__class__ is not bytes:
        return Entry(found, encode(found))
    if found[:1] == _BYTES:
        return Entry(found, b"\x00" + found[1:])
    header, separator, data = found.partition(b"\n")
    if header[:1] == _MARKED and separator:
        try:
            tags, fresh = from_json(header[1:])
        except ValueError:
            return Entry(found)
        if isinstance(tags, dict) and isinstance(fresh, str | None):
            return Entry(found, data, tags, fresh)
    return Entry(found)


def stored_form(value: Any, data: bytes, tags: Mapping[str, str], fresh: str | None) -> Any:
    """Return what to store for a value that was encoded as ``data``."""
    if tags or fresh is not None:
        return _MARKED + to_json([dict(tags), fresh]) + b"\n" + data
    return _BYTES + data[1:] if data[:1] == b"\x00" else value


def new_lease() -> bytes:
    return _LEASE + secrets.token_bytes(16)


def is_lease(found: Any) -> bool:
    return found.__class__ is bytes and found[:1] == _LEASE


def new_token() -> str:
    return secrets.token_hex(8)


class Recipe(NamedTuple):
    """How the value of a key is read and kept.

    Attributes:
        type: Its type.
        plain: Whether it may be read by ``get`` with its type: no lease or marked value is valid as that.
        ttl: Seconds for which it is fresh.
        stale: Whether it is served when it is not fresh any more.
        keep: Seconds for which it is kept.
    """

    type: Any
    plain: bool
    ttl: float
    stale: bool
    keep: float


def recipe_of(type: Any, ttl: TTL, stale: TTL | None) -> Recipe:
    """Return the recipe for what a caller asks for.

    Raises:
        TypeError, ValueError: The type or a time is not what it must be.
    """
    fresh = milliseconds(ttl, "ttl")
    more = 0 if stale is None else milliseconds(stale, "stale")
    return Recipe(type, _is_plain(type), fresh / 1000, stale is not None, (fresh + more) / 1000)


def milliseconds(ttl: TTL | None, name: str) -> int:
    checked = check_ttl(ttl)
    if checked is None:
        raise TypeError(f"{name} must be seconds or a timedelta, not None")
    return checked


def _is_plain(type: Any) -> bool:
    check_type(type)
    try:
        return _refuses_bytes(type)
    except TypeError:
        return _refuses_bytes.__wrapped__(type)


@lru_cache(1024)
def _refuses_bytes(type: Any) -> bool:
    for letter in (_LEASE, _BYTES, _MARKED):
        try:
            decode(b"\x00" + letter + bytes(16), type)
        except DeserializationError:
            continue
        return False
    return True
