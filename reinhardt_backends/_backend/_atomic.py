"""Atomic steps: read keys, decide, write, with nothing in between. The components need them, and no verb gives them.

A step is written twice, since the two stores have nothing in common: in Lua, which Redis runs as one command on its own
clock, and as a pure function, which the memory backend runs under its lock on its own clock. Both see the same values
and arguments and return the same answer. A user's own backend has neither, and its ``_run_step`` raises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Found: TypeAlias = "tuple[Any, float] | None"
"""What a step finds under a key: the value as plain JSON data or ``bytes``, and the seconds until it expires
(``math.inf`` without expiry); ``None`` if the key is missing."""

Write: TypeAlias = "tuple[Any, float | None] | None"
"""What a step writes to a key: a value and its ttl in seconds (``None`` keeps the expiry, ``math.inf`` removes it);
the value ``MISSING`` removes the key; ``None`` leaves the key alone. Integers are of the signed 64-bit range."""

Decide: TypeAlias = Callable[[float, Sequence[Found], Sequence[Any]], tuple[Any, Sequence[Write]]]
"""Takes the time on the store's clock (seconds), what is found under each key, and the arguments. Returns the answer,
and what to write to each key, in the order of the keys; ``()`` writes nothing. It is pure, so a store may call it again
if a key has changed meanwhile."""


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One atomic step.

    Attributes:
        name: What it does, for the error of a backend that cannot run it.
        lua: The script for Redis: ``KEYS``, and ``ARGV`` as strings. Lua's numbers are exact up to 2**53 only.
        decide: The same as a pure function.
        harmless: Whether running it twice does the same as running it once, so that it may be sent again.
    """

    name: str
    lua: str
    decide: Decide
    harmless: bool = False


DecideOne: TypeAlias = Callable[[float, Any, float], "tuple[Any, Any, float | None]"]
"""Takes the time on the store's clock (seconds), the stored form of the value under the key (``None`` if it is missing:
a number, a ``str``, or the ``bytes`` that Redis would have), and the seconds until it expires. Returns the answer, the
stored form to write (``None`` writes nothing, ``MISSING`` removes the key), and its ttl as in ``Write``. It is pure, so
a store may call it again if the key has changed meanwhile."""


@dataclass(frozen=True, eq=False, slots=True)
class KeyStep:
    """An atomic step over one key that has its arguments already: made once, run often.

    Attributes:
        name: What it does, for the error of a backend that cannot run it.
        lua: The script for Redis, with one key.
        arguments: The ``ARGV`` of the script.
        decide: The same as a pure function.
    """

    name: str
    lua: str
    arguments: tuple[bytes, ...]
    decide: DecideOne
