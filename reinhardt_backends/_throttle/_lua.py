"""The decisions of a throttle in Lua, for Redis: those of ``_decisions.py``, on the server's clock.

A script is made for an algorithm and a number of rates. Its only argument has the kind of answer, the cost, and limit,
period and burst of each rate, as doubles: one call unpacks them, while each number in text would need a call of its
own. For the same reason the state is packed.

On a clock that was not set back, as almost always, the rates are written out, with no table and no loop. The rest of
the script is for any clock.
"""

from __future__ import annotations

import re
from functools import lru_cache
from struct import pack
from typing import Final

from ._algorithms import Algorithm
from ._clock import LUA_PROMISE, LUA_READ

_MOST_WRITTEN_OUT: Final = 8
"""With more rates than this, the loop does: Lua has room for 200 local variables."""

_READ: Final = """
local time = redis.call('TIME')
local real = time[1] * 1000000 + time[2]
local value = redis.call('GET', KEYS[1])
if value and #value ~= SIZE then value = false end
"""

_WAIT: Final = """
local function wait_for(now, limit, period, burst, a, b, c, wanted)
  if FITS then return 0 end
  WAIT
end
"""

# One rate after the other; the first that denies ends it.
_WRITTEN_OUT_BRIEF: Final = """
do
  local tag, latest, lag, STATES = 0, real, 0
  local brief, cost, LIMITS = struct.unpack('LIMITS_LAYOUT', ARGV[1])
  if value then tag, latest, lag, STATES = struct.unpack('LAYOUT', value) end
  if brief == 1 and tag == 0 and real >= latest and lag == 0 and cost > 0 then
    local now, wanted, kept, reset = real, cost, 0
    DECISIONS
    redis.call('SET', KEYS[1], struct.pack('LAYOUT', 0, now, 0, STATES), 'PX', kept - kept % 1 + 1)
    return 1
  end
end
"""

_DECISION_BRIEF: Final = """
    CURRENT
    if not (FITS) then return 0 end
    SPEND
    reset = (RESET) / 1000
    if reset > kept then kept = reset end
"""

_ONE_FULL: Final = """
do
  local tag, latest, lag, a, b, c = 0, real, 0
  local brief, cost, limit, period, burst = struct.unpack('LIMITS_LAYOUT', ARGV[1])
  if value then tag, latest, lag, NUMBERS = struct.unpack('LAYOUT', value) end
  if brief == 0 and tag == 0 and real >= latest and lag == 0 then
    local now, wanted = real, math.abs(cost)
    CURRENT
    local wait, left, refill = wait_for(now, limit, period, burst, a, b, c, wanted)
    local allowed = wait <= 0 and 1 or 0
    if allowed == 1 and cost > 0 then SPEND end
    local reset = RESET
    if allowed == 1 and cost > 0 then
      local kept = reset / 1000
      redis.call('SET', KEYS[1], struct.pack('LAYOUT', 0, now, 0, NUMBERS), 'PX', kept - kept % 1 + 1)
    end
    LEFT
    return {allowed, left, reset, wait, refill}
  end
end
"""

