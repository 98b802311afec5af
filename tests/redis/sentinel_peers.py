"""Sentinels that say what a test tells them to say, beside real servers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any, Self

from ..servers import Server
from .peers import Listener, greet


class Told:
    """A peer that answers the questions for a primary as a Sentinel does.

    Attributes:
        server: The server that it names; ``None`` if it does not know the service.
        epoch: The configuration epoch that it names.
        silent: Whether it accepts connections and says nothing.
        asked: How often it was asked.
        host: The host that it names.
    """

    host = b"127.0.0.1"

    def __init__(self, server: Server | None, epoch: int = 0) -> None:
        self.server = server
        self.epoch = epoch
        self.silent = False
        self.asked = 0
        self._ending = threading.Event()
        self._listener = Listener(self._serve)
        self.port = self._listener.port

    @property
    def accepted(self) -> int:
        """How many connections were accepted."""
        return self._listener.accepted

    def _serve(self, connection: socket.socket) -> None:
        if self.silent:
            self._ending.wait(20)
            return
        greet(connection)
        while b"SENTINEL" in connection.recv(65536):
            self.asked += 1
            connection.sendall(self._answer())

    def _answer(self) -> bytes:
        if self.server is None:
            return b"*-1\r\n-ERR No such master with that name\r\n"
        port = b"%d" % self.server.port
        address = b"*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(self.host), self.host, len(port), port)
        epoch = b"%d" % self.epoch
        return address + b"*2\r\n$12\r\nconfig-epoch\r\n$%d\r\n%s\r\n" % (len(epoch), epoch)

    def name(self, server: Server, epoch: int) -> None:
        """Name another server from now on."""
        self.server, self.epoch = server, epoch

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._listener.stop()


@contextlib.contextmanager
def telling(*servers: Server | None, epochs: tuple[int, ...] = ()) -> Iterator[list[Told]]:
    """One peer for each server that is to be named."""
    with contextlib.ExitStack() as stack:
        numbers = [*epochs, *[0] * (len(servers) - len(epochs))]
        yield [stack.enter_context(Told(one, epoch)) for one, epoch in zip(servers, numbers, strict=True)]


def url_of(peers: list[Any], service: str = "main") -> str:
    """The url of a service of these Sentinels."""
    return f"redis+sentinel://{','.join(f'127.0.0.1:{one.port}' for one in peers)}/{service}"
