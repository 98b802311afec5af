"""What is done when no reply comes, or one that only asks for patience.

Sending is not repeated lightly. Every command says what may be done about it (``Kind``), and the connection says
whether it may have left. What certainly did not may be sent again by anyone; what may have is sent again only if that
is harmless. The one deadline of the call bounds it all.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from .._errors import (
    BackendClosedError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    OutcomeUnknownError,
)
from ._kind import Kind
from ._lanes import Lane
from ._link import Lost
from ._mux import Loss
from ._outage import MAX_RESENDS, backoff
from ._pool import Pool
from ._protocol import Refusal
from ._replies import error_for, is_read_only, is_transient


class History:
    """What has happened to one call so far, and what that allows."""

    def __init__(self, kind: Kind, location: str, deadline: float) -> None:
        self._kind = kind
        self._location = location
        self._deadline = deadline
        #: Whether an attempt may have been executed.
        self._sent = False
        self._broken = 0
        self._refused = 0
        self._replica = False

    async def consider(self, trouble: Lost | Refusal, place: Lane | Pool) -> None:
        """Return, after a pause if one is due, if the call may be sent again; raise if not."""
        if isinstance(trouble, Lost):
            self._sent = self._sent or trouble.sent
            error = self._lost(trouble.loss)
            self._broken += 1
            pause = backoff(self._broken - 1) if self._broken > 1 else 0.0
            hopeless = (
                trouble.loss.what in {Loss.CLOSED, Loss.EXPIRED}
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
            await place.rest(until)

    def _lost(self, loss: Loss) -> BackendError:
        error: BackendError
        if loss.what == Loss.CLOSED:
            return BackendClosedError(f"{self._location}: {loss.text}")
        if loss.what in {Loss.EXPIRED, Loss.SILENT}:
            return BackendTimeoutError(f"{self._location}: {loss.text}")
        if isinstance(loss.cause, Refusal):
            return error_for(loss.cause, self._location)
        error = BackendConnectionError(f"{self._location}: {loss.text}")
        error.__cause__ = loss.cause
        return error

    def judge(self, error: BackendError) -> BackendError:
        """The error that the caller gets: of a write that may have been executed, only that nobody knows."""
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
