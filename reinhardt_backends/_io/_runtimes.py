"""Which event loop runs the caller, and the seam that serves it.

``current_loop`` is asked once a call, so it has to be cheap. A running asyncio loop settles it, unless trio runs as its
guest: trio's tasks then run in callbacks of the asyncio loop, outside any asyncio task.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, _get_running_loop, current_task
from collections.abc import Callable
from sys import modules
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
    return _other_loop()


def _other_loop() -> Any:
    trio: Any = modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return trio.lowlevel.current_trio_token()
    from anyio.lowlevel import current_token

    return current_token().native_token


def runtime_for(loop: Any) -> Runtime:
    """Return the seam for an event loop as ``current_loop`` gives it. Call it inside that loop."""
    trio: Any = modules.get("trio")
    if trio is not None and isinstance(loop, trio.lowlevel.TrioToken):
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