_ANY_CLOCK: Final = """
local limits = {struct.unpack('LIMITS_LAYOUT', ARGV[1])}
local stored = value and {struct.unpack('LAYOUT', value)} or {}
if stored[1] ~= 0 then stored = {} end
local brief, cost = limits[1], limits[2]
local wanted, now = math.abs(cost), real
local latest, lag = stored[2] or now, stored[3] or 0
local lag_before = lag
READ
local states, waits, horizons, allowed = {}, {}, {}, 1
for i = 1, COUNT do
  local limit, period, burst = unpack(limits, 3 * i, 3 * i + 2)
  local a, b, c = unpack(stored, (i - 1) * WIDTH + 4, i * WIDTH + 3)
  local horizon = HORIZON
  if lag > 0 and real >= latest and real >= base + horizon then a = nil end
  CURRENT
  states[i], horizons[i], waits[i] = {a, b, c}, horizon, wait_for(now, limit, period, burst, a, b, c, wanted)
  if waits[i] > 0 then allowed = 0 end
end
PROMISE
if real >= latest then
  lag = 0
else
  for i = 1, COUNT do
    if promise(waits[i], horizons[i]) > horizons[i] then base, lag = real, latest - real end
  end
end
local counts = allowed == 1 and cost > 0
local numbers, kept, answer = {}, 0, {allowed}
for i = 1, COUNT do
  local limit, period, burst = unpack(limits, 3 * i, 3 * i + 2)
  local a, b, c = unpack(states[i], 1, WIDTH)
  if counts then SPEND end
  local reset, left, refill = RESET
  for at, number in ipairs({NUMBERS}) do numbers[(i - 1) * WIDTH + at] = number end
  if reset > kept then kept = reset end
  LEFT
  local at, longest = 4 * i - 2, horizons[i]
  answer[at], answer[at + 1] = left, math.min(promise(reset, longest), longest)
  answer[at + 2], answer[at + 3] = promise(waits[i], longest), math.min(promise(refill, longest), longest)
end
if counts or lag ~= lag_before then
  local text = struct.pack('LAYOUT', 0, now, lag, unpack(numbers))
  if counts then
    redis.call('SET', KEYS[1], text, 'PX', math.ceil((kept + now - real) / 1000 + 0.5))
  else
    redis.call('SET', KEYS[1], text, 'KEEPTTL')
  end
end
return brief == 1 and allowed or answer
"""


def layout(numbers: int) -> str:
    """Return the layout of a state of so many numbers, for ``Struct``."""
    return f"<x{numbers + 2}d"


def pack_limits(cost: int, limits: list[tuple[int, int, int]], *, brief: bool) -> bytes:
    """Return the argument of the script: 1 for a brief answer, the cost, and limit, period and burst of each rate."""
    return pack(f"<{2 + 3 * len(limits)}d", brief, cost, *[number for limit in limits for number in limit])


@lru_cache
def script_for(algorithm: Algorithm, count: int) -> str:
    """Return the script for so many rates."""
    width, lua = algorithm.width, algorithm.lua
    numbers = ", ".join("abc"[:width])
    words = {
        "LIMITS_LAYOUT": "<" + "d" * (3 * count + 2),
        "LAYOUT": "<B" + "d" * (width * count + 2),
        "LIMITS": ", ".join(f"limit{i}, period{i}, burst{i}" for i in range(1, count + 1)),
        "STATES": ", ".join(_of_rate(numbers, i) for i in range(1, count + 1)),
        "SIZE": str(8 * (width * count + 2) + 1),
        "NUMBERS": numbers,
        "WIDTH": str(width),
        "COUNT": str(count),
        "READ": LUA_READ.strip(),
        "PROMISE": LUA_PROMISE.strip(),
        "CURRENT": lua.current,
        "FITS": lua.fits,
        "WAIT": lua.wait,
        "SPEND": lua.spend,
        "RESET": lua.reset,
        "LEFT": lua.left,
        "HORIZON": lua.horizon,
    }
    decision = _filled(_DECISION_BRIEF, words)
    words["DECISIONS"] = "".join(_of_rate(decision, i) for i in range(1, count + 1)).strip()
    parts = (
        _READ,
        _WRITTEN_OUT_BRIEF if count <= _MOST_WRITTEN_OUT else "",
        _WAIT,
        _ONE_FULL if count == 1 else "",
        _ANY_CLOCK,
    )
    return _filled("".join(parts), words)


def _filled(text: str, words: dict[str, str]) -> str:
    return re.sub(rf"\b({'|'.join(words)})\b", lambda found: words[found[0]], text)


def _of_rate(text: str, number: int) -> str:
    """Return Lua with the names of one rate's numbers and limits."""
    return re.sub(r"\b(a|b|c|limit|period|burst)\b", rf"\g<1>{number}", text)
