"""Which key a bounded memory backend evicts: exactly the one that cachetools would."""

from __future__ import annotations

import random
from typing import Any

import cachetools
import pytest

from reinhardt_backends import MemoryBackend
from reinhardt_backends._component import drive
from reinhardt_backends.testing import FakeClock

ORACLES: dict[str, Any] = {"lru": cachetools.LRUCache, "fifo": cachetools.FIFOCache, "lfu": cachetools.LFUCache}


@pytest.mark.parametrize("policy", ORACLES)
@pytest.mark.parametrize("maxsize", [1, 2, 7])
def test_the_order_of_eviction_is_exact(policy: Any, maxsize: int) -> None:
    """After every call, the same keys are there as in a cache of cachetools that was used in the same way."""
    choose = random.Random(maxsize)
    backend = MemoryBackend(maxsize=maxsize, policy=policy)
    oracle = ORACLES[policy](maxsize)
    for number in range(3000):
        key = f"k{choose.randrange(12)}"
        use = choose.choice(["set", "set", "get", "get", "delete", "increment", "touch", "renew"])
        if use == "set":
            drive(backend.set(key, number, choose.choice([None, 100, 5000])))
            oracle[key] = number
        elif use == "get":
            assert drive(backend.get(key)) == oracle.get(key)
        elif use == "delete":
            assert drive(backend.delete(key)) == (oracle.pop(key, None) is not None)
        elif use == "increment":
            old = _peek(oracle, key)
            drive(backend.increment(key, 100))
            oracle[key] = old + 1
        elif use == "touch":
            if drive(backend.touch(key, 100)):
                oracle[key] = _peek(oracle, key)
        elif drive(backend.get(key, renew=100)) is not None:
            oracle[key] = _peek(oracle, key)
        assert set(backend._data) == set(oracle), use


def _peek(cache: Any, key: str) -> int:
    """Return a value without counting a use."""
    return cachetools.Cache.__getitem__(cache, key) if key in cache else 0


@pytest.mark.parametrize("policy", ORACLES)
def test_a_bound_in_bytes_evicts_no_more_than_it_must(policy: Any) -> None:
    """A key that grows stays itself, and others go in order until it fits."""
    backend = MemoryBackend(maxbytes=30, policy=policy)
    for key in "abcde":
        drive(backend.set(key, "xxx"))  # 6 bytes each
    drive(backend.set("a", "xxxxxxxxx"))  # 12
    assert sorted(backend._data) == ["a", "c", "d", "e"]
    drive(backend.set("a", "x"))
    drive(backend.set("f", "x"))
    assert sorted(backend._data) == ["a", "c", "d", "e", "f"]


def test_short_lived_keys_are_swept_soon() -> None:
    """Also where many keys with a long ttl, written long ago, expire at about the same time."""
    clock = FakeClock()
    backend = MemoryBackend(clock=clock)
    for number in range(10):
        drive(backend.set(f"long{number}", 1, 3600))
    clock.advance(3500)
    for number in range(10):
        drive(backend.set(f"short{number}", 1, 1))
    clock.advance(2)
    drive(backend.set("other", 1))
    assert not any(key.startswith("short") for key in backend._data)
