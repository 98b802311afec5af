"""Single flight in one process: callers that ask for the same key at the same time share one computation.

The first caller for a key computes the value, in its own task or thread, so nothing goes on in the background; callers
that ask meanwhile wait for its answer. A caller that is cancelled while it computes hands the computation over to one
of the waiters, which begins it again; the others keep waiting. A waiter that gives up disturbs no other.

A caller may only join a computation that started from what the store says now: the lease that the computation holds
must still be there, and the tags must have the tokens that it started with. Otherwise an invalidation, in whatever
process, came in between, and the caller gets a computation of its own, which those after it join.

A computation serves tasks, threads and event loops alike. It is not joined, and not waited for, for longer than the
table's ``hold``: then it may hang, and the next caller computes.

The idea and the name are those of Go's ``singleflight`` package.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from types import TracebackType
from typing import Final, NamedTuple

from .._backend._locks import RLock
from .._component import Signal
from ._exceptions import fresh_copy
from ._lookup import Lookup, Request, token_id


class Origin(NamedTuple):
    """What a computation started from.

    Attributes:
        lease: The lease in the store, ``None`` without one.
        refreshes: Whether the lease is in the place of the freshness token, not of the value.
        ids: The ids of the tags' tokens; ``None`` if the store was away.
        at: When it started, on the monotonic clock.
    """

    lease: bytes | None
    refreshes: bool
    ids: Mapping[str, str] | None
    at: float


class Waiter:
    """One caller that waits for a computation.

    Attributes:
        signal: Given when the computation has ended, or has been handed over to this caller.
        computes: Whether it was handed over to this caller.
        answer: The encoded value, if the computation ended with one.
        failure: The error, and its traceback so far, if it ended with one. It is kept nowhere else, since its frames
            have the computation.
        thread: The thread of the caller, if it blocks meanwhile.
    """

    __slots__ = ("answer", "computes", "failure", "signal", "thread")

    def __init__(self, thread: int | None) -> None:
        self.signal = Signal()
        self.computes = False
        self.answer: bytes | None = None
        self.failure: tuple[Exception, TracebackType | None] | None = None
        self.thread = thread

    def result(self) -> bytes | None:
        """Return the encoded value, or raise a copy of the error; ``None`` if the caller has to ask again."""
        if self.failure is None:
            return self.answer
        error = fresh_copy(*self.failure)
        self.failure = None
        try:
            raise error
        finally:
            # No cycle of error, traceback and frame.
            del error


class Computation:
    """One computation in flight.

    Attributes:
        tags: The tags of what is computed.
        outdated: Whether it was invalidated since it began, so that its answer is not to be kept.
        origin: What it started from; ``None`` until the factory is called.
        ended: Whether there is an answer, an error, or the need to ask again.
        hold_until: The instant, on the monotonic clock, until which others wait for it.
        needs: The computations that the factory waits for, by the waiter or computation that does.
        thread: The thread that computes, if it blocks meanwhile.
        alone: Whether it is for one caller, that can neither wait nor be waited for, and its answer is not kept.
    """

    __slots__ = (
        "__weakref__", "_waiters", "alone", "ended", "hold_until", "needs", "origin", "outdated", "tags",
        "thread",
    )  # fmt: skip

    def __init__(self, tags: tuple[str, ...], hold: float, thread: int | None, alone: bool = False) -> None:
        self.tags = tags
        self.thread = thread
        self.alone = alone
        self.outdated = False
        self.ended = False
        self.origin: Origin | None = None
        self.hold_until = monotonic() + hold
        self.needs: dict[object, Computation] = {}
        self._waiters: dict[Waiter, None] = {}

    def admits(self, request: Request, lookup: Lookup | None, looked_at: float | None) -> bool:
        """Whether a caller may have the answer, as for ``SingleFlight.join``."""
        if self.outdated or monotonic() >= self.hold_until:
            return False
        origin = self.origin
        if origin is None or lookup is None or (looked_at is not None and looked_at <= origin.at):
            # It starts after the caller asked; or there is no telling.
            return True
        there = lookup.fresh if origin.refreshes else lookup.entry.found
        if origin.lease is not None and there != origin.lease:
            return False
        ids = origin.ids
        return ids is None or all(ids.get(tag) == token_id(lookup.tokens.get(tag)) for tag in request.tags)


class SingleFlight:
    """The computations in flight of one cache.

    Attributes:
        hold: Seconds for which callers wait for a computation.
        blocks: Whether callers block their threads.
    """

    def __init__(self) -> None:
        self.hold = math.inf
        self.blocks = False
        self._table: dict[str, Computation] = {}
        # Computations that no caller joins any more, and that have not ended: they may still hold a lease. Weak, since
        # one that was interrupted just before it began never ends. A plain dictionary is copied in one step, which no
        # signal handler can interrupt.
        self._replaced: dict[weakref.ref[Computation], str] = {}
        self._watched: dict[Computation, str] = {}
        _instances.add(self)

    def join(
        self, request: Request, lookup: Lookup | None, looked_at: float | None, waits: bool
    ) -> tuple[Computation, Waiter | None] | None:
        """Return the computation of a key, and the waiter of a caller that joins it, ``None`` for one that computes.

        Args:
            request: What the caller asks for.
            lookup: What the caller found in the store; ``None`` if it is away.
            looked_at: When the caller began to look, on the monotonic clock. If that is not known, and a computation
                does not admit it, the result is ``None``: look again.
            waits: Whether the caller waits for an answer. If not, no waiter is registered.

        Raises:
            RuntimeError: The caller is part of what computes the value, so waiting would deadlock.
        """
        name = request.name
        current = _current.get()
        thread = threading.get_ident() if self.blocks else None
        with _lock:
            computation = self._table.get(name)
            for one in self._in_flight(name):
                if waits:
                    _refuse_recursion(name, one, current)
                if thread is not None and one.thread == thread:
                    # A signal handler or finalizer, in the middle of a call of this thread that goes on only later.
                    return Computation(request.tags, self.hold, thread, alone=True), None
            if computation is None:
                computation = self._table[name] = Computation(request.tags, self.hold, thread)
                return computation, None
            if computation.admits(request, lookup, looked_at):
                waiter = Waiter(thread)
                if waits:
                    computation._waiters[waiter] = None
                    if current is not None:
                        current.needs[waiter] = computation
                return computation, waiter
            if looked_at is None:
                return None
            self._replace(name, computation)
            computation = self._table[name] = Computation(request.tags, self.hold, thread)
            return computation, None

    def leave(self, name: str, computation: Computation, waiter: Waiter, gives_up: bool) -> None:
        """Stop waiting. A caller that gives up passes on what was handed over to it meanwhile."""
        current = _current.get()
        with _lock:
            if current is not None:
                current.needs.pop(waiter, None)
            computation._waiters.pop(waiter, None)
            passes_on = gives_up and waiter.computes and not computation.ended
        if passes_on:
            self.hand_over(name, computation)

    def start(self, computation: Computation, origin: Origin) -> None:
        """Note that the factory is called from now on."""
        with _lock:
            computation.origin = origin

    def hand_over(self, name: str, computation: Computation) -> None:
        """Let one of the waiters compute the value. Without waiters, end the computation."""
        with _lock:
            computation.origin = None
            computation.hold_until = monotonic() + self.hold
            if not computation._waiters or self._table.get(name) is not computation:
                self.end(name, computation)
                return
            # The latest one has probably most time left. It may also be a signal handler, in the middle of the wait of
            # an earlier one that cannot go on before it.
            waiter, _ = computation._waiters.popitem()
            waiter.computes = True
            computation.thread = waiter.thread
        waiter.signal.give()

    def end(
        self, name: str, computation: Computation, answer: bytes | None = None, error: Exception | None = None
    ) -> None:
        """End a computation, and wake all that wait for it."""
        with _lock:
            if self._table.get(name) is computation:
                # A signal handler may have removed it since.
                self._table.pop(name, None)
            self._replaced.pop(weakref.ref(computation), None)
            computation.ended = True
            waiters, computation._waiters = computation._waiters, {}
        failure = None if error is None else (error, error.__traceback__)
        for waiter in reversed(waiters):
            waiter.answer, waiter.failure = answer, failure
            waiter.signal.give()

    def outdate(self, affected: Callable[[str, Computation], bool]) -> None:
        """Let callers from now on join none of the affected computations, and let those not keep their answers."""
        with _lock:
            for name, computation in list(self._table.items()):
                if affected(name, computation):
                    self._replace(name, computation)
            for computation, name in self._watched.items():
                if affected(name, computation):
                    computation.outdated = True

    def refuse_recursion(self, name: str) -> None:
        """Raise an error if the caller is part of what computes the value of a key.

        Raises:
            RuntimeError: It is.
        """
        current = _current.get()
        if current is None:
            return
        with _lock:
            watched = [one for one, other in list(self._watched.items()) if other == name]
            for computation in [*watched, *self._in_flight(name)]:
                _refuse_recursion(name, computation, current)

    def watch(self, request: Request) -> Computation:
        """Return a computation that no caller joins; ``outdate`` marks it as well, until ``unwatch``."""
        computation = Computation(request.tags, self.hold, threading.get_ident() if self.blocks else None)
        with _lock:
            self._watched[computation] = request.name
        return computation

    def unwatch(self, computation: Computation) -> None:
        """Forget a computation that was watched."""
        with _lock:
            self._watched.pop(computation, None)

    def _in_flight(self, name: str) -> list[Computation]:
        """Return all computations of a key that have not ended."""
        computation = self._table.get(name)
        found = [] if computation is None else [computation]
        for reference, other in list(self._replaced.items()):
            replaced = reference() if other == name else None
            if replaced is not None:
                found.append(replaced)
        return found

    def _replace(self, name: str, computation: Computation) -> None:
        """Mark a computation as outdated: later callers do not join it, and its answer is not stored."""
        computation.outdated = True
        replaced = self._replaced
        replaced[weakref.ref(computation, lambda reference: replaced.pop(reference, None))] = name
        if self._table.get(name) is computation:
            # A signal handler may have removed it since.
            self._table.pop(name, None)

    def forget(self) -> None:
        """In a forked child: the computations of the parent process end there."""
        self._table = {}
        self._replaced = {}
        self._watched = {}


@contextmanager
def computing(computation: Computation) -> Generator[None]:
    """Mark what runs within the block, and the tasks that it starts, as part of a computation."""
    outer = _current.get()
    if outer is not None:
        outer.needs[computation] = computation
    token = _current.set(computation)
    try:
        yield
    finally:
        _current.reset(token)
        if outer is not None:
            outer.needs.pop(computation, None)


def _refuse_recursion(name: str, computation: Computation, current: Computation | None) -> None:
    if current is not None and _depends(computation, current):
        raise RuntimeError(f"recursive get_or_set of {name!r}: computing its value asks for the same value")


def _depends(computation: Computation, other: Computation) -> bool:
    """Whether a computation is another one, or waits for it, however indirectly."""
    pending, seen = [computation], {computation}
    while pending:
        one = pending.pop()
        if one is other:
            return True
        for needed in list(one.needs.values()):
            if needed not in seen:
                seen.add(needed)
                pending.append(needed)
    return False


# One for all caches, since computations of several may wait for each other; re-entrant, since a signal handler may ask
# in the middle of it.
_lock = RLock()
_current: Final[ContextVar[Computation | None]] = ContextVar("reinhardt_backends.cache.computation", default=None)
_instances: Final[weakref.WeakSet[SingleFlight]] = weakref.WeakSet()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - a thread of the parent may have held the old one
    _lock = RLock()
    for instance in list(_instances):
        instance.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
