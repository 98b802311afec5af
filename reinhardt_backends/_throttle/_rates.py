"""``Rate``: so many hits in so much time, and how it is written.

``"100/min"``, ``"10/s"``, ``"5/10s"``, ``"3/500ms"``: a limit, a slash, a period. A period is a unit, or a whole number
of them. With a unit of three letters or more, the slash may be a word: ``"5 per minute"``. A token bucket may hold
another number of tokens than its limit: ``"10/s burst 50"``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from .._types import check_ttl

MAX_LIMIT: Final = 10**15 - 1
"""The largest number that a header field can carry, and small enough for Lua."""

MAX_PERIOD: Final = 10**9
"""The longest period in seconds, some 31 years: in microseconds it is exact in Lua."""

_UNITS: Final = {
    "ms": ("ms", "millisecond", "milliseconds"),
    "s": ("s", "sec", "secs", "second", "seconds"),
    "min": ("m", "min", "mins", "minute", "minutes"),
    "h": ("h", "hr", "hour", "hours"),
    "day": ("d", "day", "days"),
    "week": ("w", "week", "weeks"),
}
_MILLISECONDS: Final = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "day": 86_400_000, "week": 604_800_000}
_BY_NAME: Final = {name: _MILLISECONDS[unit] for unit, names in _UNITS.items() for name in names}
_FORM: Final = re.compile(
    r"\s*([0-9]+)\s*(?:/|\s+per\s+(?=[0-9]*\s*[a-z]{3}))\s*([0-9]*)\s*([a-z]+)(?:\s+burst\s+([0-9]+))?\s*",
    re.IGNORECASE,
)
_LONGEST: Final = 100


@dataclass(frozen=True, slots=True, init=False)
class Rate:
    """So many hits in a period.

    ``str(rate)`` is the shortest way to write it, which ``Rate.parse`` reads.

    Args:
        limit: How many hits, at least 1.
        period: Seconds, or a ``timedelta``: from a millisecond to 10**9 seconds, rounded up to the next millisecond.
        burst: For ``gcra`` alone: how many hits may come at once after a quiet time; ``limit`` of them by default.

    Raises:
        TypeError: A number is not what it must be.
        ValueError: A number is out of range.
    """

    limit: int
    period: float
    burst: int | None = None

    def __init__(self, limit: int, period: float | timedelta, *, burst: int | None = None) -> None:
        object.__setattr__(self, "limit", _check_number(limit, "the limit"))
        object.__setattr__(self, "period", _check_period(period) / 1000)
        object.__setattr__(self, "burst", None if burst is None else _check_number(burst, "the burst"))

    @property
    def milliseconds(self) -> int:
        """The period in milliseconds."""
        return round(self.period * 1000)

    @property
    def most(self) -> int:
        """How many hits can be allowed at once."""
        return self.limit if self.burst is None else self.burst

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Return the rate that is written as in ``"100/min"``, ``"5/10s"`` or ``"10/s burst 50"``.

        Raises:
            TypeError: It is not a ``str``.
            ValueError: It is not written so, or a number is out of range.
        """
        if not isinstance(text, str):
            raise TypeError(f"a rate must be a str or a Rate, not {type(text).__name__}")
        found = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
        unit = _BY_NAME.get(found[3].lower()) if found else None
        if found is None or unit is None:
            names = ", ".join(_UNITS)
            raise ValueError(
                f"{text[:_LONGEST]!r} is not a rate: write it as in '100/min' or '5/10s', with a unit of {names}"
            )
        milliseconds = int(found[2] or 1) * unit
        burst = int(found[4]) if found[4] else None
        return cls(int(found[1]), timedelta(milliseconds=min(milliseconds, MAX_PERIOD * 1000 + 1)), burst=burst)

    def __str__(self) -> str:
        burst = "" if self.burst is None else f" burst {self.burst}"
        return f"{self.limit}/{_written(self.milliseconds)}{burst}"


def _written(milliseconds: int) -> str:
    for unit, size in _MILLISECONDS.items():
        if milliseconds == size:
            return "1ms" if unit == "ms" else unit
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def _check_period(period: float | timedelta) -> int:
    if isinstance(period, bool) or not isinstance(period, (int, float, timedelta)):
        raise TypeError(f"the period of a rate must be seconds or a timedelta, not {type(period).__name__}")
    seconds = period.total_seconds() if isinstance(period, timedelta) else period
    milliseconds = check_ttl(period) if 0 < seconds <= MAX_PERIOD else None
    if milliseconds is None:
        raise ValueError("the period of a rate must be greater than 0 and at most 10**9 seconds")
    return milliseconds


def _check_number(number: int, what: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{what} of a rate must be an int, not {type(number).__name__}")
    if not 1 <= number <= MAX_LIMIT:
        raise ValueError(f"{what} of a rate must be at least 1 and less than 10**15")
    return int(number)
