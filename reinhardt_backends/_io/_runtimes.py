"""Which event loop runs the caller, and the seam that serves it.

``current_loop`` is asked once a call, so it has to be cheap. A running asyncio loop settles it, unless trio runs as its
guest: trio's tasks then run in callbacks of the asyncio loop, outside any asyncio task.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, _get_running_loop, current_task
from collections.abc import Callable
from sys import modules
from time import monotonic
from typing import Any

from ._base import Runtime


def current_loop() -> Any:
    """Return the event loop that runs the caller, as an object that supports identity and weak references.

    For asyncio that is the loop, for trio the token of the run.

    Raises:
        RuntimeError: No event loop runs in this thread.
    """
    loop = _get_running_loop()
    if loop is not None and ("trio" not in modules or current_task(loop) is not None):
        return loop
    return _other_loop(loop)


def current_time() -> float:
    """Return the time on the clock by which the running loop sleeps, in seconds."""
    if type(current_loop()).__module__ == "uvloop":
        # Its own clock is the same, but counts milliseconds and stands still while a task runs.
        return monotonic()
    import anyio

    return anyio.current_time()


def _other_loop(loop: AbstractEventLoop | None) -> Any:
    lowlevel = _trio_lowlevel()
    if lowlevel is not None and lowlevel.in_trio_run():
        return lowlevel.current_trio_token()
    if loop is not None:
        return loop
    from anyio.lowlevel import current_token

    return current_token().native_token


def _trio_lowlevel() -> Any:
    """Return ``trio.lowlevel``, unless trio is not loaded. Another thread may be in the middle of importing it."""
    lowlevel: Any = modules.get("trio.lowlevel")
    return lowlevel if hasattr(lowlevel, "TrioToken") and hasattr(lowlevel, "in_trio_run") else None


def runtime_for(loop: Any) -> Runtime:
    """Return the seam for an event loop as ``current_loop`` gives it. Call it inside that loop."""
    lowlevel = _trio_lowlevel()
    if lowlevel is not None and isinstance(loop, lowlevel.TrioToken):
        from ._trio import TrioRuntime

        return TrioRuntime(loop)
    if isinstance(loop, AbstractEventLoop) and has_readers(type(loop)):
        from ._asyncio import AsyncioRuntime

        return AsyncioRuntime(loop)
    from anyio.lowlevel import current_token

    from ._anyio import AnyioRuntime

    return AnyioRuntime(current_token())


def blocking_runtime() -> Runtime:
    """Return the seam for plain threads."""
    from ._blocking import BlockingRuntime

    return BlockingRuntime()


def has_readers(loop_type: Any) -> bool:
    """Whether loops of this type watch sockets. The default loop of Windows does not: it inherits a refusal."""
    add_reader: Callable[..., Any] = loop_type.add_reader
    return add_reader is not AbstractEventLoop.add_reader
