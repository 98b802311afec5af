"""The seam on trio: the anyio port with trio's own primitives, and parking by ``trio.lowlevel``.

A parked task waits to be rescheduled. It is marked as not parked inside the abort function: between the cancellation
and the moment the task runs again, another task may want to wake it, and rescheduling a task twice is fatal.
"""

from __future__ import annotations

import socket
import weakref
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, TrioToken

from ._anyio import AnyioPort
from ._base import Parkable, Port, Runtime

_current_task = trio.lowlevel.current_task
_sleep = trio.lowlevel.wait_task_rescheduled
_reschedule = trio.lowlevel.reschedule
_current_time = trio.current_time
_succeeded = Abort.SUCCEEDED


def _until(deadline: float) -> trio.CancelScope:
    return trio.CancelScope(deadline=_current_time() + (deadline - monotonic()))


class TrioPort(AnyioPort):
    """A socket in one trio run. Calling trio directly saves anyio's lookup of the runtime at each wait."""

    _until: Callable[[float], Any] = staticmethod(_until)
    _wait_readable: Callable[[socket.socket], Awaitable[None]] = staticmethod(trio.lowlevel.wait_readable)
    _wait_writable: Callable[[socket.socket], Awaitable[None]] = staticmethod(trio.lowlevel.wait_writable)
    _notify_closing: Callable[[socket.socket], None] = staticmethod(trio.lowlevel.notify_closing)
    _closed = trio.ClosedResourceError


class TrioRuntime(Runtime):
    """One trio run."""

    def __init__(self, token: TrioToken) -> None:
        # Weakly, so that what serves a run does not outlive it.
        self._token = weakref.ref(token)

    def open(self, sock: socket.socket) -> Port:
        return TrioPort(sock)

    async def park(self, parked: Parkable) -> None:
        parked.waiter = _current_task()

        def abort(_: RaiseCancelT) -> Abort:
            parked.waiter = None
            return _succeeded

        await _sleep(abort)

    async def park_until(self, parked: Parkable, deadline: float) -> None:
        with _until(deadline):
            await self.park(parked)

    def unpark(self, parked: Parkable) -> None:
        task: Task | None = parked.waiter
        parked.waiter = None
        if task is not None:
            _reschedule(task)

    async def yield_once(self) -> None:
        await trio.lowlevel.checkpoint()

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


def _nothing() -> None:
    return None
