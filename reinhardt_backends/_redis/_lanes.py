"""The connections of one event loop.

A loop has two at most. Everything travels on the first, except for what is known to be large: a value of megabytes
would hold up every small one behind it. A command that carries much goes on the second, and so does one that is word
for word the same as one whose last reply was large.

Connecting is a role too, and follows the rule of the others: a running task takes it. Whoever else needs the connection
sleeps until it is there, and shares the failure if it is not. If the connecting task is cancelled, the next one to wake
begins anew.
"""

from __future__ import annotations

import weakref
from collections import deque
from time import monotonic
from typing import Any

from .._errors import BackendClosedError, BackendError, BackendTimeoutError
from .._io import Attempt, Runtime
from ._handshake import open_link
from ._link import Link
from ._mux import Loss
from ._options import Options
from ._outage import Outage


class _Guest:
    __slots__ = ("waiter",)

    def __init__(self) -> None:
        self.waiter: Any = None


class Lane:
    """One shared connection and its replacements.

    Args:
        runtime: The loop that it serves.
        options: How to reach the server.
        outage: What is known about the server.
        beside: The lane for small values, if this is the one for large ones.
    """

    def __init__(self, runtime: Runtime, options: Options, outage: Outage, *, beside: Lane | None = None) -> None:
        self.link: Link | None = None
        self._runtime = runtime
        self._options = options
        self._outage = outage
        self._beside = beside
        self._closed = False
        self._attempt: Attempt | None = None
        self._guests: deque[_Guest] = deque()
        self._resting: _Guest | None = None
        #: How many attempts have come to an end, and how the last one did.
        self._round = 0
        self._verdict: BackendError | None = None

    async def connected(self, deadline: float) -> Link:
        """The connection, opened if need be.

        Raises:
            BackendError: There is none to be had; nothing was sent.
        """
        while True:
            if self._closed:
                raise BackendClosedError("the backend is closed")
            link = self.link
            if link is not None and link.usable:
                return link
            if monotonic() >= deadline:
                raise BackendTimeoutError(f"{self._options.location}: no connection in time")
            if self._attempt is not None:
                await self._await_verdict(deadline)
            else:
                await self._open(deadline)

    async def _await_verdict(self, deadline: float) -> None:
        seen = self._round
        guest = _Guest()
        self._guests.append(guest)
        try:
            await self._runtime.park_until(guest, deadline)
        finally:
            if guest in self._guests:
                self._guests.remove(guest)
        if self._round != seen and self._verdict is not None:
            raise again(self._verdict)

    async def _open(self, deadline: float) -> None:
        self._attempt = attempt = Attempt()
        verdict: BackendError | None = None
        try:
            self.link = await self._persist(attempt, deadline)
        except BackendError as error:
            # If only this caller's time was up, the others, who may have more, try for themselves.
            if monotonic() < deadline:
                verdict = again(error)
            raise
        finally:
            self._attempt = None
            self._verdict = verdict
            self._round += 1
            while self._guests:
                self._runtime.unpark(self._guests.popleft())

    async def _persist(self, attempt: Attempt, deadline: float) -> Link:
        while True:
            try:
                link = await open_link(self._runtime, self._options, attempt, deadline, large=self._beside is not None)
            except BackendError as error:
                if attempt.aborted or not self._outage.failed(error) or monotonic() >= deadline:
                    raise
            else:
                self._outage.connected()
                if self._beside is not None:
                    link.has_company = self._beside.is_busy
                return link
            await self.rest(min(deadline, monotonic() + self._outage.pause()))
            if attempt.aborted:
                raise BackendClosedError("the backend was closed while connecting")

    def is_busy(self) -> bool:
        """Whether calls are in flight."""
        return self.link is not None and bool(self.link.mux.slots)

    def give_back(self, link: Link) -> None:
        """A call on the connection has ended. Others may still use it."""
        if not link.usable:
            link.retire()

    def drop_idle(self) -> None:
        """There are no others."""

    async def rest(self, until: float) -> None:
        """Sleep, until the lane is closed at the latest."""
        self._resting = guest = _Guest()
        try:
            if not self._closed:
                await self._runtime.park_until(guest, until)
        finally:
            self._resting = None

    def close(self) -> None:
        """End every call that uses the connection or waits for one. Called in the loop. Idempotent."""
        self._closed = True
        if self._attempt is not None:
            self._attempt.abort()
        if self._resting is not None:
            self._runtime.unpark(self._resting)
        if self.link is not None:
            self.link.lose(Loss(Loss.CLOSED, "the backend was closed"))
        while self._guests:
            self._runtime.unpark(self._guests.popleft())

    def abandon(self) -> None:
        """Close the descriptors and nothing more: the loop has ended, or this is the child of a fork."""
        self._closed = True
        attempt, link = self._attempt, self.link
        if attempt is not None and attempt.port is not None:
            attempt.port.abandon()
        if link is not None:
            link.abandon()


class Hub:
    """The lanes of one event loop."""

    def __init__(self, loop: weakref.ref[Any], runtime: Runtime, options: Options, outage: Outage) -> None:
        self.loop = loop
        self.runtime = runtime
        self.small = Lane(runtime, options, outage)
        self.large = Lane(runtime, options, outage, beside=self.small)

    def lane(self, *, large: bool) -> Lane:
        """The lane for calls that carry, or fetch, much, or the one for all others."""
        return self.large if large else self.small

    def close(self) -> None:
        """End everything that goes on here, in the loop."""
        self.small.close()
        self.large.close()

    def close_in_its_loop(self) -> None:
        """From any thread. The connections of a loop that has ended are closed here and now."""
        if not self.runtime.run_soon(self.close):
            self.abandon()

    def abandon(self) -> None:
        """Close the descriptors and nothing more."""
        self.small.abandon()
        self.large.abandon()


def again(error: BackendError) -> BackendError:
    """The same error for another caller: one exception object must not travel through several tasks."""
    copy = type(error)(*error.args)
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error.__cause__
    return copy
