"""How a cache looks for a value, has it computed once, and stores it.

One computation in a process is the business of ``_single_flight.py``, one computation among processes that of
``_lease.py``. Without leases, which take verbs that a backend of six does not have, each process computes for itself,
and what another process computes while a key is invalidated may be stored after that.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final

from .._backend import Backend
from .._component import IN_LOOP, Waiting, blocking_verb, blocking_waiting, waiting_for
from .._errors import (
    BackendClosedError,
    BackendConnectionError,
    CapacityError,
    DeserializationError,
    OutcomeUnknownError,
    ResponseError,
    SerializationError,
)
from .._types import MISSING
from .._values._codec import decode, encode
from ._finishing import outlasting_cancellation
from ._key_template import Templates
from ._lease import HOLD, Lease
from ._lookup import CacheKeys, EntryReader, Lookup, Request, no_factory
from ._reports import Reports
from ._single_flight import Computation, Origin, SingleFlight, Waiter, computing
from ._stored import UNREADABLE, EntryOptions, is_lease, new_token, stored_form
from ._tags import TagTokens
from ._unbound import UNBOUND

AWAY: Final = (BackendConnectionError, OutcomeUnknownError, ResponseError, CapacityError)
"""What a backend raises while its store is away, or refuses to serve."""

LEASE: Final = 30.0
"""Seconds for which a lease holds, if nothing else is asked for."""

_SHORTEST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25
_FAILED_COMPARISONS: Final = 3


class Engine:
    """Serves the requests of one cache.

    Attributes:
        reader: Reads the entries of the cache.
        tags: The tokens of its tags.
        lease: Seconds for which a lease is taken; ``None`` without leases.
        finish: Seconds for which a computation goes on after its caller was cancelled; ``None`` for not at all.
        tolerated: The errors of the backend that mean no more than that it has no value and keeps none.
        flights: The computations in flight.
        templates: The key templates of the functions of the cache.
        blocking_backend: A backend over the same store whose coroutines never suspend; ``None`` if there is none.
        enabled: Whether anything is looked for and kept at all.
        get: The ``get`` of the backend; if the cache is not enabled, one that finds nothing.
        plain_get: The plain function under it, if there is one.
        blocking_get: It as a function for blocking callers.
    """

    def __init__(self, keys: CacheKeys, finish: float | None, tolerated: tuple[type[Exception], ...]) -> None:
        self.finish = finish
        self.tolerated = tolerated
        self.templates = Templates()
        self.flights = SingleFlight()
        self._disabled = 0
        self._waiting: Waiting = IN_LOOP
        self._keys = keys
        self.bind(UNBOUND, None)

    def bind(self, backend: Backend, lease: float | None) -> None:
        """Use a backend from now on, with leases of some length or without."""
        self.reader = EntryReader(backend, self._keys)
        self.reports = Reports(backend, self._keys.values, self.tolerated)
        self.tags = TagTokens(self.reader, atomic=lease is not None)
        self.lease = lease
        self.flights.hold = HOLD * (LEASE if lease is None else lease)
        self.blocking_backend = backend._blocking_twin()
        waiting = waiting_for(backend)
        self._waiting = blocking_waiting(waiting) if self._waiting.blocks else waiting
        self._update()

    def disable(self) -> None:
        """Have the cache keep nothing, until each ``disable`` is followed by an ``enable``."""
        self._disabled += 1
        self._update()

    def enable(self) -> None:
        """Undo one ``disable``."""
        self._disabled -= 1
        self._update()

    def _update(self) -> None:
        self.enabled = enabled = not self._disabled
        backend = self.reader.backend
        self.get: Callable[..., Awaitable[Any]] = backend.get if enabled else _find_nothing
        # Over memory, the plain function under the verb spares a coroutine.
        self.plain_get = backend._plain_verb("get") if enabled else None
        self.blocking_get = blocking_verb(backend, "get") if enabled else _nothing
        if enabled:
            self.get, self.blocking_get = self.reports.observed(self.get, self.blocking_get)

    @property
    def waiting(self) -> Waiting:
        """How to wait for others."""
        return self._waiting

    @waiting.setter
    def waiting(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self.flights.blocks = waiting.blocks

    async def invalidate(self, name: str) -> None:
        if not self.enabled:
            return
        self.flights.outdate(lambda other, _: other == name)
        await self.reader.backend.delete_many([name, self.reader.keys.fresh_name(name)])

    async def invalidate_tag(self, tag: str) -> None:
        if not self.enabled:
            return
        self.flights.outdate(lambda _, computation: tag in computation.tags)
        await self.reader.backend.delete(self.reader.keys.tag_name(tag))

    async def find(self, name: str, options: EntryOptions) -> Any:
        """Return what is kept and fresh; ``MISSING`` if there is none, or the store is away."""
        if self.enabled:
            with self.reports.tolerating():
                lookup = await self.reader.look(Request(name, options, (), no_factory))
                return lookup.value if lookup.settled else MISSING
        return MISSING

    async def serve(
        self,
        request: Request,
        lookup: Lookup | None = None,
        typed: bool = True,
        away: bool = False,
        found: dict[str, Any] | None = None,
    ) -> Any:
        """Return the value for a request.

        Args:
            request: What the caller asks for.
            lookup: What its caller has found already.
            typed: Whether a value of its type may be in the store, for all that its caller knows.
            away: Whether its caller has found the store to be away.
            found: What its caller has found under the names of the value and the tags.
        """
        if not self.enabled:
            return read_back(request, encode(await computed(request, self.waiting)))
        looked_at: float | None = None
        noted = False
        while True:
            if lookup is None and not away:
                looked_at = monotonic() if found is None else None
                try:
                    lookup = await self.reader.look(request, typed, found)
                except self.tolerated as error:
                    away = True
                    self.reports.away(error)
                found = None
            if not noted:
                noted = self.reports.found(request.name, lookup)
            if lookup is not None and lookup.settled:
                return lookup.value
            stale = lookup is not None and lookup.stale
            joined = self.flights.join(request, lookup, looked_at, waits=not stale)
            if joined is not None:
                computation, waiter = joined
                if waiter is None:
                    return await self._lead(request, computation, None if computation.alone else lookup)
                if lookup is not None and stale:
                    return lookup.value
                if await self._wait(request, computation, waiter):
                    return await self._lead(request, computation, None, looks=True)
                data = waiter.result()
                if data is not None:
                    self.reports.outcome("joined", request.name)
                    return read_back(request, data)
            lookup = None

    async def _wait(self, request: Request, computation: Computation, waiter: Waiter) -> bool:
        """Wait for a computation, and return whether it was handed over to this caller."""
        gives_up = True
        try:
            await self.waiting.wait(waiter.signal, max(computation.hold_until - monotonic(), 0))
            gives_up = False
        finally:
            self.flights.leave(request.name, computation, waiter, gives_up)
        return waiter.computes

    async def _lead(
        self, request: Request, computation: Computation, lookup: Lookup | None, looks: bool = False
    ) -> Any:
        """Compute the value of a request, on behalf of all that wait for it."""
        work = _Work(self, request, computation, lookup, looks)
        if self.finish is None or self.waiting.blocks:
            return await work.run()
        return await outlasting_cancellation(work.run, self.finish)


class _Work:
    """The work of one caller that computes.

    Args:
        engine: The engine of the cache.
        request: What the caller asks for.
        computation: What others wait for meanwhile.
        lookup: What the caller found in the store; ``None`` if it is away.
        looks: Whether the caller has to look once more.
    """

    def __init__(
        self, engine: Engine, request: Request, computation: Computation, lookup: Lookup | None, looks: bool
    ) -> None:
        self._engine = engine
        self._reader = engine.reader
        self._backend = engine.reader.backend
        self._request = request
        self._computation = computation
        self._lookup = lookup
        self._looks = looks
        self._lease: Lease | None = None
        # What a new value replaces, if the old one stays where it is while the new one is computed.
        self._replaces: Any = MISSING
        self._began = monotonic()
        self._data: bytes | None = None

    async def run(self) -> Any:
        """Return the value, and let all that wait for it know; if cancelled, hand the computation over."""
        flights, name = self._engine.flights, self._request.name
        failure: Exception | None = None
        cancelled = True
        try:
            value = await self._value()
            cancelled = False
        except GeneratorExit:
            # The coroutine is closed from outside, and may not wait for anything.
            if self._lease is not None:
                self._lease.drop()
                self._lease = None
            raise
        except Exception as error:
            cancelled = False
            failure = error
            if self._lookup is None or not self._lookup.stale or not self._request.options.stale_on_error:
                raise
            self._engine.reports.stale_served(error)
            value = self._lookup.value
        finally:
            try:
                if self._lease is not None:
                    await self._engine.waiting.finish(self._give_up(self._lease))
            finally:
                if cancelled:
                    flights.hand_over(name, self._computation)
                else:
                    flights.end(name, self._computation, self._data, failure)
                failure = None
        return value

    async def _value(self) -> Any:
        """Return what the store has by now, or what the factory makes, which is then stored."""
        tolerated = self._engine.reports.tolerating()
        ids: dict[str, str] | None = None
        if self._looks:
            with tolerated:
                self._lookup = await self._reader.look(self._request)
        if self._lookup is not None:
            with tolerated:
                ids = await self._claim(self._lookup)
                if ids is None:
                    return self._lookup.value
        lease = self._lease
        refreshes = lease is not None and lease.name != self._request.name
        self._engine.flights.start(
            self._computation, Origin(None if lease is None else lease.token, refreshes, ids, monotonic())
        )
        with computing(self._computation):
            value = await self._reported(self._computed_while_renewing())
        data = encode(value)
        own = read_back(self._request, data)
        self._data = data
        options = self._request.options.for_value(own)
        if ids is not None and options is not None:
            with tolerated:
                await self._store(value, data, ids, options)
        return own

    async def _claim(self, lookup: Lookup) -> dict[str, str] | None:
        """Take the lease, and return the ids of the tags' tokens; ``None`` if what was found makes it needless."""
        if self._engine.lease is None:
            # The computation before may have ended since the last look.
            self._lookup = lookup = await self._reader.look(self._request)
            return None if lookup.settled else await self._engine.tags.ids(self._request, lookup)
        pause = _SHORTEST_PAUSE
        failed = 0
        while not lookup.settled:
            waits = is_lease(lookup.fresh) if lookup.stale else lookup.held
            if not waits:
                ids = await self._engine.tags.ids(self._request, lookup)
                if await self._take(lookup, self._engine.lease, ids):
                    return ids
            if lookup.stale:
                return None
            if waits:
                await self._engine.waiting.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter is no secret
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                failed += 1
                if failed % _FAILED_COMPARISONS == 0:
                    # What is there was written by no cache, in a form that cannot be compared.
                    await self._backend.delete(self._request.name)
            self._lookup = lookup = await self._reader.look(self._request, typed=False)
        return None

    async def _take(self, lookup: Lookup, seconds: float, ids: dict[str, str]) -> bool:
        """Put a lease where it belongs, unless what was found there has changed."""
        name, there = self._request.name, lookup.entry.found
        if lookup.stale:
            name, there, ids = self._reader.keys.fresh_name(name), lookup.fresh, {}
        if there is UNREADABLE:
            await self._backend.delete(name)
            there = MISSING
        # From here on it may be in the store, whatever becomes of the call.
        lease = self._lease = Lease(name, seconds, self._engine.blocking_backend or self._backend, ids)
        self._replaces = lookup.entry.found
        if there is MISSING:
            taken = await self._backend.add(name, lease.token, seconds)
        else:
            taken = await self._backend.compare_and_set(name, there, lease.token, seconds)
        if not taken:
            self._lease = None
        elif self._engine.blocking_backend is not None:
            lease.keep()
        return taken

    async def _reported(self, computing: Awaitable[Any]) -> Any:
        begun = monotonic()
        failure: Exception | None = None
        try:
            return await computing
        except Exception as error:
            failure = error
            raise
        finally:
            self._engine.reports.outcome("computed", self._request.name, monotonic() - begun, failure)
            # No cycle of error, traceback and frame.
            del failure

    async def _computed_while_renewing(self) -> Any:
        lease = self._lease
        if lease is None or self._engine.blocking_backend is not None:
            return await computed(self._request, self._engine.waiting)
        value: Any = None
        failure: Exception | None = None
        async with self._engine.waiting.background(lambda: lease.keep_renewing(self._engine.waiting)):
            # An error that left the block would be wrapped in a group.
            try:
                value = await computed(self._request, self._engine.waiting)
            except Exception as error:
                failure = error
        if failure is None:
            return value
        try:
            raise failure
        finally:
            # No cycle of error, traceback and frame.
            del failure

    async def _store(self, value: Any, data: bytes, ids: dict[str, str], options: EntryOptions) -> None:
        """Store what was computed, unless it was invalidated meanwhile."""
        request = self._request._replace(options=options)
        name = request.name
        if not await self._engine.tags.live_on(request, ids, self._request.options.keep, self._began):
            return
        fresh = new_token() if options.stale else None
        form = stored_form(value, data, ids, fresh)
        lease = self._lease
        if lease is not None and lease.name != name:
            stored = await self._backend.compare_and_set(name, self._replaces, form, options.keep)
            if stored:
                await self._backend.set(lease.name, fresh, options.ttl)
        else:
            if fresh is not None:
                # Not over the token of a newer value, and before the value, which would be stale without it.
                if lease is None:
                    current = not self._computation.outdated
                else:
                    current = await self._replace_lease(lease, lease.token, lease.seconds)
                if not current:
                    return
                await self._backend.set(self._reader.keys.fresh_name(name), fresh, options.ttl)
            if lease is not None:
                stored = await self._replace_lease(lease, form, options.keep)
            else:
                stored = await self._set(form, options.keep)
        if stored and lease is not None:
            lease.drop()
            self._lease = None

    async def _replace_lease(self, lease: Lease, form: Any, seconds: float) -> bool:
        for token in lease.tokens:
            if await self._backend.compare_and_set(lease.name, token, form, seconds):
                return True
        return False

    async def _set(self, form: Any, seconds: float) -> bool:
        # An invalidation marks the computation first, and deletes then.
        if self._computation.outdated:
            return False
        await self._backend.set(self._request.name, form, seconds)
        if self._computation.outdated:
            await self._backend.delete(self._request.name)
        return True

    async def _give_up(self, lease: Lease) -> None:
        """Remove the lease, if it is still there."""
        lease.drop()
        self._lease = None
        with contextlib.suppress(*AWAY, BackendClosedError):
            for token in lease.tokens:
                await self._backend.compare_and_delete(lease.name, token)


async def computed(request: Request, waiting: Waiting) -> Any:
    """Return what the factory of a request makes."""
    value = request.factory()
    if not inspect.isawaitable(value):
        return value
    if waiting.blocks:
        if inspect.iscoroutine(value):
            value.close()
        raise TypeError("what computes a value for a SyncCache is a plain function")
    return await value


def _nothing(key: str, type: Any = Any, *, default: Any = None) -> Any:
    return default


async def _find_nothing(key: str, type: Any = Any, *, default: Any = None) -> Any:
    return default


def read_back(request: Request, data: bytes) -> Any:
    """Return a copy of what was computed, as a hit will give it."""
    try:
        return decode(data, request.options.type)
    except DeserializationError as error:
        reason = str(error)
    raise SerializationError(f"what was computed for {request.name!r} could not be read back: {reason}")
