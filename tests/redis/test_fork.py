"""After a fork the child has connections and locks of its own, and the parent keeps its."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("redis")
import trio

from ..servers import Server
from .driving import IDEMPOTENT, ONCE, READ, client_for, drive, links

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


@pytest.fixture(autouse=True)
def _threads_beside_a_fork() -> Iterator[None]:
    """Python warns about forking beside threads, which is what some of these tests are about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _in_child(function: Callable[[], object]) -> None:
    """Run a function in a forked child, which must end well within some seconds."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            watchdog = threading.Timer(20, os._exit, (3,))
            watchdog.daemon = True
            watchdog.start()
            function()
            code = 0
        except BaseException as error:
            sys.stderr.write(f"in the child: {error!r}\n")
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _expect(actual: Any, expected: Any) -> None:
    if actual != expected:
        raise AssertionError(f"{actual!r} is not {expected!r}")


def test_blocking_callers_in_parent_and_child(server: Server) -> None:
    client = client_for(server.url)
    twin = client.blocking()
    drive(twin.call(IDEMPOTENT, "SET", "fork", "0"))
    parents = drive(twin.call(READ, "CLIENT", "ID"))

    def child() -> None:
        _expect(drive(twin.call(ONCE, "INCR", "fork")), 1)
        _expect(drive(twin.call(READ, "CLIENT", "ID")) == parents, False)
        _expect(len(links(client)), 1)

    _in_child(child)
    assert drive(twin.call(READ, "CLIENT", "ID")) == parents
    assert drive(twin.call(ONCE, "INCR", "fork")) == 2
    drive(twin.aclose())


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_a_child_forked_beside_a_loop_that_was_used(server: Server, run: Callable[..., Any]) -> None:
    client = client_for(server.url)
    drive(client.blocking().call(IDEMPOTENT, "SET", "fork", "0"))

    async def increment(expected: int) -> None:
        _expect(await client.call(ONCE, "INCR", "fork"), expected)

    def run_(expected: int) -> None:
        run(increment(expected)) if run is asyncio.run else run(increment, expected)

    run_(1)
    _in_child(lambda: run_(2))
    run_(3)
    drive(client.blocking().aclose())


def test_a_child_forked_inside_a_running_loop_leaves_the_parents_connection_alone(server: Server) -> None:
    client = client_for(server.url)

    async def main() -> None:
        await client.call(IDEMPOTENT, "SET", "fork", "0")
        parents = await client.call(READ, "CLIENT", "ID")

        def child() -> None:
            _expect(drive(client.blocking().call(ONCE, "INCR", "fork")), 1)
            _expect(len(links(client)), 1)

        # A reply is on its way while the child is made.
        waiting = asyncio.ensure_future(client.call(READ, "ECHO", "on its way"))
        await asyncio.sleep(0)
        _in_child(child)
        assert await waiting == b"on its way"
        assert await client.call(READ, "CLIENT", "ID") == parents
        assert await client.call(ONCE, "INCR", "fork") == 2
        await client.aclose()

    asyncio.run(main())


def test_locks_that_other_threads_hold_are_no_matter(server: Server) -> None:
    client = client_for(server.url)
    twin = client.blocking()
    drive(twin.call(IDEMPOTENT, "SET", "fork", "0"))
    node = client._node
    assert node.pool is not None
    with node.lock, node.pool._lock:
        _in_child(lambda: _expect(drive(twin.call(ONCE, "INCR", "fork")), 1))
    drive(twin.aclose())


def test_children_forked_while_threads_work(server: Server) -> None:
    client = client_for(server.url)
    twin = client.blocking()
    drive(twin.call(IDEMPOTENT, "SET", "fork", "0"))
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not stop.is_set():
                assert drive(twin.call(READ, "ECHO", "work")) == b"work"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            _in_child(lambda: _expect(drive(twin.call(READ, "ECHO", "child")), b"child"))
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert not failures
    drive(twin.aclose())


def test_a_child_that_closes_its_client_sends_nothing_on_the_parents_connection(server: Server) -> None:
    client = client_for(server.url)
    twin = client.blocking()
    drive(twin.call(READ, "PING"))

    def child() -> None:
        drive(twin.aclose())

    _in_child(child)
    assert drive(twin.call(READ, "ECHO", "still there")) == b"still there"
    drive(twin.aclose())
