"""What a cache stores under a key, and how it is read.

A value without tags and ``stale`` is stored as itself, so that reading it is one ``get`` by its type. Anything else is
``bytes`` that begin with one letter:

* ``L``, a *lease*: some process computes the value, from the state in which the tags have the tokens named here;
* ``O``, an *overdue lease*: it has been computing for so long that others may take over;
* ``B``, a value that is ``bytes``;
* ``M``, a *marked* value, whose header has its tags and its freshness token, and while it is refreshed a random number.

So an entry says itself what has to hold for it to count.

A marked value counts while each of its tags has the token that it was stored with. Deleting the token of a tag outdates
everything that has the tag, at the cost of one call; a token that is lost does no more harm than that. The value is
fresh while its freshness token lives, a key of its own that expires after ``ttl``, so that only the store's clock
decides.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from .._types import MISSING, TTL, check_ttl
from .._values._codec import check_type, encode, takes_bytes

_LEASE: Final = b"L"
_OVERDUE: Final = b"O"
_BYTES: Final = b"B"
_MARKED: Final = b"M"
_LEASE_HEAD: Final = 17
_NO_TAGS: Final[Mapping[str, str]] = MappingProxyType({})

UNREADABLE: Final = object()
"""Stands for a stored value that is neither JSON nor ``bytes`` of ours."""


class StoredEntry(NamedTuple):
    """What was found under a key.

    Attributes:
        found: The value as ``get`` gave it, ``MISSING`` or ``UNREADABLE``: what ``compare_and_set`` expects.
        data: The encoded value; ``None`` if there is none.
        tags: The tags of the value, or of what is computed, each with the id of its token.
        fresh: The freshness token, if it has one.
    """

    found: Any
    data: bytes | None = None
    tags: Mapping[str, str] = _NO_TAGS
    fresh: str | None = None


def entry_of(found: Any) -> StoredEntry:
    """Return what a stored value means."""
    if found is MISSING or found is UNREADABLE:
        return StoredEntry(found)
    if found.__class__ is not bytes:
        return StoredEntry(found, encode(found))
    kind = found[:1]
    if kind == _BYTES:
        return StoredEntry(found, b"\x00" + found[1:])
    try:
        if kind == _LEASE:
            tags = from_json(found[_LEASE_HEAD:])
            return StoredEntry(found, tags=tags if isinstance(tags, dict) else {})
        header, separator, data = found.partition(b"\n") if kind == _MARKED else (b"", b"", b"")
        tags, fresh, *_ = from_json(header[1:]) if separator else (None, None)
    except (ValueError, TypeError):
        return StoredEntry(found)
    if isinstance(tags, dict) and isinstance(fresh, str | None):
        return StoredEntry(found, data, tags, fresh)
    return StoredEntry(found)


def stored_form(value: Any, data: bytes, tags: Mapping[str, str], fresh: str | None, nonce: str | None = None) -> Any:
    """Return what to store for a value that was encoded as ``data``. A random ``nonce`` makes the form unique."""
    if tags or fresh is not None or nonce is not None:
        return _MARKED + to_json([dict(tags), fresh, *([] if nonce is None else [nonce])]) + b"\n" + data
    return _BYTES + data[1:] if data[:1] == b"\x00" else value


def new_lease(tags: Mapping[str, str] = _NO_TAGS) -> bytes:
    head = _LEASE + secrets.token_bytes(_LEASE_HEAD - 1)
    return head + to_json(dict(tags)) if tags else head


def overdue(lease: bytes) -> bytes:
    """Return the form of a lease that others may replace by their own."""
    return _OVERDUE + lease[1:]


def is_lease(found: Any) -> bool:
    """Whether a value is being computed, and others may have to wait for it."""
    return found.__class__ is bytes and found[:1] == _LEASE


def new_token() -> str:
    return secrets.token_hex(8)


class EntryOptions(NamedTuple):
    """How the value of a key is read and kept.

    Attributes:
        type: Its type.
        typed: Whether it may be read by ``get`` with its type: no lease or marked value is valid as that.
        ttl: Seconds for which it is fresh.
        stale: Whether it is served when it is not fresh any more.
        keep: Seconds for which it is kept.
        stale_on_error: Whether it is served, too, if computing a new one failed.
        ttl_of: Tells from the value for how long it is fresh, if that depends on it.
        keeps: Tells whether a value is kept at all; ``None`` for always.
        jitter: The largest part of the ttl that is left off at random.
    """

    type: Any
    typed: bool
    ttl: float
    stale: bool
    keep: float
    stale_on_error: bool = False
    ttl_of: Callable[[Any], TTL | None] | None = None
    keeps: Callable[[Any], bool] | None = None
    jitter: float = 0.0

    def for_value(self, value: Any) -> EntryOptions | None:
        """Return the options for a value that was computed; ``None`` if it is not kept.

        Raises:
            TypeError, ValueError: What ``ttl_of`` returned is no ttl.
        """
        if self.keeps is not None and not self.keeps(value):
            return None
        ttl = self.ttl
        if self.ttl_of is not None and (given := self.ttl_of(value)) is not None:
            if not isinstance(given, bool) and _seconds(given) <= 0:
                return None
            ttl = milliseconds(given, "ttl") / 1000
        if self.jitter:
            ttl = max(ttl * (1 - self.jitter * random.random()), 0.001)  # noqa: S311 - only to spread expiries
        return self if ttl == self.ttl else self._replace(ttl=ttl, keep=ttl + self.keep - self.ttl)


def entry_options(
    type: Any,
    ttl: TTL | Callable[[Any], TTL | None] | None,
    default: TTL,
    stale: TTL | None,
    stale_on_error: bool,
    keep: Callable[[Any], bool] | None,
    jitter: float,
) -> EntryOptions:
    """Return the options for what a caller asks for. ``default`` is the ttl where none is given.

    Raises:
        TypeError, ValueError: The type or a time is not what it must be.
    """
    ttl_of = ttl if callable(ttl) else None
    fresh = milliseconds(default if ttl is None or callable(ttl) else ttl, "ttl")
    more = 0 if stale is None else milliseconds(stale, "stale")
    if keep is not None and not callable(keep):
        raise TypeError(f"keep must be a function of the value, not {keep.__class__.__name__}")
    return EntryOptions(
        type,
        _is_typed(type),
        fresh / 1000,
        stale is not None,
        (fresh + more) / 1000,
        stale_on_error,
        ttl_of,
        keep,
        jitter,
    )


def _seconds(ttl: TTL) -> float:
    return ttl.total_seconds() if isinstance(ttl, timedelta) else ttl


def milliseconds(ttl: TTL | None, name: str) -> int:
    checked = check_ttl(ttl)
    if checked is None:
        raise TypeError(f"{name} must be seconds or a timedelta, not None")
    return checked


def _is_typed(type: Any) -> bool:
    try:
        return _is_typed_cached(type)
    except TypeError:
        # It cannot be hashed, or is no type; the second is an error.
        check_type(type)
        return False


@lru_cache(1024)
def _is_typed_cached(type: Any) -> bool:
    return not takes_bytes(type)
