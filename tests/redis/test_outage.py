"""When the server is away, silent, full or in a bad mood, every call ends in time, with an error that is true."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import socket
import threading
import time
from math import inf
from typing import Any
from urllib.parse import quote

import anyio
import pytest

pytest.importorskip("redis")
from reinhardt_backends import (
    AuthenticationError,
    BackendConnectionError,
    BackendTimeoutError,
    OutcomeUnknownError,
    ResponseError,
)
from reinhardt_backends._redis import _health, _retry
from reinhardt_backends._redis._mux import CallFailed
from reinhardt_backends._redis._protocol import Refusal

from ..servers import Server, available, free_port, running
from .driving import IDEMPOTENT, ONCE, READ, assert_idle, client_for, drive, frames_text, in_thread, links
from .peers import HELLO, greet, holding, listening, relay

pytestmark = pytest.mark.anyio

PASSWORD = "s3cr:t@pa/ss"


async def test_a_refused_connection_is_reported_with_the_address() -> None:
    port = free_port()
    client = client_for(f"redis://127.0.0.1:{port}")
    began = time.monotonic()
    with pytest.raises(BackendConnectionError, match=f"127.0.0.1:{port}") as caught:
        await client.call(ONCE, "INCR", "a")
    assert type(caught.value) is BackendConnectionError
    assert time.monotonic() - began < 2
    await client.aclose()


async def test_a_name_that_does_not_resolve() -> None:
    for host in ("no-such-host.invalid", "x" * 300, "bad..host"):
        client = client_for(f"redis://{host}", timeout=20, connect_timeout=20)
        with pytest.raises(BackendConnectionError):
            await client.call(READ, "PING")
        await client.aclose()


async def test_no_unix_socket() -> None:
    client = client_for("unix:///no/such/socket")
    with pytest.raises(BackendConnectionError, match="/no/such/socket"):
        await client.call(READ, "PING")
    await client.aclose()


async def test_all_waiters_for_a_connection_share_its_failure() -> None:
    with listening(lambda _: None) as peer:
        client = client_for(peer.url)
        failures = []

        async def caller() -> None:
            with pytest.raises(BackendConnectionError) as caught:
                await client.call(READ, "PING")
            failures.append(caught.value)

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(caller)
        assert len(set(map(id, failures))) == 20
        assert peer.accepted <= 2
        await client.aclose()


async def test_a_peer_that_never_greets() -> None:
    release = threading.Event()
    with listening(holding(release)) as peer:
        client = client_for(peer.url, connect_timeout=0.2)
        with pytest.raises(BackendTimeoutError):
            await client.call(ONCE, "INCR", "a")
        release.set()
        await client.aclose()


async def test_a_server_that_falls_silent() -> None:
    release = threading.Event()

    def handler(connection: Any) -> None:
        greet(connection)
        release.wait(20)

    with listening(handler) as peer:
        began = time.monotonic()
        client = client_for(peer.url, timeout=0.2)
        with pytest.raises(BackendTimeoutError) as timeout:
            await client.call(READ, "GET", "a")
        assert isinstance(timeout.value, TimeoutError)
        await client.aclose()
        for kind, verb in ((ONCE, "INCR"), (IDEMPOTENT, "SET")):
            client = client_for(peer.url, timeout=0.2)
            with pytest.raises(OutcomeUnknownError) as unknown:
                await client.call(kind, verb, "a")
            assert isinstance(unknown.value.__cause__, BackendTimeoutError)
            await client.aclose()
        assert time.monotonic() - began < 5
        release.set()


async def test_one_timer_ends_everyone_in_time() -> None:
    release = threading.Event()

    def handler(connection: Any) -> None:
        greet(connection)
        release.wait(20)

    with listening(handler) as peer:
        client = client_for(peer.url, timeout=0.3)
        ended = []

        async def caller() -> None:
            with pytest.raises(BackendTimeoutError):
                await client.call(READ, "GET", "a")
            ended.append(time.monotonic())

        began = time.monotonic()
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(caller)
        assert len(ended) == 50
        assert max(ended) - began < 5
        release.set()
        await client.aclose()


async def test_a_late_reply_goes_to_no_other_call() -> None:
    late = threading.Event()

    def handler(connection: Any) -> None:
        greet(connection)
        connection.sendall(b"+PONG\r\n" if connection.recv(65536) else b"")
        data = b""
        while b"slow" not in data or b"quick" not in data:
            data += connection.recv(65536)
        connection.sendall(b"$5\r\nquick\r\n")
        late.wait(10)
        connection.recv(65536)
        connection.sendall(b"$4\r\nslow\r\n$5\r\nafter\r\n")
        connection.recv(65536)

    with listening(handler) as peer:
        client = client_for(peer.url)
        await client.call(READ, "PING")
        (link,) = links(client)

        async def quick() -> None:
            assert await link.exchange(b"quick", 1, time.monotonic() + 10) == b"quick"

        async def slow() -> None:
            with pytest.raises(CallFailed):
                await link.exchange(b"slow", 1, time.monotonic() + 0.2)

        async with anyio.create_task_group() as group:
            group.start_soon(quick)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(slow)
        late.set()
        assert link.failure is None
        assert await client.call(READ, "GET", "after") == b"after"
        assert peer.accepted == 1
        await client.aclose()


async def test_only_the_slow_call_is_late_when_the_server_answers_others(server: Server) -> None:
    client = client_for(server.url, timeout=10)
    await client.call(READ, "PING")
    (link,) = links(client)
    with pytest.raises(OutcomeUnknownError):
        await client.with_timeout(0.3).call(ONCE, "BLPOP", "nothing here", "0.6")
    with anyio.fail_after(5):
        assert await client.call(READ, "ECHO", "b") == b"b"
    assert link.failure is None
    await client.aclose()


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x0a",
        b"\x00" * 100,
        b"$-5\r\n",
        b"*1\r\n" * 100,
        b":not a number\r\n",
    ],
)
async def test_garbage_is_a_connection_error(garbage: bytes) -> None:
    def handler(connection: Any) -> None:
        connection.recv(65536)
        connection.sendall(garbage)

    def later(connection: Any) -> None:
        greet(connection)
        connection.recv(65536)
        connection.sendall(garbage)

    for talk in (handler, later):
        with listening(talk) as peer:
            client = client_for(peer.url, timeout=1)
            with pytest.raises(BackendConnectionError):
                await client.call(READ, "GET", "a")
            await client.aclose()


async def test_a_restart_between_calls_is_not_noticed(own_server: Server) -> None:
    client = client_for(own_server.url)
    assert await client.call(ONCE, "INCR", "a") == 1
    await anyio.to_thread.run_sync(own_server.restart)
    assert await client.call(ONCE, "INCR", "a") == 1
    await anyio.to_thread.run_sync(lambda: own_server.restart(kill=True))
    assert await client.call(ONCE, "INCR", "a") == 1
    assert drive(client.blocking().call(ONCE, "INCR", "a")) == 2
    await anyio.to_thread.run_sync(own_server.restart)
    assert drive(client.blocking().call(ONCE, "INCR", "a")) == 1
    await client.aclose()


async def test_a_restart_in_the_middle_of_calls_counts_nothing_twice(own_server: Server) -> None:
    """Each call counts a key of its own, so none may ever be 2, even if the server lost some."""
    client = client_for(own_server.url, timeout=10)
    stop = False
    begun = answered = 0

    async def counter() -> None:
        nonlocal begun, answered
        while not stop:
            begun += 1
            with contextlib.suppress(OutcomeUnknownError):
                assert await client.call(ONCE, "INCR", f"n{begun}") == 1
                answered += 1

    async def reader() -> None:
        while not stop:
            await client.call(READ, "GET", "n1")

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(counter)
            group.start_soon(reader)
        for kill in (True, False):
            before = answered
            while answered < before + 200:
                await anyio.lowlevel.checkpoint()
            await anyio.to_thread.run_sync(lambda kill=kill: own_server.restart(kill=kill))
        before = answered
        while answered < before + 200:
            await anyio.lowlevel.checkpoint()
        stop = True
    counts = await client.call(READ, "MGET", *(f"n{number}" for number in range(1, begun + 1)))
    assert set(counts) <= {None, b"1"}
    assert counts.count(b"1") >= 200
    assert_idle(client)
    await client.aclose()


async def test_increments_are_exact_but_for_the_unknown_ones(server: Server) -> None:
    """A proxy breaks connections at random moments; the server stays."""
    with listening(relay(("127.0.0.1", server.port))) as proxy:
        client = client_for(proxy.url, timeout=10)
        drive(client.blocking().call(IDEMPOTENT, "DEL", "exact"))
        unknown = answered = 0

        async def counter() -> None:
            nonlocal unknown, answered
            for _ in range(50):
                try:
                    await client.call(ONCE, "INCR", "exact")
                    answered += 1
                except OutcomeUnknownError:
                    unknown += 1

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(counter)
            for _ in range(10):
                before = answered
                while answered < min(before + 60, 900):
                    await anyio.lowlevel.checkpoint()
                proxy.cut()
        assert answered + unknown == 1000
        proxy.cut()
        count = int(await client.call(READ, "GET", "exact"))
        assert answered <= count <= answered + unknown
        await client.aclose()


async def test_a_server_that_is_away_for_a_moment_is_waited_for(own_server: Server) -> None:
    client = client_for(own_server.url, timeout=20)
    await client.call(READ, "PING")
    own_server.stop()
    with in_thread(lambda: (time.sleep(0.2), own_server.start())):
        results = []

        async def caller() -> None:
            results.append(await client.call(ONCE, "INCR", "a"))

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(caller)
    assert sorted(results) == list(range(1, 11))
    await client.aclose()


async def test_a_stopped_server_that_goes_on_is_waited_for(own_server: Server) -> None:
    client = client_for(own_server.url, timeout=20)
    await client.call(READ, "PING")
    os.kill(own_server.pid, signal.SIGSTOP)
    with in_thread(lambda: (time.sleep(0.2), os.kill(own_server.pid, signal.SIGCONT))):
        assert await client.call(ONCE, "INCR", "a") == 1
    await client.aclose()


@pytest.mark.parametrize("word", [b"LOADING Redis is loading", b"TRYAGAIN later", b"BUSY running a script"])
async def test_what_passes_is_waited_out(word: bytes) -> None:
    def handler(connection: Any) -> None:
        greet(connection)
        for _ in range(3):
            connection.recv(65536)
            connection.sendall(b"-" + word + b"\r\n")
        connection.recv(65536)
        connection.sendall(b":1\r\n")
        connection.recv(65536)

    with listening(handler) as peer:
        client = client_for(peer.url)
        assert await client.call(ONCE, "INCR", "a") == 1
        await client.aclose()


async def test_what_does_not_pass_is_reported_at_the_deadline() -> None:
    def handler(connection: Any) -> None:
        greet(connection)
        while connection.recv(65536):
            connection.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")

    with listening(handler) as peer:
        client = client_for(peer.url, timeout=0.3)
        with pytest.raises(ResponseError) as caught:
            await client.call(ONCE, "INCR", "a")
        assert caught.value.code == "LOADING"
        await client.aclose()


async def test_a_batch_is_sent_again_only_if_all_of_it_was_turned_away() -> None:
    requests: list[bytes] = []

    def handler(connection: Any) -> None:
        greet(connection)
        while data := connection.recv(65536):
            requests.append(data)
            connection.sendall(b"+OK\r\n-LOADING\r\n" if mixed else b"-LOADING\r\n-LOADING\r\n")
            if len(requests) == 2 and not mixed:
                connection.recv(65536)
                connection.sendall(b":1\r\n:2\r\n")

    mixed = True
    with listening(handler) as peer:
        client = client_for(peer.url)
        with pytest.raises(ResponseError):
            await client.call_many(ONCE, [("INCR", "a"), ("INCR", "b")])
        assert len(requests) == 1
        await client.aclose()
    mixed = False
    requests.clear()
    with listening(handler) as peer:
        client = client_for(peer.url)
        assert await client.call_many(ONCE, [("INCR", "a"), ("INCR", "b")]) == [1, 2]
        await client.aclose()


async def test_a_replica_is_left_for_another_connection() -> None:
    def handler(connection: Any) -> None:
        greet(connection)
        served.append(connection)
        while connection.recv(65536):
            connection.sendall(b":1\r\n" if len(served) > 3 else b"-READONLY You can't write\r\n")

    served: list[Any] = []
    with listening(handler) as peer:
        client = client_for(peer.url)
        assert await client.call(ONCE, "INCR", "a") == 1
        assert peer.accepted == 4
        served.clear()
        assert drive(client.blocking().call(ONCE, "INCR", "a")) == 1
        await client.aclose()


async def test_a_call_that_finds_out_that_the_server_is_a_replica_raises_its_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Later calls raise ``BackendConnectionError`` without being sent. This one was sent, and refused."""
    times = itertools.chain([0.0] * 20, itertools.repeat(0.95))
    monkeypatch.setattr(_retry, "monotonic", lambda: next(times))
    monkeypatch.setattr(_health, "monotonic", lambda: next(times))
    monkeypatch.setattr(_retry, "backoff", lambda _: 0.001)
    health = _health.Health(1.0, "here:1")
    history = _retry.History(ONCE, "here:1", 1.0, health)

    async def rest(_: float) -> None:
        pass

    refusal = Refusal("READONLY You can't write against a read only replica.")
    with pytest.raises(ResponseError, match="READONLY"):
        while not health.read_only.known:
            await history.consider(refusal, rest)
    assert health.read_only.known


