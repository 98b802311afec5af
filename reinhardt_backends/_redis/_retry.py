"""What happens when a connection cannot be opened, or when a call gets no reply or one that asks to come back later.

While a server restarts, a call waits for it; while it is down for good, callers are told at once. So for the first
``timeout`` seconds of an outage calls try to connect until their own deadline, with full-jitter backoff between
attempts. After that each makes one attempt and raises. A server that never answered is not waited for either: then the
address is likely to be wrong.

Each command says what may be done if no reply comes (``Kind``), and the connection says whether the command may have
been sent. A command that certainly was not sent may be sent again. One that may have been is sent again only if that is
harmless. The one deadline of the call bounds all attempts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final

from redis.backoff import FullJitterBackoff

from .._errors import (
    AuthenticationError,
    BackendClosedError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    OutcomeUnknownError,
)
from .._io import Attempt, Runtime
from ._commands import Kind
from ._handshake import open_link
from ._link import CallFailed, Link
from ._mux import Failure
from ._options import Options
from ._protocol import Refusal, error_for, is_read_only, is_transient, without_echo

#: How often a call whose connection broke is sent again.
MAX_RESENDS: Final = 3

_BACKOFF: Final = FullJitterBackoff(cap=0.5, base=0.02)

#: Sleep until a point in time, or until the backend is closed.
Rest = Callable[[float], Awaitable[None]]


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures: a random time below a bound that doubles."""
    return float(_BACKOFF.compute(min(failures, 10)))


class Outage:
    """What one client knows about its server. Shared by all loops and threads; a lost update is harmless."""

    __slots__ = ("_began", "_failures", "_patience", "_served")

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._served = False
        self._began: float | None = None
        self._failures = 0

    def connected(self) -> None:
        """Note that the server was reached."""
        self._served = True
        self._began = None
        self._failures = 0

    def failed(self, error: BackendError) -> bool:
        """Note that an attempt to connect failed. Return whether another one makes sense now."""
        if not isinstance(error, BackendConnectionError) or isinstance(error, AuthenticationError):
            return False
        if self._began is None:
            self._began = monotonic()
        self._failures += 1
        return self._served and monotonic() - self._began < self._patience

    def pause(self) -> float:
        """Seconds to wait before the next attempt."""
        return backoff(self._failures) if self._failures else 0.0


async def connect(
    runtime: Runtime,
    options: Options,
    outage: Outage,
    attempt: Attempt,
    deadline: float,
    rest: Rest,
    *,
    large: bool = False,
) -> Link:
    """Open a connection; try again while that makes sense and there is time.

    Raises:
        BackendClosedError: The attempt was ended from outside.
        BackendError: As ``open_link`` raises; nothing was sent.
    """
    while True:
        try:
            link = await open_link(runtime, options, attempt, deadline, large=large)
        except BackendError as error:
            if attempt.aborted or not outage.failed(error) or monotonic() >= deadline:
                raise
        else:
            outage.connected()
            return link
        await rest(min(deadline, monotonic() + outage.pause()))
        if attempt.aborted:
            raise BackendClosedError("the backend was closed while connecting")


class History:
    """What has happened to one call so far, and what that allows.

    Args:
        kind: What the command allows.
        location: Where the server is, for error messages.
        deadline: The deadline of the call.
    """

    def __init__(self, kind: Kind, location: str, deadline: float) -> None:
        self._kind = kind
        self._location = location
        self._deadline = deadline
        #: Whether an attempt may have been executed.
        self._sent = False
        self._broken = 0
        self._refused = 0
        self._replica = False

    async def consider(self, trouble: CallFailed | Refusal, rest: Rest) -> None:
        """Return, after a pause if one is due, if the call may be sent again; raise if not."""
        if isinstance(trouble, CallFailed):
            self._sent = self._sent or trouble.sent
            error = self._error_for(trouble.failure)
            self._broken += 1
            pause = backoff(self._broken - 1) if self._broken > 1 else 0.0
            hopeless = (
                trouble.failure.reason in {Failure.CLOSED, Failure.EXPIRED}
                or self._broken > MAX_RESENDS
                or (self._sent and self._kind is Kind.ONCE)
            )
        else:
            error = error_for(trouble, self._location)
            self._refused += 1
            if is_read_only(trouble) and not self._replica:
                self._replica = True
                return
            pause = backoff(self._refused)
            hopeless = not is_transient(trouble)
        until = monotonic() + pause
        if hopeless or until >= self._deadline:
            raise error
        if pause:
            await rest(until)

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
        if not self._sent or self._kind is Kind.READ or isinstance(error, BackendClosedError):
            return error
        unknown = OutcomeUnknownError(f"{self._location}: the command may have been sent, and was not answered")
        unknown.__cause__ = error.with_traceback(None)
        return unknown


def refusal_in(reply: Any, count: int) -> Refusal | None:
    """The refusal that counts: of several the first, unless all of them only ask to come again later."""
    if count == 1:
        return reply if reply.__class__ is Refusal else None
    refusals = [one for one in reply if one.__class__ is Refusal]
    if not refusals:
        return None
    return next((one for one in refusals if not is_transient(one)), refusals[0])
