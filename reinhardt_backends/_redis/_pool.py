"""The connections of blocking callers.

A thread that blocks cannot read for others, so a call has a connection to itself. Idle connections are kept on a stack:
the one used last is used next. When ``max_connections`` are open, callers wait for one to be returned.
"""

from __future__ import annotations

import threading
from time import monotonic

from .._errors import BackendClosedError, BackendTimeoutError
from .._io import Attempt, Runtime, blocking_runtime
from ._link import Link
from ._mux import Failure
from ._options import Options
from ._retry import Outage, connect


class Pool:
    """A stack of idle connections, and the count of all."""

    def __init__(self, options: Options, outage: Outage) -> None:
        self._runtime: Runtime = blocking_runtime()
        self._options = options
        self._outage = outage
        # Re-entrant, since a signal handler may make a call in the middle of another one of its thread; and taken
        # directly: an exception that arrives in the condition's own __enter__ would leave it locked.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._closed = False
        self._idle: list[Link] = []
        self._busy: set[Link] = set()
        self._attempts: set[Attempt] = set()

    def take(self) -> Link | None:
        """The idle connection used last, if there is one."""
        with self._lock:
            if not self._idle or self._closed:
                return None
            link = self._idle.pop()
            self._busy.add(link)
            return link

    def give_back(self, link: Link) -> None:
        """Return a connection that was taken; one that cannot be used again is closed."""
        clean = link.is_clean()
        with self._lock:
            self._busy.discard(link)
            if clean and not self._closed and link.usable:
                self._idle.append(link)
                clean = False
            else:
                clean = True
            self._changed.notify()
        if clean:
            link.fail(Failure(Failure.CLOSED, "the connection was closed"))

    async def connected(self, deadline: float) -> Link:
        """Return an idle connection, or a new one. Never suspends.

        Raises:
            BackendError: There is no connection; nothing was sent.
        """
        attempt = self._enter(deadline)
        if isinstance(attempt, Link):
            return attempt
        try:
            link = await connect(self._runtime, self._options, self._outage, attempt, deadline, self.rest)
        except BaseException:
            with self._lock:
                self._attempts.discard(attempt)
                self._changed.notify()
            raise
        with self._lock:
            self._attempts.discard(attempt)
            if not self._closed:
                self._busy.add(link)
                return link
        link.fail(Failure(Failure.CLOSED, "the backend was closed"))
        raise BackendClosedError("the backend was closed while connecting")

    def _enter(self, deadline: float) -> Link | Attempt:
        """Return an idle connection, or permission to open one."""
        with self._lock:
            while True:
                if self._closed:
                    raise BackendClosedError("the backend is closed")
                if self._idle:
                    link = self._idle.pop()
                    self._busy.add(link)
                    return link
                if len(self._busy) + len(self._attempts) < self._options.max_connections:
                    attempt = Attempt()
                    self._attempts.add(attempt)
                    return attempt
                if not self._changed.wait(deadline - monotonic()) and monotonic() >= deadline:
                    raise BackendTimeoutError(f"{self._options.location}: no free connection in time")

    async def rest(self, until: float) -> None:
        """Sleep, until the pool is closed at the latest."""
        with self._lock:
            while not self._closed and (left := until - monotonic()) > 0:
                self._changed.wait(left)

    def drop_idle(self) -> None:
        """Close the idle connections: one was found dead, so the others are likely to be dead too."""
        with self._lock:
            idle, self._idle = self._idle, []
        for link in idle:
            link.fail(Failure(Failure.CLOSED, "the connection was closed"))

    def close(self) -> None:
        """Close idle connections and wake every thread that uses a connection or waits for one. Idempotent."""
        with self._lock:
            self._closed = True
            busy, attempts = list(self._busy), list(self._attempts)
            self._changed.notify_all()
        self.drop_idle()
        for attempt in attempts:
            attempt.abort()
        for link in busy:
            link.cut()

    def close_silently(self) -> None:
        """Close the descriptors only: in the child of a fork, where a thread of the parent may hold the lock."""
        for link in [*self._idle, *self._busy]:
            link.close_silently()
        for attempt in self._attempts:
            if attempt.port is not None:
                attempt.port.close_silently()
