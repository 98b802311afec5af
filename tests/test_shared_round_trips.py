"""Calls of components that do not depend on one another are made at the same time, and so share a round trip."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from reinhardt_backends import BackendConnectionError, Cache, MemoryBackend, SessionStore

from .places import Telling

pytestmark = pytest.mark.anyio


class Meeting(Telling):
    """A store whose calls of one verb wait for one another."""

    def __init__(self, verb: str, count: int, fails: bool = False) -> None:
        super().__init__(MemoryBackend())
        self.count = count
        self.fails = fails
        self.waiting = 0
        self.all_here = anyio.Event()
        inner = getattr(self, verb)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.waiting += 1
            if self.waiting == self.count:
                self.all_here.set()
            with anyio.fail_after(10):
                await self.all_here.wait()
            if self.fails:
                raise BackendConnectionError("no server")
            return await inner(*args, **kwargs)

        setattr(self, verb, call)


async def test_when_sessions_were_last_seen_is_asked_at_once() -> None:
    store = SessionStore(Meeting("ttl", 5), dict[str, Any], ttl=60)
    sessions = [await store.create({"n": number}, user="ada") for number in range(5)]
    infos = await store.sessions_of("ada")
    assert [info.handle for info in infos] == [session.handle for session in sessions]
    assert [info.data for info in infos] == [{"n": number} for number in range(5)]
    assert all(info.last_seen is not None for info in infos)


async def test_an_error_of_one_such_call_is_raised_as_it_is() -> None:
    store = SessionStore(Meeting("ttl", 3, fails=True), dict[str, Any], ttl=60)
    for _ in range(3):
        await store.create({}, user="ada")
    with pytest.raises(BackendConnectionError, match="no server"):
        await store.sessions_of("ada")


async def test_the_tokens_of_new_tags_are_made_at_once() -> None:
    # Those of three tags, after the value's own lease would be too early: it names them.
    cache = Cache(Meeting("add", 3), ttl=60)

    async def factory() -> int:
        return 1

    assert await cache.get_or_set("k", factory, int, tags=["a", "b", "c"]) == 1
    assert await cache.get_or_set("k", factory, int, tags=["a", "b", "c"]) == 1


async def test_while_the_store_is_away_a_value_with_tags_is_computed_without_it() -> None:
    cache = Cache(Meeting("add", 2, fails=True), ttl=60)

    async def factory() -> int:
        return 1

    assert await cache.get_or_set("k", factory, int, tags=["a", "b"]) == 1
