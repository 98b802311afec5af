"""``Cache``: values that are computed once and kept for a while, on any backend.

**Reading** a value without tags and ``stale`` is one ``get`` by its type; with them it is one ``get_many``. What is
stored and when it counts is told in ``_cache_entries.py``.

**One computation in a process**: ``_single_flight.py``.

**One computation among processes**: a lease. Who finds nothing puts a lease where the value will be, with ``add``, and
replaces it by the value with ``compare_and_set``; who finds a lease looks again soon. Since both are in one place,
invalidating a key removes the lease as well: what was computed from before is then not stored, in whatever process it
was. (The idea of such leases is from R. Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013.) A value that is
stale stays where it is; there the lease takes the place of its token of freshness. A lease expires, so a process that
dies holds up the others for so long and no longer. A computation that outlasts its lease is not stored, and the next
lease of that key is longer.

**Without leases**, which take verbs that a backend of six does not have, each process computes for itself, and a value
that another process computes while a key is invalidated may be stored after that.
"""

from __future__ import annotations

import contextlib
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, get_args, overload

from ._adapters import type_name
from ._backend import Backend
from ._cache_entries import (
    UNREADABLE,
    Entry,
    Recipe,
    entry_of,
    is_lease,
    milliseconds,
    new_lease,
    new_token,
    recipe_of,
    stored_form,
)
from ._cached import CachedDecorator, Decoration, SyncCachedDecorator, SyncDecoration
from ._codec import decode, encode
from ._errors import (
    BackendConnectionError,
    CapacityError,
    DeserializationError,
    OutcomeUnknownError,
    ResponseError,
    SerializationError,
)
from ._needs import check_backend, provides, require
from ._single_flight import Aboard, Flight, Flights
from ._types import MISSING, TTL, check_key, check_keys, check_name
from ._waiting import IN_LOOP, IN_THREAD, Waiting

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from typing_extensions import TypeForm

Value = TypeVar("Value")

AsyncFactory: TypeAlias = Callable[[], Awaitable[Value]]
"""What computes a value for a ``Cache``."""

Factory: TypeAlias = Callable[[], Value]
"""What computes a value for a ``SyncCache``."""

OnCacheError: TypeAlias = Literal["miss", "raise"]

LEASE: Final = 30.0
"""Seconds for which a lease holds, if nothing else is asked for."""

TAG_TTL: Final = 7 * 86400.0
"""Seconds for which the token of a tag lives at least after a value with it was stored."""

LEASE_VERBS: Final = ("add", "compare_and_set", "compare_and_delete")

_AWAY: Final = (BackendConnectionError, OutcomeUnknownError, ResponseError, CapacityError)
_SHORTEST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25
_PUZZLED: Final = 3


