"""Logging: loggers under ``reinhardt_backends``, silent unless the application configures them.

``logging`` is imported with the first record, since importing the package must stay cheap. A record at INFO or above
names no key; no record shows a value, a password or a session id.
"""

from __future__ import annotations

import os
from math import inf
from time import monotonic
from typing import Any, Final, Literal, TypeAlias

from ._about import NAME
from ._locks import RLock

Child: TypeAlias = Literal["redis", "cache", "throttle", "session", "lock"]

INFO: Final = 20
WARNING: Final = 30

_ROOT: Final = NAME
_INTERVAL: Final = 1.0

# Re-entrant, since a signal handler may write a record in the middle of another one.
_lock = RLock()


def write_record(child: Child | None, level: int, message: str, *args: Any) -> None:
    """Write one record. Call it without holding a lock: a handler may be slow, or use a backend itself."""
    import logging

    root = logging.getLogger(_ROOT)
    if not root.handlers:
        # Without it, logging would print warnings to stderr where nothing is configured.
        root.addHandler(logging.NullHandler())
    logging.getLogger(f"{_ROOT}.{child}" if child else _ROOT).log(level, message, *args)


class LimitedRecord:
    """One kind of record, written at most once a second; the next one says how many were left out.

    Args:
        child: The logger.
        level: The level.
        message: The format of the record.
    """

    __slots__ = ("_child", "_due", "_left_out", "_level", "_message")

    def __init__(self, child: Child | None, level: int, message: str) -> None:
        self._child: Child | None = child
        self._level = level
        self._message = message
        self._due = -inf
        self._left_out = 0

    def write(self, *args: Any) -> None:
        """Write the record, or count it if the last one is less than a second old."""
        with _lock:
            now = monotonic()
            if now < self._due:
                self._left_out += 1
                return
            left_out, self._left_out = self._left_out, 0
            self._due = now + _INTERVAL
        message = self._message
        if left_out:
            message += " (and %d more since the last record)"
            args = (*args, left_out)
        write_record(self._child, self._level, message, *args)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - a thread of the parent may have held the old one
    _lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
