"""What a task of asyncio waits for here: like a future, but the task goes on without a turn of the loop.

A future that is done has the loop call its task in the next turn. That costs one more look at all sockets for each
batch of replies, and a third of what waiting costs each caller. A reader is called while no task runs, so it can let
its callers go on itself, once it has read all there is (``Waiter.resume``). Elsewhere the loop does it, as usual.

asyncio knows such objects as *Future-like* (``asyncio.isfuture``). A task asks five things of what it awaits:
``_asyncio_future_blocking``, ``_loop``, ``add_done_callback``, ``result`` and ``cancel``.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any


class Waiter:
    """Something that one task awaits once.

    Args:
        loop: The loop that runs the task.

    Attributes:
        is_done: Whether the task was woken or cancelled.
    """

    __slots__ = ("_asyncio_future_blocking", "_context", "_loop", "_wakeup", "is_done")

    def __init__(self, loop: AbstractEventLoop | None) -> None:
        #: Says to the task that this object is like a future, and was awaited. The task sets it to false.
        self._asyncio_future_blocking = True
        self._loop: Any = loop
        self._wakeup: Callable[[Any], object] | None = None
        self._context: Any = None
        self.is_done = False

    def __await__(self) -> Generator[Any, Any, None]:
        if not self.is_done:
            yield self

    def wake(self) -> None:
        """Have the loop go on with the task in its next turn."""
        if not self.is_done:
            self.is_done = True
            self.resume_soon()

    def resume(self) -> None:
        """Go on with the task now. Only while no other task runs, and after ``is_done`` was set."""
        wakeup = self._wakeup
        if wakeup is not None:
            self._wakeup = None
            self._context.run(wakeup, self)

    def resume_soon(self) -> None:
        """Have the loop go on with the task, after ``is_done`` was set."""
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            try:
                self._loop.call_soon(wakeup, self, context=self._context)
            except RuntimeError:
                # A loop that was closed with calls pending refuses callbacks. (``suppress`` would cost as much again.)
                return

    def add_done_callback(self, wakeup: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Note how the task is stepped."""
        self._wakeup = wakeup
        self._context = context
        if self.is_done:
            self.resume_soon()

    def done(self) -> bool:
        """Return whether the task was woken or cancelled."""
        return self.is_done

    def result(self) -> None:
        """Return nothing. A wake-up carries no meaning."""

    def cancel(self, msg: Any = None) -> bool:
        """Throw ``CancelledError`` into the task. False if it was woken before."""
        if self.is_done:
            return False
        self.is_done = True
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            future: Future[None] = Future(loop=self._loop)
            future.add_done_callback(wakeup, context=self._context)
            future.cancel(msg)
        return True
