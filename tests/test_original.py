"""The behaviour of the crate that this library succeeds: one counterpart for each of its eighteen tests.

Nine are about the memory backend, nine about the one on Redis, which does the same; so each promise is tried on the
backends that there are here, and the conformance suite of a server runs the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import anyio
import pytest

from reinhardt_backends import Backend, MemoryBackend
from reinhardt_backends.testing import FakeClock

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


class World:
    """A backend and its time."""

    def __init__(self, view: Callable[[Backend], Backend]) -> None:
        self.clock = FakeClock()
        self.memory = MemoryBackend(clock=self.clock)
        self.backend = view(self.memory)


@pytest.fixture(params=[lambda backend: backend, lambda backend: backend.namespace("app")], ids=["memory", "namespace"])
def world(request: pytest.FixtureRequest) -> World:
    """The backend itself, and a namespace of it as an application with a prefix has it."""
    return World(request.param)


async def test_set_and_get_of_a_string(world: World) -> None:
    """A string that was set comes back."""
    await world.backend.set("key1", "value1")
    assert await world.backend.get("key1", str) == "value1"


async def test_set_and_get_of_a_list(world: World) -> None:
    """A list of small integers, the original's bytes, comes back as a list."""
    await world.backend.set("session:abc", [1, 2, 3], HOUR)
    assert await world.backend.get("session:abc", list[int]) == [1, 2, 3]


async def test_ttl_expiry(world: World) -> None:
    """A key is there before its ttl has run out, and missing after."""
    await world.backend.set("key1", "value1", timedelta(milliseconds=100))
    assert await world.backend.get("key1", str) == "value1"
    world.clock.advance(0.15)
    assert await world.backend.get("key1", str) is None


async def test_delete(world: World) -> None:
    """Delete tells whether there was something, and leaves nothing."""
    await world.backend.set("key1", "value1")
    assert await world.backend.delete("key1") is True
    assert await world.backend.delete("key1") is False
    assert await world.backend.exists("key1") is False


async def test_increment(world: World) -> None:
    """A counter starts at one and goes up by one."""
    assert [await world.backend.increment("counter") for _ in range(3)] == [1, 2, 3]


async def test_increment_with_ttl(world: World) -> None:
    """A counter with a ttl starts again after it has expired."""
    assert await world.backend.increment("counter", timedelta(milliseconds=100)) == 1
    assert await world.backend.increment("counter", timedelta(milliseconds=100)) == 2
    world.clock.advance(0.1)
    assert await world.backend.increment("counter", timedelta(milliseconds=100)) == 1


async def test_clear(world: World) -> None:
    """Clear removes every key."""
    await world.backend.set("key1", "value1")
    await world.backend.set("key2", "value2")
    await world.backend.clear()
    assert await world.backend.get_many(["key1", "key2"]) == {}


async def test_manual_cleanup(world: World) -> None:
    """Cleaning up removes the expired keys and leaves the others."""
    await world.backend.set("expires", "value1", timedelta(milliseconds=50))
    await world.backend.set("stays", "value2")
    world.clock.advance(0.1)
    assert world.memory.cleanup_expired() == 1
    assert await world.backend.get("stays", str) == "value2"
    assert len(world.memory) == 1


async def test_ten_concurrent_increments(world: World) -> None:
    """Ten tasks that increment at once make ten."""
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(world.backend.increment, "counter")
    assert await world.backend.get("counter", int) == 10


async def test_sharing(world: World) -> None:
    """A throttle, a cache and a session that share a backend see one state."""
    throttle = cache = session = world.backend
    assert await throttle.increment("throttle:user:1", 60) == 1
    await cache.set("cache:page", "<html>", 60)
    await session.set("session:abc", {"user": 1}, HOUR)
    assert await session.get("cache:page", str) == "<html>"
    assert await cache.increment("throttle:user:1", 60) == 2
    assert await throttle.get("session:abc", dict[str, int]) == {"user": 1}
