"""Reads that callers share: per key at most one read is in flight, and one is pending.

A caller may know of an invalidation that a read in flight does not see yet, so it never joins that one. It joins the
pending read, which starts when the one in flight has ended, and so after the question of each caller that shares it. A
caller alone, or the first for its key, reads at once.

One of the callers that share a read performs it, in its own task, so nothing goes on in the background. If it is
cancelled, another one takes over.

Callers share within one event loop, so nothing needs a lock. A caller in another loop or thread reads for itself, as it
does whenever the table is not up to date: nothing but the sharing depends on it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeAlias, TypeVar

from .._component import event_loops
from ._exceptions import fresh_copy

T = TypeVar("T")

Group: TypeAlias = "dict[_Caller, None]"


class Flight:
    """A read in flight, and the callers that share the next one.

    Attributes:
        loop: The event loop of all of them.
        what: What is read.
        runtime: What parks callers in that loop; ``None`` as long as there is none.
        pending: The callers that share the next read.
    """

    # Most flights have no further callers, and need no more than these.
    runtime: Any = None
    pending: Group | None = None

    def __init__(self, loop: Any, what: object) -> None:
        self.loop = loop
        self.what = what


class _Caller:
    """A caller that shares a read.

    Attributes:
        waiter: What the runtime keeps of it while it is parked.
        reads: Whether it is its turn to read.
        done: Whether another one has read.
        result: What was read.
        failure: Why that failed.
    """

    __slots__ = ("done", "failure", "reads", "result", "waiter")

    def __init__(self) -> None:
        self.waiter: Any = None
        self.reads = False
        self.done = False
        self.result: Any = None
        self.failure: Exception | None = None


class SharedReads(Generic[T]):
    """Shares reads among callers that ask for the same key.

    A caller that ``begin`` lets read at once reads, and calls ``end``. Any other calls ``share``.
    """

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}
        self._current_loop, self._runtime_for = event_loops()

    def begin(self, key: str, what: object) -> tuple[Flight, bool]:
        """Return a flight, and whether the caller reads at once.

        Args:
            key: What is read.
            what: More about it; reads are shared only where this is equal.
        """
        loop = self._current_loop()
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(loop, what)
            return flight, True
        if flight.loop is loop and flight.what == what:
            return flight, False
        return Flight(loop, what), True

    def end(self, key: str, flight: Flight) -> None:
        """End a read, and let the next one begin."""
        if flight.pending is None:
            # Where threads compete this may be the flight of another one, which then shares less.
            self._flights.pop(key, None)
        else:
            self._next(key, flight, {})

    async def share(self, key: str, flight: Flight, read: Callable[[], Awaitable[T]]) -> T:
        """Wait until it is this caller's turn to read, or for what another caller has read.

        Raises:
            Exception: What the read raised; each caller gets a copy of its own.
        """
        if flight.pending is None:
            flight.pending = {}
            flight.runtime = self._runtime_for(flight.loop)
        caller, group = _Caller(), flight.pending
        group[caller] = None
        try:
            while not (caller.reads or caller.done):
                await flight.runtime.park(caller)
            if caller.reads:
                return await _read_for(group, flight, caller, read)
        finally:
            group.pop(caller, None)
            if caller.reads:
                self._next(key, flight, group)
        if caller.failure is None:
            result: T = caller.result
            return result
        error = fresh_copy(caller.failure)
        caller.failure = None
        try:
            raise error
        finally:
            # No cycle of error, traceback and frame.
            del error

    def _next(self, key: str, flight: Flight, group: Group) -> None:
        """Let one caller of a group read; if it has none, one of those that wait for the next read."""
        if not group:
            group, flight.pending = flight.pending or {}, {}
        if group:
            caller = next(iter(group))
            caller.reads = True
            flight.runtime.unpark(caller)
        else:
            self._flights.pop(key, None)


async def _read_for(group: Group, flight: Flight, caller: _Caller, read: Callable[[], Awaitable[T]]) -> T:
    """Read, and give the others of a group the result or the error. A cancelled caller gives them nothing."""
    try:
        result = await read()
    except Exception as error:
        _deliver(group, flight, caller, None, error)
        raise
    _deliver(group, flight, caller, result, None)
    return result


def _deliver(group: Group, flight: Flight, reader: _Caller, result: Any, failure: Exception | None) -> None:
    del group[reader]
    for caller in group:
        caller.result, caller.failure, caller.done = result, failure, True
        flight.runtime.unpark(caller)
    group.clear()
