"""The two keys of a ``Lock`` share a slot of a cluster, for any name, prefix and namespace."""

from __future__ import annotations

import itertools
import re
from binascii import crc_hqx
from collections.abc import Sequence
from typing import Any

from reinhardt_backends import Backend, MemoryBackend, SyncLock

BRACES = ("x{}y", "a{b", "}{", "{}", "{", "}", "{{}}", "{x}", "}{}{y}", "{}{z}", "ü{}", "")


class Prefixed(MemoryBackend):
    """A store with a prefix of its own, like Redis, that notes the keys of atomic steps."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix
        self.keys: set[str] = set()

    async def _run_step(self, step: Any, keys: Sequence[str], args: Sequence[Any]) -> Any:
        self.keys.update(self._prefix + key for key in keys)
        return await super()._run_step(step, keys, args)


def slot(key: str) -> int:
    """Return the slot of a key by the rule of Redis: CRC16 of the hash tag, or else of the whole key."""
    tag = re.search(r"\{(.*?)\}", key, re.DOTALL)
    return crc_hqx((tag[1] if tag and tag[1] else key).encode(), 0) % 16_384


def test_the_slots_are_those_of_redis() -> None:
    # Known answers of CLUSTER KEYSLOT.
    assert slot("123456789") == 12_739
    assert slot("foo") == slot("{foo}bar") == 12_182
    assert slot("foo{}{bar}") == 8_363


def test_both_keys_share_a_slot() -> None:
    for prefix, namespace in itertools.product(BRACES, BRACES):
        store = Prefixed(prefix)
        backend: Backend = store.namespace(namespace).with_timeout(5) if namespace else store
        for name in BRACES[:-1] if prefix == namespace else ("}{",):
            store.keys.clear()
            with SyncLock(backend, name, ttl=60):
                assert len(store.keys) == 2
                assert len(set(map(slot, store.keys))) == 1, store.keys


def test_every_lock_of_a_name_has_the_same_keys() -> None:
    store = Prefixed("x{}y:")
    first, second = SyncLock(store, "report", ttl=60), SyncLock(store, "report", ttl=60)
    with first:
        assert not second.acquire(timeout=0)
        token = first.token
    with second:
        assert second.token is not None
        assert token is not None
        assert second.token > token
    assert len(store.keys) == 2
