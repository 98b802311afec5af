"""Peers that misbehave on purpose: a server written by the test, and a proxy in front of a real one.

Both run in threads of their own on the loopback interface and end with their ``with`` block. Neither imitates Redis:
a peer says the bytes that a test tells it to say, a proxy passes on, holds back or cuts what a real server says.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

Handler = Callable[[socket.socket], None]


class Listener:
    """A listening socket; each connection is given to a function in a thread of its own."""

    def __init__(self, handler: Handler, context: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._ending = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        #: How many connections were accepted.
        self.accepted = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._ending.is_set():
                connection.close()
                return
            self.accepted += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        self._sockets.append(connection)
        with contextlib.suppress(OSError, ValueError):
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
                self._sockets.append(connection)
            self._handler(connection)
        with contextlib.suppress(OSError):
            connection.close()

    def cut(self) -> None:
        """Break every connection that is open now."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """End it. Harmless if it has ended."""
        self._ending.set()
        # Wakes the acceptor, who could otherwise only look at the event at intervals.
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port), 5):
            self._acceptor.join(5)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)


@contextlib.contextmanager
def listening(handler: Handler, context: ssl.SSLContext | None = None) -> Iterator[Listener]:
    """A peer whose every connection is served by ``handler``."""
    listener = Listener(handler, context)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()


#: What a server says to the greeting of a client that wants RESP2 and no database but the first.
HELLO = b"*2\r\n$5\r\nproto\r\n:2\r\n" + b"+OK\r\n" * 2


def greet(connection: socket.socket) -> None:
    """Read the greeting and answer it."""
    if b"HELLO" not in connection.recv(65536):
        raise ValueError("no greeting")
    connection.sendall(HELLO)


def holding(release: threading.Event) -> Handler:
    """Say nothing and stay until the event is set."""

    def handler(_: socket.socket) -> None:
        release.wait(20)

    return handler


def relay(
    target: tuple[str, int],
    mangle: Callable[[bytes], list[bytes]] | None = None,
    heard: Callable[[bytes], list[bytes]] | None = None,
) -> Handler:
    """Pass everything on to a real server.

    ``mangle`` cuts what the server says into the pieces to send, and ``heard`` what the client says.
    """

    def handler(client: socket.socket) -> None:
        with socket.create_connection(target) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            upwards = threading.Thread(target=_copy, args=(client, server, heard), daemon=True)
            upwards.start()
            _copy(server, client, mangle)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            upwards.join(5)

    return handler


def _copy(source: socket.socket, target: socket.socket, mangle: Callable[[bytes], list[bytes]] | None) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(65536):
            for piece in [data] if mangle is None else mangle(data):
                target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
