"""How a cache reads its keys: the requests, the names of the keys, and what one look at the store shows.

A value without tags and ``stale`` is read by one ``get`` with its type; with them it is one ``get_many``, which also
has the tokens. What is stored, and when it counts, is described in ``_stored.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from .._backend import Backend
from .._errors import DeserializationError, ResponseError
from .._types import MISSING, check_key
from .._values._codec import decode
from ._shared_reads import SharedReads
from ._stored import UNREADABLE, EntryOptions, StoredEntry, entry_of, is_lease

Snapshot: TypeAlias = "tuple[dict[str, Any], bytes | None]"
"""What one read of a value and its tags found, under each name; and the encoded value, if it is plain that it counts.

It may be shared, so it is not to be changed.
"""


class Request(NamedTuple):
    """What one caller asks for.

    Attributes:
        name: The key in the backend.
        options: How the value is read and kept.
        tags: Its tags.
        factory: What computes it.
    """

    name: str
    options: EntryOptions
    tags: tuple[str, ...]
    factory: Callable[[], Any]


def no_factory() -> None:
    """Stand for the factory of a request that computes nothing."""


class Lookup(NamedTuple):
    """What one look at the store showed.

    Attributes:
        entry: What is there.
        value: The value, if it may be served; ``MISSING`` if not.
        stale: Whether it may be served only while a new one is computed.
        held: Whether there is a lease in its place, of a computation that was not outdated since it began.
        fresh: What is under the name of the freshness token.
        tokens: The tokens of the tags of the request that are there, as they are stored.
    """

    entry: StoredEntry
    value: Any = MISSING
    stale: bool = False
    held: bool = False
    fresh: Any = MISSING
    tokens: Mapping[str, str] = MappingProxyType({})

    @property
    def settled(self) -> bool:
        """Whether nothing has to be computed."""
        return self.value is not MISSING and not self.stale


NOTHING: Final = Lookup(StoredEntry(MISSING))


class CacheKeys:
    """The names of a cache's keys in its backend.

    Attributes:
        values: The beginning of the names of all values.
        tags: The beginning of the names of the tokens of all tags.
    """

    def __init__(self, prefix: str) -> None:
        self.values = f"{prefix}:value:"
        self._fresh = f"{prefix}:fresh:"
        self.tags = f"{prefix}:tag:"

    def value_name(self, key: str) -> str:
        return self.values + check_key(key)

    def fresh_name(self, name: str) -> str:
        """Return the name of the freshness token of the value with a name."""
        return self._fresh + name[len(self.values) :]

    def tag_name(self, tag: str) -> str:
        return self.tags + tag


class EntryReader:
    """Reads the entries of one cache.

    Attributes:
        backend: Where they are.
        keys: What they are called there.
    """

    def __init__(self, backend: Backend, keys: CacheKeys) -> None:
        self.backend = backend
        self.keys = keys
        # What never suspends has one caller at a time.
        self._reads = None if backend._blocking_twin() is backend else SharedReads[Snapshot]()

    async def read_tagged(self, name: str, tags: tuple[str, ...]) -> Snapshot:
        """Read a value and the tokens of its tags. Callers that ask for the same share the read."""
        names = [name, *[self.keys.tags + tag for tag in tags]]
        reads = self._reads
        if reads is None:
            return await self._snapshot(names, tags)
        flight, at_once = reads.begin(name, tags)
        if not at_once:
            return await reads.share(name, flight, lambda: self._snapshot(names, tags))
        try:
            found = await self.backend.get_many(names)
        finally:
            reads.end(name, flight)
        return found, _hit(names, tags, found)

    async def _snapshot(self, names: list[str], tags: tuple[str, ...]) -> Snapshot:
        found = await self.backend.get_many(names)
        return found, _hit(names, tags, found)

    async def look(self, request: Request, typed: bool = True, found: dict[str, Any] | None = None) -> Lookup:
        """Look for the value of a request.

        Args:
            request: What the caller asks for.
            typed: Whether a value of its type may be there, for all that the caller knows, and is all that it wants to
                know: a value that is found comes without the tokens.
            found: What is under the names of the value and the tags, if that was read already.
        """
        options = request.options
        names = [request.name, *map(self.keys.tag_name, request.tags)]
        if options.stale:
            names.append(self.keys.fresh_name(request.name))
        if typed and options.typed and len(names) == 1:
            try:
                value = await self.backend.get(request.name, options.type, default=MISSING)
            except (DeserializationError, ResponseError) as error:
                raise_unless_unreadable(error)
            else:
                return NOTHING if value is MISSING else Lookup(StoredEntry(value), value)
        if typed and found is None and request.tags and not options.stale:
            with contextlib.suppress(DeserializationError):
                found, data = await self.read_tagged(request.name, request.tags)
                if data is not None:
                    return Lookup(StoredEntry(found[request.name], data), decode(data, options.type))
        if found is None:
            found = await self.read(names)
        entry = entry_of(found.get(request.name, MISSING))
        # Several keys are not read in one step, so a tag may have got its token after it was read and before the value.
        known = {self.keys.tag_name(tag): token for tag, token in entry.tags.items()}
        unread = [name for name, token in known.items() if token_id(found.get(name)) != token]
        if entry.fresh is not None and not options.stale:
            unread.append(self.keys.fresh_name(request.name))
        if unread:
            found = {name: value for name, value in found.items() if name not in unread} | await self.read(unread)
        return self._judged(request, entry, found)

    def _judged(self, request: Request, entry: StoredEntry, found: dict[str, Any]) -> Lookup:
        tag_name = self.keys.tag_name
        there = {tag: found.get(tag_name(tag)) for tag in request.tags}
        tokens = {tag: token for tag, token in there.items() if isinstance(token, str)}
        fresh: Any = MISSING
        if entry.fresh is not None or request.options.stale:
            fresh = found.get(self.keys.fresh_name(request.name), MISSING)
        current = all(token_id(found.get(tag_name(tag))) == known for tag, known in entry.tags.items())
        nothing = Lookup(entry, held=current and is_lease(entry.found), fresh=fresh, tokens=tokens)
        if entry.data is None or not current or not all(tag in entry.tags for tag in request.tags):
            return nothing
        stale = entry.fresh is not None and fresh != entry.fresh
        if stale and not request.options.stale:
            return nothing
        try:
            return Lookup(entry, decode(entry.data, request.options.type), stale, False, fresh, tokens)
        except DeserializationError:
            return nothing

    async def read(self, names: list[str]) -> dict[str, Any]:
        """Return what is stored under these names."""
        if len(names) > 1:
            with contextlib.suppress(DeserializationError):
                return await self.backend.get_many(names)
        found = {name: await self.read_one(name) for name in names}
        return {name: value for name, value in found.items() if value is not MISSING}

    async def read_one(self, name: str, renew: float | None = None) -> Any:
        """Return what is stored under a name, ``MISSING`` or ``UNREADABLE``; set its expiry to ``renew`` seconds."""
        try:
            if renew is None:
                return await self.backend.get(name, default=MISSING)
            return await self.backend.get(name, default=MISSING, renew=renew)
        except (DeserializationError, ResponseError) as error:
            raise_unless_unreadable(error)
            return UNREADABLE


def _hit(names: list[str], tags: Collection[str], found: dict[str, Any]) -> bytes | None:
    """Return the encoded value that was found, in the usual case; ``None`` if that takes a closer look.

    In the usual case it has the tags of the request and no others, and these have the tokens that they had.
    """
    entry = entry_of(found.get(names[0], MISSING))
    if entry.data is None or entry.fresh is not None or len(entry.tags) != len(tags):
        return None
    for tag, name in zip(tags, names[1:], strict=True):
        token, known = found.get(name), entry.tags.get(tag)
        if known is None or not isinstance(token, str) or not token.startswith(known + "."):
            return None
    return entry.data


def token_id(stored: Any) -> str | None:
    """Return the part of a tag's stored token that entries have; ``None`` if it is no token."""
    return stored.partition(".")[0] if stored.__class__ is str else None


def raise_unless_unreadable(error: Exception) -> None:
    """Raise an error of a ``get`` again, unless it says that what is stored is no value of ours."""
    if isinstance(error, ResponseError) and error.code != "WRONGTYPE":
        raise error
