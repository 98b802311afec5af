"""What lies between the out-buffer and the socket: nothing, or TLS.

TLS runs on memory buffers (``ssl.MemoryBIO``). The ciphertext belongs to the connection, like the bytes that wait to be
sent, so a cancelled caller cannot break a record in two.

A wire never waits. It raises ``BlockingIOError`` where the socket would block.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from .._io import Port

#: How much is read before others get their turn: the size of the buffer, and how often it is filled.
BUFFER: Final = 64 * 1024
TURNS: Final = 4

#: On a connection for large values while there is something else to do, and while there is not.
LARGE_BUFFER: Final = 16 * 1024
LARGE_TURNS: Final = 16

#: Plaintext is encrypted in pieces, so that a large value does not exist twice.
PIECE: Final = 64 * 1024


class Wire(Protocol):
    """Sends and receives on a non-blocking socket."""

    @property
    def pending(self) -> bool:
        """Whether there are bytes to send that are in no out-buffer."""
        ...

    @property
    def in_progress(self) -> int:
        """How many bytes of the out-buffer may have left already, beyond those that ``send`` has reported."""
        ...

    @property
    def holds_back(self) -> bool:
        """Whether bytes can wait here that make no socket readable, so that reading must go on to the end."""
        ...

    @property
    def has_arrived(self) -> Callable[[], object]:
        """Return something true if ``recv_into`` may find something. It costs less than reading in vain."""
        ...

    @property
    def send(self) -> Callable[[bytearray], int]:
        """Send from the front of a buffer and return how many of its bytes have left."""
        ...

    @property
    def recv_into(self) -> Callable[[bytearray], int]:
        """Receive into a buffer and return how many bytes came; 0 at the end of the stream."""
        ...

    def flush(self) -> None:
        """Send what is pending."""
        ...


class PlainWire:
    """The socket itself."""

    def __init__(self, sock: socket.socket) -> None:
        self.pending = False
        self.in_progress = 0
        self.holds_back = False
        self.has_arrived = _readiness(sock)
        self.send: Callable[[bytearray], int] = sock.send
        self.recv_into: Callable[[bytearray], int] = sock.recv_into

    def flush(self) -> None:
        return None


class TlsWire:
    """TLS over the socket."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str | None) -> None:
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._cipher = bytearray()
        self.in_progress = 0
        self.holds_back = True

    @property
    def pending(self) -> bool:
        return bool(self._cipher) or bool(self._outgoing.pending)

    def has_arrived(self) -> bool:
        return True

    def send(self, out: bytearray) -> int:
        if not self.in_progress:
            with memoryview(out) as whole, whole[:PIECE] as piece:
                try:
                    self.in_progress = self._tls.write(piece)
                except ssl.SSLWantReadError:
                    raise BlockingIOError from None
        self.flush()
        sent, self.in_progress = self.in_progress, 0
        return sent

    def flush(self) -> None:
        cipher = self._cipher
        cipher += self._outgoing.read()
        while cipher:
            del cipher[: self._sock.send(cipher)]

    def recv_into(self, buffer: bytearray) -> int:
        filled = 0
        with memoryview(buffer) as whole:
            while filled < len(whole):
                with whole[filled:] as rest:
                    count = self._read(rest, wait=filled == 0)
                if count <= 0:
                    break
                filled += count
        return filled

    def _read(self, rest: memoryview, *, wait: bool) -> int:
        """Decrypt into ``rest``. 0 at the end of the stream; -1 if there is nothing more and no need to wait."""
        # The type stubs do not know that reading into a buffer returns a number.
        read: Callable[[int, memoryview], int] = self._tls.read  # type: ignore[assignment]
        while True:
            try:
                return read(len(rest), rest)
            except ssl.SSLWantReadError:
                self._answer()
                try:
                    data = self._sock.recv(PIECE)
                except BlockingIOError:
                    if wait:
                        raise
                    return -1
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return 0

    def _answer(self) -> None:
        """Reading may make TLS say something by itself; what the socket does not take stays pending."""
        if self._outgoing.pending:
            with contextlib.suppress(BlockingIOError):
                self.flush()

    async def handshake(self, port: Port, deadline: float, check: Callable[[], None]) -> None:
        """Agree with the peer.

        Raises:
            ssl.SSLError: The peer cannot be trusted, or does not speak TLS.
            OSError: The connection broke. ``TimeoutError`` from ``check`` at the deadline.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush_all(port, deadline, check)
            except ssl.SSLError:
                self._answer()
                raise
            else:
                await self._flush_all(port, deadline, check)
                return
            await self._receive(port, deadline, check)

    async def _flush_all(self, port: Port, deadline: float, check: Callable[[], None]) -> None:
        while self.pending:
            try:
                self.flush()
            except BlockingIOError:
                await port.push(None, deadline)
                check()

    async def _receive(self, port: Port, deadline: float, check: Callable[[], None]) -> None:
        while True:
            try:
                data = self._sock.recv(PIECE)
            except BlockingIOError:
                await port.lead(_stop, deadline)
                check()
                continue
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()
            return


def _stop() -> bool:
    return True


def _readiness(sock: socket.socket) -> Callable[[], object]:
    """Return a function that says whether a socket is readable, where the platform has ``poll``."""
    if not hasattr(select, "poll"):
        return _stop
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return partial(poll.poll, 0)
