"""Callers that ask for the same tagged key share reads, but never one that began before they asked."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from reinhardt_backends import BackendConnectionError, Cache, MemoryBackend

pytestmark = pytest.mark.anyio


class Gated(MemoryBackend):
    """A store whose ``get_many`` answers when the gate opens, with what was there when it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.failures = 0
        self.gates: list[anyio.Event] = []
        self.gated = False

    async def get_many(self, keys: Iterable[str], type: Any = Any) -> Any:
        self.reads += 1
        found = await super().get_many(keys, type)
        if self.gated:
            gate = anyio.Event()
            self.gates.append(gate)
            await gate.wait()
        else:
            await anyio.lowlevel.checkpoint()
        if self.failures:
            self.failures -= 1
            raise BackendConnectionError("no server")
        return found

    async def open(self, number: int) -> None:
        """Let the read with this number answer, as soon as there is one."""
        with anyio.fail_after(10):
            while len(self.gates) <= number:
                await anyio.lowlevel.checkpoint()
        self.gates[number].set()


class Source:
    """What is cached: a number that changes."""

    def __init__(self, backend: Gated, **options: Any) -> None:
        self.number = 1
        self.computed = 0
        self.cache = cache = Cache(backend, ttl=60, **options)

        @cache.cached(key="number:{user}", tags=["numbers"])
        async def number(user: int) -> int:
            self.computed += 1
            return self.number

        self.ask = number


async def settle() -> None:
    """Let every task go on until it waits."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_callers_at_the_same_time_share_the_read_that_follows() -> None:
    backend = Gated()
    source = Source(backend)
    await source.ask(1)
    backend.reads, answers = 0, list[int]()

    async def ask() -> None:
        answers.append(await source.ask(1))

    async with anyio.create_task_group() as group:
        for _ in range(64):
            group.start_soon(ask)
    assert answers == [1] * 64
    assert source.computed == 1
    assert backend.reads == 2
    assert await source.ask(1) == 1
    assert backend.reads == 3


async def test_get_or_set_shares_reads_as_well() -> None:
    backend = Gated()
    cache = Cache(backend, ttl=60)

    async def factory() -> list[int]:
        return [1]

    async def ask() -> None:
        answers.append(await cache.get_or_set("k", factory, list[int], tags=["t"]))

    answers = list[list[int]]()
    await ask()
    backend.reads = 0
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(ask)
    assert answers == [[1]] * 11
    assert len(set(map(id, answers))) == 11
    assert backend.reads == 2


async def test_a_caller_joins_no_read_that_began_before_it_asked() -> None:
    backend = Gated()
    source = Source(backend)
    await source.ask(1)
    answers: dict[str, int] = {}
    backend.gated = True

    async def ask(who: str) -> None:
        answers[who] = await source.ask(1)

    async with anyio.create_task_group() as group:
        group.start_soon(ask, "before")
        await settle()
        source.number = 2
        # As another process does it.
        await Cache(backend, ttl=60).invalidate_tag("numbers")
        for who in ("after", "with it"):
            group.start_soon(ask, who)
        await settle()
        backend.gated = False
        await backend.open(0)
    assert answers == {"before": 1, "after": 2, "with it": 2}


async def test_a_cancelled_reader_leaves_the_read_to_another() -> None:
    backend = Gated()
    source = Source(backend)
    await source.ask(1)
    answers: list[int] = []
    scopes = [anyio.CancelScope() for _ in range(5)]
    backend.gated = True

    async def ask(scope: anyio.CancelScope) -> None:
        with scope:
            answers.append(await source.ask(1))

    async with anyio.create_task_group() as group:
        for scope in scopes:
            group.start_soon(ask, scope)
            await settle()
        # The one in flight, one that waits, and then the one that reads for the others.
        scopes[0].cancel()
        scopes[2].cancel()
        await settle()
        assert len(backend.gates) == 2
        scopes[1].cancel()
        await settle()
        await backend.open(2)
    assert answers == [1, 1]
    backend.gated = False
    assert await source.ask(1) == 1


async def test_a_caller_that_is_cancelled_as_its_turn_comes_passes_it_on() -> None:
    backend = Gated()
    source = Source(backend)
    await source.ask(1)
    answers: list[int] = []
    scopes = [anyio.CancelScope() for _ in range(3)]
    backend.gated = True

    async def ask(scope: anyio.CancelScope) -> None:
        with scope:
            answers.append(await source.ask(1))

    async with anyio.create_task_group() as group:
        for scope in scopes:
            group.start_soon(ask, scope)
            await settle()
        backend.gated = False
        backend.gates[0].set()
        while len(answers) < 1:
            await anyio.lowlevel.checkpoint()
        scopes[1].cancel()
    assert answers[0] == 1
    assert len(answers) in {2, 3}


async def test_an_error_of_a_shared_read_reaches_each_caller_as_an_exception_of_its_own() -> None:
    backend = Gated()
    source = Source(backend, on_error="raise")
    await source.ask(1)
    errors: list[BackendConnectionError] = []
    backend.reads, backend.failures = 0, 2

    async def ask() -> None:
        try:
            await source.ask(1)
        except BackendConnectionError as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
    assert [str(error) for error in errors] == ["no server"] * 5
    assert len(set(map(id, errors))) == 5
    assert backend.reads == 2
    assert await source.ask(1) == 1


async def test_other_keys_and_other_tags_share_nothing() -> None:
    backend = Gated()
    cache = Cache(backend, ttl=60)

    async def factory() -> int:
        return 1

    async def ask(key: str, tag: str) -> None:
        assert await cache.get_or_set(key, factory, int, tags=[tag]) == 1

    backend.gated = True
    async with anyio.create_task_group() as group:
        for key, tag in (("a", "t"), ("b", "t"), ("a", "u")):
            group.start_soon(ask, key, tag)
        await settle()
        assert len(backend.gates) == 3
        backend.gated = False
        for gate in backend.gates:
            gate.set()


def test_loops_in_several_threads_share_nothing_and_all_are_answered() -> None:
    backend = Gated()
    source = Source(backend)
    anyio.run(source.ask, 1)
    answers: list[int] = []

    async def ask() -> None:
        for _ in range(50):
            answers.append(await source.ask(1))

    async def main() -> None:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(ask)

    threads = [
        threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": name}) for name in ("asyncio", "trio")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [1] * 400
