"""The decisions of a throttle as atomic steps, in Lua and in Python.

A step takes one key, which holds the state of all rates, so that several of them are decided at once, in one place. It
is given ``cost, brief, limit, period, burst, limit, period, burst, ...``, the periods in microseconds. A cost of 0 asks
what one of 1 would meet, and changes nothing. The answer is 1 or 0 (allowed or not) where ``brief`` is 1, otherwise a
list: that, and for each rate what remains, the time until it is as if there had been no hits, and the time until it
allows the cost. Only what every rate allows is counted, and only then is anything written.

An algorithm is five functions over the numbers that it keeps for a rate, all of them whole:

* ``current``: these numbers as they stand now, given the stored ones or none;
* ``retry``: the time until a cost fits, 0 if it does;
* ``spend``: the numbers after a hit;
* ``left``: how many hits of cost 1 fit;
* ``reset``: the time until the numbers say nothing any more, so that they need not be kept.

The algorithms:

* ``fixed-window``: a count, and when its window ends. A window begins with the first hit. It is what Redis's
  documentation of ``INCR`` describes as a rate limiter. A single rate needs no list: it is a counter with an expiry.
* ``sliding-window``: the count of this window and of the one before, of which a share counts that shrinks as time goes
  on. Described by J. Desgats, "How we built rate limiting capable of scaling to millions of domains" (Cloudflare,
  2017). It assumes that the hits of the window before were spread evenly.
* ``gcra``: the generic cell rate algorithm (ITU-T I.371, annex A), in its form as a leaky bucket that is filled by hits
  and leaks at the rate (J. Turner, "New directions in communications", 1986); the complement of a token bucket. Its
  level is counted in microseconds times hits, so that it leaks ``limit`` each microsecond and no rounding adds up.

Times and levels past 2**53 are inexact in Lua, by less than one part in 10**15.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ._steps import Step, StepStore

Numbers = tuple[int, ...]
MICRO: Final = 1_000_000


class _Limits(NamedTuple):
    limit: int
    period: int
    burst: int


class _Algorithm(NamedTuple):
    """The five functions, and how many numbers there are for each rate."""

    width: int
    current: Callable[[int, Numbers | None, _Limits], Numbers]
    retry: Callable[[int, Numbers, _Limits, int], int]
    spend: Callable[[Numbers, _Limits, int], Numbers]
    left: Callable[[int, Numbers, _Limits], int]
    reset: Callable[[int, Numbers, _Limits], int]
    lua: str


def _fixed_current(now: int, old: Numbers | None, limits: _Limits) -> Numbers:
    # A window that ends too late was begun before a clock was set back.
    if old is None or not now < old[0] <= now + limits.period:
        return now + limits.period, 0
    return old


FIXED: Final = _Algorithm(
    width=2,
    current=_fixed_current,
    retry=lambda now, at, limits, cost: 0 if at[1] + cost <= limits.limit else at[0] - now,
    spend=lambda at, limits, cost: (at[0], at[1] + cost),
    left=lambda now, at, limits: max(limits.limit - at[1], 0),
    reset=lambda now, at, limits: at[0] - now if at[1] > 0 else 0,
    lua="""
local WIDTH = 2
local function current(now, old, limit, period, burst)
  if not old[1] or now >= old[1] or old[1] > now + period then return {now + period, 0} end
  return old
end
local function retry(now, at, limit, period, burst, cost)
  if at[2] + cost <= limit then return 0 end
  return at[1] - now
end
local function spend(at, limit, period, burst, cost) return {at[1], at[2] + cost} end
local function left(now, at, limit, period, burst) return math.max(limit - at[2], 0) end
local function reset(now, at, limit, period, burst)
  if at[2] > 0 then return at[1] - now end
  return 0
end
""",
)


def _sliding_current(now: int, old: Numbers | None, limits: _Limits) -> Numbers:
    if old is None or now >= old[0] + 2 * limits.period:
        return now, 0, 0
    start, count, before = old
    if now >= start + limits.period:
        return start + limits.period, 0, count
    return min(start, now), count, before


def _sliding_retry(now: int, at: Numbers, limits: _Limits, cost: int) -> int:
    start, count, before = at
    limit, period, _ = limits
    gone = now - start
    if before * (period - gone) + (count + cost) * period <= limit * period:
        return 0
    if count + cost <= limit:
        return period - (limit - count - cost) * period // before - gone
    return period - gone + max(period - (limit - cost) * period // count, 0)


def _sliding_left(now: int, at: Numbers, limits: _Limits) -> int:
    start, count, before = at
    return max(limits.limit - count + -(before * (limits.period - now + start)) // limits.period, 0)


def _sliding_reset(now: int, at: Numbers, limits: _Limits) -> int:
    start, count, before = at
    if count > 0:
        return start + 2 * limits.period - now
    return start + limits.period - now if before > 0 else 0


SLIDING: Final = _Algorithm(
    width=3,
    current=_sliding_current,
    retry=_sliding_retry,
    spend=lambda at, limits, cost: (at[0], at[1] + cost, at[2]),
    left=_sliding_left,
    reset=_sliding_reset,
    lua="""
