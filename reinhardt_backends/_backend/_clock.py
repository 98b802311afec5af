"""Clocks that tests move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable


@runtime_checkable
class ManualClock(Protocol):
    """A monotonic clock in seconds that moves when a test moves it, such as ``testing.FakeClock``."""

    def __call__(self) -> float: ...

    def call_after(self, seconds: float, function: Callable[[], object]) -> Callable[[], None]:
        """Have a function called once the clock has moved by ``seconds``; return what cancels that."""
        ...
