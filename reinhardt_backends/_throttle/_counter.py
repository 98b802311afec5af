"""A single rate by ``fixed-window``: a counter that expires with its window.

There are two steps: one with the whole answer, in the form of ``_decisions.py``, and one that only says whether the hit
is allowed, by the shortest way.

A key that another program made has no expiry perhaps, or after a step of the server's clock one beyond the period. Both
are set right by the next denied hit, so that no window is longer than its period. Redis keeps a key through the
millisecond in which it expires; here the window is over then, so that a hit at the very time that was told is allowed.
"""

from __future__ import annotations

from math import ceil
from typing import Any, Final

from .._backend._atomic import DecideOne, KeyStep
from ._rates import Rate

_MICRO: Final = 1_000_000
_ROUNDING: Final = 1e-9
"""Seconds by which the remainder of an expiry may be off, which is a sum of floats."""
_FOREVER: Final = float("inf")


def count_step(rate: Rate, cost: int) -> KeyStep:
    """Return the step with the whole answer. A negative cost asks what its opposite would meet."""
    arguments = (b"%d" % cost, b"%d" % rate.limit, b"%d" % rate.milliseconds)
    return KeyStep("throttle by fixed-window", _COUNT, arguments, _decide(cost, rate.limit, rate.milliseconds))


def allow_step(rate: Rate, cost: int) -> KeyStep:
    """Return the step that says whether the hit is allowed, 1 or 0. The cost is within the limit."""
    arguments = (b"%d" % cost, b"%d" % (rate.limit - cost), b"%d" % rate.milliseconds)
    return KeyStep("throttle by fixed-window", _ALLOW, arguments, _decide_allow(cost, rate.limit, rate.period))


def _decide(cost: int, limit: int, milliseconds: int) -> DecideOne:
    period, wanted = milliseconds * 1000, abs(cost)

    def decide(time: float, count: Any, left: float) -> tuple[Any, Any, float | None]:
        if count.__class__ is not int or count <= 0:
            if cost > 0:
                return [1, limit - cost, period, 0, period], cost, period / _MICRO
            return [1, limit, 0, 0, period], None, None
        reset, ttl = ceil((left - _ROUNDING) * _MICRO) if left < _FOREVER else period + 1, None
        if reset > period:
            reset, ttl = period, period / _MICRO
        elif reset < 1:
            reset = 1
        allowed = count + wanted <= limit
        spends = allowed and cost > 0
        if spends:
            count += cost
        answer = [1, limit - count, reset, 0, reset] if allowed else [0, max(limit - count, 0), reset, reset, reset]
        return answer, None if ttl is None and not spends else count, ttl

    return decide


def _decide_allow(cost: int, limit: int, period: float) -> DecideOne:
    def decide(time: float, count: Any, left: float) -> tuple[int, int | None, float | None]:
        if count.__class__ is int and count > 0:
            total = count + cost
            if total <= limit:
                return 1, total, None
            # An expiry beyond the period is set right.
            return (0, count, period) if left > period + _ROUNDING else (0, None, None)
        return 1, cost, period

    return decide


# A denied hit only reads, so that a flood of them is neither written nor replicated.
_COUNT: Final = """
local cost, limit, period = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local stored = redis.call('GET', KEYS[1])
local count = stored and tonumber(stored) or 0
local left = 0
if count > 0 and count % 1 == 0 then left = redis.call('PTTL', KEYS[1]) end
if left == 0 then count = 0 end
if left == -1 or left > period then
  redis.call('PEXPIRE', KEYS[1], period)
  left = period
end
local allowed = count + math.abs(cost) <= limit
if allowed and cost > 0 then
  if count > 0 then
    count = redis.call('INCRBY', KEYS[1], ARGV[1])
  else
    redis.call('SET', KEYS[1], ARGV[1], 'PX', period)
    count, left = cost, period
  end
end
local reset = count > 0 and left * 1000 or 0
return {
  allowed and 1 or 0, math.max(limit - count, 0), reset, allowed and 0 or reset, count > 0 and reset or period * 1000
}
"""

# Arithmetic turns text into a number without a call.
_ALLOW: Final = """
local count = tonumber(redis.call('GET', KEYS[1]))
if count and count > 0 and count % 1 == 0 then
  if count - ARGV[2] <= 0 then
    redis.call('INCRBY', KEYS[1], ARGV[1])
    return 1
  end
  local left = redis.call('PTTL', KEYS[1])
  if left == -1 or left > tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
  if left ~= 0 then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
"""
