"""The algorithms of a throttle: how hits are counted over time.

An algorithm keeps a few whole numbers for a rate, and has these formulas over them, in Python and in Lua. Times are in
microseconds. ``now`` never decreases, and ``latest`` is what it was when the numbers were written; ``_clock.py`` has
both.

* ``current``: the numbers as they stand now, given the stored ones or ``None``;
* ``wait``: the time until a cost fits, 0 if it does;
* ``spend``: the numbers after a hit;
* ``reset``: the time until the numbers say nothing any more;
* ``left``: how many hits of cost 1 fit, and the time until the next one fits once all of those were spent;
* ``horizon``: the longest that ``wait`` can be. Numbers that old say nothing any more.

The algorithms:

* ``FIXED``: when the window ends, and a count. A window begins with the first hit. It is what Redis's documentation of
  ``INCR`` describes as a rate limiter.
* ``SLIDING``: when the window began, the count in it, and that of the window before, of which a share counts that
  shrinks as time goes on. Described by J. Desgats, "How we built rate limiting capable of scaling to millions of
  domains" (Cloudflare, 2017). It assumes that the hits of the window before were spread evenly.
* ``GCRA``: the generic cell rate algorithm (ITU-T I.371, annex A), in its form as a leaky bucket: hits fill it, and it
  leaks at the rate (J. Turner, "New directions in communications", 1986); the complement of a token bucket. The number
  is the level, in microseconds times hits: so it leaks ``limit`` of these each microsecond, and no rounding adds up.

Numbers past 2**53 are inexact in Lua, by less than one part in 10**15.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

Numbers = tuple[int, ...]


class Lua(NamedTuple):
    """The formulas as Lua statements over ``limit``, ``period``, ``burst`` and the numbers ``a``, ``b`` and ``c``.

    ``a`` is ``nil`` where there are no numbers. ``wait`` is the body of the function ``wait_for``; ``spend`` adds
    ``cost``; ``reset`` and ``horizon`` set what they are called, ``left`` also ``refill``.
    """

    current: str
    wait: str
    spend: str
    reset: str
    left: str
    horizon: str


class Formulas(NamedTuple):
    """The formulas of an algorithm, and how many numbers it keeps for a rate.

    Their last arguments are the limit, the period and the burst.
    """

    width: int
    current: Callable[[int, int, Numbers | None, int, int, int], Numbers]
    wait: Callable[[int, Numbers, int, int, int, int], int]
    spend: Callable[[Numbers, int, int, int, int], Numbers]
    reset: Callable[[int, Numbers, int, int, int], int]
    left: Callable[[int, Numbers, int, int, int], tuple[int, int]]
    horizon: Callable[[int, int, int], int]
    lua: Lua


def _fixed_current(now: int, latest: int, old: Numbers | None, limit: int, period: int, burst: int) -> Numbers:
    return (now + period, 0) if old is None or now >= old[0] else old


def _fixed_wait(now: int, at: Numbers, wanted: int, limit: int, period: int, burst: int) -> int:
    return 0 if at[1] + wanted <= limit else at[0] - now


def _fixed_spend(at: Numbers, cost: int, limit: int, period: int, burst: int) -> Numbers:
    return at[0], at[1] + cost


def _fixed_reset(now: int, at: Numbers, limit: int, period: int, burst: int) -> int:
    return at[0] - now if at[1] else 0


def _fixed_left(now: int, at: Numbers, limit: int, period: int, burst: int) -> tuple[int, int]:
    return max(limit - at[1], 0), at[0] - now


FIXED: Final = Formulas(
    width=2,
    current=_fixed_current,
    wait=_fixed_wait,
    spend=_fixed_spend,
    reset=_fixed_reset,
    left=_fixed_left,
    horizon=lambda limit, period, burst: period,
    lua=Lua(
        current="if not a or now >= a then a, b = now + period, 0 end",
        wait="return b + wanted <= limit and 0 or a - now",
        spend="b = b + cost",
        reset="reset = b > 0 and a - now or 0",
        left="left, refill = math.max(limit - b, 0), a - now",
        horizon="horizon = period",
    ),
)


def _sliding_current(now: int, latest: int, old: Numbers | None, limit: int, period: int, burst: int) -> Numbers:
    if old is None or now >= old[0] + 2 * period:
        return now, 0, 0
    start, count, _ = old
    return (start + period, 0, count) if now >= start + period else old


def _sliding_wait(now: int, at: Numbers, wanted: int, limit: int, period: int, burst: int) -> int:
    start, count, before = at
    gone = now - start
    if before * (period - gone) + (count + wanted) * period <= limit * period:
        return 0
    if count + wanted <= limit:
        return period - (limit - count - wanted) * period // before - gone
    return period - gone + max(period - (limit - wanted) * period // count, 0)


def _sliding_spend(at: Numbers, cost: int, limit: int, period: int, burst: int) -> Numbers:
    return at[0], at[1] + cost, at[2]


def _sliding_reset(now: int, at: Numbers, limit: int, period: int, burst: int) -> int:
    start, count, before = at
    if count:
        return start + 2 * period - now
    return start + period - now if before else 0


def _sliding_left(now: int, at: Numbers, limit: int, period: int, burst: int) -> tuple[int, int]:
    start, count, before = at
    left = max(limit - count + -(before * (period - now + start)) // period, 0)
    return left, _sliding_wait(now, (start, count + left, before), 1, limit, period, burst)


SLIDING: Final = Formulas(
    width=3,
    current=_sliding_current,
    wait=_sliding_wait,
    spend=_sliding_spend,
    reset=_sliding_reset,
    left=_sliding_left,
    horizon=lambda limit, period, burst: 2 * period,
    lua=Lua(
        current="""
