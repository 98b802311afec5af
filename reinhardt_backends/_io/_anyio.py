"""The seam on public anyio alone: for any runtime that anyio knows, and for loops without ``add_reader``.

Slower than the native paths, but its ``wait_readable`` works on the default loop of Windows too.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, cast

import anyio
import anyio.from_thread
from anyio.lowlevel import EventLoopToken, checkpoint

from ._base import Parkable, Port, Runtime


def _until(deadline: float) -> anyio.CancelScope:
    return anyio.CancelScope(deadline=anyio.current_time() + (deadline - monotonic()))


class AnyioPort(Port):
    """A socket in one event loop that anyio knows.

    There are no readiness callbacks, so the leader waits, reads and waits again, in one cancel scope that carries the
    deadline and that a kick cancels.
    """

    # The primitives, which a runtime may replace by its own.
    _until: Callable[[float], Any] = staticmethod(_until)
    _wait_readable: Callable[[socket.socket], Awaitable[None]] = staticmethod(anyio.wait_readable)
    _wait_writable: Callable[[socket.socket], Awaitable[None]] = staticmethod(anyio.wait_writable)
    _notify_closing: Callable[[socket.socket], None] = staticmethod(anyio.notify_closing)
    _closed: type[Exception] = anyio.ClosedResourceError

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._leading: Any = None
        self._pushing: Any = None

    async def lead(self, drain: Callable[[], bool], deadline: float) -> None:
        self._leading = scope = self._until(deadline)
        try:
            with scope:
                await self._read(drain)
        finally:
            self._leading = None

    async def push(self, drain: Callable[[], bool] | None, deadline: float) -> None:
        self._pushing = scope = self._until(deadline)
        try:
            with scope:
                if drain is None:
                    await self._writable()
                else:
                    await self._read_or_write(drain)
        finally:
            self._pushing = None

    async def _read(self, drain: Callable[[], bool]) -> None:
        sock, wait_readable = self._sock, self._wait_readable
        try:
            while True:
                await wait_readable(sock)
                if drain():
                    return
        except self._closed:
            return

    async def _writable(self) -> None:
        with contextlib.suppress(self._closed):
            await self._wait_writable(self._sock)

    async def _read_or_write(self, drain: Callable[[], bool]) -> None:
        async with anyio.create_task_group() as group:

            async def first(function: Callable[..., Awaitable[None]], *args: Any) -> None:
                await function(*args)
                group.cancel_scope.cancel()

            group.start_soon(first, self._read, drain)
            group.start_soon(first, self._writable)

    def kick(self) -> None:
        if self._leading is not None:
            self._leading.cancel()
        if self._pushing is not None:
            self._pushing.cancel()

    def hasten(self, deadline: float) -> None:
        for scope in (self._leading, self._pushing):
            if scope is not None:
                scope.deadline = min(scope.deadline, self._until(deadline).deadline)

    def close(self, *, reset: bool = False) -> None:
        if self._sock.fileno() >= 0:
            if self._leading is not None or self._pushing is not None:
                self._notify_closing(self._sock)
            self.kick()
            self._close(reset=reset)


class AnyioRuntime(Runtime):
    """One event loop that anyio knows, by its token."""

    def __init__(self, token: EventLoopToken) -> None:
        # Weakly, so that what serves a loop does not outlive it.
        self._native = weakref.ref(cast("Any", token.native_token))
        self._backend = token.backend_class

    def open(self, sock: socket.socket) -> Port:
        return AnyioPort(sock)

    async def park(self, parked: Parkable) -> None:
        parked.waiter = event = anyio.Event()
        try:
            await event.wait()
        finally:
            parked.waiter = None

    async def park_until(self, parked: Parkable, deadline: float) -> None:
        with _until(deadline):
            await self.park(parked)

    def unpark(self, parked: Parkable) -> None:
        event: anyio.Event | None = parked.waiter
        parked.waiter = None
        if event is not None:
            event.set()

    def yield_once(self) -> Awaitable[None]:
        return checkpoint()

    def run_soon(self, function: Callable[[], None]) -> bool:
        native = self._native()
        if native is None or self.is_over():
            return False
        # anyio waits for the function to have run, which a caller in another loop must not do.
        token = EventLoopToken(self._backend, native)
        threading.Thread(target=_run, args=(function, token), daemon=True).start()
        return True

    def is_over(self) -> bool:
        native = self._native()
        closed = getattr(native, "is_closed", None)
        return native is None or bool(closed is not None and closed())


def _run(function: Callable[[], None], token: EventLoopToken) -> None:
    with contextlib.suppress(anyio.RunFinishedError):
        anyio.from_thread.run_sync(function, token=token)
