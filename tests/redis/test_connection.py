"""One client for event loops, threads and blocking callers at the same time, on a real server."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

pytest.importorskip("redis")
import trio

from reinhardt_backends import BackendClosedError, BackendConnectionError, OutcomeUnknownError, ResponseError
from reinhardt_backends._io import _connect, _runtimes
from reinhardt_backends._redis import _link, _silence
from reinhardt_backends._redis._link import Link
from reinhardt_backends._redis._mux import MAX_SLOTS, PART, Mux

from ..servers import Server, available, running
from .driving import IDEMPOTENT, ONCE, READ, assert_idle, client_for, drive, in_thread, links
from .peers import greet, holding, listening, relay

pytestmark = pytest.mark.anyio


async def test_replies_are_what_the_server_said(server: Server) -> None:
    client = client_for(server.url)
    assert await client.call(IDEMPOTENT, "SET", "replies", b"\x00\xff") == b"OK"
    assert await client.call(READ, "GET", "replies") == b"\x00\xff"
    assert await client.call(READ, "GET", "no such key") is None
    assert await client.call(READ, "STRLEN", "replies") == 2
    assert await client.call(READ, "MGET", "replies", "no such key") == [b"\x00\xff", None]
    await client.aclose()


async def test_a_pipeline_answers_in_order_and_raises_the_first_refusal(server: Server) -> None:
    client = client_for(server.url)
    assert await client.call_many(READ, []) == []
    assert await client.call_many(READ, [("ECHO", "a")]) == [b"a"]
    assert await client.call_many(READ, [("ECHO", n) for n in range(1000)]) == [b"%d" % n for n in range(1000)]
    with pytest.raises(ResponseError) as caught:
        await client.call_many(ONCE, [("ECHO", "a"), ("EVALSHA", "0" * 40, 0), ("NOSUCH",), ("ECHO", "b")])
    assert caught.value.code == "NOSCRIPT"
    assert await client.call(READ, "ECHO", "after") == b"after"
    await client.aclose()


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize("protocol", [2, 3])
async def test_every_server_and_both_protocols(name: str, protocol: int) -> None:
    with running(name) as one:
        client = client_for(one.url.removesuffix("/0"), protocol=protocol, client_name="tester", db=3)
        assert await client.call(IDEMPOTENT, "SET", "k", "v") == b"OK"
        assert await client.call(READ, "GET", "missing") is None
        assert await client.call(READ, "CLIENT", "GETNAME") == b"tester"
        assert b"db3:keys=1" in await client.call(READ, "INFO", "keyspace")
        await client.aclose()


async def test_over_a_unix_socket(server: Server) -> None:
    client = client_for(server.unix_url)
    assert await client.call(READ, "ECHO", "hello") == b"hello"
    await client.aclose()


async def test_hundreds_of_callers_share_one_connection(server: Server) -> None:
    client = client_for(server.url)

    async def caller(number: int) -> None:
        for turn in range(5):
            text = b"%d %d" % (number, turn)
            assert await client.call(READ, "ECHO", text) == text

    async with anyio.create_task_group() as group:
        for number in range(500):
            group.start_soon(caller, number)
    assert len(links(client)) == 1
    assert_idle(client)
    await client.aclose()


async def test_callers_past_the_bound_wait_for_room(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_link, "MAX_SLOTS", 3)
    append = Mux.append
    most = 0

    def counted(mux: Mux, data: bytes, count: int, deadline: float) -> Any:
        nonlocal most
        slot = append(mux, data, count, deadline)
        most = max(most, len(mux.slots))
        return slot

    monkeypatch.setattr(Mux, "append", counted)
    client = client_for(server.url)

    async def caller(number: int) -> None:
        for turn in range(5):
            text = b"%d %d" % (number, turn)
            assert await client.call(READ, "ECHO", text) == text
            # When all who had room have gone, the next one reads before it appends.
            await anyio.sleep(0.001 * (number % 3))

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(caller, number)
    assert most == 3
    assert_idle(client)
    await client.aclose()


async def test_callers_that_give_up_waiting_for_room_leave_it_to_others(server: Server) -> None:
    client = client_for(server.url)
    await client.call(READ, "PING")
    answered = 0

    async def caller(number: int) -> None:
        nonlocal answered
        assert await client.call(READ, "ECHO", number) == b"%d" % number
        answered += 1

    async with anyio.create_task_group() as group, anyio.create_task_group() as quitters:
        for number in range(2 * MAX_SLOTS):
            quitters.start_soon(caller, number)
        await anyio.lowlevel.checkpoint()
        for number in range(100):
            group.start_soon(caller, number)
        await anyio.lowlevel.checkpoint()
        quitters.cancel_scope.cancel()
    assert answered >= 100
    assert_idle(client)
    await client.aclose()


async def test_a_batch_of_20_mb_against_small_buffers_does_not_lock_both_ends(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Narrow(_connect.Socket):
        def connect_ex(self, address: Any) -> int:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
            self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            return super().connect_ex(address)

    monkeypatch.setattr(_connect, "Socket", Narrow)
    client = client_for(server.url, timeout=60)
    value = random.Random(1).randbytes(60_000)
    replies = await client.call_many(READ, [("ECHO", value)] * 350)
    assert len(replies) == 350
    assert all(reply == value for reply in replies)
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(_echo, client, value * 10)
    assert_idle(client)
    await client.aclose()


@pytest.mark.parametrize("company", [False, True])
async def test_a_peer_that_reads_on_only_when_its_replies_are_taken(
    company: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis buffers replies without bound; what stands between may not, and then reading is part of writing."""
    # On a busy machine the peer would be asked on a second connection whether it is alive.
    monkeypatch.setattr(_silence, "SILENCE", 60.0)
    reply = b"$65528\r\n" + b"x" * 65528 + b"\r\n"
    first = threading.Event()

    def handler(connection: Any) -> None:
        greet(connection)
        connection.sendall(b"+PONG\r\n" if connection.recv(65536) else b"")
        received = 0
        if company:
            received -= len(connection.recv(5, socket.MSG_WAITALL))
            assert first.wait(60)
            connection.sendall(b"+first\r\n")
            received += 5
        while data := connection.recv(65536):
            received += len(data)
            while received >= 65536:
                received -= 65536
                connection.sendall(reply)

    with listening(handler) as peer:
        client = client_for(peer.url, timeout=120)
        await client.call(READ, "PING")
        (link,) = links(client)

        async def other() -> None:
            assert await link.exchange(b"first", 1, time.monotonic() + 60) == b"first"

        async with anyio.create_task_group() as group:
            if company:
                # Somebody leads while the writer begins to wait, and leaves before it is done.
                group.start_soon(other)
                await anyio.wait_all_tasks_blocked()
                group.start_soon(_release, link, first)
            replies = await link.exchange(b"y" * 65536 * 500, 500, time.monotonic() + 60)
        assert replies == [b"x" * 65528] * 500
        await client.aclose()


