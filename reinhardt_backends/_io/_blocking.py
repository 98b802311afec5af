"""The seam on plain blocking waits: coroutines that run on it never suspend.

``poll()`` waits in the calling thread, so a coroutine written for the other runtimes runs to its end in one
``send(None)``. A connection here belongs to one thread at a time, so parking is a plain sleep.

Another thread cannot close a socket that this one is waiting for. It shuts it down, which wakes the wait; the owner
closes it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from math import ceil
from time import monotonic

from ._base import Parkable, Port, Runtime

_WAIT = 60.0


class BlockingPort(Port):
    """A socket that one thread waits for."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._waits = _Waits(sock)
        # A descriptor that the owner has just closed may already be another file's. Re-entrant, since a signal handler
        # may close the backend while its thread closes this socket.
        self._closing = threading.RLock()

    async def lead(self, drain: Callable[[], bool], deadline: float) -> None:
        readable = self._waits.readable
        while readable(deadline):
            if drain() or monotonic() >= deadline:
                return

    async def push(self, drain: Callable[[], bool] | None, deadline: float) -> None:
        if self._waits.writable(deadline, reads=drain is not None) and drain is not None:
            drain()

    def kick(self) -> None:
        self._alone(self._shut_down)

    def hasten(self, deadline: float) -> None:
        raise AssertionError("a blocking connection has one call at a time")

    def close(self, *, reset: bool = False) -> None:
        self._alone(partial(self._close, reset=reset))

    def _shut_down(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _alone(self, act: Callable[[], None]) -> None:
        """Do something to the socket that no other thread may do meanwhile."""
        closing = self._closing
        # Not ``with``: from Python 3.14 on a signal handler may raise before the block is entered.
        try:
            closing.acquire()
            act()
        finally:
            try:  # noqa: SIM105 - a call of suppress() could be interrupted itself
                closing.release()
            except RuntimeError:
                pass  # Interrupted while it waited for the lock.


class _PollWaits:
    """Waits by ``poll``, which has no limit on descriptor numbers and allocates none."""

    def __init__(self, sock: socket.socket) -> None:
        self._fd = sock.fileno()
        self._reads = select.poll()
        self._reads.register(self._fd, select.POLLIN)

    def readable(self, deadline: float) -> bool:
        return bool(self._reads.poll(_milliseconds(deadline)))

    def writable(self, deadline: float, *, reads: bool) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT | (select.POLLIN if reads else 0))
        return bool(poll.poll(_milliseconds(deadline)))


class _SelectWaits:
    """Waits by ``select``, for platforms without ``poll``."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def readable(self, deadline: float) -> bool:
        return any(select.select([self._sock], [], [self._sock], _seconds(deadline)))

    def writable(self, deadline: float, *, reads: bool) -> bool:
        return any(select.select([self._sock] if reads else [], [self._sock], [self._sock], _seconds(deadline)))


_Waits = _PollWaits if hasattr(select, "poll") else _SelectWaits


class BlockingRuntime(Runtime):
    """The calling thread."""

    suspends = False

    def open(self, sock: socket.socket) -> Port:
        return BlockingPort(sock)

    async def park(self, parked: Parkable) -> None:
        raise AssertionError("a blocking connection has one call at a time")

    async def park_until(self, parked: Parkable, deadline: float) -> None:
        time.sleep(_seconds(deadline))  # noqa: ASYNC251 - the point of this runtime

    def unpark(self, parked: Parkable) -> None:
        return None

    async def yield_once(self) -> None:
        return None

    def run_soon(self, function: Callable[[], None]) -> bool:
        function()
        return True

    def is_over(self) -> bool:
        return False


def _seconds(deadline: float) -> float:
    return max(0.0, min(deadline - monotonic(), _WAIT))


def _milliseconds(deadline: float) -> int:
    return ceil(_seconds(deadline) * 1000)
