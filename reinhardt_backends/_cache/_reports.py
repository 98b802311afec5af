"""What a cache reports to those that observe its backend, and what it logs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final

from .._backend import WARNING, Backend, LimitedRecord, reporter_for
from .._types import MISSING
from ._lookup import Lookup

_AWAY: Final = LimitedRecord("cache", WARNING, "the store is away (%s): values are computed, and not kept")
_STALE: Final = LimitedRecord("cache", WARNING, "computing a value raised %s: a stale value is served")


class Reports:
    """Reports the outcomes of requests: hit, miss, stale, joined, computed, degraded.

    Args:
        backend: The backend of the cache. Without a listener on it, nothing is reported.
        prefix: What the names of values begin with; it is not part of their keys.
        tolerated: The errors of the backend that mean no more than that it keeps no values.
    """

    def __init__(self, backend: Backend, prefix: str, tolerated: tuple[type[Exception], ...]) -> None:
        self._reporter = reporter_for(backend, "cache")
        self._cut = len(prefix)
        self._tolerated = tolerated

    def outcome(self, outcome: str, name: str, seconds: float = 0.0, error: Exception | None = None) -> None:
        """Report an outcome for the value with a name."""
        if self._reporter is not None:
            self._reporter.report(outcome, name[self._cut :], seconds=seconds, error=error)

    def found(self, name: str, lookup: Lookup | None) -> bool:
        """Report what the first look at the store has shown. Always true."""
        if lookup is not None and lookup.settled:
            self.outcome("hit", name)
        else:
            self.outcome("stale" if lookup is not None and lookup.stale else "miss", name)
        return True

    def away(self, error: Exception) -> None:
        """Log and report that the store is away."""
        _AWAY.write(type(error).__name__)
        if self._reporter is not None:
            self._reporter.report("degraded", error=error)

    def stale_served(self, error: Exception) -> None:
        """Log that a stale value is served since computing a new one has failed."""
        _STALE.write(type(error).__name__)

    def tolerating(self) -> Tolerance:
        """Return a context manager that ends its block where the store is away, if the cache tolerates that."""
        return Tolerance(self, self._tolerated)

    def observed(
        self, get: Callable[..., Awaitable[Any]], blocking_get: Callable[..., Any]
    ) -> tuple[Callable[..., Awaitable[Any]], Callable[..., Any]]:
        """Return both ways to read a value so that they report hits; unchanged if nothing is reported."""
        if self._reporter is None:
            return get, blocking_get

        async def reporting_get(name: str, type: Any, *, default: Any) -> Any:
            return self._hit(name, await get(name, type, default=default))

        def reporting_blocking_get(name: str, type: Any, *, default: Any) -> Any:
            return self._hit(name, blocking_get(name, type, default=default))

        return reporting_get, reporting_blocking_get

    def _hit(self, name: str, value: Any) -> Any:
        # Where the value is missing, or bytes, the caller looks more closely and reports what it finds.
        if value is not MISSING and value.__class__ is not bytes:
            self.outcome("hit", name)
        return value


class Tolerance:
    """Ends a block where the store is away. May be entered any number of times."""

    __slots__ = ("_reports", "_tolerated")

    def __init__(self, reports: Reports, tolerated: tuple[type[Exception], ...]) -> None:
        self._reports = reports
        self._tolerated = tolerated

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(exc, self._tolerated):
            return False
        self._reports.away(exc)
        return True
