"""The seam on asyncio and uvloop, by ``add_reader`` and ``Waiter``s.

A reader stays registered with the loop once a connection has been used: registering and removing it for every reply
would cost more than the reply. When something arrives while no task leads, the callback removes itself. Callbacks are
registered in an empty context, since they outlive the call that registers them and would keep its context alive.

When replies have arrived, the reader lets their callers go on itself, after it has handed out all of them (``Waiter``).
In debug mode the loop does it, since it reports how long each task takes.

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
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from math import inf
from time import monotonic
from typing import Any

from ._base import Parkable, Port, Runtime
from ._waiter import Waiter


class AsyncioPort(Port):
    """A socket registered with one asyncio loop."""

    def __init__(self, sock: socket.socket, runtime: AsyncioRuntime) -> None:
        super().__init__(sock)
        self._runtime = runtime
        self._fd = sock.fileno()
        self._loop: Callable[[], asyncio.AbstractEventLoop | None] = _nothing
        self._drain: Callable[[], bool] | None = None
        self._leading: Waiter | None = None
        self._pushing: Waiter | None = None
        self._lead_by = inf
        self._push_by = inf
        self._reads = False
        self._writes = False
        self._rings_at = inf
        #: Whether the reader lets its callers go on itself.
        self._resumes = True

    @types.coroutine
    def lead(self, drain: Callable[[], bool], deadline: float) -> Generator[Any, Any, None]:
        # In Python 3.11, to ask for the running loop is a system call.
        loop = self._loop() or get_running_loop()
        if not self._reads or deadline < self._rings_at:
            self._watch(loop, deadline)
        self._leading = waiter = Waiter(loop)
        self._drain = drain
        self._lead_by = deadline
        try:
            yield waiter
        finally:
            self._leading = self._drain = None

    async def push(self, drain: Callable[[], bool] | None, deadline: float) -> None:
        loop = get_running_loop()
        self._pushing = waiter = Waiter(loop)
        self._push_by = deadline
        if drain is not None:
            self._drain = drain
            self._leading = waiter
            self._lead_by = deadline
            self._watch(loop, deadline)
        else:
            self._arm(loop, deadline)
        self._loop = weakref.ref(loop)
        Context().run(loop.add_writer, self._fd, self._on_writable)
        self._writes = True
        try:
            await waiter
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
            self._resumes = not loop.get_debug()
        if deadline < self._rings_at:
            self._arm(loop, deadline)

    def _on_readable(self) -> None:
        drain = self._drain
        if drain is None:
            self._reads = False
            loop = self._loop()
            if loop is not None:
                loop.remove_reader(self._fd)
            return
        runtime = self._runtime
        woken: list[Waiter] = []
        runtime.woken = woken
        rest = iter(woken)
        try:
            if drain() and (leading := self._leading) is not None and not leading.is_done:
                leading.is_done = True
                woken.append(leading)
            runtime.woken = None
            if self._resumes:
                for waiter in rest:
                    waiter.resume()
        finally:
            # Interrupted, or in debug mode.
            runtime.woken = None
            for waiter in rest:
                waiter.resume_soon()

    def _on_writable(self) -> None:
        _wake(self._pushing)

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
        for waiter, deadline in ((self._leading, self._lead_by), (self._pushing, self._push_by)):
            if waiter is None or waiter.is_done:
                continue
            if deadline <= now:
                waiter.wake()
            elif loop is not None:
                self._arm(loop, deadline)

    def kick(self) -> None:
        _wake(self._leading)
        _wake(self._pushing)

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
    """One asyncio loop that has ``add_reader``.

    Attributes:
        woken: Where a reader gathers those that it has woken, while it reads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self.woken: list[Waiter] | None = None

    def open(self, sock: socket.socket) -> Port:
        return AsyncioPort(sock, self)

    @types.coroutine
    def park(self, parked: Parkable) -> Generator[Any, Any, None]:
        parked.waiter = waiter = Waiter(self._loop())
        yield waiter

    async def park_until(self, parked: Parkable, deadline: float) -> None:
        loop = get_running_loop()
        parked.waiter = waiter = Waiter(loop)
        timer = loop.call_later(max(0.0, deadline - monotonic()), waiter.wake)
        try:
            await waiter
        finally:
            timer.cancel()
            parked.waiter = None

    def unpark(self, parked: Parkable) -> None:
        waiter: Waiter | None = parked.waiter
        parked.waiter = None
        if waiter is not None and not waiter.is_done:
            waiter.is_done = True
            if self.woken is None:
                waiter.resume_soon()
            else:
                self.woken.append(waiter)

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


def _wake(waiter: Waiter | None) -> None:
    if waiter is not None:
        waiter.wake()


@types.coroutine
def _turn() -> Generator[Any, Any, None]:
    yield


def _nothing() -> None:
    return None
