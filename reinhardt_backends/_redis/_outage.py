"""When to try again to reach a server that does not answer, and when to say so at once.

While a server restarts, a call had better wait for it; while it is down for good, a caller had better be told. So for
the first ``timeout`` seconds of an outage calls try again until their own deadline, with full-jitter backoff between
attempts; after that each makes one attempt and raises. A server that never answered yet is not waited for either: then
it is the address that is wrong.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from redis.backoff import FullJitterBackoff

from .._errors import AuthenticationError, BackendConnectionError, BackendError

#: How often a call whose connection broke is sent again.
MAX_RESENDS: Final = 3

_BACKOFF: Final = FullJitterBackoff(cap=0.5, base=0.02)


class Outage:
    """What one client knows about its server. Shared by all loops and threads; a lost update is harmless."""

    __slots__ = ("_began", "_failures", "_patience", "_served")

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._served = False
        self._began: float | None = None
        self._failures = 0

    def connected(self) -> None:
        """The server was reached."""
        self._served = True
        self._began = None
        self._failures = 0

    def failed(self, error: BackendError) -> bool:
        """An attempt to connect failed. Whether another one makes sense now."""
        if not isinstance(error, BackendConnectionError) or isinstance(error, AuthenticationError):
            return False
        if self._began is None:
            self._began = monotonic()
        self._failures += 1
        return self._served and monotonic() - self._began < self._patience

    def pause(self) -> float:
        """Seconds to wait before the next attempt."""
        return backoff(self._failures) if self._failures else 0.0


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures: anything between nothing and a bound that doubles."""
    return float(_BACKOFF.compute(min(failures, 10)))
