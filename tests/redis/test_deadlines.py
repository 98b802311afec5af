"""Each call has one deadline, its own: shorter and longer ones share a connection and do not affect each other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

pytest.importorskip("redis")
from reinhardt_backends import BackendTimeoutError, OutcomeUnknownError, RedisBackend

from ..servers import Server
from .driving import ONCE, READ, client_for, drive, in_thread, links
from .peers import listening, relay

pytestmark = pytest.mark.anyio


@contextmanager
def slow(server: Server, seconds: float) -> Iterator[tuple[str, threading.Event]]:
    """A proxy that delays every reply once the event is set."""
    begins = threading.Event()

    def mangle(data: bytes) -> list[bytes]:
        if begins.is_set():
            time.sleep(seconds)
        return [data]

    with listening(relay(("127.0.0.1", server.port), mangle)) as proxy:
        yield proxy.url, begins


@contextmanager
def stopped(server: Server, seconds: float) -> Iterator[None]:
    """Stop the server's process for a while, beside the ``with`` block."""
    os.kill(server.pid, signal.SIGSTOP)
    with in_thread(lambda: (time.sleep(seconds), os.kill(server.pid, signal.SIGCONT))):
        yield


async def test_a_verb_of_several_round_trips_has_one_deadline(server: Server) -> None:
    with slow(server, 0.25) as (url, begins):
        backend = RedisBackend(url, prefix="deadline:", timeout=0.9)
        begins.set()
        began = time.monotonic()
        with pytest.raises(OutcomeUnknownError):
            await backend.set_many({str(number): number for number in range(9_000)})
        assert time.monotonic() - began < 1.5
        await backend.aclose()


async def test_a_pop_that_reads_first_has_one_deadline(server: Server) -> None:
    # With a deadline for each of its two trips it would end with an answer.
    with slow(server, 0.25) as (url, begins):
        backend = RedisBackend(url, prefix="deadline:")
        await backend.set("popped", 1)
        begins.set()
        with pytest.raises(OutcomeUnknownError):
            await backend.with_timeout(0.4).pop("popped", int)
        await backend.aclose()


async def test_a_caller_that_waits_for_room_and_writes_for_others_ends_at_its_own_deadline(own_server: Server) -> None:
    backend = RedisBackend(own_server.url, timeout=10)
    await backend.set("first", b"x" * 300_000)
    with stopped(own_server, 1.0):
        with anyio.move_on_after(0.2):
            # The socket takes some of it, and no caller is left to send the rest.
            await backend.set("much", b"x" * 40_000_000)
        began = time.monotonic()
        with pytest.raises(BackendTimeoutError):
            await backend.with_timeout(0.3).set("large", b"x" * 300_000)
        assert time.monotonic() - began < 0.6
    assert await backend.get("large") is None
    await backend.aclose()


async def test_a_script_that_the_server_does_not_know_is_sent_within_the_deadline(own_server: Server) -> None:
    # With a deadline for each trip, the second one would end with an answer, after two seconds.
    with slow(own_server, 1.0) as (url, begins):
        backend = RedisBackend(url)
        await backend.ping()
        begins.set()
        began = time.monotonic()
        with pytest.raises((BackendTimeoutError, OutcomeUnknownError)):
            await backend.with_timeout(1.2).increment("n", 60)
        assert time.monotonic() - began < 1.9
        await backend.aclose()


async def test_a_view_has_its_own_timeout_on_the_same_connection(server: Server) -> None:
    client = client_for(server.url, timeout=20)
    view = client.with_timeout(0.2)
    identity = await client.call(READ, "CLIENT", "ID")
    began = time.monotonic()
    with pytest.raises(OutcomeUnknownError):
        await view.call(ONCE, "BLPOP", "nothing", "0.6")
    assert time.monotonic() - began < 0.5
    assert await client.call(READ, "CLIENT", "ID") == identity
    with pytest.raises(OutcomeUnknownError):
        drive(view.blocking().call(ONCE, "BLPOP", "nothing", "0.6"))
    await client.aclose()


@pytest.mark.parametrize("order", ["short first", "short last"])
async def test_a_shorter_deadline_ends_its_own_call_only(own_server: Server, order: str) -> None:
    client = client_for(own_server.url, timeout=10)
    view = client.with_timeout(0.2)
    await client.call(READ, "PING")
    (link,) = links(client)
    answers: list[Any] = []
    ended: list[float] = []

    async def patient() -> None:
        answers.append(await client.call(ONCE, "INCR", "n"))

    async def impatient() -> None:
        with pytest.raises(OutcomeUnknownError):
            await view.call(ONCE, "INCR", "m")
        ended.append(time.monotonic())

    calls = [impatient, patient, patient] if order == "short first" else [patient, patient, impatient]
    with stopped(own_server, 0.8):
        began = time.monotonic()
        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(call)
                await anyio.wait_all_tasks_blocked()
    assert sorted(answers) == [1, 2]
    assert 0.19 < ended[0] - began < 0.6
    assert link.failure is None
    await client.aclose()


def test_a_blocking_view_ends_its_own_call_only(own_server: Server) -> None:
    client = client_for(own_server.url, timeout=10).blocking()
    drive(client.call(READ, "PING"))
    answers: list[Any] = []
    ready = threading.Event()

    def patient() -> None:
        ready.set()
        answers.append(drive(client.call(ONCE, "INCR", "n")))

    with stopped(own_server, 0.8), in_thread(patient):
        assert ready.wait(5)
        began = time.monotonic()
        with pytest.raises((OutcomeUnknownError, BackendTimeoutError)):
            drive(client.with_timeout(0.2).call(ONCE, "INCR", "m"))
        assert time.monotonic() - began < 0.6
    assert answers == [1]
    drive(client.aclose())
