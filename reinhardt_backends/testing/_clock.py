"""A clock that stands still until it is moved."""

from __future__ import annotations

import math
import threading
from typing import Final

_NANO: Final = 1_000_000_000


class FakeClock:
    """A monotonic clock in seconds, for whatever takes ``clock=``: it moves when a test says so, and only then.

    Exact to the nanosecond: after ten steps of 0.1 it shows 1.0, and a ttl of 0.2 that was set at 0.1 has run out at
    0.3, which floats alone would not give. May be read and advanced from any thread.

    Args:
        start: What it shows at first, in seconds.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._now = _nanoseconds(start)
        self._lock = threading.RLock()

    def __call__(self) -> float:
        """Return the time in seconds."""
        return _Instant(self._now / _NANO)

    def __repr__(self) -> str:
        return f"<FakeClock at {self._now / _NANO} s>"

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once.

        Raises:
            ValueError: ``seconds`` is negative or not finite: a monotonic clock never goes back.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError("a monotonic clock moves forward, by a finite number of seconds")
        with self._lock:
            self._now += _nanoseconds(seconds)


class _Instant(float):
    """A reading. Adding seconds to it counts in nanoseconds, as the clock does when it moves."""

    __slots__ = ()

    def __add__(self, seconds: float) -> float:
        total = float.__add__(self, seconds)
        return (_nanoseconds(self) + _nanoseconds(seconds)) / _NANO if math.isfinite(total) else total


def _nanoseconds(seconds: float) -> int:
    # Not round(seconds * 10**9), which is off by the rounding of the product where the time is long.
    whole = math.floor(seconds)
    return whole * _NANO + round((seconds - whole) * _NANO)
