"""What a new connection learns about the server, and which servers are refused."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

pytest.importorskip("redis")
import redis

import reinhardt_backends
from reinhardt_backends import BackendConnectionError, RedisBackend, SyncBackend

from ..servers import Server, free_port, running
from .driving import links
from .peers import listening
from .runtimes import Runtime, on_every_runtime, timed


@on_every_runtime
async def test_a_node_of_a_cluster_is_refused_with_the_url_to_use(at: Runtime) -> None:
    with running(None, "--cluster-enabled", "yes", "--cluster-port", str(free_port())) as node:
        for protocol in (2, 3):
            backend = at.open(node.url, protocol=protocol, timeout=5.0)
            for call in (backend.ping(), backend.get("k")):
                took, outcome = await timed(call)
                assert type(outcome) is BackendConnectionError
                assert "redis+cluster://" in str(outcome)
                assert took < 2


@pytest.mark.parametrize("protocol", [2, 3])
@on_every_runtime
async def test_the_number_of_a_connection_is_the_servers(at: Runtime, server: Server, protocol: int) -> None:
    backend = at.open(server.url, protocol=protocol)
    await backend.ping()
    node = (backend._face._target if at.name == "blocking" else backend)._client
    (link,) = links(node)
    listed = server.command("CLIENT", "LIST", "ID", str(link.client.number))
    assert f"id={link.client.number} ".encode() in listed


@pytest.mark.parametrize(
    "reply",
    [
        b"+OK\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*1\r\n$5\r\nproto\r\n",
        b"*2\r\n$5\r\nproto\r\n:3\r\n",
        b"*2\r\n*1\r\n:1\r\n:2\r\n",
    ],
)
@on_every_runtime
async def test_a_peer_that_answers_hello_in_another_way_is_refused(at: Runtime, reply: bytes) -> None:
    def handler(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(reply)
        connection.recv(65536)

    with listening(handler) as peer:
        backend = at.open(peer.url, timeout=0.5)
        _, outcome = await timed(backend.get("k"))
        assert isinstance(outcome, BackendConnectionError)


@on_every_runtime
async def test_a_peer_that_acknowledges_nothing_is_refused(at: Runtime) -> None:
    """SELECT must be acknowledged: otherwise the calls would go to another database."""
    requests: list[bytes] = []
    done = threading.Event()

    def handler(connection: socket.socket) -> None:
        try:
            requests.append(connection.recv(65536))
            connection.sendall(b"*2\r\n$5\r\nproto\r\n:2\r\n:1\r\n")
            requests.append(connection.recv(65536))
        finally:
            done.set()

    with listening(handler) as peer:
        backend = at.open(peer.url.replace("/0", "/1"), timeout=0.5)
        outcome: Any
        _, outcome = await timed(backend.get("k"))
        assert isinstance(outcome, BackendConnectionError)
        assert done.wait(5)
        assert not any(b"GET" in request for request in requests)


def test_the_server_is_told_which_library_it_serves(server: Server) -> None:
    """With the handshake, in the same round trip; a server or an ACL that refuses it is used all the same."""
    with SyncBackend(RedisBackend(server.url, client_name="told")) as face:
        face.ping()
        with redis.Redis.from_url(server.url) as bare:
            (client,) = [one for one in bare.client_list() if one["name"] == "told"]
            if "lib-name" in client:
                assert (client["lib-name"], client["lib-ver"]) == ("reinhardt_backends", reinhardt_backends.__version__)
            bare.execute_command("ACL", "SETUSER", "plain", "reset", "on", ">pw", "allkeys", "+@all", "-client|setinfo")
            try:
                with SyncBackend(RedisBackend(server.url, username="plain", password="pw")) as refused:
                    refused.ping()
            finally:
                bare.execute_command("ACL", "DELUSER", "plain")
