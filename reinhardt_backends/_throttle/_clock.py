"""Time that never goes back, for numbers that machines with different clocks share.

The stored state has the latest time that any clock has shown, ``latest``. A clock that is behind it stands still there
until it has caught up, so that clocks ``d`` apart let at most ``d`` times the rate more through than one clock would.

But a clock that was set back may be behind by hours, and no caller shall wait for that. Where it would make a hit wait
for longer than the horizon of its rate, the state is marked with the difference, the ``lag``: time then goes on from
``latest`` as that clock does. The mark ends when a clock shows ``latest`` itself: either another machine has the right
time, or the clock has caught up. These two look the same, so a promise that reaches so far is kept by the horizon
instead: what the mark found is over by then.

Where nothing is stored, ``latest`` is what the clock shows, and there is no lag. Times are in microseconds.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Reading(NamedTuple):
    """What a clock shows, and what that means to a state.

    Attributes:
        real: What the clock shows.
        now: The time that counts.
        base: What a clock shows when ``now`` begins to go on.
        latest: The latest time of the state.
        lag: The lag of the state; 0 for none.
    """

    real: float
    now: float
    base: float
    latest: float
    lag: float

    def is_over(self, horizon: float) -> bool:
        """Whether the numbers of a rate say nothing any more, by the promise of a mark."""
        return self.lag > 0 and self.real >= self.latest and self.real >= self.base + horizon

    def promise(self, wait: float, horizon: float) -> float:
        """Return how long it takes on this clock until what takes ``wait`` now is allowed."""
        if wait == 0 or self.real >= self.latest:
            return wait
        start = max(self.real, self.base)
        if self.lag and start + wait >= self.latest:
            wait = max(wait, self.base + horizon - start)
        return start - self.real + wait

    def promise_within(self, wait: float, horizon: float) -> float:
        """Return the same, at most the horizon."""
        return min(self.promise(wait, horizon), horizon)


def read_clock(real: float, latest: float, lag: float) -> Reading:
    """Return what a clock that shows ``real`` means to a state."""
    base = latest - lag
    if real >= latest:
        return Reading(real, real, base, latest, lag)
    if lag and real >= base:
        return Reading(real, latest + real - base, base, latest, lag)
    return Reading(real, latest, base, latest, lag)


def settle(reading: Reading, waits: list[float], horizons: list[float]) -> tuple[Reading, list[float]]:
    """Return the reading with the lag that the state shall have, and each wait as the caller is promised it."""
    if reading.real >= reading.latest:
        reading = reading._replace(lag=0)
    pairs = list(zip(waits, horizons, strict=True))
    if any(reading.promise(wait, horizon) > horizon for wait, horizon in pairs):
        reading = reading._replace(base=reading.real, lag=reading.latest - reading.real)
    return reading, [reading.promise(wait, horizon) for wait, horizon in pairs]


LUA_READ: Final = """
local real, base = now, latest - lag
if real < latest then now = lag > 0 and real >= base and latest + real - base or latest end
"""
"""Sets ``real``, ``base`` and ``now``, given ``now``, ``latest`` and ``lag``."""

LUA_PROMISE: Final = """
local function promise(wait, horizon)
  if wait == 0 or real >= latest then return wait end
  local start = math.max(real, base)
  if lag > 0 and start + wait >= latest then wait = math.max(wait, base + horizon - start) end
  return start - real + wait
end
"""
"""Defines ``promise``, given the same and what ``LUA_READ`` sets."""
