"""The decisions of a throttle as atomic steps, in Lua and in Python.

A step takes one key, which holds the state of all rates, so that several of them are decided at once, in one place. It
is given ``cost, brief, limit, period, burst, limit, period, burst, ...``, the periods in microseconds. A cost of 0 asks
what one of 1 would meet, and changes nothing. The answer is 1 or 0 (allowed or not) where ``brief`` is 1, otherwise a
list: that, and for each rate what remains, the time until it is as if there had been no hits, and the time until it
allows the cost. Only what every rate allows is counted, and only then is anything written.

The state is a JSON string of whole numbers with commas between them, as ``_algorithms.py`` has them. A single rate by
``fixed-window`` needs no such thing: it is a counter that expires with its window, and its brief answer has a step of
its own. What is something else was not written here, and counts as nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from .._backend._atomic import Found, Step, Write
from ._algorithms import FIXED, GCRA, SLIDING, Algorithm, Limits, Numbers

MICRO: Final = 1_000_000

_ONE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost, limit, period, burst = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local wanted = cost > 0 and cost or 1
local a, b, c = string.match(redis.call('GET', KEYS[1]) or '', 'PATTERN')
if a then a, b, c = tonumber(a), tonumber(b), tonumber(c) end
local wait, left, reset, gone
CURRENT
local allowed = wait <= 0 and 1 or 0
if allowed == 1 and cost > 0 then
  SPEND
  RESET
  redis.call('SET', KEYS[1], string.format('FORMAT', NUMBERS), 'PX', math.max(math.ceil(reset / 1000), 1))
end
if ARGV[2] == '1' then return allowed end
LEFT
RESET
return {allowed, left, reset, wait}
"""