@pytest.mark.parametrize("word", [b"READONLY You can't write", b"LOADING Redis is loading"])
async def test_a_refused_call_whose_time_ends_while_it_connects_again_raises_the_refusal(word: bytes) -> None:
    """The refusal is certain. That the next connection took too long is its cause."""

    def handler(connection: Any) -> None:
        if peer.accepted == 1:
            greet(connection)
            connection.recv(65536)
            connection.sendall(b"-" + word + b"\r\n")
            if not word.startswith(b"READONLY"):
                # Otherwise the client leaves the connection by itself.
                return
        connection.recv(65536)
        connection.recv(65536)

    for blocking in (False, True):
        with listening(handler) as peer:
            client = client_for(peer.url, timeout=0.3)
            face = client.blocking() if blocking else client
            with pytest.raises(ResponseError) as caught:
                await face.call(ONCE, "INCR", "a")
            assert caught.value.code == word.split()[0].decode()
            assert isinstance(caught.value.__cause__, BackendTimeoutError)
            await client.aclose()


async def test_a_call_that_was_sent_after_its_refusal_and_not_answered_has_an_unknown_outcome() -> None:
    def handler(connection: Any) -> None:
        greet(connection)
        connection.recv(65536)
        connection.sendall(b"-LOADING Redis is loading\r\n")
        while connection.recv(65536):
            pass

    with listening(handler) as peer:
        for kind, error in ((ONCE, OutcomeUnknownError), (READ, BackendTimeoutError)):
            client = client_for(peer.url, timeout=0.3)
            with pytest.raises(error):
                await client.call(kind, "GETDEL", "a")
            await client.aclose()


