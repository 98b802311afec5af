"""Connect a socket: resolve the name, try each address, honour the deadline and a request to stop."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable
from contextvars import copy_context
from time import monotonic
from typing import Any, Final, TypeVar, cast

from ._base import Port, Runtime

T = TypeVar("T")

#: What ``socket.getaddrinfo`` returns for one address.
AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]

#: Seconds that a thread sleeps at a time: a lock has a limit to its timeout.
LONGEST_WAIT: Final = 60.0

#: When the kernel asks a silent peer, how often, and how many times; and how many milliseconds it may take to
#: acknowledge what was sent. Each where the platform has it.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 15), ("TCP_KEEPALIVE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
_USER_TIMEOUT: Final = 30_000


class Socket(socket.socket):
    """A socket that closes silently when it is dropped: a loop that ended without closing must leave no warning."""

    def __del__(self) -> None:
        if hasattr(self, "_io_refs"):
            self.close()
        else:
            # An interrupt came while it was being made.
            super(socket.socket, self).close()


class Attempt:
    """One attempt to connect, which another task or thread can end.

    Attributes:
        aborted: Whether it was ended from outside.
        port: The port that it waits for, if there is one.
    """

    __slots__ = ("__weakref__", "_interrupt", "aborted", "port")

    def __init__(self) -> None:
        self.aborted = False
        self.port: Port | None = None
        self._interrupt: Callable[[], None] | None = None

    def enter(self, interrupt: Callable[[], None], port: Port | None = None) -> None:
        """Register what ends the wait that begins now, and the port that is waited for."""
        self.port = port
        self._interrupt = interrupt
        if self.aborted:
            interrupt()

    def leave(self) -> None:
        """Unregister: the wait has ended."""
        self.port = self._interrupt = None

    def abort(self) -> None:
        """End the attempt: the connecting task raises when it checks next."""
        self.aborted = True
        interrupt = self._interrupt
        if interrupt is not None:
            interrupt()

    def check(self) -> None:
        """Raise ``ConnectionAbortedError`` if the attempt was ended."""
        if self.aborted:
            raise ConnectionAbortedError(errno.ECONNABORTED, "closed while connecting")


async def call_in_thread(runtime: Runtime, attempt: Attempt, function: Callable[[], T], deadline: float) -> T:
    """Run a function that may block in a thread of its own, and return its result.

    At the deadline, or when the attempt is ended, the thread is left to itself.

    Raises:
        TimeoutError: The deadline has passed.
        ConnectionAbortedError: The attempt was ended.
        Exception: What the function raises.
    """
    outcome: list[tuple[T | None, BaseException | None]] = []
    caller = _Pause()
    gate = threading.Lock()
    gate.acquire()

    def wake() -> None:
        if runtime.suspends:
            runtime.unpark(caller)
        else:
            with contextlib.suppress(RuntimeError):
                gate.release()

    def run() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))
        runtime.run_soon(wake)

    threading.Thread(target=copy_context().run, args=(run,), daemon=True).start()
    attempt.enter(wake)
    try:
        while not outcome:
            attempt.check()
            left = deadline - monotonic()
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "no result in time")
            if runtime.suspends:
                await runtime.park_until(caller, deadline)
            else:
                gate.acquire(timeout=min(left, LONGEST_WAIT))
    finally:
        attempt.leave()
    result, failure = outcome[0]
    if failure is not None:
        raise failure
    return cast("T", result)


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
    addresses = numeric_address(host, port) or await _resolve(runtime, attempt, host, port, deadline)
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
        _watch_path(sock, keepalive=keepalive)
        return sock, opened
    try:
        raise failure.with_traceback(None)
    finally:
        del failure


async def _resolve(runtime: Runtime, attempt: Attempt, host: str, port: int, deadline: float) -> list[AddressInfo]:
    def look_up() -> list[AddressInfo]:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))

    return await call_in_thread(runtime, attempt, look_up, deadline)


def _watch_path(sock: socket.socket, *, keepalive: bool) -> None:
    """Have the kernel find out that the path to the peer has died."""
    if keepalive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT)


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
    attempt.enter(port.kick, port)
    try:
        code = sock.connect_ex(address)
        # A unix socket whose backlog is full says EAGAIN and cannot be waited for; only connecting again helps.
        while code == errno.EAGAIN and monotonic() < deadline:
            await runtime.park_until(_Pause(), min(deadline, monotonic() + 0.01))
            attempt.check()
            code = sock.connect_ex(address)
        if code in _IN_PROGRESS:
            code = await _connected(sock, port, attempt, deadline)
        if code:
            raise OSError(code, os.strerror(code))
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


class _Pause:
    """A parking place that is never woken."""

    __slots__ = ("waiter",)

    def __init__(self) -> None:
        self.waiter: Any = None


_IN_PROGRESS = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS)})
