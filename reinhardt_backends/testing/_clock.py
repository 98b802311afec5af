"""A clock that stands still until it is moved."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Final

from .._backend._locks import RLock

_NANO: Final = 1_000_000_000


class FakeClock:
    """A monotonic clock in seconds, for whatever takes ``clock=``: it moves when a test says so, and only then.

    ``Throttle.wait``, ``Lock.acquire`` and the leases of a ``Cache`` on a backend with this clock move with it.
    Timeouts also end with real time, so that nothing waits forever for a clock that nothing moves.

    Exact to the nanosecond: after ten steps of 0.1 it shows 1.0, and a ttl of 0.2 that was set at 0.1 has run out at
    0.3, which floats alone would not give. May be read and advanced from any thread.

    Args:
        start: What it shows at first, in seconds.
    """

    __module__ = "reinhardt_backends.testing"  # where users import it from

    def __init__(self, start: float = 1000.0) -> None:
        self._now = _nanoseconds(start)
        self._lock = RLock()
        self._timers: list[_Timer] = []

    def __call__(self) -> float:
        """Return the time in seconds."""
        return _Instant(self._now / _NANO)

    def __repr__(self) -> str:
        return f"<FakeClock at {self._now / _NANO} s>"

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once.

        What waits on this clock is woken, in the order in which it is due. It goes on in its own task or thread, so
        give it a chance to run before the clock is advanced again.

        Raises:
            ValueError: ``seconds`` is negative or not finite: a monotonic clock never goes back.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError("a monotonic clock moves forward, by a finite number of seconds")
        with self._lock:
            end = self._now + _nanoseconds(seconds)
        while (timer := self._next_timer(end)) is not None:
            timer.function()

    def call_after(self, seconds: float, function: Callable[[], object]) -> Callable[[], None]:
        """Have a function called by ``advance`` once ``seconds`` have passed.

        Throttles, locks and caches on a backend with this clock use it to wait.

        Returns:
            A function that cancels it.
        """
        with self._lock:
            timer = _Timer(self._now + _nanoseconds(seconds), function)
            self._timers.append(timer)
        return partial(self._cancel, timer)

    def _cancel(self, timer: _Timer) -> None:
        with self._lock, suppress(ValueError):
            self._timers.remove(timer)

    def _next_timer(self, end: int) -> _Timer | None:
        """Move to the next timer that is due by ``end`` and take it; without one, move to ``end``."""
        with self._lock:
            timer = min((one for one in self._timers if one.due <= end), key=attrgetter("due"), default=None)
            self._now = max(self._now, end if timer is None else timer.due)
            if timer is not None:
                self._timers.remove(timer)
            return timer


@dataclass(eq=False, frozen=True, slots=True)
class _Timer:
    due: int
    function: Callable[[], object]


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