def test_a_refused_call_does_not_say_that_it_was_not_sent_if_an_outage_becomes_known_meanwhile() -> None:
    health = _health.Health(1.0, "here:1")
    history = _retry.History(ONCE, "here:1", inf, health)
    history.weigh(Refusal("LOADING Redis is loading"))
    health.down.trouble(time.monotonic() - 10)
    assert isinstance(history.judge(health.down.error("here:1")), ResponseError)


@pytest.mark.parametrize("moment", ["greeting", "call", "idle"])
async def test_a_server_that_is_full_says_so(moment: str) -> None:
    closing = threading.Event()

    def handler(connection: Any) -> None:
        if moment == "greeting":
            connection.recv(65536)
        else:
            greet(connection)
            if moment == "call":
                connection.recv(65536)
        connection.sendall(b"-ERR max number of clients reached\r\n")
        closing.set()

    with listening(handler) as peer:
        client = client_for(peer.url, timeout=1)
        with pytest.raises(BackendConnectionError, match="max number of clients"):
            await client.call(ONCE, "INCR", "a")
        await client.aclose()


@pytest.mark.parametrize("name", available())
async def test_a_real_server_that_is_full(name: str) -> None:
    with running(name, "--maxclients", "1") as one:
        first = client_for(one.url)
        with anyio.fail_after(10):
            while True:
                # The connection that waited for the server to start may not have gone yet.
                with contextlib.suppress(BackendConnectionError):
                    await first.call(READ, "PING")
                    break
        second = client_for(one.url, timeout=1)
        with pytest.raises(BackendConnectionError):
            await second.call(READ, "PING")
        await first.aclose()
        await second.aclose()