local WIDTH = 3
local function current(now, old, limit, period, burst)
  if not old[1] or now >= old[1] + 2 * period then return {now, 0, 0} end
  if now >= old[1] + period then return {old[1] + period, 0, old[2]} end
  return {math.min(old[1], now), old[2], old[3]}
end
local function retry(now, at, limit, period, burst, cost)
  local gone = now - at[1]
  if at[3] * (period - gone) + (at[2] + cost) * period <= limit * period then return 0 end
  if at[2] + cost <= limit then
    return period - math.floor((limit - at[2] - cost) * period / at[3]) - gone
  end
  return period - gone + math.max(period - math.floor((limit - cost) * period / at[2]), 0)
end
local function spend(at, limit, period, burst, cost) return {at[1], at[2] + cost, at[3]} end
local function left(now, at, limit, period, burst)
  return math.max(limit - at[2] - math.ceil(at[3] * (period - now + at[1]) / period), 0)
end
local function reset(now, at, limit, period, burst)
  if at[2] > 0 then return at[1] + 2 * period - now end
  if at[3] > 0 then return at[1] + period - now end
  return 0
end
""",
)


def _gcra_current(now: int, old: Numbers | None, limits: _Limits) -> Numbers:
    if old is None:
        return now, 0
    return now, max(old[1] - max(now - old[0], 0) * limits.limit, 0)


GCRA: Final = _Algorithm(
    width=2,
    current=_gcra_current,
    retry=lambda now, at, limits, cost: max(
        -((limits.burst * limits.period - at[1] - cost * limits.period) // limits.limit), 0
    ),
    spend=lambda at, limits, cost: (at[0], at[1] + cost * limits.period),
    left=lambda now, at, limits: max((limits.burst * limits.period - at[1]) // limits.period, 0),
    reset=lambda now, at, limits: -(-at[1] // limits.limit),
    lua="""
local WIDTH = 2
local function current(now, old, limit, period, burst)
  if not old[1] then return {now, 0} end
  return {now, math.max(old[2] - math.max(now - old[1], 0) * limit, 0)}
end
local function retry(now, at, limit, period, burst, cost)
  return math.max(math.ceil((at[2] + cost * period - burst * period) / limit), 0)
end
local function spend(at, limit, period, burst, cost) return {at[1], at[2] + cost * period} end
local function left(now, at, limit, period, burst)
  return math.max(math.floor((burst * period - at[2]) / period), 0)
end
local function reset(now, at, limit, period, burst) return math.ceil(at[2] / limit) end
""",
)

# What is stored is a JSON string of whole numbers. What is something else was not written here, and counts as nothing.
_FRAME: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost, brief = tonumber(ARGV[1]), ARGV[2] == '1'
local wanted = math.max(cost, 1)
local rates = (#ARGV - 2) / 3
local stored = {}
for number in string.gmatch(redis.call('GET', KEYS[1]) or '', '%d+') do stored[#stored + 1] = tonumber(number) end
if #stored ~= rates * WIDTH then stored = {} end

local limit, period, burst, at, wait = {}, {}, {}, {}, {}
local allowed = 1
for i = 1, rates do
  limit[i], period[i], burst[i] = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  local old = {}
  for j = 1, WIDTH do old[j] = stored[(i - 1) * WIDTH + j] end
  at[i] = current(now, old, limit[i], period[i], burst[i])
  wait[i] = retry(now, at[i], limit[i], period[i], burst[i], wanted)
  if wait[i] > 0 then allowed = 0 end
end

if allowed == 1 and cost > 0 then
  local words, kept = {}, 1000
  for i = 1, rates do
    at[i] = spend(at[i], limit[i], period[i], burst[i], cost)
    for j = 1, WIDTH do words[#words + 1] = string.format('%.0f', at[i][j]) end
    kept = math.max(kept, reset(now, at[i], limit[i], period[i], burst[i]))
  end
  local expiry = string.format('%.0f', math.ceil(kept / 1000))
  redis.call('SET', KEYS[1], '"' .. table.concat(words, ',') .. '"', 'PX', expiry)
end
if brief then return allowed end

local answer = {allowed}
for i = 1, rates do
  answer[#answer + 1] = left(now, at[i], limit[i], period[i], burst[i])
  answer[#answer + 1] = reset(now, at[i], limit[i], period[i], burst[i])
  answer[#answer + 1] = wait[i]
end
return answer
"""


