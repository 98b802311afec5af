"""The Lua scripts: steps that no single command does atomically.

A script is called by the digest of its source. A server that does not know it yet answers ``NOSCRIPT`` and has executed
nothing; the client then sends the source (``with_source``), which the server keeps.

Lua's numbers are doubles, exact up to 2**53. A counter past that is returned as the string that ``GET`` gives.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ._commands import Kind, Reply, template

if TYPE_CHECKING:
    from .._backend._atomic import KeyStep, Step
    from ._client import Client


class Script:
    """One script over some keys.

    Attributes:
        call: The words that call it by its digest, before the number of keys.
    """

    __slots__ = ("call",)

    def __init__(self, source: str) -> None:
        text = source.strip().encode()
        digest = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
        self.call = (b"EVALSHA", digest)
        _SOURCES[digest] = text

    async def run(
        self,
        client: Client,
        kind: Kind,
        expects: Reply,
        keys: Sequence[str],
        *args: bytes | str | float,
        deadline: float | None = None,
    ) -> Any:
        """Run the script with these ``KEYS`` and ``ARGV`` and return its reply."""
        return await client.call(kind, *self.call, b"%d" % len(keys), *keys, *args, expects=expects, deadline=deadline)


#: The source of each script, by its digest. The library has few scripts, so none is ever removed.
_SOURCES: Final[dict[bytes, bytes]] = {}

_CALL: Final = re.compile(rb"(\*\d+\r\n)\$7\r\nEVALSHA\r\n\$40\r\n([0-9a-f]{40})\r\n")


def with_source(data: bytes) -> bytes | None:
    """Return a packed command that calls a script by its digest with the source in place of the digest.

    ``None`` if it is no such command, or the script is not one of ours.
    """
    found = _CALL.match(data)
    source = _SOURCES.get(found[2]) if found is not None else None
    if found is None or source is None:
        return None
    return b"%b$4\r\nEVAL\r\n$%d\r\n%b\r\n%b" % (found[1], len(source), source, data[found.end() :])


# The expiry is checked after the step, so that an existing counter without one gets it too. A value that is not an
# integer ends the script at its first line, with nothing changed.
INCREMENT: Final = Script("""
local value = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if value >= 9007199254740992 or value <= -9007199254740992 then return redis.call('GET', KEYS[1]) end
return value
""")

INCREMENT_EXISTING: Final = Script("""
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local value = redis.call('INCRBY', KEYS[1], ARGV[1])
if value >= 9007199254740992 or value <= -9007199254740992 then return redis.call('GET', KEYS[1]) end
return value
""")

# PERSIST alone cannot tell a key without expiry from a missing one.
PERSIST: Final = Script("""
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('PERSIST', KEYS[1])
return 1
""")

# The points in time are on the server's clock, in milliseconds. Lua prints numbers of 15 digits in another form. With
# a second argument, a key without expiry stays without.
RENEW: Final = Script("""
local value = redis.call('GET', KEYS[1])
if not value then return value end
local time, left = redis.call('TIME'), redis.call('PTTL', KEYS[1])
if left < 0 and ARGV[2] then return {value, -1, 0} end
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local renewed = now + ARGV[1]
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', renewed))
return {value, left < 0 and -1 or now + left, renewed}
""")

# Takes RENEW back, unless the key was written since, or its expiry was set: then it expires at another time, to the
# millisecond, than RENEW has set (two for rounding). An earlier expiry that has passed meanwhile removes the key.
RESTORE: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
local expires = time[1] * 1000 + math.floor(time[2] / 1000) + redis.call('PTTL', KEYS[1])
if math.abs(expires - ARGV[3]) > 2 then return 0 end
if ARGV[2] == '-1' then return redis.call('PERSIST', KEYS[1]) end
return redis.call('PEXPIREAT', KEYS[1], ARGV[2])
""")

COMPARE_AND_SET: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], unpack(ARGV, 3))
return 1
""")

COMPARE_AND_DELETE: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")


def script_of(step: Step | KeyStep) -> Script:
    """Return the script of an atomic step."""
    script = _STEPS.get(step.lua)
    if script is None:
        script = _STEPS[step.lua] = Script(step.lua)
    return script


_STEPS: Final[dict[str, Script]] = {}


@lru_cache(1024)
def template_of(step: KeyStep) -> bytes:
    """Return the command that runs a step over one key, as a template for the key."""
    return template(*script_of(step).call, b"1", None, *step.arguments)
