"""What is known about a server that does not answer, and what a call may do when it gets no reply.

While a server restarts, a call waits for it: it tries to connect until its deadline, with full-jitter backoff between
attempts. Once calls have waited for one full ``timeout`` and the server was not heard, an ``Outage`` is known (a
circuit breaker): calls raise at once, and once a second one call probes the server.

Each command says what may be done if no reply comes (``Kind``), and the connection says whether the command may have
been sent. A command that certainly was not sent may be sent again. One that may have been is sent again only if that is
harmless, and not before the server has confirmed that the old connection has ended (``end_on_server``). The one
deadline of the call bounds all attempts.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic
from typing import Any, Final, Protocol

from redis.backoff import FullJitterBackoff

from .._backend import INFO, WARNING, LimitedRecord, write_record
from .._errors import (
    BackendClosedError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    OutcomeUnknownError,
)
from .._io import Runtime
from ._commands import Kind
from ._link import Link
from ._mux import CallFailed, Failure, ServerClient, Slot
from ._protocol import Refusal, error_for, is_read_only, is_transient, pack, without_echo
from ._silence import NEARLY

#: How often a call whose connection broke is sent again.
MAX_RESENDS: Final = 3

#: Seconds between the probes of a server that is out of service, and how long one may take.
PROBE: Final = 1.0

#: Seconds that other calls wait for a probe from its beginning. A server that is back has answered by then.
BRIEF: Final = 0.04

#: After how many seconds without trouble an outage that is not known yet begins afresh.
GAP: Final = 1.0

_RECONNECTED: Final = LimitedRecord("redis", INFO, "reconnected to %s")
_UNKNOWN: Final = LimitedRecord("redis", WARNING, "%s has not answered a write, which may have been applied")

_BACKOFF: Final = FullJitterBackoff(cap=0.5, base=0.02)
_PING: Final = pack((b"PING",))
_AGE: Final = re.compile(rb"\bage=(\d+)")

#: Sleep until a point in time, or until the backend is closed.
Rest = Callable[[float], Awaitable[None]]


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures: a random time below a bound that doubles."""
    return float(_BACKOFF.compute(min(failures, 10)))


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
        self._last = 0.0
        self._last_try = 0.0
        self._tried = False
        self._next_probe = 0.0
        #: Until when other calls wait for the probe that is under way.
        self.probing = -inf
        # Re-entrant, since a signal handler may make a call.
        self._lock = threading.RLock()
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
        if self._since is not None:
            with self._lock:
                since, ends = self._since, self.known
                self._since = None
                self.known = False
                self._changed()
            if ends and since is not None:
                write_record(
                    "redis", WARNING, "the outage of %s is over: it %s for %.1f s, and %d calls failed",
                    self._location, self._text, monotonic() - since, self._failed,
                )  # fmt: skip

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


