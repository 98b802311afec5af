"""The connections of blocking callers.

A thread that blocks cannot read for others, so a call has a connection to itself. Idle connections are kept on a stack:
the one used last is used next. When ``max_connections`` are open, callers wait for one to be returned.

A signal handler may raise in any line, so no line is trusted to run. A connection occupies a *place*: an ``Attempt``
that the connection keeps alive, and that the pool refers to weakly. A caller that is interrupted drops its connection,
and the place is free. Idle connections are taken and returned by single operations on a list. A wake-up only saves
time: a caller that waits for a place looks again by itself.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import Final

from .._backend._locks import RLock
from .._errors import BackendClosedError, BackendError, BackendTimeoutError
from .._io import Attempt, blocking_runtime
from ._commands import Kind
from ._health import Health
from ._link import Link
from ._mux import Failure
from ._options import Options
from ._sentinel import Locator
from ._source import BRIEF, Source

#: Seconds after which a caller looks again: for a free place, and, between attempts to connect, for a closed pool.
LOOK: Final = 0.5
LOOK_CLOSED: Final = 0.05

#: And for what another thread has found out.
PACE: Final = 0.005


class Pool(Source):
    """A stack of idle connections, and the places of all.

    Args:
        options: How to reach the server.
        health: What is known about the server.
        locator: Finds the server, if ``options`` do not say where it is.
    """

    def __init__(self, options: Options, health: Health, locator: Locator | None = None) -> None:
        super().__init__(blocking_runtime(), options, health, locator)
        # Re-entrant, since a signal handler may make a call in the middle of another one of its thread.
        self._lock = RLock()
        self._closed = False
        self._idle: list[Link] = []
        #: The places that are occupied, by identity.
        self._places: dict[int, weakref.ref[Attempt]] = {}
        #: The locks that callers without a place sleep on.
        self._sleepers: deque[threading.Lock] = deque()
        self._asking = False

    def take(self, now: float) -> Link | None:
        """Return the idle connection used last, if there is one whose state is known."""
        try:
            link = self._idle.pop()
        except IndexError:
            return None
        if now < link.fresh_until:
            link.fresh_until = now + link.idle_limit
            return link
        self._idle.append(link)
        return None

    def give_back(self, link: Link) -> None:
        """Return a connection that was taken; one that cannot be used again is closed."""
        if link.usable and link.is_clean() and not self._closed and len(self._places) <= self._options.max_connections:
            self._idle.append(link)
            # Closed or retired by another thread meanwhile.
            if self._closed:
                self._close_idle()
            if not link.usable:
                self._close_idle()
        else:
            self._discard(link)
        if self._sleepers:
            self._wake_one()

    async def connected(self, deadline: float, kind: Kind) -> Link:
        """Return an idle connection, or a new one. Never suspends.

        Raises:
            BackendError: There is no connection; nothing was sent.
        """
        await self._follow(deadline)
        place: Link | Attempt | None = None
        while place is None:
            self._check_open()
            outage = self._health.outage(kind)
            if outage is not None:
                if not outage.may_probe():
                    await self._await_probe(outage, deadline)
                    continue
                return await self._probe_outage(outage, self._occupy(), deadline)
            place = self._enter()
            if place is None:
                self._wait_for_place(deadline)
        if isinstance(place, Link):
            return place
        try:
            return await self._open_patiently(place, deadline)
        except BaseException:
            self._free(place)
            raise

    async def _open(self, attempt: Attempt, deadline: float) -> Link:
        link = await super()._open(attempt, deadline)
        # From here on the connection keeps its place alive, and ending the attempt wakes the thread that uses it.
        link.occupy(attempt)
        if self._closed:
            self._discard(link)
            raise BackendClosedError("the backend was closed while connecting")
        return link

    async def _probe(self, attempt: Attempt, deadline: float) -> Link:
        try:
            return await super()._probe(attempt, deadline)
        except BaseException:
            self._free(attempt)
            raise

    def count(self) -> tuple[int, int]:
        """Return how many connections are open or being opened, and how many of them are used by a caller."""
        places, idle = len(self._places), len(self._idle)
        return places, max(places - idle, 0)

    def is_full(self) -> bool:
        """Whether no further connection may be opened."""
        return len(self._places) >= self._options.max_connections

    def _enter(self) -> Link | Attempt | None:
        """Return an idle connection, or a place to open one; ``None`` if there is neither."""
        with suppress(IndexError):
            while not (link := self._idle.pop()).usable:
                self._discard(link)
            return link
        with self._lock:
            return self._occupy() if len(self._places) < self._options.max_connections else None

    def _occupy(self) -> Attempt:
        """Return a place, beyond ``max_connections`` if need be."""
        place = Attempt()
        key, places = id(place), self._places
        pool = weakref.ref(self)

        def freed(_: weakref.ref[Attempt]) -> None:
            places.pop(key, None)
            alive = pool()
            if alive is not None and alive._sleepers:
                alive._wake_one()

        places[key] = weakref.ref(place, freed)
        return place

    def _free(self, place: Attempt) -> None:
        self._places.pop(id(place), None)
        if self._sleepers:
            self._wake_one()

    def _wait_for_place(self, deadline: float) -> None:
        left = deadline - monotonic()
        if left <= 0:
            raise BackendTimeoutError(f"{self._options.location}: no free connection in time")
        sleeper = threading.Lock()
        sleeper.acquire()
        self._sleepers.append(sleeper)
        try:
            if not self._idle and len(self._places) >= self._options.max_connections and not self._closed:
                sleeper.acquire(timeout=min(left, LOOK))
        finally:
            try:
                self._sleepers.remove(sleeper)
            except ValueError:
                # Woken. If this caller does not look, because its time is up or it was interrupted, another one must.
                if monotonic() >= deadline:
                    self._wake_one()

    def _wake_one(self) -> None:
        with suppress(IndexError, RuntimeError):
            self._sleepers.popleft().release()

    async def _ask_server(self, link: Link, deadline: float) -> None:
        other: Link | None = None
        if self._has_answered_since(link):
            other = self._take_newer(link.silence.since)
        elif self._asking or self._health.down.known:
            # The thread that asks is likely to find out soon.
            ends = min(deadline, monotonic() + BRIEF)
            while self._asking and not self._has_answered_since(link) and (now := monotonic()) < ends:
                await self.rest(now + PACE)
            if not self._has_answered_since(link):
                return
        self._asking = True
        try:
            other = other or await self._probe(self._occupy(), deadline)
        except BackendError:
            return
        finally:
            self._asking = False
        try:
            await self._judge_silent(link, other, deadline)
        finally:
            self.give_back(other)

    def _take_newer(self, moment: float) -> Link | None:
        """Return the idle connection used last, if it was opened since then."""
        try:
            link = self._idle.pop()
        except IndexError:
            return None
        if link.usable and link.opened >= moment:
            return link
        self._idle.append(link)
        return None

    async def rest(self, until: float) -> None:
        while not self._closed and (left := until - monotonic()) > 0:
            time.sleep(min(left, LOOK_CLOSED))  # noqa: ASYNC251 - never suspends

    def drop_idle(self, link: Link) -> None:
        """Close the idle connections that are older than the silence of ``link``: they are likely to be dead too."""
        idle, self._idle = self._idle, []
        for one in idle:
            if one.opened < link.silence.since:
                self._discard(one)
            else:
                self._idle.append(one)

    def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for link in idle:
            self._discard(link)

    def _discard(self, link: Link) -> None:
        place, link.place = link.place, None
        link.fail(Failure(Failure.SILENT if link.mux.slots else Failure.CLOSED, "the connection was closed"))
        if place is not None:
            self._free(place)

    def _check_open(self) -> None:
        if self._closed:
            raise BackendClosedError("the backend is closed")

    def close(self) -> None:
        """Close idle connections and wake every thread that uses a connection or waits for one. Idempotent."""
        self._closed = True
        self._abort_review()
        self._close_idle()
        for reference in list(self._places.values()):
            place = reference()
            if place is not None:
                place.abort()
        while self._sleepers:
            self._wake_one()

    def close_silently(self) -> None:
        """Close the descriptors only: in the child of a fork."""
        self._closed = True
        for reference in list(self._places.values()):
            place = reference()
            if place is not None and place.port is not None:
                place.port.close_silently()
