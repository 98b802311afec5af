"""What is known about a server that does not answer.

While a server restarts, a call waits for it: it tries to connect until its deadline, with full-jitter backoff between
attempts. Once calls have waited for one full ``timeout`` and the server was not heard, an ``Outage`` is known (a
circuit breaker): calls raise at once, and once a second one call probes the server.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final, Protocol

from .._backend import INFO, WARNING, LimitedRecord, write_record
from .._backend._locks import RLock
from .._errors import BackendConnectionError
from .._io import Runtime
from ._commands import Kind
from ._link import Link
from ._silence import NEARLY

#: Seconds between the probes of a server that is out of service, and how long one may take.
PROBE: Final = 1.0

#: Seconds that other calls wait for a probe from its beginning. A server that is back has answered by then.
BRIEF: Final = 0.04

#: After how many seconds without trouble an outage that is not known yet begins afresh.
GAP: Final = 1.0

_RECONNECTED: Final = LimitedRecord("redis", INFO, "reconnected to %s")


class Outage:
    """Whether a server is known to be out of service in one way. Shared by all loops and threads.

    Its beginning and its end are logged, once each.

    Args:
        patience: For how many seconds calls must have waited.
        location: Where the server is, for the log.
        text: What the server does not do, for error messages.
        changed: Called when the outage has become known, or is over.
        heard: Says whether the server has sent something since it was asked last.
    """

    __slots__ = (
        "_changed",
        "_ended",
        "_failed",
        "_heard",
        "_last",
        "_last_try",
        "_location",
        "_lock",
        "_next_probe",
        "_patience",
        "_since",
        "_text",
        "_tried",
        "known",
        "probing",
    )

    def __init__(
        self,
        patience: float,
        location: str,
        text: str,
        changed: Callable[[], None],
        heard: Callable[[], bool] = lambda: False,
    ) -> None:
        self._changed = changed
        self._heard = heard
        self._patience = patience
        self._location = location
        self._text = text
        #: How many calls have failed since the trouble began.
        self._failed = 0
        self._since: float | None = None
        self._ended = -inf
        self._last = 0.0
        self._last_try = 0.0
        self._tried = False
        self._next_probe = 0.0
        #: Until when other calls wait for the probe that is under way.
        self.probing = -inf
        # Re-entrant, since a signal handler may make a call.
        self._lock = RLock()
        self.known = False

    def trouble(self, since: float, *, tried: bool = True) -> bool:
        """Note that a call has waited in vain, from ``since`` until now. Return whether the outage is known.

        Args:
            since: When it began to wait.
            tried: Whether it waited for something new, so that more than one old connection is concerned.
        """
        begins = False
        with self._lock:
            now = monotonic()
            # A call may have begun to wait before the server was last found to be in service.
            since = max(since, self._ended)
            # Asked each time, so that the next call asks about what has come in between.
            heard = self._heard()
            if self._since is None or since - self._last > GAP or (heard and not self.known):
                self._since = since
                self._tried = False
                self._failed = 0
            self._last = now
            if tried:
                self._tried = True
                self._last_try = since
            if not self.known and self._tried and now - self._since >= self._patience * NEARLY:
                self.known = begins = True
                # A server that has recovered since the last attempt began is found within ``PROBE`` of its recovery.
                self._next_probe = self._last_try + PROBE
                self._changed()
            seconds, known = now - self._since, self.known
        if begins:
            write_record(
                "redis", WARNING, "outage: %s %s for %.1f s; calls fail at once from now on",
                self._location, self._text, seconds,
            )  # fmt: skip
        return known

    def over(self) -> None:
        """Note that the server is in service."""
        since = self._since
        if since is not None:
            with self._lock:
                ends = self.known
                self._since = None
                self._ended = monotonic()
                self.known = False
                self._changed()
            if ends:
                write_record(
                    "redis",
                    WARNING,
                    "the outage of %s is over: it %s for %.1f s, and %d calls failed",
                    self._location,
                    self._text,
                    monotonic() - since,
                    self._failed,
                )

    def note_failure(self) -> None:
        """Count a call that has failed, for the log."""
        if self._since is not None:
            self._failed += 1

    @property
    def suspected(self) -> bool:
        """Whether calls have waited in vain, and nothing has answered since."""
        return self._since is not None

    def may_probe(self) -> bool:
        """Take the right to probe the server: one call a second has it."""
        with self._lock:
            now = monotonic()
            if now < self._next_probe:
                return False
            self._next_probe = now + PROBE
            self.probing = now + BRIEF
            return True

    def return_probe(self) -> None:
        """Give back the right to probe."""
        self._next_probe = 0.0

    def error(self, location: str) -> BackendConnectionError:
        """Return the error of a call that was not sent because of the outage."""
        since = self._since
        seconds = 0.0 if since is None else monotonic() - since
        return BackendConnectionError(f"{location} {self._text} for {seconds:.1f} s now; the call was not sent")


class Guide(Protocol):
    """What knows more about a server than the server itself: the other nodes of its cluster."""

    async def is_replaced(self, runtime: Runtime, deadline: float) -> bool:
        """Return whether another server has taken the place of this one, which has fallen silent.

        Args:
            runtime: What waits.
            deadline: When to give up.
        """
        ...


class Health:
    """What is known about one server.

    Attributes:
        down: The outage in which nothing is heard.
        read_only: The outage in which the server is a replica, and refuses writes.
        location: Where it is, for messages.
        lost: Whether a connection broke since the last one was opened.
        served: Whether a connection to it ever succeeded.
        answered: When it last answered on a new connection.
        review_at: When a call must ask whether the server is still the right one.
        clear_until: Until when a call with a connection need not look any further: ``review_at``, or minus infinity
            while an outage is known that concerns some command.
        guide: What else knows about the server.
    """

    __slots__ = (
        "_links",
        "answered",
        "clear_until",
        "down",
        "guide",
        "location",
        "lost",
        "patience",
        "read_only",
        "review_at",
        "served",
    )

    def __init__(self, patience: float, location: str) -> None:
        self.patience = patience
        self.location = location
        self.lost = False
        self.guide: Guide | None = None
        self.review_at = self.clear_until = inf
        #: The connections in use and their runtimes, by identity of the connection.
        self._links: dict[int, tuple[weakref.ref[Link], Runtime]] = {}
        self.down = Outage(patience, location, "has not answered", self._update, self._heard)
        self.read_only = Outage(patience, location, "has been read-only", self._update)
        self.served = False
        self.answered = float("-inf")

    def _update(self) -> None:
        self.clear_until = -inf if self.down.known or self.read_only.known else self.review_at

    def _heard(self) -> bool:
        """Return whether something was received on a connection since this was asked last."""
        heard = False
        for reference, _ in list(self._links.values()):
            link = reference()
            if link is not None and link.mux.received != link.noted:
                heard = True
                link.noted = link.mux.received
        return heard

    def connected(self, link: Link, runtime: Runtime) -> None:
        """Note that a connection was opened, and what it serves."""
        key, links = id(link), self._links
        link.noted = link.mux.received
        links[key] = weakref.ref(link, lambda _: links.pop(key, None)), runtime
        self.served = True
        self.answered = monotonic()
        lost, self.lost = self.lost, False
        self.down.over()
        if lost:
            _RECONNECTED.write(self.location)

    def review_by(self, moment: float) -> None:
        """Set when a call must ask whether the server is still the right one."""
        self.review_at = moment
        self._update()

    def retire_links(self) -> None:
        """Have every loop and thread take a new connection. Calls in flight end normally. From any thread."""
        for reference, runtime in list(self._links.values()):
            link = reference()
            if link is not None:
                # A pool closes its connection when it takes it next.
                link.usable = False
                link.fresh_until = -inf
                if runtime.suspends:
                    runtime.run_soon(link.retire)

    def outage(self, kind: Kind) -> Outage | None:
        """Return the known outage that concerns such a command, if there is one."""
        if self.down.known:
            return self.down
        return self.read_only if self.read_only.known and kind is not Kind.READ else None
