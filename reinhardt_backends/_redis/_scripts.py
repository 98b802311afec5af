"""What a command may do when no reply comes, and the Lua scripts: steps that no single command does atomically.

A script is called by the digest of its source. A server that does not know it yet (``NOSCRIPT``: nothing was executed)
is sent the source, and keeps it.

Lua's numbers are doubles, exact up to 2**53. A counter past that is returned as the string that ``GET`` gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from .._errors import BackendConnectionError, OutcomeUnknownError, ResponseError

if TYPE_CHECKING:
    from .._atomic import Step
    from ._client import Client


class Kind(Enum):
    """What may be done about a command whose reply does not come."""

    READ = "read"
    """Sent again freely. If it stays unanswered, that itself is the error."""

    IDEMPOTENT = "idempotent"
    """A write that may land twice. If it may have been sent and stays unanswered, its outcome is unknown."""

    ONCE = "once"
    """A write that is never sent again once it may have been sent."""


class Script:
    """One script over some keys.

    Attributes:
        call: The words that call it by its digest, before the number of keys.
        source: The words that send it and call it.
    """

    __slots__ = ("call", "source")

    def __init__(self, source: str) -> None:
        text = source.strip().encode()
        self.call = (b"EVALSHA", hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())
        self.source = (b"EVAL", text)

    async def run(self, client: Client, kind: Kind, keys: Sequence[str], *args: bytes | str | float) -> Any:
        """Run the script with these ``KEYS`` and ``ARGV`` and return its reply."""
        lost = False
        try:
            return await client.call(kind, *self.call, len(keys), *keys, *args)
        except ResponseError as error:
            if not is_unknown(error):
                raise
        except OutcomeUnknownError as error:
            # The reply was lost, and the server that was asked again has forgotten its scripts, as after a restart.
            if kind is Kind.ONCE or not is_unknown(error.__cause__):
                raise
            lost = True
        try:
            return await client.call(kind, *self.source, len(keys), *keys, *args)
        except BackendConnectionError as error:
            if not lost:
                raise
            raise OutcomeUnknownError(str(error)) from error


def is_unknown(error: BaseException | None) -> bool:
    """Whether the server does not know the script, so that nothing was executed."""
    return isinstance(error, ResponseError) and error.code == "NOSCRIPT"


# The expiry is looked at after the step, so that a counter without one gets it, whoever made it. A value that is no
# integer ends the script at its first line, with nothing changed.
INCREMENT: Final = Script("""
local value = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if value >= 9007199254740992 or value <= -9007199254740992 then return redis.call('GET', KEYS[1]) end
return value
""")

# PERSIST alone cannot tell a key without expiry from a missing one.
PERSIST: Final = Script("""
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('PERSIST', KEYS[1])
return 1
""")

# Takes back an expiry that was set in vain, unless somebody has written the key since, or removed or prolonged its
# expiry. An expiry that would have run out by now removes the key.
RESTORE: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local left = redis.call('PTTL', KEYS[1])
if left < 0 or left > tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '-1' then return redis.call('PERSIST', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
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


def script_of(step: Step) -> Script:
    """The script of an atomic step. There are as many steps as the library has, so none is ever forgotten."""
    script = _STEPS.get(step)
    if script is None:
        script = _STEPS[step] = Script(step.lua)
    return script


_STEPS: Final[dict[Step, Script]] = {}