class History:
    """What has happened to one call so far, and what that allows.

    Args:
        kind: What the command allows.
        location: Where the server is, for error messages.
        deadline: The deadline of the call.
        health: What is known about the server.
    """

    def __init__(self, kind: Kind, location: str, deadline: float, health: Health) -> None:
        self._health = health
        self._kind = kind
        self._location = location
        self._deadline = deadline
        #: Whether an attempt may have been executed.
        self.sent = False
        self._broken = 0
        self._refused = 0
        #: Since when the server has refused the call as read-only.
        self._read_only_since: float | None = None
        #: Connections on which the call may still be executed.
        self._doubtful: list[Failure] = []
        #: Whether the attempt that has begun goes behind a ``PING``.
        self._pinged = False

    async def consider(self, trouble: CallFailed | Refusal, rest: Rest) -> None:
        """Return, after a pause if one is due, if the call may be sent again; raise if not."""
        pause, error = self.weigh(trouble)
        until = monotonic() + pause
        if until >= self._deadline:
            raise error
        if pause:
            await rest(until)

    def weigh(self, trouble: CallFailed | Refusal) -> tuple[float, BackendError]:
        """Return how many seconds to wait before the call may be sent again (infinity: never), and what is wrong."""
        if isinstance(trouble, CallFailed):
            return self._after_failure(trouble), self._error_for(trouble.failure)
        return self._after_refusal(trouble), error_for(trouble, self._location)

    def _after_failure(self, failed: CallFailed) -> float:
        """Seconds to wait after a call without a reply; infinity if it must not be sent again."""
        if failed.sent:
            self.sent = True
            if self._kind is Kind.IDEMPOTENT:
                self._doubtful.append(failed.failure)
        self._broken += 1
        if failed.failure.reason not in {Failure.CLOSED, Failure.EXPIRED}:
            self._health.lost = True
        if (
            failed.failure.reason in {Failure.CLOSED, Failure.EXPIRED}
            or self._broken > MAX_RESENDS
            or (self.sent and self._kind is Kind.ONCE)
            or self._health.outage(self._kind) is not None
        ):
            return inf
        return backoff(self._broken - 1) if self._broken > 1 else 0.0

    def _after_refusal(self, refusal: Refusal) -> float:
        """Seconds to wait after a refusal; infinity if it must not be sent again."""
        self._refused += 1
        if is_transient(refusal):
            return backoff(self._refused)
        if not is_read_only(refusal) or self._health.read_only.known:
            return inf
        if self._read_only_since is None:
            # Another connection may lead to another server.
            self._read_only_since = monotonic()
            return 0.0
        # The call that finds out has been sent and refused: it raises the refusal.
        found_out = self._health.read_only.trouble(self._read_only_since)
        return inf if found_out else backoff(self._refused)

    async def prepare(self, link: Link) -> None:
        """Make sure that nothing stands against sending the call on a connection.

        Raises:
            CallFailed: The connection broke, with nothing sent.
            BackendError: The call must not be sent again.
        """
        while self._doubtful:
            failure = self._doubtful[-1]
            if not await end_on_server(link, failure.client, self._deadline) and failure.reason == Failure.SILENT:
                raise self._error_for(failure)
            self._doubtful.pop()
        now = monotonic()
        if self._kind is Kind.ONCE and now >= link.fresh_until:
            # After idling the path may have died without the socket knowing.
            await ask(link, _PING, self._deadline)
            link.fresh_until = now + link.idle_limit

    async def exchange(self, link: Link, data: bytes, count: int) -> Any:
        """Send the call and return its reply, or the list of its replies."""
        try:
            slot = await self.begin(link, data, count)
        finally:
            del data
        return await self.finish(link, slot, count)

    async def begin(self, link: Link, data: bytes, count: int) -> Slot:
        """Queue the call without sending it, behind a ``PING`` if the connection was idle for long."""
        try:
            if not link.has_room():
                await link.enter(self._deadline)
            now = monotonic()
            self._pinged = now >= link.fresh_until
            if self._pinged:
                return link.begin(_PING + data, count + 1, self._deadline)
            link.fresh_until = now + link.idle_limit
            return link.begin(data, count, self._deadline)
        finally:
            del data

    async def finish(self, link: Link, slot: Slot, count: int) -> Any:
        """Send a call that has begun, and return its reply or the list of its replies."""
        replies = await link.finish(slot)
        if not self._pinged:
            return replies
        link.fresh_until = monotonic() + link.idle_limit
        return replies[1] if count == 1 else replies[1:]

    def succeeded(self) -> None:
        """Note that the call was answered."""
        if self._kind is not Kind.READ:
            self._health.read_only.over()

    def _error_for(self, failure: Failure) -> BackendError:
        error: BackendError
        if failure.reason == Failure.CLOSED:
            return BackendClosedError(f"{self._location}: {failure.text}")
        if failure.reason in {Failure.EXPIRED, Failure.SILENT}:
            return BackendTimeoutError(f"{self._location}: {failure.text}")
        if isinstance(failure.cause, Refusal):
            return error_for(without_echo(failure.cause), self._location)
        error = BackendConnectionError(f"{self._location}: {failure.text}")
        error.__cause__ = failure.cause
        return error

    def judge(self, error: BackendError) -> BackendError:
        """Return the error that the caller gets: of a write that may have been executed, the outcome is unknown."""
        if isinstance(error, BackendConnectionError):
            self._health.down.note_failure()
            self._health.read_only.note_failure()
        if not self.sent or self._kind is Kind.READ or isinstance(error, BackendClosedError):
            return error
        _UNKNOWN.write(self._location)
        unknown = OutcomeUnknownError(f"{self._location}: the command may have been sent, and was not answered")
        unknown.__cause__ = error.with_traceback(None)
        return unknown


async def ask(link: Link, data: bytes, deadline: float) -> Any:
    """Send a command that is no part of a call, and return its reply.

    Raises:
        CallFailed: The connection broke. As far as the call is concerned, nothing was sent.
    """
    try:
        return await link.exchange(data, 1, deadline)
    except CallFailed as failed:
        failure = failed.failure
    raise CallFailed(failure, sent=False)


async def end_on_server(link: Link, client: ServerClient | None, deadline: float) -> bool:
    """End a connection that was given up on the server, so that nothing that it still carries is executed later.

    Args:
        link: The connection that the call will use next.
        client: The connection as the server knows it; ``None`` if the server did not say.
        deadline: When to give up.

    Returns:
        Whether it has ended. Not so where the server refuses to say, or to end it.
    """
    if client is None:
        return False
    if client.gone or (link.client is not None and link.client.server != client.server):
        # A server that another one has replaced loses what it executes from then on.
        return True
    number = b"%d" % client.number
    listed = await ask(link, pack((b"CLIENT", b"LIST", b"ID", number)), deadline)
    if not isinstance(listed, bytes):
        return False
    age = _AGE.search(listed)
    # A younger connection of that number means that the server has restarted since, and the old one is gone.
    if age is not None and int(age[1]) + 2 >= monotonic() - client.since:
        killed = await ask(link, pack((b"CLIENT", b"KILL", b"ID", number)), deadline)
        if not isinstance(killed, int):
            return False
    client.gone = True
    return True


def refusal_in(reply: Any, count: int) -> Refusal | None:
    """The refusal that counts: of several the first, unless all of them only ask to come again later."""
    if count == 1:
        return reply if reply.__class__ is Refusal else None
    refusals = [one for one in reply if one.__class__ is Refusal]
    if not refusals:
        return None
    return next((one for one in refusals if not is_transient(one)), refusals[0])
