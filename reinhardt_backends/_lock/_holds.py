"""What the tasks and threads of one process hold of a lock."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager

from .._component import Caller, Signal


class Hold:
    """A lock as one task or thread took it.

    Attributes:
        owner: The id in the store.
        token: The fencing token.
        end: When it expires by the monotonic clock of this process, at the earliest.
        lost: Whether it is known to have expired, or to have been taken by another.
        released: Whether it was given back.
        done: Given when the block is left.
        renewal: What extends it meanwhile.
    """

    __slots__ = ("done", "end", "lost", "owner", "released", "renewal", "token")

    def __init__(self, owner: str, token: int, end: float) -> None:
        self.owner = owner
        self.token = token
        self.end = end
        self.lost = False
        self.released = False
        self.done = Signal()
        self.renewal: AbstractAsyncContextManager[None] | None = None


class Holds:
    """What the tasks and threads of this process hold of one lock.

    There may be several: one that has expired unnoticed, and the one that came after it. A child of a fork holds
    nothing.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._by_caller: dict[Caller, Hold] = {}
        self._blocks: list[tuple[Caller | None, Hold]] = []
        self._latest: Hold | None = None

    def add(self, caller: Caller | None, hold: Hold) -> None:
        """Note a new hold, which proves that earlier ones have ended."""
        if self._latest is not None:
            self._latest.lost = True
        self._latest = hold
        self._by_caller = {caller: hold for caller, hold in list(self._by_caller.items()) if caller() is not None}
        self._blocks = [block for block in self._blocks if block[0] is None or block[0]() is not None]
        if caller is not None:
            self._by_caller[caller] = hold

    def remove(self, hold: Hold) -> None:
        """Forget a hold that was released or is over."""
        hold.released = True
        self._by_caller = {caller: other for caller, other in list(self._by_caller.items()) if other is not hold}

    def of(self, caller: Caller | None) -> Hold | None:
        """Return the hold of a caller."""
        if self._pid != os.getpid():
            self._start()
        return None if caller is None else self._by_caller.get(caller)

    def latest_of(self, caller: Caller | None) -> Hold | None:
        """Return the hold of a caller; without one, the latest of this object, which it may have been handed."""
        return self.of(caller) or self._latest

    def enter_block(self, caller: Caller | None, hold: Hold) -> None:
        """Note with which hold a block of a caller began."""
        self._blocks.append((caller, hold))

    def leave_block(self, caller: Caller | None) -> Hold | None:
        """Return the hold with which a caller's innermost block began; the latest if another caller has entered it."""
        if self._pid != os.getpid():
            self._start()
        own = [hold for entered_by, hold in self._blocks if entered_by == caller]
        hold = own[-1] if own else self._latest
        self._blocks = [block for block in self._blocks if block[1] is not hold]
        return hold