@pytest.mark.parametrize("name", available())
async def test_refusals_of_real_servers_are_typed(name: str) -> None:
    with running(name, "--maxmemory-policy", "noeviction") as one:
        client = client_for(one.url)
        await client.call(IDEMPOTENT, "RPUSH", "list", "a")
        await client.call(IDEMPOTENT, "SET", "text", "abc")
        script = "return redis.call('INCR', KEYS[1])"
        cases: list[tuple[str, str, tuple[Any, ...]]] = [
            ("WRONGTYPE", ".", ("INCR", "list")),
            ("WRONGTYPE", ".", ("EVAL", script, 1, "list")),
            ("ERR", "not an integer", ("INCR", "text")),
            ("ERR", "not an integer", ("EVAL", script, 1, "text")),
            ("NOSCRIPT", ".", ("EVALSHA", "0" * 40, 0)),
            ("ERR", "unknown command", ("NOSUCH", "stored value")),
        ]
        for code, text, words in cases:
            with pytest.raises(ResponseError, match=text) as caught:
                await client.call(ONCE, *words)
            assert caught.value.code == code, words
            assert "stored value" not in frames_text(caught.value)
        one.command("CONFIG", "SET", "maxmemory", "1")
        for words in (("SET", "a", "b"), ("EVAL", "return redis.call('SET', KEYS[1], '1')", 1, "a")):
            with pytest.raises(ResponseError) as caught:
                await client.call(ONCE, *words)
            assert caught.value.code == "OOM", str(caught.value)
        one.command("CONFIG", "SET", "maxmemory", "0")
        one.command("REPLICAOF", "127.0.0.1", str(free_port()))
        await client.aclose()
        for words in (("SET", "a", "b"), ("EVAL", "return redis.call('SET', KEYS[1], '1')", 1, "a")):
            client = client_for(one.url, timeout=0.5)
            with pytest.raises(ResponseError, match="READONLY"):
                await client.call(ONCE, *words)
            await client.aclose()


