"""Turns: requests of one process that write the same session do so one after another.

Each write needs the result of the one before, so writers that try at the same time would only make one another repeat
their work: n of them would need about n² commands.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator
from typing import Final

import anyio
from anyio.lowlevel import current_token

PATIENCE: Final = 1.0
"""Seconds to wait for a turn at most. A request then goes ahead: turns save work, and correctness needs none."""


class _Turn:
    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.users = 0


class Turns:
    """The turns of one process, by event loop and name. Each exists only while it is used."""

    def __init__(self) -> None:
        # Only tasks of one event loop share an entry, so no other thread changes it. Nor does a forked child find one
        # of its parent, whose holder does not exist there.
        self._turns: dict[tuple[int, int, str], _Turn] = {}

    @contextlib.asynccontextmanager
    async def take(self, name: str) -> AsyncGenerator[None]:
        """Wait for a turn, and hold it for the length of the block."""
        key = (os.getpid(), id(current_token().native_token), name)
        turn = self._turns.setdefault(key, _Turn())
        turn.users += 1
        taken = False
        try:
            with anyio.move_on_after(PATIENCE):
                await turn.lock.acquire()
                taken = True
            yield
        finally:
            if taken:
                turn.lock.release()
            turn.users -= 1
            if not turn.users:
                self._turns.pop(key, None)
