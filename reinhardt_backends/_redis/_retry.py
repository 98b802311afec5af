"""What a call may do when it gets no reply.

Each command says what may be done if no reply comes (``Kind``), and the connection says whether the command may have
been sent. A command that certainly was not sent may be sent again. One that may have been is sent again only if that is
harmless, and not before the server has confirmed that the old connection has ended (``end_on_server``). The one
deadline of the call bounds all attempts.
"""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic
from typing import Any, Final

from .._backend import WARNING, LimitedRecord
from .._errors import (
    BackendClosedError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    OutcomeUnknownError,
)
from ._commands import Kind
from ._health import Health
from ._link import Link
from ._mux import CallFailed, Failure, ServerClient, Slot
from ._protocol import Refusal, error_for, is_read_only, is_transient, pack, without_echo

#: How often a call whose connection broke is sent again.
MAX_RESENDS: Final = 3

_UNKNOWN: Final = LimitedRecord("redis", WARNING, "%s has not answered a write, which may have been applied")

_FIRST_BACKOFF: Final = 0.02
_LONGEST_BACKOFF: Final = 0.5
_PING: Final = pack((b"PING",))
_AGE: Final = re.compile(rb"\bage=(\d+)")
#: The server holds back what the client has sent. No command of ours blocks by itself.
_BLOCKED: Final = re.compile(rb"\bflags=\w*b")

#: Sleep until a point in time, or until the backend is closed.
Rest = Callable[[float], Awaitable[None]]


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures: a random time below a bound that doubles."""
    longest = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2 ** min(failures, 10))
    return random.uniform(0, longest)  # noqa: S311 - it spreads callers, and is no secret


def out_of_step(link: Link) -> CallFailed:
    """Give up a connection whose replies do not belong to the commands."""
    failure = Failure(Failure.BROKEN, "the server sent a reply of another type than the command has")
    link.fail(failure)
    return CallFailed(failure, sent=True)


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
        #: The refusal that is the last thing the server did with the call.
        self._refusal: BackendError | None = None
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
        self._refusal = error_for(trouble, self._location)
        return self._after_refusal(trouble), self._refusal

    def _after_failure(self, failed: CallFailed) -> float:
        """Seconds to wait after a call without a reply; infinity if it must not be sent again."""
        if failed.sent:
            self.sent = True
            self._refusal = None
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
        """Return the error that the caller gets.

        Of a write that may have been executed, the outcome is unknown. A call that was refused, and then could not be
        sent again in time or because of an outage, gets the refusal.
        """
        if isinstance(error, BackendConnectionError):
            self._health.down.note_failure()
            self._health.read_only.note_failure()
        refusal = self._refusal
        if refusal is not None and (
            isinstance(error, BackendTimeoutError)
            or (type(error) is BackendConnectionError and self._health.outage(self._kind) is not None)
        ):
            refusal.__cause__ = error.with_traceback(None)
            error = refusal
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
    line = await _line_of(link, client, deadline)
    if line is None:
        return False
    if line:
        killed = await ask(link, pack((b"CLIENT", b"KILL", b"ID", b"%d" % client.number)), deadline)
        if not isinstance(killed, int):
            return False
    client.gone = True
    return True


async def is_held(link: Link, client: ServerClient | None, deadline: float) -> bool:
    """Return whether the server holds back what it got on a silent connection, as it does while writes are paused.

    Args:
        link: Another connection to the server.
        client: The silent connection as the server knows it; ``None`` if the server did not say.
        deadline: When to give up.
    """
    if client is None or (link.client is not None and link.client.server != client.server):
        return False
    try:
        line = await _line_of(link, client, deadline)
    except CallFailed:
        return False
    return bool(line and _BLOCKED.search(line))


async def _line_of(link: Link, client: ServerClient, deadline: float) -> bytes | None:
    """Return what the server says about a connection: nothing if it has ended; ``None`` if it does not say."""
    listed = await ask(link, pack((b"CLIENT", b"LIST", b"ID", b"%d" % client.number)), deadline)
    if not isinstance(listed, bytes):
        return None
    age = _AGE.search(listed)
    # A younger connection of that number means that the server has restarted since, and the old one is gone.
    return listed if age is not None and int(age[1]) + 2 >= monotonic() - client.since else b""


def refusal_in(reply: Any, count: int) -> Refusal | None:
    """The refusal that counts: of several the first, unless all of them only ask to come again later."""
    if count == 1:
        return reply if reply.__class__ is Refusal else None
    refusals = [one for one in reply if one.__class__ is Refusal]
    if not refusals:
        return None
    return next((one for one in refusals if not is_transient(one)), refusals[0])
