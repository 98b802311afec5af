"""Signal handlers and finalizers may call or close a backend in the middle of a call of the same thread."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import sys
import threading
import weakref
from typing import Any

import anyio
import pytest

pytest.importorskip("redis")
import trio

from reinhardt_backends import BackendClosedError
from reinhardt_backends._redis._connections import Node

from ..servers import Server
from .driving import ONCE, READ, client_for, drive, in_thread


def test_closing_while_the_same_thread_holds_the_locks(server: Server) -> None:
    client = client_for(server.url)
    drive(client.blocking().call(READ, "PING"))
    node = client._node
    assert node.pool is not None

    def in_the_middle() -> None:
        with node.lock, node.pool._lock, node.health.down._lock:  # type: ignore[union-attr]  # it is there
            assert drive(client.blocking().call(READ, "ECHO", "a")) == b"a"
            node.health.down.trouble(0.0)
            node.close()

    with in_thread(in_the_middle):
        pass
    with pytest.raises(BackendClosedError):
        drive(client.blocking().call(READ, "PING"))


def test_loops_may_be_freed_while_they_are_closed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weak references remove loops from the table at any time, even in the middle of closing."""
    client = client_for(server.url)
    loops = [asyncio.new_event_loop() for _ in range(5)]
    for loop in loops:
        loop.run_until_complete(client.call(READ, "PING"))
    del loop
    node = client._node
    assert len(node.loops) == 5
    table = node.loops
    first = next(iter(table.values()))
    close = type(first).close_in_its_loop

    def close_and_free(connections: Any) -> None:
        while loops:
            loops.pop().close()
        gc.collect()
        close(connections)

    monkeypatch.setattr(type(first), "close_in_its_loop", close_and_free)
    node.close()
    assert not table


def test_a_node_that_was_made_in_part_is_freed_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    # What other tests have left behind.
    gc.collect()
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    node = Node.__new__(Node)
    freed = weakref.ref(node)
    del node
    assert freed() is None
    assert not unraisable


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
def test_a_connection_keeps_no_context_of_a_caller(server: Server, uvloop: bool) -> None:
    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")
    client = client_for(server.url)

    class Request:
        pass

    def call() -> weakref.ref[Request]:
        request = Request()
        variable.set(request)
        return weakref.ref(request)

    async def handle(size: int) -> weakref.ref[Request]:
        reference = call()
        await client.call(READ, "ECHO", b"x" * size)
        return reference

    async def main() -> None:
        for size in (10, 5_000_000):
            reference = await asyncio.create_task(handle(size))
            await asyncio.sleep(0)
            gc.collect()
            assert reference() is None
        await client.aclose()

    anyio.run(main, backend_options={"use_uvloop": uvloop})


@pytest.mark.parametrize("kind", ["leading", "connecting", "queued"])
def test_a_loop_closed_with_calls_pending_makes_no_noise(
    server: Server, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    client = client_for(server.url, timeout=20)
    loop = asyncio.new_event_loop()
    if kind != "connecting":
        loop.run_until_complete(client.call(READ, "PING"))
    coroutines = [client.call(ONCE, "BLPOP", "never", "30") for _ in range(3)]
    tasks = [loop.create_task(coroutine) for coroutine in coroutines]
    for _ in range(1 if kind == "connecting" else 5):
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    for task in tasks:
        # What the tasks themselves say when they are destroyed is not ours.
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # the switch of asyncio itself
    del tasks, coroutines, loop
    gc.collect()
    assert [str(one.exc_value) for one in unraisable] == []
    assert not caplog.records
    drive(client.blocking().aclose())


def test_two_runs_of_trio_after_one_another_leave_no_connections(server: Server) -> None:
    client = client_for(server.url)

    async def use() -> None:
        await client.call(READ, "PING")

    for _ in range(3):
        trio.run(use)
    gc.collect()
    assert len(client._node.loops) <= 1
    drive(client.blocking().aclose())


def test_a_view_of_a_client_shares_everything_but_the_timeout(server: Server) -> None:
    client = client_for(server.url)
    view = client.with_timeout(1)
    assert view._node is client._node
    assert copy.copy(view)._timeout == 1
    drive(view.blocking().aclose())
    assert client.is_closed
    assert threading.active_count() >= 1