async def _release(link: Link, event: threading.Event) -> None:
    while not link._writes_only:
        await anyio.lowlevel.checkpoint()
    event.set()


async def _echo(client: Any, value: bytes) -> None:
    assert await client.call(READ, "ECHO", value) == value


async def test_a_large_batch_is_sent_in_parts_while_it_grows(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_for(server.url)
    await client.call(READ, "PING")
    (link,) = links(client)
    appended, send = [], link._send

    def counting(out: bytearray) -> int:
        appended.append(len(link.mux.slots))
        return send(out)

    monkeypatch.setattr(link, "_send", counting)
    async with anyio.create_task_group() as group:
        for number in range(3 * PART):
            group.start_soon(_echo, client, b"%d" % number)
    # The first task is alone and sends at once. The second yields before it sends what is left of the others.
    assert appended[:3] == [1, 2 + PART, 2 + 2 * PART]
    assert_idle(client)
    await client.aclose()


async def test_large_values_travel_beside_small_ones(server: Server) -> None:
    client = client_for(server.url)
    value = b"x" * 1_000_000
    await client.call(IDEMPOTENT, "SET", "large", value)
    await client.call(IDEMPOTENT, "SET", "small", b"y")
    assert await client.call(READ, "GET", "large") == value
    assert await client.call(READ, "GET", "small") == b"y"
    small = next(iter(client._node.loops.values())).small.link
    assert small is not None
    before = small.mux.received
    assert await client.call(READ, "GET", "large") == value
    assert small.mux.received == before
    await client.call(IDEMPOTENT, "SET", "large", b"small now")
    assert await client.call(READ, "GET", "large") == b"small now"
    assert not client._node.large
    await client.aclose()


@pytest.mark.parametrize("length", [1, 2, 3, 7, 64])
async def test_replies_cut_anywhere_are_put_together(server: Server, length: int) -> None:
    def mangle(data: bytes) -> list[bytes]:
        return [data[at : at + length] for at in range(0, len(data), length)]

    with listening(relay(("127.0.0.1", server.port), mangle)) as proxy:
        client = client_for(proxy.url)
        await client.call(IDEMPOTENT, "SET", "cut", b"\r\n$3\r\nabc\r\n" * 20)
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(_mixture, client)
        await client.aclose()


async def _mixture(client: Any) -> None:
    assert await client.call(READ, "GET", "cut") == b"\r\n$3\r\nabc\r\n" * 20
    text = b"\r\n$3\r\nabc\r\n" * 20
    assert await client.call(READ, "MGET", "cut", "none", "cut") == [text, None, text]
    assert await client.call(READ, "STRLEN", "cut") == 220
    with pytest.raises(ResponseError):
        await client.call(READ, "NOSUCH")


async def test_closing_ends_calls_in_flight_and_is_idempotent(server: Server) -> None:
    client = client_for(server.url)
    await client.call(READ, "PING")

    async def caller() -> None:
        with pytest.raises(BackendClosedError):
            await client.call(ONCE, "BLPOP", "never", "30")

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(caller)
        await anyio.wait_all_tasks_blocked()
        await client.aclose()
    await client.aclose()
    with pytest.raises(BackendClosedError):
        await client.call(READ, "PING")
    with pytest.raises(BackendClosedError):
        drive(client.blocking().call(READ, "PING"))


async def test_closing_ends_callers_that_are_still_connecting() -> None:
    release = threading.Event()
    with listening(holding(release)) as peer:
        client = client_for(peer.url)

        async def caller() -> None:
            with pytest.raises(BackendClosedError):
                await client.call(READ, "PING")

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(caller)
            await anyio.wait_all_tasks_blocked()
            await client.aclose()
        release.set()


async def test_what_the_server_says_unasked_is_never_taken_for_an_answer() -> None:
    talked = threading.Event()

    def handler(connection: Any) -> None:
        greet(connection)
        connection.recv(65536)
        connection.sendall(b"$1\r\na\r\n$7\r\nunasked\r\n")
        talked.set()
        connection.recv(65536)

    with listening(handler) as peer:
        client = client_for(peer.url)
        assert await client.call(READ, "GET", "a") == b"a"
        assert talked.wait(5)
        assert await client.call(READ, "GET", "a") == b"a"
        assert peer.accepted == 2
        await client.aclose()


async def test_the_runtime_for_loops_without_readers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from anyio.lowlevel import current_token

    from reinhardt_backends._io._anyio import AnyioRuntime
    from reinhardt_backends._redis import _connections

    monkeypatch.setattr(_connections, "runtime_for", lambda _: AnyioRuntime(current_token()))
    client = client_for(server.url, timeout=20)
    value = b"x" * 3_000_000
    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(_echo, client, b"%d" % number)
        for _ in range(5):
            group.start_soon(_echo, client, value)

    async def caller() -> None:
        with pytest.raises(BackendClosedError):
            await client.call(ONCE, "BLPOP", "never", "30")

    async with anyio.create_task_group() as group:
        group.start_soon(caller)
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(client._node.close)


async def test_loops_without_readers_are_recognised() -> None:
    class Loop:
        add_reader = asyncio.AbstractEventLoop.add_reader

    assert not _runtimes.has_readers(Loop)
    assert _runtimes.has_readers(asyncio.SelectorEventLoop)


def _asyncio_run(function: Callable[[], Any]) -> None:
    asyncio.run(function())


def _trio_run(function: Callable[[], Any]) -> None:
    trio.run(function)


RUNNERS = [pytest.param(_asyncio_run, id="asyncio"), pytest.param(_trio_run, id="trio")]


@pytest.mark.parametrize("closer", [*RUNNERS, pytest.param(None, id="thread")])
@pytest.mark.parametrize("runner", RUNNERS)
def test_closing_from_elsewhere_ends_calls_in_flight(
    server: Server, runner: Callable[..., None], closer: Callable[..., None] | None
) -> None:
    client = client_for(server.url, timeout=20)
    ready = threading.Event()

    async def main() -> None:
        await client.call(READ, "PING")
        async with anyio.create_task_group() as group:
            group.start_soon(caller)
            group.start_soon(caller)
            await anyio.wait_all_tasks_blocked()
            ready.set()

    async def caller() -> None:
        with pytest.raises(BackendClosedError):
            await client.call(ONCE, "BLPOP", "never", "30")

    with in_thread(partial(runner, main)):
        assert ready.wait(10)
        if closer is None:
            drive(client.blocking().aclose())
        else:
            closer(client.aclose)


def test_closing_ends_blocking_calls_in_other_threads(server: Server) -> None:
    client = client_for(server.url, timeout=20).blocking()
    drive(client.call(IDEMPOTENT, "DEL", "never"))

    def caller() -> None:
        with pytest.raises(BackendClosedError):
            drive(client.call(ONCE, "BLPOP", "never", "30"))

    with in_thread(caller), in_thread(caller):
        while b"blocked_clients:2" not in server.command("INFO", "clients"):
            pass
        drive(client.aclose())
    with pytest.raises(BackendClosedError):
        drive(client.call(READ, "PING"))


def test_loops_that_end_without_closing_leave_nothing(server: Server) -> None:
    client = client_for(server.url)

    async def use() -> None:
        assert await client.call(READ, "ECHO", "a") == b"a"

    before = _connections(server)
    for _ in range(5):
        asyncio.run(use())
        trio.run(use)
    gc.collect()
    assert not client._node.loops
    assert _connections(server) == before
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use())
    assert len(client._node.loops) == 1
    loop.close()
    asyncio.run(use())
    assert _connections(server) <= before + 1
    trio.run(client.aclose)


