"""The index of a user: which sessions belong to them.

One key for each user holds a text such as ``"1800000 HANDLE HANDLE"``: the longest ttl of any session in it, in
milliseconds, and the handles of the sessions, the oldest first. Each use resets the expiry of the key to that longest
ttl, so that a short session never ends a long one.

Where the store runs atomic steps, each operation but ``handles`` is one command that carries a few handles, however
many the index has. Over other backends the text is read, compared and set, with backoff.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, Final

from .._backend import Backend
from .._backend._atomic import Found, Step, Write
from .._component import Waiting
from .._errors import DeserializationError, OutcomeUnknownError
from .._types import MISSING, TTL, check_key
from ._backoff import backoff_seconds

_ENTRY: Final = 44
"""The length of an entry: a space and a handle."""

_CROWD: Final = 16
"""How many entries an unlimited index has before some of them are looked at with each new one."""

_SAMPLE: Final = 4
"""How many of them. With each new entry up to four ended ones leave, so most of an index is alive."""


def _decide_add(_: float, found: Sequence[Found], args: Sequence[Any]) -> tuple[str, Sequence[Write]]:
    milliseconds, handle, bound, pick = args
    text, reply = _with_entry(_value(found), milliseconds, handle, bound, pick)
    return reply, ((text, _longest(text) / 1000),)


_ADD: Final = Step(
    "add a session to its user",
    """