def _login(url: str, user: str, password: str) -> str:
    return url.replace("redis://", f"redis://{user}:{quote(password, safe='')}@")


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", available())
async def test_passwords_and_users(name: str, protocol: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with running(name, "--requirepass", PASSWORD) as one:
        bare = client_for(one.url, protocol=protocol)
        with pytest.raises(AuthenticationError):
            await bare.call(READ, "PING")
        await bare.aclose()
        good = client_for(_login(one.url, "", PASSWORD), protocol=protocol)
        assert await good.call(READ, "PING") == b"PONG"
        await good.call(ONCE, "ACL", "SETUSER", "reader", "on", ">" + PASSWORD, "~open:*", "+get", "+select")
        await good.aclose()
        reader = client_for(_login(one.url, "reader", PASSWORD), protocol=protocol)
        assert await reader.call(READ, "GET", "open:a") is None
        for words in (("GET", "session:secret"), ("SET", "open:a", "secret")):
            with pytest.raises(ResponseError) as refused:
                await reader.call(ONCE, *words)
            assert refused.value.code == "NOPERM"
            assert "secret" not in frames_text(refused.value)
        await reader.aclose()
        for user in ("", "reader", "nobody"):
            wrong = PASSWORD + "wrong"
            stranger = client_for(_login(one.url, user, wrong), protocol=protocol)
            for client in (stranger, stranger.blocking()):
                with pytest.raises(AuthenticationError) as caught:
                    await client.call(READ, "PING")
                shown = frames_text(caught.value) + caplog.text
                for spelling in (wrong, quote(wrong, safe=""), PASSWORD, quote(PASSWORD, safe="")):
                    assert spelling not in shown
            await stranger.aclose()


async def test_credential_providers(own_server: Server) -> None:
    own_server.command("ACL", "SETUSER", "user", "on", ">" + PASSWORD, "+@all", "~*")
    asked: list[str] = []

    class Sync:
        def get_credentials(self) -> tuple[str, str]:
            asked.append("sync")
            return "user", PASSWORD

    class Async:
        async def get_credentials_async(self) -> tuple[str, str]:
            await anyio.lowlevel.checkpoint()
            asked.append("async")
            return "user", PASSWORD

    class Broken:
        def get_credentials(self) -> tuple[str, str]:
            raise ValueError(PASSWORD)

    for provider in (Sync(), Async()):
        client = client_for(own_server.url, credential_provider=provider)
        assert await client.call(READ, "ACL", "WHOAMI") == b"user"
        assert drive(client.blocking().call(READ, "ACL", "WHOAMI")) == b"user"
        await client.aclose()
    assert asked == ["sync", "sync", "async", "async"]
    client = client_for(own_server.url, credential_provider=Broken())
    with pytest.raises(AuthenticationError, match="ValueError") as caught:
        await client.call(READ, "PING")
    assert PASSWORD not in frames_text(caught.value)
    await client.aclose()


async def test_a_proxy_that_knows_no_hello_serves_resp2() -> None:
    requests: list[bytes] = []

    def handler(connection: Any) -> None:
        requests.append(connection.recv(65536))
        unknown = b"-ERR unknown command 'CLIENT', with args beginning with: 'SETINFO' \r\n"
        connection.sendall(b"-ERR unknown command 'HELLO', with args beginning with: '2' \r\n+OK\r\n" + 2 * unknown)
        requests.append(connection.recv(65536))
        connection.sendall(b"+OK\r\n+OK\r\n+OK\r\n+PONG\r\n")
        connection.recv(65536)
        connection.sendall(b"+hello\r\n")
        connection.recv(65536)

    with listening(handler) as peer:
        client = client_for(peer.url.replace("/0", "/1"), username="u", password="p", client_name="me")
        assert await client.call(READ, "GET", "a") == b"hello"
        assert b"AUTH" in requests[1]
        assert b"SETNAME" in requests[1]
        assert b"SELECT" in requests[1]
        await client.aclose()


async def test_no_error_or_log_shows_what_was_stored(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    release = threading.Event()

    def silent(connection: Any) -> None:
        greet(connection)
        release.wait(20)

    def breaking(connection: Any) -> None:
        greet(connection)
        connection.recv(65536)

    def quoting(connection: Any) -> None:
        greet(connection)
        connection.recv(65536)
        connection.sendall(b"-ERR what is 'the stored value'?\r\n")
        connection.recv(65536)

    for handler in (silent, breaking, quoting):
        with listening(handler) as peer:
            client = client_for(peer.url, timeout=0.1)
            for face in (client, client.blocking()):
                for kind in (READ, IDEMPOTENT, ONCE):
                    with pytest.raises((ResponseError, BackendConnectionError, OutcomeUnknownError)) as caught:
                        await face.call(kind, "SET", "session:id", "the stored value")
                    shown = frames_text(caught.value) + caplog.text
                    assert "the stored value" not in shown
                    assert "session:id" not in shown
                    with pytest.raises((ResponseError, BackendConnectionError, OutcomeUnknownError)) as caught:
                        await face.call_many(kind, [("SET", "session:id", "the stored value")])
                    assert "the stored value" not in frames_text(caught.value)
            release.set()
            await client.aclose()


async def test_a_connection_that_ends_while_idle_is_found_before_anything_is_sent() -> None:
    requests: list[bytes] = []
    ended = threading.Event()

    def handler(connection: socket.socket) -> None:
        greet(connection)
        requests.append(connection.recv(65536))
        connection.sendall(b":1\r\n")
        connection.close()
        ended.set()

    with listening(handler) as peer:
        client = client_for(peer.url)
        for call in (client.call, client.blocking().call):
            for _ in range(3):
                ended.clear()
                assert await call(ONCE, "INCR", "a") == 1
                assert ended.wait(5)
        assert len(requests) == 6
        await client.aclose()


def test_the_greeting_of_the_peers_is_that_of_a_server(server: Server) -> None:
    """Guards the test's own peer: HELLO answers with an array whose third word is the protocol."""
    assert HELLO.startswith(b"*")
    assert server.command("HELLO", "2").startswith(b"*")