def test_a_client_that_is_dropped_without_closing_leaves_nothing(server: Server) -> None:
    before = _connections(server)

    async def main() -> None:
        client = client_for(server.url)
        await client.call(READ, "PING")
        drive(client.blocking().call(READ, "PING"))
        assert _connections(server) == before + 2
        del client
        gc.collect()
        with anyio.fail_after(5):
            while _connections(server) > before:
                await anyio.sleep(0.001)

    asyncio.run(main())
    trio.run(main)


def _connections(server: Server) -> int:
    text = server.command("INFO", "clients").decode()
    return int(text.partition("connected_clients:")[2].split()[0])


def test_two_loops_and_many_threads_share_a_client(server: Server) -> None:
    client = client_for(server.url)
    drive(client.blocking().call(IDEMPOTENT, "DEL", "shared"))

    async def caller() -> None:
        for _ in range(50):
            await client.call(ONCE, "INCR", "shared")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(caller)

    def blocking() -> None:
        twin = client.blocking()
        for _ in range(50):
            drive(twin.call(ONCE, "INCR", "shared"))

    threads = [threading.Thread(target=blocking) for _ in range(10)]
    threads += [threading.Thread(target=asyncio.run, args=(main(),)), threading.Thread(target=trio.run, args=(main,))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert drive(client.blocking().call(READ, "GET", "shared")) == b"1500"
    drive(client.blocking().aclose())


def test_fifty_threads_wait_for_a_few_connections(server: Server) -> None:
    client = client_for(server.url, max_connections=3).blocking()
    drive(client.call(IDEMPOTENT, "DEL", "few"))

    def blocking() -> None:
        for _ in range(20):
            drive(client.call(ONCE, "INCR", "few"))

    threads = [threading.Thread(target=blocking) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert drive(client.call(READ, "GET", "few")) == b"1000"
    assert len(links(client)) <= 3
    drive(client.aclose())


def test_blocking_calls_work_inside_a_running_loop(server: Server) -> None:
    client = client_for(server.url)

    async def main() -> None:
        assert drive(client.blocking().call(READ, "ECHO", "a")) == b"a"
        assert await client.call(READ, "ECHO", "b") == b"b"

    asyncio.run(main())
    trio.run(main)
    drive(client.blocking().aclose())


def test_a_blocking_call_that_is_interrupted_does_not_spoil_the_connection(server: Server) -> None:
    client = client_for(server.url).blocking()
    drive(client.call(READ, "PING"))
    (link,) = links(client)
    with pytest.MonkeyPatch.context() as patch:

        def interrupt() -> bool:
            raise KeyboardInterrupt

        patch.setattr(link, "drain", interrupt)
        with pytest.raises(KeyboardInterrupt):
            drive(client.call(READ, "ECHO", "a"))
    assert drive(client.call(READ, "ECHO", "b")) == b"b"
    drive(client.aclose())


def test_outside_any_loop_the_error_says_so(server: Server) -> None:
    client = client_for(server.url)
    with pytest.raises(RuntimeError, match="event loop"):
        drive(client.call(READ, "PING"))


async def test_a_write_that_may_have_been_sent_is_not_sent_again() -> None:
    requests: list[bytes] = []

    def handler(connection: Any) -> None:
        greet(connection)
        requests.append(connection.recv(65536))

    with listening(handler) as peer:
        client = client_for(peer.url, timeout=2)
        with pytest.raises(OutcomeUnknownError) as unknown:
            await client.call(ONCE, "INCR", "a")
        assert isinstance(unknown.value.__cause__, BackendConnectionError)
        assert len(requests) == 1
        with pytest.raises(OutcomeUnknownError):
            await client.call(IDEMPOTENT, "SET", "a", "b")
        assert len(requests) > 2
        requests.clear()
        with pytest.raises(BackendConnectionError):
            await client.call(READ, "GET", "a")
        assert len(requests) > 1
        await client.aclose()