_MANY: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost = tonumber(ARGV[1])
local wanted = cost > 0 and cost or 1
local count = (#ARGV - 2) / 3
local stored = {}
for number in string.gmatch(redis.call('GET', KEYS[1]) or '', '%d+') do stored[#stored + 1] = tonumber(number) end
if #stored ~= count * WIDTH then stored = {} end

local state, waits, allowed = {}, {}, 1
for i = 1, count do
  local limit, period, burst = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  local a, b, c = unpack(stored, (i - 1) * WIDTH + 1, i * WIDTH)
  local wait, gone
  CURRENT
  state[i], waits[i] = {a, b, c}, wait
  if wait > 0 then allowed = 0 end
end

local words, kept, answer = {}, 1000, {allowed}
for i = 1, count do
  local limit, period, burst = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  local a, b, c = unpack(state[i])
  local left, reset
  if allowed == 1 then SPEND end
  LEFT
  RESET
  words[i] = string.format('PLAIN', NUMBERS)
  kept = math.max(kept, reset)
  answer[3 * i - 1], answer[3 * i], answer[3 * i + 1] = left, reset, waits[i]
end
if allowed == 1 and cost > 0 then
  redis.call('SET', KEYS[1], '"' .. table.concat(words, ',') .. '"', 'PX', math.ceil(kept / 1000))
end
if ARGV[2] == '1' then return allowed end
return answer
"""


def _script(frame: str, algorithm: Algorithm) -> str:
    width, lua = algorithm.width, algorithm.lua
    plain = ",".join(["%.0f"] * width)
    words = {
        "PATTERN": '^"' + ",".join(["(%d+)"] * width) + '"$',
        "FORMAT": f'"{plain}"',
        "PLAIN": plain,
        "NUMBERS": ", ".join("abc"[:width]),
        "WIDTH": str(width),
        "CURRENT": lua.current.strip(),
        "SPEND": lua.spend,
        "RESET": lua.reset,
        "LEFT": lua.left,
    }
    return re.sub("|".join(words), lambda found: words[found[0]], frame)


def _numbers(found: Found, count: int) -> list[int] | None:
    """Return what is stored, if it is what a step stores."""
    value = None if found is None else found[0]
    if value.__class__ is str and value.replace(",", "").isdecimal():
        numbers = [int(word) for word in value.split(",") if word]
        if len(numbers) == count:
            return numbers
    return None


@lru_cache
def _limits(rest: tuple[int, ...]) -> list[Limits]:
    """Return what a throttle gives to every call."""
    return [Limits(*rest[at : at + 3]) for at in range(0, len(rest), 3)]


def _one_rate(name: str, algorithm: Algorithm) -> Step:
    width, current, retry, spend, left, reset, _ = algorithm

    def decide(time: float, found: Sequence[Found], args: Sequence[Any]) -> tuple[Any, Sequence[Write]]:
        now = round(time * MICRO)
        cost, brief, limit, period, burst = args
        limits = Limits(limit, period, burst)
        numbers = _numbers(found[0], width)
        at = current(now, tuple(numbers) if numbers else None, limits)
        wait = retry(now, at, limits, cost or 1)
        writes: Sequence[Write] = ()
        if cost and not wait:
            at = spend(at, limits, cost)
            writes = (_written(at, reset(now, at, limits)),)
        if brief:
            return (0 if wait else 1), writes
        return [0 if wait else 1, left(now, at, limits), reset(now, at, limits), wait], writes

    return Step(name, _script(_ONE, algorithm), decide)


def _several_rates(name: str, algorithm: Algorithm) -> Step:
    width, current, retry, spend, left, reset, _ = algorithm

    def decide(time: float, found: Sequence[Found], args: Sequence[Any]) -> tuple[Any, Sequence[Write]]:
        now = round(time * MICRO)
        cost, brief, *rest = args
        rates = _limits(tuple(rest))
        numbers = _numbers(found[0], width * len(rates))
        state: list[Numbers] = []
        waits: list[int] = []
        for index, limits in enumerate(rates):
            old = tuple(numbers[index * width : (index + 1) * width]) if numbers else None
            at = current(now, old, limits)
            state.append(at)
            waits.append(retry(now, at, limits, cost or 1))
        allowed = 0 if any(waits) else 1
        writes: Sequence[Write] = ()
        if allowed and cost:
            state = [spend(at, limits, cost) for at, limits in zip(state, rates, strict=True)]
            kept = max([reset(now, at, limits) for at, limits in zip(state, rates, strict=True)])
            writes = (_written(tuple([number for at in state for number in at]), kept),)
        if brief:
            return allowed, writes
        answer = [allowed]
        for at, limits, wait in zip(state, rates, waits, strict=True):
            answer += [left(now, at, limits), reset(now, at, limits), wait]
        return answer, writes

    return Step(f"{name} with several rates", _script(_MANY, algorithm), decide)


def _written(numbers: Numbers, microseconds: int) -> Write:
    return ",".join(map(str, numbers)), max(-(-microseconds // 1000), 1) / 1000


def _decide_counter(time: float, found: Sequence[Found], args: Sequence[Any]) -> tuple[list[int], Sequence[Write]]:
    cost, _, limit, period, _ = args
    count, left = _counted(found[0])
    allowed = count + (cost or 1) <= limit
    writes: Sequence[Write] = ()
    if allowed and cost:
        if not count:
            left = period / MICRO
        writes = ((count + cost, None if count else left),)
        count += cost
    if left == math.inf:
        # Another program made it. Without an expiry it would deny without end.
        left = period / MICRO
        if cost:
            writes = ((count, left),)
    reset = round(left * MICRO)
    return [int(allowed), max(limit - count, 0), reset, 0 if allowed else max(reset, 1)], writes


def _counted(found: Found) -> tuple[int, float]:
    """Return the count and the seconds until it expires; 0 and 0.0 for what is no count."""
    if found is None or found[0].__class__ is not int or found[0] <= 0:
        return 0, 0.0
    return found


# A denied hit only reads, so that a flood of them is neither written nor replicated.
_LUA_COUNTER: Final = """
local cost, limit = tonumber(ARGV[1]), tonumber(ARGV[3])
local stored = redis.call('GET', KEYS[1])
local count = stored and tonumber(stored) or 0
if not (count > 0 and count % 1 == 0) then count = 0 end
local allowed = count + (cost > 0 and cost or 1) <= limit
if allowed and cost > 0 then
  if count > 0 then
    count = redis.call('INCRBY', KEYS[1], ARGV[1])
  else
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[4] / 1000)
    count = cost
  end
end
local left = count > 0 and redis.call('PTTL', KEYS[1]) or 0
if left == -1 then
  left = ARGV[4] / 1000
  if cost > 0 then redis.call('PEXPIRE', KEYS[1], left) end
end
left = math.max(left, 0)
return {allowed and 1 or 0, math.max(limit - count, 0), left * 1000, allowed and 0 or math.max(left, 1) * 1000}
"""


def _decide_allow(time: float, found: Sequence[Found], args: Sequence[Any]) -> tuple[int, Sequence[Write]]:
    cost, limit, milliseconds = args
    count, left = _counted(found[0])
    if not count:
        return 1, ((cost, milliseconds / 1000),)
    if count + cost <= limit:
        return 1, ((count + cost, None),)
    if left == math.inf:
        return 0, ((count, milliseconds / 1000),)
    return 0, ()


ALLOW: Final = Step(
    "throttle by fixed-window",
    """
local stored = redis.call('GET', KEYS[1])
local count = stored and tonumber(stored)
if not (count and count > 0 and count % 1 == 0) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
  return 1
end
if count + ARGV[1] <= tonumber(ARGV[2]) then
  redis.call('INCRBY', KEYS[1], ARGV[1])
  return 1
end
if redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 0
""",
    _decide_allow,
)
"""The brief answer of the counter, by the shortest way: ``cost, limit, milliseconds``, the cost within the limit."""

STEPS: Final[dict[str, tuple[Step, Step]]] = {
    "fixed-window": (
        Step("throttle by fixed-window", _LUA_COUNTER, _decide_counter),
        _several_rates("throttle by fixed-window", FIXED),
    ),
    "sliding-window": (
        _one_rate("throttle by sliding-window", SLIDING),
        _several_rates("throttle by sliding-window", SLIDING),
    ),
    "gcra": (_one_rate("throttle by gcra", GCRA), _several_rates("throttle by gcra", GCRA)),
}
"""By algorithm: the step for one rate, and that for several."""
