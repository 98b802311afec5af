"""The algorithms of a throttle: how hits are counted over time.

An algorithm keeps a few whole numbers for a rate, and has these formulas over them, in Python and in Lua. Times are in
microseconds. ``now`` never decreases, and ``latest`` is what it was when the numbers were written; ``_clock.py`` has
both.

* ``take``: how long a cost has to wait, 0 if it fits; the numbers as they stand now, after the hit if it fits; and the
  time until those say nothing any more. A negative cost asks for its opposite and spends nothing;
* ``left``: how many hits of cost 1 fit, and the time until the next one fits once all of those were spent;
* ``horizon``: the longest that the wait can be. Numbers that old say nothing any more.

In Lua ``take`` is in pieces.

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


Taken = tuple[int, Numbers, int]


class Lua(NamedTuple):
    """The formulas as Lua statements over ``limit``, ``period``, ``burst`` and the numbers ``a``, ``b`` and ``c``.

    ``current`` brings the numbers up to date; ``a`` is ``nil`` where there are none. ``wait`` is the body of the
    function ``wait_for``; ``spend`` adds ``cost``; ``reset`` and ``horizon`` set what they are called, ``left`` also
    ``refill``.
    """

    current: str
    wait: str
    spend: str
    reset: str
    left: str
    horizon: str


class Formulas(NamedTuple):
    """The formulas of an algorithm, and how many numbers it keeps for a rate.

    ``take`` has the arguments ``now, latest, numbers, cost, limit, period, burst``, ``left`` has ``now, numbers, limit,
    period, burst``.
    """

    width: int
    take: Callable[[int, int, Numbers | None, int, int, int, int], Taken]
    left: Callable[[int, Numbers, int, int, int], tuple[int, int]]
    horizon: Callable[[int, int, int], int]
    lua: Lua


def _take_fixed(now: int, latest: int, old: Numbers | None, cost: int, limit: int, period: int, burst: int) -> Taken:
    end, count = (now + period, 0) if old is None or now >= old[0] else old
    if count + abs(cost) > limit:
        return end - now, (end, count), end - now
    if cost > 0:
        count += cost
    return 0, (end, count), end - now if count else 0


def _left_fixed(now: int, at: Numbers, limit: int, period: int, burst: int) -> tuple[int, int]:
    return max(limit - at[1], 0), at[0] - now


FIXED: Final = Formulas(
    width=2,
    take=_take_fixed,
    left=_left_fixed,
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


def _take_sliding(now: int, latest: int, old: Numbers | None, cost: int, limit: int, period: int, burst: int) -> Taken:
    if old is None or (gone := now - old[0]) >= 2 * period:
        start, count, before, gone = now, 0, 0, 0
    elif gone >= period:
        start, count, before, gone = old[0] + period, 0, old[1], gone - period
    else:
        start, count, before = old
    wait, wanted = 0, count + abs(cost)
    if before * (period - gone) + wanted * period > limit * period:
        if wanted <= limit:
            wait = period - (limit - wanted) * period // before - gone
        else:
            wait = period - gone + max(period - (limit - wanted + count) * period // count, 0)
    elif cost > 0:
        count = wanted
    reset = 2 * period - gone if count else period - gone if before else 0
    return wait, (start, count, before), reset


def _left_sliding(now: int, at: Numbers, limit: int, period: int, burst: int) -> tuple[int, int]:
    start, count, before = at
    left = max(limit - count + -(before * (period - now + start)) // period, 0)
    return left, _take_sliding(now, now, (start, count + left, before), -1, limit, period, burst)[0]


SLIDING: Final = Formulas(
    width=3,
    take=_take_sliding,
    left=_left_sliding,
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


def _take_gcra(now: int, latest: int, old: Numbers | None, cost: int, limit: int, period: int, burst: int) -> Taken:
    level = 0 if old is None else old[0] - (now - latest) * limit
    level = max(level, 0)
    filled = level + abs(cost) * period
    excess = filled - burst * period
    if excess > 0:
        return -(-excess // limit), (level,), -(-level // limit)
    if cost > 0:
        level = filled
    return 0, (level,), -(-level // limit)


def _left_gcra(now: int, at: Numbers, limit: int, period: int, burst: int) -> tuple[int, int]:
    left = max((burst * period - at[0]) // period, 0)
    return left, _take_gcra(now, now, at, -left - 1, limit, period, burst)[0]


GCRA: Final = Formulas(
    width=1,
    take=_take_gcra,
    left=_left_gcra,
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
