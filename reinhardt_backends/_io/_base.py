"""The seam between the shared connection and the runtime that executes the caller.

All code above this folder is written once, as ``async def``. asyncio, trio and a plain thread differ only in how a
caller waits, and this seam covers exactly that: a *runtime* parks a task and wakes it again, and a *port* waits for one
socket. Sockets are raw and non-blocking on every runtime.

Three rules keep the seam small.

- Every wait may return early. The caller checks the condition it waited for again, so a wake-up carries no meaning.
- Reading happens in a function that the caller passes in (``drain``), and only once the socket is known to be readable.
  Cancelling a wait therefore loses no bytes. A runtime that learns of readiness in a callback may call the function
  there, and let the tasks that it wakes go on there too, which saves turns of the loop.
- Deadlines are points on ``time.monotonic()``. A runtime with its own clock converts differences.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Protocol


class Parkable(Protocol):
    """An object a task can be parked on. The runtime keeps its handle of the sleeping task in ``waiter``."""

    waiter: Any


class Port(ABC):
    """One socket, as one runtime waits for it. At most one task leads and at most one pushes at any time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    @abstractmethod
    def lead(self, drain: Callable[[], bool], deadline: float) -> Awaitable[None]:
        """Call ``drain`` whenever the socket is readable, until it returns true, the deadline passes or a kick."""

    @abstractmethod
    async def push(self, drain: Callable[[], bool] | None, deadline: float) -> None:
        """Wait until the socket is writable; with ``drain``, read in the meantime, as ``lead`` does."""

    @abstractmethod
    def kick(self) -> None:
        """Make the tasks that wait here return early."""

    @abstractmethod
    def hasten(self, deadline: float) -> None:
        """Make the tasks that wait here return at this time at the latest."""

    @abstractmethod
    def close(self, *, reset: bool = False) -> None:
        """Stop waiting for the socket and close it. Called in the loop that the port serves. Idempotent.

        Args:
            reset: Discard what was not sent yet, and tell the peer so (RST).
        """

    def close_silently(self) -> None:
        """Close the descriptor only: the loop has ended, or belongs to the parent of a fork."""
        self._sock.close()

    def _close(self, *, reset: bool) -> None:
        if reset:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def unacknowledged(self) -> int | None:
        """Return how many bytes the peer has not acknowledged; ``None`` where the platform does not say."""
        try:
            import fcntl
            import termios

            answer = fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        except (ImportError, AttributeError, OSError, ValueError):
            return None
        return int(struct.unpack("i", answer)[0])


class Runtime(ABC):
    """How to wait in one event loop, or in plain threads."""

    #: Whether a coroutine that waits here suspends. Not so for blocking sockets.
    suspends: bool = True

    @abstractmethod
    def open(self, sock: socket.socket) -> Port:
        """A port for this socket."""

    @abstractmethod
    def park(self, parked: Parkable) -> Awaitable[None]:
        """Sleep until ``unpark``. If the sleeper is cancelled instead, it clears ``parked.waiter`` itself."""

    @abstractmethod
    async def park_until(self, parked: Parkable, deadline: float) -> None:
        """Like ``park``, but wake at the deadline at the latest."""

    @abstractmethod
    def unpark(self, parked: Parkable) -> None:
        """Wake the task parked on ``parked``, if there is one. Called in the loop that the runtime serves."""

    @abstractmethod
    def yield_once(self) -> Awaitable[None]:
        """Let every task that is ready to run do so once."""

    @abstractmethod
    def run_soon(self, function: Callable[[], None]) -> bool:
        """Have the loop call a function, from any thread. False if that loop has ended."""

    @abstractmethod
    def is_over(self) -> bool:
        """Whether the loop has ended for good."""
