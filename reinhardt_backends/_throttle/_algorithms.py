"""The algorithms of a throttle: how hits are counted over time.

An algorithm is a few functions over the numbers that it keeps for a rate, two or three of them, all of them whole:

* ``current``: these numbers as they stand now, given the stored ones or none;
* ``retry``: the time until a cost fits, 0 if it does;
* ``spend``: the numbers after a hit;
* ``left``: how many hits of cost 1 fit;
* ``reset``: the time until the numbers say nothing any more, so that they need not be kept.

Each is written twice, in Python and in Lua. Times are in microseconds. The algorithms:

* ``FIXED``: when the window ends, and a count. A window begins with the first hit. It is what Redis's documentation of
  ``INCR`` describes as a rate limiter.
* ``SLIDING``: when the window began, the count in it, and that of the window before, of which a share counts that
  shrinks as time goes on. Described by J. Desgats, "How we built rate limiting capable of scaling to millions of
  domains" (Cloudflare, 2017). It assumes that the hits of the window before were spread evenly.
* ``GCRA``: the generic cell rate algorithm (ITU-T I.371, annex A), in its form as a leaky bucket: hits fill it, and it
  leaks at the rate (J. Turner, "New directions in communications", 1986); the complement of a token bucket. The numbers
  are the last time and the level. The level is counted in microseconds times hits: so it leaks ``limit`` of these each
  microsecond, and no rounding adds up.

A clock may go back a little, or be set back far. Up to a period back, time is taken to stand still; numbers from later
than that were written on another time, and say nothing.

Numbers past 2**53 are inexact in Lua, by less than one part in 10**15.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

Numbers = tuple[int, ...]


class Limits(NamedTuple):
    """A rate: its limit, its period, and how many hits may come at once."""

    limit: int
    period: int
    burst: int


class Lua(NamedTuple):
    """The same in Lua: statements over ``a``, ``b`` and ``c``, which are the numbers, or ``nil`` where there are none.

    ``current`` also sets ``wait``, the time until ``wanted`` fits; the others set what they are called.
    """

    current: str
    spend: str
    reset: str
    left: str


class Algorithm(NamedTuple):
    """The five functions, and how many numbers there are for each rate."""

    width: int
    current: Callable[[int, Numbers | None, Limits], Numbers]
    retry: Callable[[int, Numbers, Limits, int], int]
    spend: Callable[[Numbers, Limits, int], Numbers]
    left: Callable[[int, Numbers, Limits], int]
    reset: Callable[[int, Numbers, Limits], int]
    lua: Lua


def _fixed_current(now: int, old: Numbers | None, limits: Limits) -> Numbers:
    if old is None or not now < old[0] <= now + limits.period:
        return now + limits.period, 0
    return old


FIXED: Final = Algorithm(
    width=2,
    current=_fixed_current,
    retry=lambda now, at, limits, cost: 0 if at[1] + cost <= limits.limit else at[0] - now,
    spend=lambda at, limits, cost: (at[0], at[1] + cost),
    left=lambda now, at, limits: max(limits.limit - at[1], 0),
    reset=lambda now, at, limits: at[0] - now if at[1] > 0 else 0,
    lua=Lua(
        current="""
if not a or now >= a or a > now + period then a, b = now + period, 0 end
wait = b + wanted <= limit and 0 or a - now
""",
        spend="b = b + cost",
        reset="reset = b > 0 and a - now or 0",
        left="left = math.max(limit - b, 0)",
    ),
)


def _sliding_current(now: int, old: Numbers | None, limits: Limits) -> Numbers:
    if old is None or not old[0] - limits.period <= now < old[0] + 2 * limits.period:
        return now, 0, 0
    start, count, before = old
    if now >= start + limits.period:
        return start + limits.period, 0, count
    return min(start, now), count, before


def _sliding_retry(now: int, at: Numbers, limits: Limits, cost: int) -> int:
    start, count, before = at
    limit, period, _ = limits
    gone = now - start
    if before * (period - gone) + (count + cost) * period <= limit * period:
        return 0
    if count + cost <= limit:
        return period - (limit - count - cost) * period // before - gone
    return period - gone + max(period - (limit - cost) * period // count, 0)


def _sliding_left(now: int, at: Numbers, limits: Limits) -> int:
    start, count, before = at
    return max(limits.limit - count + -(before * (limits.period - now + start)) // limits.period, 0)


def _sliding_reset(now: int, at: Numbers, limits: Limits) -> int:
    start, count, before = at
    if count > 0:
        return start + 2 * limits.period - now
    return start + limits.period - now if before > 0 else 0


SLIDING: Final = Algorithm(
    width=3,
    current=_sliding_current,
    retry=_sliding_retry,
    spend=lambda at, limits, cost: (at[0], at[1] + cost, at[2]),
    left=_sliding_left,
    reset=_sliding_reset,
    lua=Lua(
        current="""
if not a or now >= a + 2 * period or now < a - period then a, b, c = now, 0, 0
elseif now >= a + period then a, b, c = a + period, 0, b
else a = math.min(a, now) end
gone = now - a
if c * (period - gone) + (b + wanted) * period <= limit * period then wait = 0
elseif b + wanted <= limit then wait = period - math.floor((limit - b - wanted) * period / c) - gone
else wait = period - gone + math.max(period - math.floor((limit - wanted) * period / b), 0) end
""",
        spend="b = b + cost",
        reset="reset = b > 0 and a + 2 * period - now or c > 0 and a + period - now or 0",
        left="left = math.max(limit - b - math.ceil(c * (period - now + a) / period), 0)",
    ),
)


def _gcra_current(now: int, old: Numbers | None, limits: Limits) -> Numbers:
    if old is None or now < old[0] - limits.period:
        return now, 0
    return now, max(old[1] - max(now - old[0], 0) * limits.limit, 0)


GCRA: Final = Algorithm(
    width=2,
    current=_gcra_current,
    retry=lambda now, at, limits, cost: max(
        -((limits.burst * limits.period - at[1] - cost * limits.period) // limits.limit), 0
    ),
    spend=lambda at, limits, cost: (at[0], at[1] + cost * limits.period),
    left=lambda now, at, limits: max((limits.burst * limits.period - at[1]) // limits.period, 0),
    reset=lambda now, at, limits: -(-at[1] // limits.limit),
    lua=Lua(
        current="""
if a and now >= a - period then b = math.max(b - math.max(now - a, 0) * limit, 0) else b = 0 end
a = now
wait = math.max(math.ceil((b + wanted * period - burst * period) / limit), 0)
""",
        spend="b = b + cost * period",
        reset="reset = math.ceil(b / limit)",
        left="left = math.max(math.floor((burst * period - b) / period), 0)",
    ),
)
