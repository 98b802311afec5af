"""How a cache looks for a value, has it computed once, and stores it.

**One computation in a process** is what ``_single_flight.py`` sees to.

**One computation among processes** takes a lease. Who finds nothing puts a lease where the value will be, with ``add``,
and replaces it by the value with ``compare_and_set``; who finds a lease looks again soon. Since both are in one place,
invalidating a key removes the lease as well, and what was computed from before is then not stored, in whatever process
that was. (Such leases are due to R. Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013.) A value that is stale
stays where it is; there the lease takes the place of its token of freshness. A lease expires, so a process that dies
holds up the others for so long and no longer. A computation that outlasts its lease is not stored, and the next lease
of that key in the same process is longer.

**Without leases**, which take verbs that a backend of six does not have, each process computes for itself, and what
another process computes while a key is invalidated may be stored after that.
"""

from __future__ import annotations

import contextlib
import inspect
import random
import time
from typing import Any, Final

from .._component import IN_LOOP, IN_THREAD, Waiting
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
from ._lookup import Job, Seen, Shelf
from ._single_flight import Aboard, Flight, Flights
from ._stored import UNREADABLE, is_lease, new_lease, new_token, stored_form

AWAY: Final = (BackendConnectionError, OutcomeUnknownError, ResponseError, CapacityError)
"""What a backend raises while its store is away, or refuses to serve."""

_SHORTEST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25
_PUZZLED: Final = 3
_MOST_OVERDUE: Final = 1000


class Engine:
    """Serves the jobs of one cache.

    Attributes:
        shelf: The keys of the cache.
        lease: Seconds for which a lease is taken; ``None`` without leases.
        tolerated: The errors of the backend that mean no more than that it has no value and keeps none.
        waiting: How to wait for others.
        overdue: How long the next lease is for the keys whose last one was too short, by name.
    """

    def __init__(self, shelf: Shelf, lease: float | None, tolerated: tuple[type[Exception], ...]) -> None:
        self.shelf = shelf
        self.lease = lease
        self.tolerated = tolerated
        self.waiting: Waiting = IN_LOOP
        self.overdue: dict[str, float] = {}
        self._flights = Flights()

    async def invalidate(self, name: str) -> None:
        self._flights.outdate(lambda other, _: other == name)
        await self.shelf.backend.delete_many([name, self.shelf.fresh_name(name)])

    async def invalidate_tag(self, tag: str) -> None:
        self._flights.outdate(lambda _, flight: tag in flight.tags)
        await self.shelf.backend.delete(self.shelf.tag_name(tag))

    async def serve(self, job: Job, seen: Seen | None = None, away: bool = False) -> Any:
        """Return the value for a job; ``seen`` and ``away`` are what its caller has found out already."""
        while True:
            if seen is None and not away:
                try:
                    seen = await self.shelf.look(job)
                except self.tolerated:
                    away = True
            if seen is not None and seen.settled:
                return seen.value
            flight, leads = self._flights.join(job.name, job.tags, waits=seen is None or not seen.stale)
            if leads:
                return await self._lead(_Computation(self, job, flight, seen))
            if seen is not None and seen.stale:
                return seen.value
            try:
                data = await flight.wait(self.waiting)
            finally:
                self._flights.leave(flight)
            if data is not None:
                return read_back(job, data)
            seen = None

    async def _lead(self, computation: _Computation) -> Any:
        """Have the value computed, and tell all who wait for it."""
        failure: Exception | None = None
        try:
            return await computation.run()
        except GeneratorExit:
            # The coroutine is closed from outside, and may not wait for anything.
            computation.lease = None
            raise
        except Exception as error:
            failure = error
            raise
        finally:
            try:
                if computation.lease is not None:
                    await self.waiting.finish(computation.give_up())
            finally:
                self._flights.land(computation.job.name, computation.flight, computation.data, failure)
                failure = None


