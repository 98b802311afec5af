"""The only rooms that touch sockets and event loops.

A connection is bound to the runtime that it serves when it is opened; which one that is, is asked once a call
(``_current``) and never inside shared code. Nothing of asyncio, trio or anyio is imported here until it is needed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ._base import Attempt, Port, Runtime, Socket, connect_tcp, connect_unix

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Attempt",
    "Port",
    "Runtime",
    "Socket",
    "blocking_runtime",
    "connect_tcp",
    "connect_unix",
    "runtime_for",
]


def runtime_for(loop: Any) -> Runtime:
    """The seam for an event loop as ``_current.current_loop`` gives it; called inside that loop."""
    trio: Any = sys.modules.get("trio")
    if trio is not None and isinstance(loop, trio.lowlevel.TrioToken):
        from ._trio import TrioRuntime

        return TrioRuntime(loop)
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is not None and isinstance(loop, asyncio.AbstractEventLoop) and _has_readers(type(loop), asyncio):
        from ._asyncio import AsyncioRuntime

        return AsyncioRuntime(loop)
    from anyio.lowlevel import current_token

    from ._anyio import AnyioRuntime

    return AnyioRuntime(current_token())


def blocking_runtime() -> Runtime:
    """The seam of plain threads."""
    from ._blocking import BlockingRuntime

    return BlockingRuntime()


def _has_readers(loop_type: Any, asyncio: Any) -> bool:
    """Whether loops of this type watch sockets: the default loop of Windows does not, and inherits a refusal."""
    add_reader: Callable[..., Any] = loop_type.add_reader
    return add_reader is not asyncio.AbstractEventLoop.add_reader