local value = redis.call('GET', KEYS[1]) or ''
local longest, list = string.match(value, '^"(%d+)([ %w_-]*)"$')
if not longest then longest, list = ARGV[1], '' end
if tonumber(ARGV[1]) > tonumber(longest) then longest = ARGV[1] end
local entry = ' ' .. ARGV[2]
if not string.find(list, entry, 1, true) then list = list .. entry end
local count, bound, chosen = math.floor(#list / 44), tonumber(ARGV[3]), ''
if bound > 0 and count > bound then
  chosen = string.sub(list, 1, (count - bound) * 44)
  list = string.sub(list, (count - bound) * 44 + 1)
elseif bound == 0 and count > 16 then
  local first = ARGV[4] % (count - 3)
  chosen = string.sub(list, first * 44 + 1, (first + 4) * 44)
end
redis.call('SET', KEYS[1], '"' .. longest .. list .. '"', 'PX', longest)
return count .. chosen
""",
    _decide_add,
    harmless=True,
)


def _decide_holds(_: float, found: Sequence[Found], args: Sequence[Any]) -> tuple[int, Sequence[Write]]:
    text = _value(found)
    return (1, ((text, _longest(text) / 1000),)) if _has_entry(text, args[0]) else (0, ())


_HOLDS: Final = Step(
    "look up a session of a user",
    """
local value = redis.call('GET', KEYS[1]) or ''
local longest = string.match(value, '^"(%d+) ')
if not longest or not string.find(value, ' ' .. ARGV[1], 1, true) then return 0 end
redis.call('PEXPIRE', KEYS[1], longest)
return 1
""",
    _decide_holds,
    harmless=True,
)


def _decide_remove(_: float, found: Sequence[Found], args: Sequence[Any]) -> tuple[int, Sequence[Write]]:
    before = _value(found)
    text = _without_entries(before, args)
    return (0, ()) if text == before else (1, ((text, None),))


_REMOVE: Final = Step(
    "remove sessions from their user",
    """
local value = redis.call('GET', KEYS[1]) or ''
local longest, list = string.match(value, '^"(%d+)([ %w_-]*)"$')
if not longest then return 0 end
local before = #list
for _, handle in ipairs(ARGV) do
  local start, stop = string.find(list, ' ' .. handle, 1, true)
  if start then list = string.sub(list, 1, start - 1) .. string.sub(list, stop + 1) end
end
if #list == before then return 0 end
redis.call('SET', KEYS[1], '"' .. longest .. list .. '"', 'KEEPTTL')
return 1
""",
    _decide_remove,
    harmless=True,
)


class UserIndex:
    """The indexes of all users of a store."""

    def __init__(self, backend: Backend, prefix: str, max_per_user: int | None) -> None:
        self._backend = backend
        self._prefix = prefix
        self._has_steps = backend._runs_steps()
        # An index with a cap may exceed it by the logins that are under way, and no further.
        self._bound = 0 if max_per_user is None else 2 * max_per_user + _CROWD

    async def add(self, user: str, handle: str, milliseconds: int, waiting: Waiting) -> tuple[int, list[str]]:
        """Add a session, and keep the index for at least its ttl. Atomic; adding it again changes nothing else.

        Returns:
            How many entries the index had with it, and those that the caller should look at: with a cap those that
            this call cut off, otherwise a random sample of a crowded index.
        """
        key, pick = self._key(user), random.getrandbits(31)
        if self._has_steps:
            args = (milliseconds, handle, self._bound, pick)
            reply = await self._backend._run_step(_ADD, (key,), args)
            return _read_reply(reply.decode() if isinstance(reply, bytes) else reply)
        failures = 0
        while True:
            there = await self._backend.get(key, default=MISSING)
            text, reply = _with_entry(there, milliseconds, handle, self._bound, pick)
            ttl = _longest(text) / 1000
            if there is MISSING:
                done = await self._backend.add(key, text, ttl)
            else:
                done = await self._backend.compare_and_set(key, there, text, ttl)
            if done:
                return _read_reply(reply)
            await waiting.sleep(backoff_seconds(failures))
            failures += 1

    async def holds(self, user: str, handle: str) -> bool:
        """Return whether a session is in the index of a user; if so, reset the expiry of the index."""
        key = self._key(user)
        if self._has_steps:
            return bool(await self._backend._run_step(_HOLDS, (key,), (handle,)))
        text = await read(self._backend, key)
        if not _has_entry(text, handle):
            return False
        return _has_entry(await read(self._backend, key, renew=_longest(text) / 1000), handle)

    async def remove(self, user: str, handles: Sequence[str], waiting: Waiting) -> None:
        """Remove sessions from the index of a user; the expiry of the index stays. Atomic."""
        key = self._key(user)
        if self._has_steps:
            await self._backend._run_step(_REMOVE, (key,), handles)
            return
        failures = 0
        while True:
            there = await read(self._backend, key)
            text = _without_entries(there, handles)
            if text == there or await self._backend.compare_and_set(key, there, text, _longest(text) / 1000):
                return
            await waiting.sleep(backoff_seconds(failures))
            failures += 1

    async def handles(self, user: str) -> list[str]:
        """Return the handles in the index of a user, the oldest first."""
        text = await read(self._backend, self._key(user))
        return text.split(" ")[1:] if _is_index(text) else []

    async def clear(self, user: str) -> None:
        """Remove the whole index of a user, and so end all sessions in it. Atomic."""
        await self._backend.delete(self._key(user))

    def _key(self, user: str) -> str:
        return f"{self._prefix}:user:{check_key(user)}"


async def read(backend: Backend, key: str, renew: TTL | None = None) -> Any:
    """Return what is stored; ``MISSING`` also for what is not JSON text, which another program must have written."""
    try:
        if renew is not None:
            try:
                return await backend.get(key, default=MISSING, renew=renew)
            except OutcomeUnknownError:
                # The expiry may not have been reset this once; the next use resets it.
                pass
        return await backend.get(key, default=MISSING)
    except DeserializationError:
        return MISSING


def _value(found: Sequence[Found]) -> Any:
    first = found[0]
    return MISSING if first is None else first[0]


def _is_index(text: Any) -> bool:
    return isinstance(text, str) and text.partition(" ")[0].isdecimal() and text.isascii()


def _has_entry(text: Any, handle: str) -> bool:
    return _is_index(text) and f" {handle}" in text


def _head(text: str) -> str:
    return text.partition(" ")[0]


def _longest(text: str) -> int:
    """Return the longest ttl of an index, in milliseconds."""
    return int(_head(text))


def _with_entry(stored: Any, milliseconds: int, handle: str, bound: int, pick: int) -> tuple[str, str]:
    """Return an index with one more entry, and the reply of ``add``. The same as the script of ``_ADD``."""
    longest, entries = 0, ""
    if _is_index(stored):
        longest, entries = _longest(stored), stored[len(_head(stored)) :]
    if f" {handle}" not in entries:
        entries += f" {handle}"
    count, chosen = len(entries) // _ENTRY, ""
    if 0 < bound < count:
        cut = (count - bound) * _ENTRY
        chosen, entries = entries[:cut], entries[cut:]
    elif not bound and count > _CROWD:
        first = pick % (count - _SAMPLE + 1) * _ENTRY
        chosen = entries[first : first + _SAMPLE * _ENTRY]
    return f"{max(longest, milliseconds)}{entries}", f"{count}{chosen}"


def _without_entries(stored: Any, handles: Iterable[str]) -> Any:
    """Return an index without some entries. An index that has none left expires by itself."""
    if not _is_index(stored):
        return stored
    text: str = stored
    for handle in handles:
        text = text.replace(f" {handle}", "", 1)
    return text


def _read_reply(reply: str) -> tuple[int, list[str]]:
    count, *handles = reply.split(" ")
    return int(count), handles
