"""The algorithms of a throttle: how hits are counted over time.

An algorithm keeps a few numbers for a rate. Times are in microseconds. ``now`` never decreases, and ``latest`` is what
it was when the numbers were written; ``_clock.py`` has both. The formulas exist in Python and in Lua. In both the
numbers are doubles: whole numbers, exact up to 2**53, and beyond that inexact by less than one part in 10**15.

* ``FIXED``: when the window ends, and a count. A window begins with the first hit. It is what Redis's documentation of
  ``INCR`` describes as a rate limiter.
* ``SLIDING``: when the window began, the count in it, and that of the window before, of which a share counts that
  shrinks as time goes on. Described by J. Desgats, "How we built rate limiting capable of scaling to millions of
  domains" (Cloudflare, 2017). It assumes that the hits of the window before were spread evenly.
* ``GCRA``: the generic cell rate algorithm (ITU-T I.371, annex A), in its form as a leaky bucket: hits fill it, and it
  leaks at the rate (J. Turner, "New directions in communications", 1986); the complement of a token bucket. The number
  is the level, in microseconds times hits: so it leaks ``limit`` of these each microsecond, and no rounding adds up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

State: TypeAlias = tuple[float, ...]
"""The latest time, the lag of the clock (see ``_clock.py``), and the numbers of a rate."""

Take: TypeAlias = Callable[[float, State | None], tuple[float, float, State]]
Left: TypeAlias = Callable[[float, State], tuple[float, float]]


class Meter(NamedTuple):
    """The formulas of one rate, for hits of one cost. A negative cost asks for its opposite and spends nothing.

    Attributes:
        take: Given ``now`` and the state, ``None`` where nothing is stored: how long the cost has to wait, 0 if it
            fits; the time until the numbers say nothing any more; and the state as it is now, after the hit if it fits.
        left: Given ``now`` and a state of that time: how many hits of cost 1 fit, and the time until the next one fits
            once all of those were spent.
        horizon: The longest that the wait can be. Numbers that old say nothing any more.
    """

    take: Take
    left: Left
    horizon: float


class Lua(NamedTuple):
    """The formulas as Lua over ``now``, ``limit``, ``period``, ``burst`` and the numbers ``a``, ``b`` and ``c``.

    ``current`` brings the numbers up to date; ``a`` is ``nil`` where there are none. ``fits`` is a condition about the
    cost ``wanted``, and ``wait`` returns how long that has to wait if it does not fit. ``spend`` adds ``cost``;
    ``reset`` and ``horizon`` are expressions; ``left`` sets ``left`` and ``refill``.
    """

    current: str
    fits: str
    wait: str
    spend: str
    reset: str
    left: str
    horizon: str


class Algorithm(NamedTuple):
    """An algorithm: how many numbers it keeps for a rate, and its formulas.

    ``meter`` takes cost, limit, period and burst.
    """

    width: int
    meter: Callable[[int, int, int, int], Meter]
    lua: Lua


def _fixed(cost: int, limit: int, length: int, burst: int) -> Meter:
    period = float(length)
    wanted, spent = abs(cost), max(cost, 0)

    def take(now: float, old: State | None) -> tuple[float, float, State]:
        if old is None or now >= old[2]:
            end, count = now + period, 0.0
        else:
            _, _, end, count = old
        wait = end - now
        if count + wanted > limit:
            return wait, wait, (now, 0.0, end, count)
        count += spent
        return 0.0, wait if count else 0.0, (now, 0.0, end, count)

    def left(now: float, at: State) -> tuple[float, float]:
        return max(limit - at[3], 0.0), at[2] - now

    return Meter(take, left, period)


FIXED: Final = Algorithm(
    width=2,
    meter=_fixed,
    lua=Lua(
        current="if not a or now >= a then a, b = now + period, 0 end",
        fits="b + wanted <= limit",
        wait="return a - now",
        spend="b = b + cost",
        reset="b > 0 and a - now or 0",
        left="left, refill = math.max(limit - b, 0), a - now",
        horizon="period",
    ),
)


def _sliding(cost: int, limit: int, length: int, burst: int) -> Meter:
    period = float(length)
    wanted, spent = abs(cost), max(cost, 0)
    longest, most = 2 * period, limit * period

    def wait_for(gone: float, count: float, before: float, wanted: int) -> float:
        total = count + wanted
        if before * (period - gone) + total * period <= most:
            return 0.0
        if total <= limit:
            return period - (limit - total) * period // before - gone
        return period - gone + max(period - (limit - wanted) * period // count, 0.0)

    def take(now: float, old: State | None) -> tuple[float, float, State]:
        if old is None or (gone := now - old[2]) >= longest:
            start, count, before, gone = now, 0.0, 0.0, 0.0
        elif gone < period:
            _, _, start, count, before = old
        else:
            start, count, before, gone = old[2] + period, 0.0, old[3], gone - period
        wait = wait_for(gone, count, before, wanted)
        if not wait:
            count += spent
        reset = longest - gone if count else period - gone if before else 0.0
        return wait, reset, (now, 0.0, start, count, before)

    def left(now: float, at: State) -> tuple[float, float]:
        _, _, start, count, before = at
        gone = now - start
        left = max(limit - count + -(before * (period - gone)) // period, 0.0)
        return left, wait_for(gone, count + left, before, 1)

    return Meter(take, left, longest)


SLIDING: Final = Algorithm(
    width=3,
    meter=_sliding,
    lua=Lua(
        current="""
