"""The seam on trio, by ``trio.lowlevel``.

A parked task is a task that waits to be rescheduled. It is marked un-parked inside the abort function: between the
cancellation and the moment the task runs again, somebody may want to wake it, and rescheduling it twice is fatal.

Trio has no readiness callbacks, so whoever leads waits, reads and waits again, in one cancel scope that carries the
deadline and that a kick cancels.
"""

from __future__ import annotations

import socket
import weakref
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, TypeVar

import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, TrioToken

from ._base import AddressInfo, Parkable, Port, Runtime

T = TypeVar("T")

_current_task = trio.lowlevel.current_task
_sleep = trio.lowlevel.wait_task_rescheduled
_reschedule = trio.lowlevel.reschedule
_wait_readable = trio.lowlevel.wait_readable
_wait_writable = trio.lowlevel.wait_writable
_current_time = trio.current_time
_succeeded = Abort.SUCCEEDED


class TrioPort(Port):
    """A socket in one trio run."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._leading: trio.CancelScope | None = None
        self._pushing: trio.CancelScope | None = None

    async def lead(self, drain: Callable[[], bool], deadline: float) -> None:
        self._leading = scope = trio.CancelScope(deadline=_convert(deadline))
        try:
            with scope:
                await self._read(drain)
        finally:
            self._leading = None

    async def push(self, drain: Callable[[], bool] | None, deadline: float) -> None:
        self._pushing = scope = trio.CancelScope(deadline=_convert(deadline))
        try:
            with scope:
                if drain is None:
                    await _writable(self._sock)
                else:
                    await self._read_or_write(drain)
        finally:
            self._pushing = None

    async def _read(self, drain: Callable[[], bool]) -> None:
        sock = self._sock
        try:
            while True:
                await _wait_readable(sock)
                if drain():
                    return
        except trio.ClosedResourceError:
            return

    async def _read_or_write(self, drain: Callable[[], bool]) -> None:
        async with trio.open_nursery() as nursery:

            async def first(function: Callable[..., Awaitable[None]], *args: Any) -> None:
                await function(*args)
                nursery.cancel_scope.cancel()

            nursery.start_soon(first, self._read, drain)
            nursery.start_soon(first, _writable, self._sock)

    def kick(self) -> None:
        if self._leading is not None:
            self._leading.cancel()
        if self._pushing is not None:
            self._pushing.cancel()

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            if self._leading is not None or self._pushing is not None:
                trio.lowlevel.notify_closing(self._sock)
            self.kick()
            self._sock.close()

    def abandon(self) -> None:
        self._sock.close()


class TrioRuntime(Runtime):
    """One trio run."""

    def __init__(self, token: TrioToken) -> None:
        # Weakly, so that what serves a run does not outlive it.
        self._token = weakref.ref(token)

    def open(self, sock: socket.socket) -> Port:
        return TrioPort(sock)

    async def park(self, who: Parkable) -> None:
        who.waiter = _current_task()

        def abort(_: RaiseCancelT) -> Abort:
            who.waiter = None
            return _succeeded

        await _sleep(abort)

    async def park_until(self, who: Parkable, deadline: float) -> None:
        with trio.CancelScope(deadline=_convert(deadline)):
            await self.park(who)

    def unpark(self, who: Parkable) -> None:
        task: Task | None = who.waiter
        who.waiter = None
        if task is not None:
            _reschedule(task)

    async def yield_once(self) -> None:
        await trio.lowlevel.checkpoint()

    async def resolve(self, host: str, port: int, deadline: float) -> list[AddressInfo]:
        with trio.CancelScope(deadline=_convert(deadline)):
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return list(found)
        raise TimeoutError("the name was not resolved in time")

    async def call_blocking(self, function: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(function)

    def run_soon(self, function: Callable[[], None]) -> bool:
        token = self._token()
        if token is None:
            return False
        try:
            token.run_sync_soon(function)
        except trio.RunFinishedError:
            return False
        return True

    def is_over(self) -> bool:
        return not self.run_soon(_nothing)


async def _writable(sock: socket.socket) -> None:
    try:
        await _wait_writable(sock)
    except trio.ClosedResourceError:
        return


def _convert(deadline: float) -> float:
    return _current_time() + (deadline - monotonic())


def _nothing() -> None:
    return None
