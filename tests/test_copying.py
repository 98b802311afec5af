"""A backend is neither copied nor pickled: a copy would share, or lose, what it has open."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from reinhardt_backends import MemoryBackend, RedisBackend, SyncBackend, Throttle

from .places import SixVerbs

BACKENDS: dict[str, Callable[[], Any]] = {
    "memory": MemoryBackend,
    "bounded memory": lambda: MemoryBackend(maxsize=10),
    "redis": lambda: RedisBackend("redis://user:s3cret@localhost"),
    "namespace": lambda: MemoryBackend().namespace("n"),
    "namespace of redis": lambda: RedisBackend().namespace("n"),
    "shorter deadline": lambda: RedisBackend().with_timeout(1),
    "a user's subclass": lambda: SixVerbs(MemoryBackend()),
    "blocking": lambda: SyncBackend(MemoryBackend()),
    "blocking over redis": lambda: SyncBackend(RedisBackend("redis://user:s3cret@localhost")),
}
COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {number}": lambda it, n=number: pickle.dumps(it, n) for number in range(pickle.HIGHEST_PROTOCOL + 1)},  # type: ignore[misc]
}


@pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_copying_a_backend_is_a_type_error_that_says_what_to_pass(make: Any, duplicate: Any) -> None:
    with pytest.raises(TypeError, match="pass its url") as refused:
        duplicate(make())
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_copying_what_holds_a_backend_says_so_too(duplicate: Any) -> None:
    if duplicate is not copy.copy:
        with pytest.raises(TypeError, match="pass its url"):
            duplicate({"throttle": Throttle(MemoryBackend(), "1/s")})


def test_a_subclass_may_define_its_own_copying() -> None:
    class Copied(SixVerbs):
        def __copy__(self) -> Copied:
            return Copied(self.store)

    backend = Copied(MemoryBackend())
    assert copy.copy(backend).store is backend.store
