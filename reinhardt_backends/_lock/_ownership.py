"""Who owns a lock, as atomic steps on two keys.

The key of the lock holds a JSON string: the id of its holder, then the ids of the waiters of other ``Lock`` objects in
order of arrival, separated by spaces. It expires with the holder's ttl, and so does the queue, which the waiters then
form again as they ask. A lock that is released while others wait stays for a moment as a reservation, with ``-`` in
the place of the holder: only the first waiter may take it. A waiter that has died loses its reservation when the key
expires.

The token's key holds an integer. A step that takes the lock draws the next token: one more than the last, or the
server's time in microseconds if that is more. So tokens grow even after the key has expired or was evicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .._backend._atomic import Found, Step, Write
from .._types import MISSING

TOKEN_TTL: Final = 86_400
"""Seconds after its last use at which the key of the token expires."""

_RESERVATION: Final = 0.5
_FREE: Final = "-"
_FOREIGN: Final = "?"
_MOST_WAITERS: Final = 100


def holder_of(value: Any) -> str | None:
    """Return the id of the holder that is stored in the key of a lock; ``None`` if the lock is free."""
    holder = _parsed(value)[0]
    return None if holder == _FREE else holder


def _parsed(value: Any) -> tuple[str, list[str]]:
    if value is MISSING:
        return _FREE, []
    if value.__class__ is not str or not value.strip():
        return _FOREIGN, []
    holder, *waiters = value.split(" ")
    return holder, waiters


def _value(found: Found) -> Any:
    return MISSING if found is None else found[0]


def next_token(last: Any, microseconds: int) -> int:
    """Return the token that follows the last one."""
    return max(last + 1 if last.__class__ is int else 1, microseconds)


def _take(now: float, found: Sequence[Found], args: Sequence[Any]) -> tuple[int, Sequence[Write]]:
    owner, milliseconds, queues, microseconds = args
    token, lock = map(_value, found)
    holder, waiters = _parsed(lock)
    if holder == owner and token.__class__ is int:
        return token, (None, (lock, milliseconds / 1000))
    place = waiters.index(owner) + 1 if owner in waiters else 0
    if holder not in (_FREE, owner) or (waiters and place != 1 and holder != owner):
        if place or not queues or holder == _FOREIGN or len(waiters) >= _MOST_WAITERS:
            return -place, ()
        return -len(waiters) - 1, (None, (" ".join([holder, *waiters, owner]), None))
    token = next_token(token, microseconds)
    taken = " ".join([owner, *[waiter for waiter in waiters if waiter != owner]])
    return token, ((token, TOKEN_TTL), (taken, milliseconds / 1000))


TAKE: Final = Step(
    "take a lock",
    f"""
local owner = ARGV[1]
local value = redis.call('GET', KEYS[2])
local holder, waiters = '{_FREE}', ''
if value then holder, waiters = string.match(value, '^"([^ "]+)([^"]*)"$') end
if not holder then return 0 end
local last = redis.call('GET', KEYS[1])
if holder == owner and last then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
  return tonumber(last)
end
local place, count = 0, 0
for waiter in string.gmatch(waiters, '%x+') do
  count = count + 1
  if waiter == owner then place = count end
end
if holder ~= owner and (holder ~= '{_FREE}' or (count > 0 and place ~= 1)) then
  if place == 0 and ARGV[3] == '1' and count < {_MOST_WAITERS} then
    place = count + 1
    redis.call('SET', KEYS[2], '"' .. holder .. waiters .. ' ' .. owner .. '"', 'KEEPTTL')
  end
  return -place
end
local time = redis.call('TIME')
local token = math.max((tonumber(last) or 0) + 1, time[1] * 1000000 + time[2])
redis.call('SET', KEYS[1], string.format('%.0f', token), 'EX', {TOKEN_TTL})
redis.call('SET', KEYS[2], '"' .. owner .. string.gsub(waiters, ' ' .. owner, '') .. '"', 'PX', ARGV[2])
return token
""",
    _take,
    harmless=True,
)
"""Over the keys of the token and of the lock: ``owner, milliseconds, queues, microseconds``.

The answer is the token, or if the lock is held the place of the owner in the queue as a negative number; 0 if it has
none, which is so where ``queues`` is 0. ``microseconds`` is the time of day, for stores that have none. Asking twice
takes the lock once.
"""


def _extend(now: float, found: Sequence[Found], args: Sequence[Any]) -> tuple[int, Sequence[Write]]:
    owner, milliseconds = args
    lock = _value(found[0])
    if _parsed(lock)[0] != owner:
        return 0, ()
    return 1, ((lock, milliseconds / 1000),)


EXTEND: Final = Step(
    "extend a lock",
    """
local holder = string.match(redis.call('GET', KEYS[1]) or '', '^"([^ "]+)')
if holder ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""",
    _extend,
    harmless=True,
)
"""Over the key of the lock: ``owner, milliseconds``. The answer is 1, or 0 if another or none holds it."""


def _release(now: float, found: Sequence[Found], args: Sequence[Any]) -> tuple[int, Sequence[Write]]:
    (owner,) = args
    holder, waiters = _parsed(_value(found[0]))
    held = holder == owner
    if not held and owner not in waiters:
        return 0, ()
    if held:
        holder = _FREE
    waiters = [waiter for waiter in waiters if waiter != owner]
    if holder != _FREE:
        return 0, ((" ".join([holder, *waiters]), None),)
    reserved = " ".join([_FREE, *waiters]) if waiters else MISSING
    return int(held), ((reserved, _RESERVATION),)


RELEASE: Final = Step(
    "release a lock",
    f"""
local owner = ARGV[1]
local holder, waiters = string.match(redis.call('GET', KEYS[1]) or '', '^"([^ "]+)([^"]*)"$')
if not holder then return 0 end
local held = holder == owner
local others, removed = string.gsub(waiters, ' ' .. owner, '')
if not held and removed == 0 then return 0 end
if held then holder = '{_FREE}' end
if holder ~= '{_FREE}' then
  redis.call('SET', KEYS[1], '"' .. holder .. others .. '"', 'KEEPTTL')
elseif others ~= '' then
  redis.call('SET', KEYS[1], '"{_FREE}' .. others .. '"', 'PX', {round(_RESERVATION * 1000)})
else
  redis.call('DEL', KEYS[1])
end
return held and 1 or 0
""",
    _release,
)
"""Over the key of the lock: ``owner``, which gives up the lock or its place in the queue. Whether it held the lock."""
