"""One attempt to take a lock: what is known about it, and how long it pauses between questions."""

from __future__ import annotations

import os
import random
from typing import Final

# Pauses of the first waiter in the queue; those of others are longer by their place in it.
_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.05
# No waiter pauses for longer, and one without a place in the queue pauses between these.
_FIRST_PAUSE_UNQUEUED: Final = 0.01
_LONGEST_PAUSE_UNQUEUED: Final = 0.25


class Attempt:
    """One call of ``acquire``."""

    __slots__ = ("answered", "left_traces", "owner", "queues", "seen_held", "until")

    def __init__(self, until: float | None, queues: bool) -> None:
        self.owner = os.urandom(8).hex()
        self.until = until
        self.queues = queues
        self.seen_held = False
        # Whether the store has answered the last question.
        self.answered = True
        # Whether the store may know the owner though it does not hold the lock.
        self.left_traces = False


class Pauses:
    """How long to pause before asking again: longer each time, as long as the place in the queue is the same."""

    def __init__(self) -> None:
        self._place = -1
        self._pause = 0.0

    def after(self, place: int) -> float:
        """Return the pause after an answer that gave this place; 0 is no place."""
        if place == 0:
            first, longest = _FIRST_PAUSE_UNQUEUED, _LONGEST_PAUSE_UNQUEUED
        else:
            first, longest = _FIRST_PAUSE * place, _LONGEST_PAUSE * place
        self._pause = first if place != self._place else self._pause * 2
        self._place = place
        self._pause = min(self._pause, longest, _LONGEST_PAUSE_UNQUEUED)
        return self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - so that waiters do not ask in step