class _Computation:
    """The work of one leader.

    Attributes:
        data: The encoded value, once it is computed.
        lease: The lease that may be in the store.
    """

    def __init__(self, engine: Engine, job: Job, flight: Flight, seen: Seen | None) -> None:
        self.job = job
        self.flight = flight
        self.data: bytes | None = None
        self.lease: bytes | None = None
        self._engine = engine
        self._shelf = engine.shelf
        self._backend = engine.shelf.backend
        self._seen = seen
        # Where the lease is, what the value replaces, and when the lease was taken for how long.
        self._place = job.name
        self._replaces: Any = MISSING
        self._began = self._seconds = 0.0

    async def run(self) -> Any:
        """Return the value: what the store has by now, or what the factory makes, which is then stored."""
        tokens: dict[str, str] | None = None
        if self._seen is not None:
            with contextlib.suppress(*self._engine.tolerated):
                found = await self._claim(self._seen)
                if found is not None:
                    return found.value
                tokens = await self._shelf.tokens(self.job)
        with Aboard(self.flight):
            value = await self._computed()
        data = encode(value)
        own = read_back(self.job, data)
        self.data = data
        if tokens is not None:
            with contextlib.suppress(*self._engine.tolerated):
                fresh = new_token() if self.job.recipe.stale else None
                await self._store(stored_form(value, data, tokens, fresh), fresh)
        return own

    async def give_up(self) -> None:
        """Remove the lease, if it is still there."""
        lease, self.lease = self.lease, None
        with contextlib.suppress(*AWAY, BackendClosedError):
            await self._backend.compare_and_delete(self._place, lease)

    async def _claim(self, seen: Seen) -> Seen | None:
        """Take the lease, or return what makes it needless."""
        if self._engine.lease is None:
            # Who led before has landed since the last look, perhaps.
            seen = await self._shelf.look(self.job)
            return seen if seen.settled else None
        pause = _SHORTEST_PAUSE
        puzzled = 0
        while not seen.settled:
            if await self._take(seen, self._engine.lease):
                return None
            if seen.stale:
                return seen
            if seen.entry.leased:
                await self._engine.waiting.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter is no secret
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                puzzled += 1
                if puzzled % _PUZZLED == 0:
                    # What is there was written by no cache, in a form that cannot be compared.
                    await self._backend.delete(self.job.name)
            seen = await self._shelf.look(self.job)
        return seen

    async def _take(self, seen: Seen, seconds: float) -> bool:
        """Put a lease where it belongs, unless there is one."""
        name = self.job.name
        place, there = (self._shelf.fresh_name(name), seen.token) if seen.stale else (name, seen.entry.found)
        if is_lease(there):
            return False
        if there is UNREADABLE:
            await self._backend.delete(place)
            there = MISSING
        # From here on it may be in the store, whatever becomes of the call.
        lease = self.lease = new_lease()
        self._place, self._replaces = place, seen.entry.found if seen.stale else lease
        self._began, self._seconds = time.monotonic(), self._engine.overdue.get(name, seconds)
        if there is MISSING:
            taken = await self._backend.add(place, lease, self._seconds)
        else:
            taken = await self._backend.compare_and_set(place, there, lease, self._seconds)
        if not taken:
            self.lease = None
        return taken

    async def _computed(self) -> Any:
        value = self.job.factory()
        if not inspect.isawaitable(value):
            return value
        if self._engine.waiting is IN_THREAD:
            if inspect.iscoroutine(value):
                value.close()
            raise TypeError("what computes a value for a SyncCache is a plain function")
        return await value

    async def _store(self, form: Any, fresh: str | None) -> None:
        """Store what was computed, unless it was invalidated meanwhile."""
        name, recipe = self.job.name, self.job.recipe
        refreshes = self._place != name
        if fresh is not None and not refreshes:
            await self._backend.set(self._shelf.fresh_name(name), fresh, recipe.ttl)
        if self.lease is None:
            await self._store_without_lease(form)
            return
        stored = await self._backend.compare_and_set(name, self._replaces, form, recipe.keep)
        if stored:
            if refreshes:
                await self._backend.set(self._place, fresh, recipe.ttl)
            self.lease = None
        self._note(stored)

    async def _store_without_lease(self, form: Any) -> None:
        # Who invalidates marks the flight first, and deletes then.
        if not self.flight.outdated:
            await self._backend.set(self.job.name, form, self.job.recipe.keep)
            if self.flight.outdated:
                await self._backend.delete(self.job.name)

    def _note(self, stored: bool) -> None:
        """See to it that the next lease lasts as long as the computation, if this one did not."""
        overdue, name, took = self._engine.overdue, self.job.name, time.monotonic() - self._began
        if stored or took < self._seconds:
            overdue.pop(name, None)
            return
        if len(overdue) >= _MOST_OVERDUE:
            overdue.clear()
        overdue[name] = 2 * took


def read_back(job: Job, data: bytes) -> Any:
    """Return a copy of what was computed, as a hit will give it."""
    try:
        return decode(data, job.recipe.type)
    except DeserializationError as error:
        reason = str(error)
    raise SerializationError(f"what was computed for {job.name!r} could not be read back: {reason}")
