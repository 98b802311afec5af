"""The name of a server that moves to another one is resolved again, within the deadline of the call that finds out."""

from __future__ import annotations

import socket
import threading
from typing import Any

import anyio
import pytest

pytest.importorskip("redis")

from .driving import ONCE, client_for, drive
from .peers import Handler, greet, listening

NAME = "moving.invalid"


class Resolver:
    """Says for one name where the server is at the moment."""

    def __init__(self, *ports: int) -> None:
        #: The ports that the next look-ups find; the last one stays.
        self.ports = list(ports)
        self.asked = 0
        self._real = socket.getaddrinfo

    def look_up(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host != NAME or options.get("flags"):
            return self._real(host, port, *args, **options)
        self.asked += 1
        found = self.ports.pop(0) if len(self.ports) > 1 else self.ports[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", found))]


def answering(number: int, demoted: threading.Event | None = None) -> Handler:
    """Answer each command with a number, and with a refusal once the server has become a replica."""

    def handler(connection: socket.socket) -> None:
        greet(connection)
        while connection.recv(65536):
            replica = demoted is not None and demoted.is_set()
            connection.sendall(b"-READONLY You can't write\r\n" if replica else b":%d\r\n" % number)

    return handler


def run(face: Any, blocking: bool, *turns: Any) -> None:
    async def main() -> None:
        for number, before in enumerate(turns, 1):
            before()
            assert await face.call(ONCE, "INCR", "n") == number
        await face.aclose()

    drive(main()) if blocking else anyio.run(main)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_replica_that_was_the_primary_is_left_for_the_new_address(
    blocking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    demoted = threading.Event()
    with listening(answering(1, demoted)) as old, listening(answering(2)) as new:
        resolver = Resolver(old.port)
        monkeypatch.setattr(socket, "getaddrinfo", resolver.look_up)
        client = client_for(f"redis://{NAME}:6379/0", timeout=10)

        def move() -> None:
            demoted.set()
            # The first look-ups still find the old address.
            resolver.ports = [old.port, old.port, new.port]

        run(client.blocking() if blocking else client, blocking, lambda: None, move)
        assert resolver.asked == 4


@pytest.mark.parametrize("blocking", [False, True])
def test_after_a_refused_connection_the_name_is_resolved_again(blocking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(answering(1)) as old, listening(answering(2)) as new:
        resolver = Resolver(old.port)
        monkeypatch.setattr(socket, "getaddrinfo", resolver.look_up)
        client = client_for(f"redis://{NAME}:6379/0", timeout=10)

        def move() -> None:
            old.stop()
            resolver.ports = [old.port, old.port, new.port]

        run(client.blocking() if blocking else client, blocking, lambda: None, move)
        assert resolver.asked == 4
