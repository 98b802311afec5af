"""Which event loop runs the caller.

Asked once a call, so it has to be cheap. A running asyncio loop settles it, unless trio runs as its guest: then trio's
tasks run in callbacks of the asyncio loop, which are no tasks of asyncio's.
"""

from __future__ import annotations

from asyncio import _get_running_loop, current_task
from sys import modules
from typing import Any


def current_loop() -> Any:
    """The event loop that runs the caller, as an object that can be compared by identity and referred to weakly.

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
