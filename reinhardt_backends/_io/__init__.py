"""Sockets and event loops: the only code that touches them. Importing it loads asyncio; trio is loaded on use."""

from __future__ import annotations

from ._base import Port, Runtime
from ._connect import LONGEST_WAIT, Attempt, Socket, call_in_thread, connect_tcp, connect_unix
from ._runtimes import blocking_runtime, current_loop, current_time, runtime_for

__all__ = [
    "LONGEST_WAIT",
    "Attempt",
    "Port",
    "Runtime",
    "Socket",
    "blocking_runtime",
    "call_in_thread",
    "connect_tcp",
    "connect_unix",
    "current_loop",
    "current_time",
    "runtime_for",
]
