"""The decisions of a throttle as atomic steps, in Lua and in Python.

A step takes one key, which holds the state of all rates, so that several of them are decided at once, in one place. It
is given ``cost, brief, limit, period, burst, limit, period, burst, ...``, the periods in microseconds. A negative cost
asks what its opposite would meet, and counts nothing. The answer is 1 or 0 (allowed or not) where ``brief`` is 1,
otherwise a list: that, and for each rate how many hits remain, the time until it is as if there had been no hits, the
time until it allows the cost, and the time until the next hit fits once the remaining ones were spent. Only what every
rate allows is counted. Nothing is written for other hits, but for the mark of a clock that was set back (see
``_clock.py``).

The state is a JSON string of whole numbers with commas between them: the latest time, the numbers of each rate as
``_algorithms.py`` has them, and the lag if there is one. What is something else was not written here, and counts as
nothing. A single rate by ``fixed-window`` needs no such thing; see ``_counter.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from .._backend._atomic import Found, Step, Write
from ._algorithms import FIXED, GCRA, SLIDING, Formulas, Numbers, Taken
from ._clock import LUA_PROMISE, LUA_READ, Reading, read_clock, settle

MICRO: Final = 1_000_000

Decided = tuple[Any, Sequence[Write]]

# On a clock that was not set back, as almost always, a single rate needs no tables and no loops, and a brief answer
# over several rates one loop.
_LUA: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local value = redis.call('GET', KEYS[1]) or ''
local cost, brief = tonumber(ARGV[1]), ARGV[2] == '1'
local wanted = math.abs(cost)
local function wait_for(now, limit, period, burst, a, b, c, wanted)
  WAIT
end
local left, reset, refill, horizon

if #ARGV == 5 then
  local limit, period, burst = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
  local a, b, c
  local latest, NUMBERS = string.match(value, '^"(%d+),PATTERN"$')
  latest, a, b, c = tonumber(latest) or now, tonumber(a), tonumber(b), tonumber(c)
  if now >= latest and (a or value == '') then
    CURRENT
    local wait = wait_for(now, limit, period, burst, a, b, c, wanted)
    local allowed = wait <= 0 and 1 or 0
    if allowed == 1 and cost > 0 then
      SPEND
      RESET
      local text = string.format('"%.0f,FORMAT"', now, NUMBERS)
      redis.call('SET', KEYS[1], text, 'PX', math.max(math.ceil(reset / 1000), 1))
    end
    if brief then return allowed end
    LEFT
    RESET
    return {allowed, left, reset, wait, refill}
  end
end

local count = (#ARGV - 2) / 3
local stored = {}
for number in string.gmatch(value, '%d+') do stored[#stored + 1] = tonumber(number) end
local size = count * WIDTH + 1
if #stored ~= size and #stored ~= size + 1 then stored = {} end
local latest, lag = stored[1] or now, stored[size + 1] or 0
local lag_before = lag
READ
if brief and cost > 0 and real >= latest and lag == 0 then
  local words, kept = {string.format('%.0f', now)}, 1000
  for i = 1, count do
    local limit, period, burst = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
    local a, b, c = unpack(stored, (i - 1) * WIDTH + 2, i * WIDTH + 1)
    CURRENT
    if wait_for(now, limit, period, burst, a, b, c, cost) > 0 then return 0 end
    SPEND
    RESET
    words[i + 1] = string.format('FORMAT', NUMBERS)
    if reset > kept then kept = reset end
  end
  redis.call('SET', KEYS[1], '"' .. table.concat(words, ',') .. '"', 'PX', math.ceil(kept / 1000))
  return 1
end
local states, waits, horizons, allowed = {}, {}, {}, 1
for i = 1, count do
  local limit, period, burst = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  local a, b, c = unpack(stored, (i - 1) * WIDTH + 2, i * WIDTH + 1)
  HORIZON
  if lag > 0 and real >= latest and real >= base + horizon then a = nil end
  CURRENT
  states[i], horizons[i], waits[i] = {a, b, c}, horizon, wait_for(now, limit, period, burst, a, b, c, wanted)
  if waits[i] > 0 then allowed = 0 end
end
PROMISE
if real >= latest then
  lag = 0
else
  for i = 1, count do
    if promise(waits[i], horizons[i]) > horizons[i] then base, lag = real, latest - real end
  end
end
local counts = allowed == 1 and cost > 0
if brief and not counts and lag == lag_before then return allowed end

local words, kept, answer = {string.format('%.0f', now)}, 1000, {allowed}
for i = 1, count do
  local limit, period, burst = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  local a, b, c = unpack(states[i], 1, WIDTH)
  if counts then SPEND end
  RESET
  words[#words + 1] = string.format('FORMAT', NUMBERS)
  if reset > kept then kept = reset end
  if not brief then
    LEFT
    local at, longest = 4 * i - 2, horizons[i]
    answer[at], answer[at + 1] = left, math.min(promise(reset, longest), longest)
    answer[at + 2], answer[at + 3] = promise(waits[i], longest), math.min(promise(refill, longest), longest)
  end
end
if lag > 0 then words[#words + 1] = string.format('%.0f', lag) end
local text = '"' .. table.concat(words, ',') .. '"'
if counts then
  redis.call('SET', KEYS[1], text, 'PX', math.ceil((kept + now - real) / 1000))
elseif lag ~= lag_before then
  redis.call('SET', KEYS[1], text, 'KEEPTTL')
end
return brief and allowed or answer
"""


