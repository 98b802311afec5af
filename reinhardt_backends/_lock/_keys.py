"""The two keys of a lock. One atomic step needs both, so in a cluster they must share a slot.

They share one by their hash tag, ``{lock:NAME}``, or by one that begins earlier, as with the prefix ``a{b``. Only where
the first braces before them are ``{}``, the server sees no hash tag at all: there the second key gets a number at its
end that puts it into the slot of the first.
"""

from __future__ import annotations

from .._backend import Backend, in_slot_of
from .._component import stored_prefix


def lock_keys(backend: Backend, name: str) -> tuple[str, str]:
    """Return the keys of the lock and of its fencing token."""
    lock = f"{{lock:{name}}}"
    token = f"{lock}:token"
    if backend._runs_steps():
        prefix = stored_prefix(backend)
        token += in_slot_of(prefix + lock, prefix + token)
    return lock, token
