"""The seam between the shared connection and whatever runs the caller.

Everything above this room is written once, as ``async def``. What differs between asyncio, trio and a plain thread is
only how one waits, and that is all there is here: a *runtime* knows how to park a task and wake it again, and a *port*
knows how to wait for one socket. Sockets are raw and non-blocking everywhere; nobody reads or writes for us.

Three rules keep the seam small.

- Every wait may return early. Whoever waited looks again at what it was waiting for, so a wake-up carries no meaning
  and none can be lost by being mistaken for another.
- Reading happens in a function that the caller hands in (``drain``), never in the seam, and only once the socket is
  known to be readable. Cancelling a wait therefore loses no bytes. A runtime that learns of readiness in a callback
  may call the function right there, which saves a turn of the loop.
- Deadlines are points on ``time.monotonic()``. A runtime with a clock of its own converts differences.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

#: What ``socket.getaddrinfo`` returns for one address.
AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


class Parkable(Protocol):
    """Whatever a task can be parked on: the runtime keeps its handle of the sleeping task in ``waiter``."""

    waiter: Any


class Socket(socket.socket):
    """A socket that closes silently when it is dropped: a loop that ended without closing must leave no warning."""

    def __del__(self) -> None:
        if hasattr(self, "_io_refs"):
            self.close()
        else:
            # An interrupt came while it was being made.
            super(socket.socket, self).close()


class Port(ABC):
    """One socket, as one runtime waits for it. At most one task leads and at most one pushes at any time."""

    @abstractmethod
    async def lead(self, drain: Callable[[], bool], deadline: float) -> None:
        """Call ``drain`` whenever the socket is readable, until it returns true, the deadline passes or a kick."""

    @abstractmethod
    async def push(self, drain: Callable[[], bool] | None, deadline: float) -> None:
        """Wait until the socket is writable; with ``drain``, read in the meantime, as ``lead`` does."""

    @abstractmethod
    def kick(self) -> None:
        """Make whoever waits here return and look again."""

    @abstractmethod
    def close(self) -> None:
        """Stop waiting for the socket and close it. Called in the loop that the port serves. Idempotent."""

    @abstractmethod
    def abandon(self) -> None:
        """Close the descriptor and nothing more: the loop has ended, or belongs to the parent of a fork."""


class Runtime(ABC):
    """How to wait in one event loop, or in plain threads."""

    #: Whether a coroutine that waits here suspends. Not so for blocking sockets.
    suspends: bool = True

    @abstractmethod
    def open(self, sock: socket.socket) -> Port:
        """A port for this socket."""

    @abstractmethod
    def park(self, who: Parkable) -> Awaitable[None]:
        """Sleep until ``unpark``. If the sleeper is cancelled instead, it clears ``who.waiter`` itself."""

    @abstractmethod
    async def park_until(self, who: Parkable, deadline: float) -> None:
        """As ``park``, and wake by oneself at the deadline."""

    @abstractmethod
    def unpark(self, who: Parkable) -> None:
        """Wake the task parked on ``who``, if there is one. Called in the loop that the runtime serves."""

    @abstractmethod
    def yield_once(self) -> Awaitable[None]:
        """Let every task that is ready to run do so once."""

    @abstractmethod
    async def resolve(self, host: str, port: int, deadline: float) -> list[AddressInfo]:
        """The addresses of a host name. Raises ``TimeoutError`` at the deadline and ``OSError`` if there is none."""

    @abstractmethod
    async def call_blocking(self, function: Callable[[], T]) -> T:
        """Run a function that may block where it blocks nobody else."""

    @abstractmethod
    def run_soon(self, function: Callable[[], None]) -> bool:
        """Have the loop call a function, from any thread. False if that loop has ended."""

    @abstractmethod
    def is_over(self) -> bool:
        """Whether the loop has ended for good."""


class Attempt:
    """One attempt to connect, so that closing can cut it short from outside."""

    __slots__ = ("_interrupt", "aborted", "port")

    def __init__(self) -> None:
        self.aborted = False
        self.port: Port | None = None
        self._interrupt: Callable[[], None] | None = None

    def enter(self, port: Port, interrupt: Callable[[], None] | None = None) -> None:
        """The attempt is waiting for this port now, and ``interrupt`` ends the wait: a kick, if it is not given."""
        self.port = port
        self._interrupt = port.kick if interrupt is None else interrupt

    def leave(self) -> None:
        """The attempt has stopped waiting."""
        self.port = self._interrupt = None

    def abort(self) -> None:
        """End the attempt: whoever makes it finds out when it looks again."""
        self.aborted = True
        interrupt = self._interrupt
        if interrupt is not None:
            interrupt()

    def check(self) -> None:
        """Raise ``ConnectionAbortedError`` if the attempt was ended."""
        if self.aborted:
            raise ConnectionAbortedError(errno.ECONNABORTED, "closed while connecting")


def numeric_address(host: str, port: int) -> list[AddressInfo]:
    """The addresses of a host given as a number; empty if it is a name, which takes a look-up that may block."""
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))
    except OSError:
        return []


async def connect_tcp(
    runtime: Runtime,
    attempt: Attempt,
    host: str,
    port: int,
    deadline: float,
    *,
    keepalive: bool = True,
    segment: int | None = None,
) -> tuple[socket.socket, Port]:
    """Connect to the first address of a host that answers.

    Several addresses are tried in turn, each with an equal share of the time that is left.

    Args:
        runtime: What will wait for the socket.
        attempt: Lets another task or thread end the attempt.
        host: Name or address.
        port: TCP port.
        deadline: When to give up.
        keepalive: Whether to switch TCP keepalive on.
        segment: The largest TCP segment to ask for, where the platform lets one choose.

    Raises:
        TimeoutError: Nothing answered before the deadline.
        OSError: The name does not resolve, or every address refused; the error of the last one.
    """
    addresses = numeric_address(host, port) or await runtime.resolve(host, port, deadline)
    attempt.check()
    failure: OSError = ConnectionRefusedError(errno.ECONNREFUSED, "no address to connect to")
    for left, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        share = monotonic() + (deadline - monotonic()) / left
        try:
            sock = Socket(family, kind, protocol)
            if segment is not None and hasattr(socket, "TCP_MAXSEG"):
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
            opened = await _connect(runtime, attempt, sock, address, share)
        except ConnectionAbortedError:
            attempt.check()
            raise
        except OSError as error:
            failure = error
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return sock, opened
    try:
        raise failure.with_traceback(None)
    finally:
        del failure


async def connect_unix(runtime: Runtime, attempt: Attempt, path: str, deadline: float) -> tuple[socket.socket, Port]:
    """Connect to a unix socket. Raises ``OSError``, and ``TimeoutError`` at the deadline."""
    family: socket.AddressFamily | None = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise OSError(errno.EAFNOSUPPORT, "this platform has no unix sockets")
    sock = Socket(family, socket.SOCK_STREAM)
    return sock, await _connect(runtime, attempt, sock, path, deadline)


async def _connect(runtime: Runtime, attempt: Attempt, sock: socket.socket, address: Any, deadline: float) -> Port:
    sock.setblocking(False)
    port = runtime.open(sock)
    attempt.enter(port)
    try:
        code = sock.connect_ex(address)
        # A unix socket whose backlog is full says EAGAIN and cannot be waited for; connecting again is all one can do.
        while code == errno.EAGAIN and monotonic() < deadline:
            await runtime.park_until(_Nobody(), min(deadline, monotonic() + 0.01))
            attempt.check()
            code = sock.connect_ex(address)
        if code in _IN_PROGRESS:
            code = await _connected(sock, port, attempt, deadline)
        if code:
            raise OSError(code, socket_error(code))
    except BaseException:
        port.close()
        raise
    finally:
        attempt.leave()
    return port


async def _connected(sock: socket.socket, port: Port, attempt: Attempt, deadline: float) -> int:
    """Wait until a connect that is under way has come to an end, and return its error number."""
    while True:
        await port.push(None, deadline)
        attempt.check()
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            return code
        try:
            sock.getpeername()
        except OSError:
            if monotonic() >= deadline:
                raise TimeoutError(errno.ETIMEDOUT, "no answer") from None
        else:
            return 0


def socket_error(code: int) -> str:
    """The text for an error number."""
    import os

    return os.strerror(code)


class _Nobody:
    __slots__ = ("waiter",)

    def __init__(self) -> None:
        self.waiter: Any = None


_IN_PROGRESS = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS)})