def _numbers(value: Any, count: int) -> list[int] | None:
    """Return what is stored, if it is what a step stores."""
    if value.__class__ is str:
        words = value.split(",")
        if len(words) == count and all(word.isdecimal() for word in words):
            return [int(word) for word in words]
    return None


@lru_cache
def _limits(rest: tuple[int, ...]) -> list[_Limits]:
    """Return what a throttle gives to every call."""
    return [_Limits(*rest[at : at + 3]) for at in range(0, len(rest), 3)]


def _step_of(name: str, algorithm: _Algorithm) -> Step:
    width, current, retry, spend, left, reset, lua = algorithm

    def plain(store: StepStore, keys: Sequence[str], args: Sequence[Any]) -> Any:
        now = round(store.step_now() * MICRO)
        cost, brief, *rest = args
        rates = _limits(tuple(rest))
        numbers = _numbers(store.step_read(keys[0]), width * len(rates))
        state: list[Numbers] = []
        waits: list[int] = []
        for index, limits in enumerate(rates):
            old = tuple(numbers[index * width : (index + 1) * width]) if numbers else None
            at = current(now, old, limits)
            state.append(at)
            waits.append(retry(now, at, limits, cost or 1))
        allowed = not any(waits)
        if allowed and cost:
            state = [spend(at, limits, cost) for at, limits in zip(state, rates, strict=True)]
            kept = max([reset(now, at, limits) for at, limits in zip(state, rates, strict=True)])
            text = ",".join([str(number) for at in state for number in at])
            store.step_write(keys[0], text, max(-(-kept // 1000), 1) / 1000)
        if brief:
            return int(allowed)
        answer = [int(allowed)]
        for at, limits, wait in zip(state, rates, waits, strict=True):
            answer += [left(now, at, limits), reset(now, at, limits), wait]
        return answer

    return Step(name, lua + _FRAME, plain)


def _plain_counter(store: StepStore, keys: Sequence[str], args: Sequence[Any]) -> Any:
    cost, brief, limit, period, _ = args
    (key,) = keys
    count = store.step_read(key)
    if count.__class__ is not int or count < 0:
        count = 0
    allowed = count + (cost or 1) <= limit
    if allowed and cost:
        store.step_write(key, count + cost, None if count else period / MICRO)
        count += cost
    if brief and allowed:
        return 1
    left = store.step_left(key) if count else 0
    if left == math.inf:
        # Somebody else made it. Without an expiry it would deny for ever.
        left = period / MICRO
        if cost:
            store.step_write(key, count, left)
    if brief:
        return 0
    reset = round((left or 0) * MICRO)
    return [int(allowed), max(limit - count, 0), reset, 0 if allowed else max(reset, 1)]


_LUA_COUNTER: Final = """
local cost, brief, limit, period = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3]), tonumber(ARGV[4]) / 1000
local count = math.max(math.floor(tonumber(redis.call('GET', KEYS[1]) or 0) or 0), 0)
local allowed = count + math.max(cost, 1) <= limit
if allowed and cost > 0 then
  if count > 0 then
    redis.call('SET', KEYS[1], string.format('%.0f', count + cost), 'KEEPTTL')
  else
    redis.call('SET', KEYS[1], string.format('%.0f', cost), 'PX', string.format('%.0f', period))
  end
  count = count + cost
end
if brief and allowed then return 1 end
local left = count > 0 and redis.call('PTTL', KEYS[1]) or 0
if left == -1 then
  left = period
  if cost > 0 then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', period)) end
end
if brief then return 0 end
left = math.max(left, 0)
return {allowed and 1 or 0, math.max(limit - count, 0), left * 1000, allowed and 0 or math.max(left, 1) * 1000}
"""

COUNTER_STEP: Final = Step("throttle by fixed-window", _LUA_COUNTER, _plain_counter)
FIXED_STEP: Final = _step_of("throttle by fixed-window with several rates", FIXED)
SLIDING_STEP: Final = _step_of("throttle by sliding-window", SLIDING)
GCRA_STEP: Final = _step_of("throttle by gcra", GCRA)