if not a or now >= a + 2 * period then a, b, c = now, 0, 0
elseif now >= a + period then a, b, c = a + period, 0, b end
""".strip(),
        wait="""
local gone = now - a
if c * (period - gone) + (b + wanted) * period <= limit * period then return 0 end
if b + wanted <= limit then return period - math.floor((limit - b - wanted) * period / c) - gone end
return period - gone + math.max(period - math.floor((limit - wanted) * period / b), 0)
""".strip(),
        spend="b = b + cost",
        reset="reset = b > 0 and a + 2 * period - now or c > 0 and a + period - now or 0",
        left="""
left = math.max(limit - b - math.ceil(c * (period - now + a) / period), 0)
refill = wait_for(now, limit, period, burst, a, b + left, c, 1)
""".strip(),
        horizon="horizon = 2 * period",
    ),
)


def _gcra_current(now: int, latest: int, old: Numbers | None, limit: int, period: int, burst: int) -> Numbers:
    return (0,) if old is None else (max(old[0] - (now - latest) * limit, 0),)


def _gcra_wait(now: int, at: Numbers, wanted: int, limit: int, period: int, burst: int) -> int:
    excess = at[0] + (wanted - burst) * period
    return -(-excess // limit) if excess > 0 else 0


def _gcra_spend(at: Numbers, cost: int, limit: int, period: int, burst: int) -> Numbers:
    return (at[0] + cost * period,)


def _gcra_reset(now: int, at: Numbers, limit: int, period: int, burst: int) -> int:
    return -(-at[0] // limit)


def _gcra_left(now: int, at: Numbers, limit: int, period: int, burst: int) -> tuple[int, int]:
    left = max((burst * period - at[0]) // period, 0)
    return left, _gcra_wait(now, at, left + 1, limit, period, burst)


GCRA: Final = Formulas(
    width=1,
    current=_gcra_current,
    wait=_gcra_wait,
    spend=_gcra_spend,
    reset=_gcra_reset,
    left=_gcra_left,
    horizon=lambda limit, period, burst: -(-burst * period // limit),
    lua=Lua(
        current="a = a and math.max(a - (now - latest) * limit, 0) or 0",
        wait="return math.max(math.ceil((a + (wanted - burst) * period) / limit), 0)",
        spend="a = a + cost * period",
        reset="reset = math.ceil(a / limit)",
        left="""
left = math.max(math.floor((burst * period - a) / period), 0)
refill = wait_for(now, limit, period, burst, a, b, c, left + 1)
""".strip(),
        horizon="horizon = math.ceil(burst * period / limit)",
    ),
)
