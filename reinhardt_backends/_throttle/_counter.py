"""A single rate by ``fixed-window``: a counter that expires with its window.

There are two steps: one with the whole answer, in the form of ``_decisions.py``, and one that only says whether the hit
is allowed, by the shortest way.

A key that another program made has no expiry perhaps, or after a step of the server's clock one beyond the period. Both
are set right by the next denied hit, so that no window is longer than its period. Redis keeps a key through the
millisecond in which it expires; here the window is over then, so that a hit at the very time that was told is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, Final

from .._backend._atomic import Found, Step, Write

_MICRO: Final = 1_000_000
_ROUNDING: Final = 1e-9
"""Seconds by which the remainder of an expiry may be off, which is a sum of floats."""
_FOREVER: Final = float("inf")


def _decide(time: float, found: Sequence[Found], args: Sequence[Any]) -> tuple[list[int], Sequence[Write]]:
    cost, _, limit, period, _ = args
    there = found[0]
    if there is None or there[0].__class__ is not int or there[0] <= 0:
        if cost > 0:
            return [1, limit - cost, period, 0, period], ((cost, period / _MICRO),)
        return [1, limit, 0, 0, period], ()
    count, left = there
    reset, ttl = ceil((left - _ROUNDING) * _MICRO) if left < _FOREVER else period + 1, None
    if reset > period:
        reset, ttl = period, period / _MICRO
    elif reset < 1:
        reset = 1
    if count + abs(cost) > limit:
        return [0, max(limit - count, 0), reset, reset, reset], () if ttl is None else ((count, ttl),)
    if cost > 0:
        count += cost
        return [1, limit - count, reset, 0, reset], ((count, ttl),)
    return [1, limit - count, reset, 0, reset], () if ttl is None else ((count, ttl),)


# A denied hit only reads, so that a flood of them is neither written nor replicated.
COUNT: Final = Step(
    "throttle by fixed-window",
    """
local cost, limit, period = tonumber(ARGV[1]), tonumber(ARGV[3]), ARGV[4] / 1000
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
""",
    _decide,
)
"""The whole answer, given what ``_decisions.py`` says."""


def _decide_allow(time: float, found: Sequence[Found], args: Sequence[Any]) -> tuple[int, Sequence[Write]]:
    cost, limit, milliseconds = args
    (there,) = found
    if there is not None:
        count, left = there
        if count.__class__ is int and count > 0:
            total = count + cost
            if total <= limit:
                return 1, ((total, None),)
            return 0, ((count, milliseconds / 1000),) if left > milliseconds / 1000 + _ROUNDING else ()
    return 1, ((cost, milliseconds / 1000),)


ALLOW: Final = Step(
    "throttle by fixed-window",
    """
local stored = redis.call('GET', KEYS[1])
local count = stored and tonumber(stored)
if count and count > 0 and count % 1 == 0 then
  if count + ARGV[1] <= tonumber(ARGV[2]) then
    redis.call('INCRBY', KEYS[1], ARGV[1])
    return 1
  end
  local left = redis.call('PTTL', KEYS[1])
  if left == -1 or left > tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
  if left ~= 0 then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
""",
    _decide_allow,
)
"""Whether the hit is allowed: ``cost, limit, milliseconds``, the cost within the limit."""
