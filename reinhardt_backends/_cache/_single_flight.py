"""One computation for everybody who asks at once, in one process: the flights of a cache.

Who asks first for a key leads a flight; who asks while it is under way waits for its answer. A leader runs in the task
or thread of its own caller, so nothing goes on in the background and a waiter that gives up disturbs nobody. A leader
that is cancelled lands its flight without an answer; those who waited then ask again, and one of them leads.

A flight serves tasks, threads and event loops alike, and knows the tags of what it computes: invalidating takes it out
of the book at once, so that who asks later does not get an answer from before.

The idea and the name are those of Go's ``singleflight`` package.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from .._component import Signal, Waiting


class Flight:
    """One computation under way.

    Attributes:
        tags: The tags of what is computed.
        outdated: Whether it was invalidated since it began, so that its answer is not to be kept.
        needs: The flights that what computes it is waiting for.
    """

    __slots__ = ("_answer", "_error", "_landed", "needs", "outdated", "tags")

    def __init__(self, tags: tuple[str, ...]) -> None:
        self.tags = tags
        self.outdated = False
        self.needs: list[Flight] = []
        self._landed = Signal()
        self._answer: bytes | None = None
        self._error: Exception | None = None

    async def wait(self, waiting: Waiting) -> bytes | None:
        """Wait for the answer, and return it or raise the leader's error; ``None`` if one has to ask again."""
        await waiting.wait(self._landed)
        if self._error is not None:
            raise self._error
        return self._answer

    def land(self, answer: bytes | None, error: Exception | None) -> None:
        self._answer, self._error = answer, error
        self._landed.give()


class Flights:
    """The book of the flights under way."""

    def __init__(self) -> None:
        self._book: dict[str, Flight] = {}
        # Re-entrant: a signal handler may ask in the middle of it.
        self._lock = threading.RLock()
        _books.add(self)

    def join(self, name: str, tags: tuple[str, ...], waits: bool = True) -> tuple[Flight, bool]:
        """Return the flight of a name, and whether the caller leads it. One who does not may wait, and then leaves.

        Raises:
            RuntimeError: The caller is part of what computes the value, so that it would wait for itself.
        """
        aboard = _aboard.get()
        with self._lock:
            flight = self._book.get(name)
            if flight is None:
                flight = self._book[name] = Flight(tags)
                return flight, True
            if waits and aboard:
                if _needs(flight, aboard):
                    raise RuntimeError(f"computing the value of {name!r} takes that very value")
                for own in aboard:
                    own.needs.append(flight)
        return flight, False

    def leave(self, flight: Flight) -> None:
        """Stop waiting for a flight."""
        aboard = _aboard.get()
        if aboard:
            with self._lock:
                for own in aboard:
                    own.needs.remove(flight)

    def land(self, name: str, flight: Flight, answer: bytes | None = None, error: Exception | None = None) -> None:
        """End a flight, and wake all who wait for it."""
        with self._lock:
            if self._book.get(name) is flight:
                del self._book[name]
        flight.land(answer, error)

    def outdate(self, affected: Callable[[str, Flight], bool]) -> None:
        """Take flights out of the book: what was asked before may have their answer, what is asked now may not."""
        with self._lock:
            for name, flight in list(self._book.items()):
                if affected(name, flight):
                    flight.outdated = True
                    del self._book[name]

    def _forget(self) -> None:
        """The flights of a parent process land there."""
        self._lock = threading.RLock()
        self._book = {}


class Aboard:
    """Marks what runs within it, and the tasks that it starts, as part of computing a flight's answer."""

    __slots__ = ("_flight", "_token")

    def __init__(self, flight: Flight) -> None:
        self._flight = flight

    def __enter__(self) -> None:
        self._token = _aboard.set((*_aboard.get(), self._flight))

    def __exit__(self, *_: object) -> None:
        _aboard.reset(self._token)


def _needs(flight: Flight, others: tuple[Flight, ...]) -> bool:
    """Whether a flight is one of some others, or waits for one, however indirectly."""
    return flight in others or any(_needs(needed, others) for needed in flight.needs)


_aboard: Final[ContextVar[tuple[Flight, ...]]] = ContextVar("reinhardt_backends.cache.aboard", default=())
_books: Final[weakref.WeakSet[Flights]] = weakref.WeakSet()


def _after_fork() -> None:
    for book in list(_books):
        book._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