if not a or now >= a + 2 * period then a, b, c = now, 0, 0
elseif now >= a + period then a, b, c = a + period, 0, b end
""".strip(),
        fits="c * (period - now + a) + (b + wanted) * period <= limit * period",
        wait="""
local gone = now - a
if b + wanted <= limit then return period - math.floor((limit - b - wanted) * period / c) - gone end
return period - gone + math.max(period - math.floor((limit - wanted) * period / b), 0)
""".strip(),
        spend="b = b + cost",
        reset="b > 0 and a + 2 * period - now or c > 0 and a + period - now or 0",
        left="""
left = math.max(limit - b - math.ceil(c * (period - now + a) / period), 0)
refill = wait_for(now, limit, period, burst, a, b + left, c, 1)
""".strip(),
        horizon="2 * period",
    ),
)


def _gcra(cost: int, limit: int, length: int, burst: int) -> Meter:
    period = float(length)
    full, wanted, spent = burst * period, abs(cost) * period, max(cost, 0) * period

    def take(now: float, old: State | None) -> tuple[float, float, State]:
        level = 0.0 if old is None else old[2] - (now - old[0]) * limit
        level = max(level, 0.0)
        excess = level + wanted - full
        if excess > 0.0:
            return -(-excess // limit), -(-level // limit), (now, 0.0, level)
        level += spent
        return 0.0, -(-level // limit), (now, 0.0, level)

    def left(now: float, at: State) -> tuple[float, float]:
        left = max((full - at[2]) // period, 0.0)
        return left, max(-((full - at[2] - (left + 1) * period) // limit), 0.0)

    return Meter(take, left, -(-full // limit))


GCRA: Final = Algorithm(
    width=1,
    meter=_gcra,
    lua=Lua(
        current="if a then a = a - (now - latest) * limit else a = 0 end if a < 0 then a = 0 end",
        fits="a + (wanted - burst) * period <= 0",
        wait="return math.ceil((a + (wanted - burst) * period) / limit)",
        spend="a = a + cost * period",
        reset="math.ceil(a / limit)",
        left="""
left = math.max(math.floor((burst * period - a) / period), 0)
refill = wait_for(now, limit, period, burst, a, b, c, left + 1)
""".strip(),
        horizon="math.ceil(burst * period / limit)",
    ),
)