def _script(formulas: Formulas) -> str:
    width, lua = formulas.width, formulas.lua
    words = {
        "PATTERN": ",".join(["(%d+)"] * width),
        "FORMAT": ",".join(["%.0f"] * width),
        "NUMBERS": ", ".join("abc"[:width]),
        "WIDTH": str(width),
        "READ": LUA_READ.strip(),
        "PROMISE": LUA_PROMISE.strip(),
        "CURRENT": lua.current,
        "WAIT": lua.wait,
        "SPEND": lua.spend,
        "RESET": lua.reset,
        "LEFT": lua.left,
        "HORIZON": lua.horizon,
    }
    return re.sub("|".join(words), lambda found: words[found[0]], _LUA)


def _stored(found: Found) -> Numbers | None:
    """Return the numbers that are stored, if they are what a step stores."""
    value = None if found is None else found[0]
    if not isinstance(value, str) or "-" in value:
        return None
    try:
        return tuple(map(int, value.split(",")))
    except ValueError:
        return None


def _ttl(found: Found, reset: int) -> float | None:
    """Return the ttl of a state, a little longer than it must be, so that most writes can keep it."""
    if found is not None and found[1] * MICRO >= reset:
        return None
    return max(reset * 3 // 2000, 1) / 1000


@lru_cache
def _rates(rest: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Return limit, period and burst of each rate, as a throttle gives them to every call."""
    return [(rest[at], rest[at + 1], rest[at + 2]) for at in range(0, len(rest), 3)]


def _step(name: str, formulas: Formulas) -> Step:
    width, take, left, _, _ = formulas
    form = ",".join(["%d"] * (width + 1))

    def decide(time: float, found: Sequence[Found], args: Sequence[Any]) -> Decided:
        now = int(time * MICRO + 0.5)
        there = found[0]
        stored = None if there is None else _stored(there)
        if len(args) != 5 or (stored is not None and (len(stored) != width + 1 or stored[0] > now)):
            return _decide_rates(formulas, now, there, stored, args)
        # A single rate on a clock that was not set back, which is what happens most.
        cost, brief, limit, period, burst = args
        latest, old = (now, None) if stored is None else (stored[0], stored[1:])
        wait, at, reset = take(now, latest, old, cost, limit, period, burst)
        writes: Sequence[Write] = ()
        if cost > 0 and not wait:
            writes = ((form % (now, *at), _ttl(there, reset)),)
        if brief:
            return (0 if wait else 1), writes
        remaining, refill = left(now, at, limit, period, burst)
        return [0 if wait else 1, remaining, reset, wait, refill], writes

    return Step(name, _script(formulas), decide)


def _decide_rates(formulas: Formulas, real: int, there: Found, stored: Numbers | None, args: Sequence[Any]) -> Decided:
    """Decide over any number of rates, on any clock."""
    cost, brief, *rest = args
    rates = _rates(tuple(rest))
    width, size = formulas.width, len(rates) * formulas.width + 1
    if stored is None or len(stored) not in (size, size + 1):
        stored = None
        reading = Reading(real, real, real, real, 0)
    else:
        reading = read_clock(real, stored[0], stored[size] if len(stored) > size else 0)
    now, latest = reading.now, reading.latest
    horizons = [formulas.horizon(*limits) for limits in rates]
    seen: list[Taken] = []
    for index, limits in enumerate(rates):
        old = None if stored is None else stored[index * width + 1 : (index + 1) * width + 1]
        if reading.is_over(horizons[index]):
            old = None
        seen.append(formulas.take(now, latest, old, -abs(cost), *limits))
    waits = [wait for wait, _, _ in seen]
    lag_before = reading.lag
    reading, promised = settle(reading, waits, horizons)
    allowed = 0 if any(waits) else 1
    counted = allowed and cost > 0
    if counted:
        seen = [formulas.take(now, now, at, cost, *limits) for (_, at, _), limits in zip(seen, rates, strict=True)]
    writes: Sequence[Write] = ()
    if counted or reading.lag != lag_before:
        numbers = [now, *[number for _, at, _ in seen for number in at], *([reading.lag] if reading.lag else [])]
        kept = max([reset for _, _, reset in seen])
        writes = ((",".join(map(str, numbers)), _ttl(there, kept + now - real)),)
    if brief:
        return allowed, writes
    answer = [allowed]
    for (_, at, reset), limits, wait, horizon in zip(seen, rates, promised, horizons, strict=True):
        left, refill = formulas.left(now, at, *limits)
        answer += [left, reading.promise_within(reset, horizon), wait, reading.promise_within(refill, horizon)]
    return answer, writes


STEPS: Final[dict[str, Step]] = {
    "fixed-window": _step("throttle by fixed-window with several rates", FIXED),
    "sliding-window": _step("throttle by sliding-window", SLIDING),
    "gcra": _step("throttle by gcra", GCRA),
}
"""By algorithm: the step for any number of rates."""
