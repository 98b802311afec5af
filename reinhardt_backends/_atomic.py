"""Atomic steps over several keys: what the components need and no verb gives.

A step is written twice, since the two stores have nothing in common: in Lua, which Redis runs as one command on its own
clock, and as a plain function, which the memory backend runs under its lock on its clock. Both see the same keys and
arguments and return the same answer. A backend of somebody else's has neither, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class StepStore(Protocol):
    """What the plain function of a step may do. Nothing else happens to the store meanwhile."""

    def step_now(self) -> float:
        """Return the instant of the step, in seconds of the store's clock."""
        ...

    def step_read(self, key: str) -> Any:
        """Return the value of a key as plain JSON data or ``bytes``; ``MISSING`` if it is missing."""
        ...

    def step_left(self, key: str) -> float | None:
        """Return the seconds until a key expires: ``math.inf`` without expiry, ``None`` if it is missing."""
        ...

    def step_write(self, key: str, value: Any, seconds: float | None) -> None:
        """Store a value with an expiry; ``None`` leaves the expiry as it is."""
        ...

    def step_remove(self, key: str) -> bool:
        """Remove a key and return whether it was live."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One atomic step.

    Attributes:
        name: What it does, for the error of a backend that cannot run it.
        lua: The script for Redis: ``KEYS``, and ``ARGV`` as strings. Lua's numbers are exact up to 2**53 only.
        plain: The same over a ``StepStore``, the keys and the arguments.
        harmless: Whether running it twice does the same as running it once, so that it may be sent again.
    """

    name: str
    lua: str
    plain: Callable[[StepStore, Sequence[str], Sequence[Any]], Any]
    harmless: bool = False