@dataclass(frozen=True, slots=True)
class Job:
    """What one caller asks for: the name of the entry, how it is read and kept, and what computes it."""

    name: str
    recipe: Recipe
    tags: tuple[str, ...]
    factory: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the store showed.

    Attributes:
        entry: What is there.
        value: The value, if it may be served; ``MISSING`` if not.
        stale: Whether it may be served only while somebody computes it anew.
        token: What is in the place of the token of freshness.
    """

    entry: Entry
    value: Any = MISSING
    stale: bool = False
    token: Any = MISSING

    @property
    def settled(self) -> bool:
        return self.value is not MISSING and not self.stale


NOTHING: Final = Seen(Entry(MISSING))


class Cache:
    """Keeps what is slow to compute: in memory for a process, on Redis for all of them.

    A value is computed once for all who ask at the same time, in one process and, by a lease, among processes. It comes
    back as a hit would give it, always: validated as its type, and a copy of one's own.

    It needs the six verbs that every backend has; leases need ``add``, ``compare_and_set`` and ``compare_and_delete``,
    too.

    Args:
        backend: Where the values are kept.
        ttl: Seconds for which a value is kept, where no other ttl is given.
        prefix: What all keys in the backend begin with, followed by a colon.
        on_error: What happens while the store is away, or refuses: ``"miss"`` computes the value and keeps none, each
            caller in each process for itself but for those who ask at once; ``"raise"`` raises the store's error.
        lease: Seconds within which a value should be computed; a process that died while it did holds up the others
            for so long. ``None`` for no leases. ``"auto"`` for 30 seconds where the backend has the verbs, and no
            leases elsewhere.

    Raises:
        TypeError, ValueError: An argument is not what it must be.
        UnsupportedOperationError: A lease was asked for, and the backend does not provide a verb that it needs.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        ttl: TTL,
        prefix: str = "cache",
        on_error: OnCacheError = "miss",
        lease: TTL | Literal["auto"] | None = "auto",
    ) -> None:
        self._backend = check_backend(backend, "Cache")
        milliseconds(ttl, "ttl")
        if on_error not in get_args(OnCacheError):
            raise ValueError(f"on_error must be 'miss' or 'raise', not {on_error!r}")
        if lease == "auto":
            lease = LEASE if provides(backend, *LEASE_VERBS) else None
        elif lease is not None:
            require(backend, "Cache with leases", *LEASE_VERBS)
        prefix = check_name(prefix)
        self._ttl = ttl
        self._lease = None if lease is None else milliseconds(lease, "lease") / 1000
        self._tolerated = _AWAY if on_error == "miss" else ()
        self._value_prefix = f"{prefix}:value:"
        self._fresh_prefix = f"{prefix}:fresh:"
        self._tag_prefix = f"{prefix}:tag:"
        self._flights = Flights()
        self._overdue: dict[str, float] = {}
        self._waiting: Waiting = IN_LOOP

    @overload
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        *,
        ttl: TTL | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
    ) -> Any: ...
    @overload
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: type[Value],
        *,
        ttl: TTL | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
    ) -> Value: ...
    @overload
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: TypeAdapter[Value],
        *,
        ttl: TTL | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
    ) -> Value: ...
    @overload
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: TypeForm[Value],
        *,
        ttl: TTL | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
    ) -> Value: ...
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: Any = Any,
        *,
        ttl: TTL | None = None,
        stale: TTL | None = None,
        tags: Iterable[str] = (),
    ) -> Any:
        """Return the value of ``key``; compute and keep it if there is none.

        Whatever the factory returns is kept, ``None`` included. What it raises is not kept; everybody who waits for the
        value gets it. A stored value that is not valid as ``type`` counts as none.

        Args:
            key: The key.
            factory: Computes the value; called without arguments.
            type: As for ``Backend.get``.
            ttl: Seconds for which the value is kept; the ttl of the cache by default.
            stale: Seconds after that in which it is still served while one caller computes it anew.
            tags: Names by which it can be invalidated together with others.

        Raises:
            SerializationError: The value cannot be stored, or could not be read back as ``type``.
            RuntimeError: The factory asks for the very key that it computes.
        """
        job = self._job(key, factory, type, ttl, stale, tags)
        return await self._serve(job)

    def cached(
        self,
        *,
        key: str,
        ttl: TTL | None = None,
        type: Any = MISSING,
        stale: TTL | None = None,
        tags: Iterable[str] = (),
    ) -> CachedDecorator:
        """Decorate a function so that its results are kept, as by ``get_or_set``.

        The decorated function has a method ``invalidate``, which takes the arguments of a call and removes what is kept
        for it.

        Args:
            key: A template of the key, with the function's parameters in braces, as in ``"user:{user_id}"``. Calls for
                which all of these have the same text share a value.
            ttl: Seconds for which a result is kept; the ttl of the cache by default.
            type: What the results are validated as; the function's return annotation by default, and without one
                plain JSON data.
            stale: Seconds after that in which a result is still served while one caller computes it anew.
            tags: Templates like ``key``: names by which results can be invalidated together.

        Raises:
            TypeError: What is decorated is not an ``async def`` (for ``SyncCache``: not a plain function), or its
                return annotation cannot be resolved or validated.
            ValueError: A template cannot be read, or names something that is no parameter.
        """
        decoration = SyncDecoration if self._waiting is IN_THREAD else Decoration
        return decoration(self, key, self._ttl if ttl is None else ttl, type, stale, check_keys(tags))

    async def invalidate(self, key: str) -> None:
        """Remove what is kept under ``key``. Whoever asks from now on gets what was computed from now on.

        That holds for computations under way in this process, and with leases in any. An error of the store is raised
        whatever ``on_error`` says, since the old value may still be there.
        """
        await self._invalidate(self._value_prefix + check_key(key))

    async def invalidate_tag(self, tag: str) -> None:
        """Remove everything that is kept with ``tag``. Costs one call of the backend, however much that is.

        Whoever asks from now on gets what was computed from now on, whatever is computed at the moment. An error of the
        store is raised whatever ``on_error`` says, since the old values may still be there.
        """
        tag = check_key(tag)
        self._flights.outdate(lambda _, flight: tag in flight.tags)
        await self._backend.delete(self._tag_prefix + tag)

    def _job(
        self, key: str, factory: Callable[[], Any], type: Any, ttl: TTL | None, stale: TTL | None, tags: Iterable[str]
    ) -> Job:
        name = self._value_prefix + check_key(key)
        if not callable(factory):
            raise TypeError(f"a factory must be a function without arguments, not {factory.__class__.__name__}")
        return Job(name, recipe_of(type, self._ttl if ttl is None else ttl, stale), tuple(check_keys(tags)), factory)

    async def _invalidate(self, name: str) -> None:
        self._flights.outdate(lambda other, _: other == name)
        await self._backend.delete_many([name, self._fresh(name)])

    async def _serve(self, job: Job, seen: Seen | None = None, away: bool = False) -> Any:
        """Return the value for a job; ``seen`` and ``away`` say what its caller has found out already."""
        while True:
            if seen is None and not away:
                try:
                    seen = await self._look(job)
                except self._tolerated:
                    away = True
            if seen is not None and seen.settled:
                return seen.value
            flight, leads = self._flights.join(job.name, job.tags)
            if leads:
                value = await self._lead(job, flight, None if away else seen or NOTHING)
                if value is not MISSING:
                    return value
            elif seen is not None and seen.stale:
                return seen.value
            else:
                data = await flight.wait(self._waiting)
                if data is not None:
                    return self._decoded(job, data)
            seen = None

    async def _lead(self, job: Job, flight: Flight, seen: Seen | None) -> Any:
        """Compute the value for all who wait, unless the store has it by now; without ``seen``, the store is away."""
        claim: _Claim | None = None
        data: bytes | None = None
        failure: Exception | None = None
        try:
            tokens: dict[str, str] = {}
            if seen is not None:
                try:
                    seen, claim = await self._claim(job, seen)
                    if claim is None:
                        return seen.value
                    tokens = await self._tokens(job)
                except self._tolerated:
                    seen = None
            with Aboard(flight):
                value = await self._compute(job.factory)
            data = encode(value)
            own = self._decoded(job, data)
            if claim is not None and seen is not None:
                with contextlib.suppress(*self._tolerated):
                    await self._store(job, flight, claim, stored_form, value, data, tokens)
            return own
        except Exception as error:
            failure, data = error, None
            raise
        finally:
            try:
                if claim is not None:
                    await self._release(claim)
            finally:
                self._flights.land(job.name, flight, data, failure)
                del failure
