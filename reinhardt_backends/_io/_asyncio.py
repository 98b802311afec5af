"""The seam on asyncio and uvloop, by ``add_reader`` and bare futures.

A reader stays registered with the loop once a connection has been used: registering and removing it for every reply
would cost more than the reply. When something arrives while no task leads, the callback removes itself. Callbacks are
registered in an empty context, since they outlive the call that registers them and would keep its context alive.

Nothing here holds the loop: a loop that ends without closing must be freed, and its connections with it. The same goes
for timers: a port keeps the time at which its timer will ring, never the timer. There is one timer per port, not per
call. When it rings it checks the deadline in force and sets itself again if need be.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import types
import weakref
from asyncio import Future, get_running_loop
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from math import inf
from time import monotonic
from typing import Any

from ._base import Parkable, Port, Runtime


class AsyncioPort(Port):
    """A socket registered with one asyncio loop."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._fd = sock.fileno()
        self._loop: Callable[[], asyncio.AbstractEventLoop | None] = _nothing
        self._drain: Callable[[], bool] | None = None
        self._leading: Future[None] | None = None
        self._pushing: Future[None] | None = None
        self._lead_by = inf
        self._push_by = inf
        self._reads = False
        self._writes = False
        self._rings_at = inf

    async def lead(self, drain: Callable[[], bool], deadline: float) -> None:
        loop = get_running_loop()
        if not self._reads or deadline < self._rings_at:
            self._watch(loop, deadline)
        future: Future[None] = Future(loop=loop)
        self._leading = future
        self._drain = drain
        self._lead_by = deadline
        try:
            await future
        finally:
            self._leading = self._drain = None

    async def push(self, drain: Callable[[], bool] | None, deadline: float) -> None:
        loop = get_running_loop()
        future: Future[None] = Future(loop=loop)
        self._pushing = future
        self._push_by = deadline
        if drain is not None:
            self._drain = drain
            self._leading = future
            self._lead_by = deadline
            self._watch(loop, deadline)
        else:
            self._arm(loop, deadline)
        self._loop = weakref.ref(loop)
        Context().run(loop.add_writer, self._fd, self._on_writable)
        self._writes = True
        try:
            await future
        finally:
            self._pushing = None
            if drain is not None:
                self._leading = self._drain = None
            if self._writes:
                self._writes = False
                if not loop.is_closed():
                    loop.remove_writer(self._fd)

    def _watch(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        if not self._reads:
            Context().run(loop.add_reader, self._fd, self._on_readable)
            self._reads = True
            self._loop = weakref.ref(loop)
        if deadline < self._rings_at:
            self._arm(loop, deadline)

    def _on_readable(self) -> None:
        drain = self._drain
        if drain is None:
            self._reads = False
            loop = self._loop()
            if loop is not None:
                loop.remove_reader(self._fd)
        elif drain() and (leading := self._leading) is not None and not leading.done():
            leading.set_result(None)

    def _on_writable(self) -> None:
        _settle(self._pushing)

    def _arm(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        if deadline < self._rings_at and deadline != inf:
            self._rings_at = deadline
            loop.call_later(max(0.0, deadline - monotonic()), self._ring, deadline, context=Context())

    def _ring(self, rings_at: float) -> None:
        if rings_at != self._rings_at:
            return
        self._rings_at = inf
        now = monotonic()
        loop = self._loop()
        for future, deadline in ((self._leading, self._lead_by), (self._pushing, self._push_by)):
            if future is None or future.done():
                continue
            if deadline <= now:
                _settle(future)
            elif loop is not None:
                self._arm(loop, deadline)

    def kick(self) -> None:
        _settle(self._leading)
        _settle(self._pushing)

    def hasten(self, deadline: float) -> None:
        self._lead_by = min(self._lead_by, deadline)
        self._push_by = min(self._push_by, deadline)
        loop = self._loop()
        if loop is not None:
            self._arm(loop, deadline)

    def close(self, *, reset: bool = False) -> None:
        self.kick()
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            if self._reads:
                loop.remove_reader(self._fd)
            if self._writes:
                loop.remove_writer(self._fd)
        self._reads = self._writes = False
        self._close(reset=reset)


class AsyncioRuntime(Runtime):
    """One asyncio loop that has ``add_reader``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)

    def open(self, sock: socket.socket) -> Port:
        return AsyncioPort(sock)

    def park(self, parked: Parkable) -> Awaitable[None]:
        future: Future[None] = Future(loop=self._loop())
        parked.waiter = future
        return future

    async def park_until(self, parked: Parkable, deadline: float) -> None:
        loop = get_running_loop()
        future: Future[None] = Future(loop=loop)
        parked.waiter = future
        timer = loop.call_later(max(0.0, deadline - monotonic()), _settle, future)
        try:
            await future
        finally:
            timer.cancel()
            parked.waiter = None

    def unpark(self, parked: Parkable) -> None:
        future = parked.waiter
        parked.waiter = None
        if future is not None and not future.done():
            try:
                future.set_result(None)
            except RuntimeError:
                return  # as in _settle

    def yield_once(self) -> Awaitable[None]:
        return _turn()

    def run_soon(self, function: Callable[[], None]) -> bool:
        loop = self._loop()
        if loop is None or loop.is_closed():
            return False
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(function)
            return True
        return False

    def is_over(self) -> bool:
        loop = self._loop()
        return loop is None or loop.is_closed()


def _settle(future: Future[None] | None) -> None:
    if future is not None and not future.done():
        try:
            future.set_result(None)
        except RuntimeError:
            # A loop that was closed with calls pending refuses callbacks. (``suppress`` would cost as much again.)
            return


@types.coroutine
def _turn() -> Generator[Any, Any, None]:
    yield


def _nothing() -> None:
    return None
