"""Leases: one computation of a value among all processes that share the store.

A process that finds no value puts a lease where the value will be, with ``add``, and replaces it by the value with
``compare_and_set``; a process that finds a lease looks again soon. Since both are in one place, invalidating a key
removes the lease as well, and what was computed from before is then not stored, in whatever process that was. (Such
leases are due to R. Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013.) A value that is stale stays where it
is; there the lease takes the place of its freshness token.

A lease names the tokens of the tags that the computation started from. If one of them is no longer the tag's, the tag
was invalidated, and others replace the lease.

A lease expires, so a process that dies holds up the others for so long and no longer. While the value is computed, the
lease is renewed, by one thread for all leases of the process: it serves every event loop and blocking callers alike,
costs a short computation next to nothing, and goes on while a computation blocks its event loop. (A user's backend that
needs an event loop is renewed by a task beside the computation instead.) After ``HOLD`` times its length the lease is
renewed as *overdue*, which others may replace: a computation that hangs does not hold them up for good, and one that is
merely slow, and was not replaced, is still kept.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Final

from .._backend import Backend
from .._component import Waiting, drive, waiting_for
from ._stored import new_lease, overdue

HOLD: Final = 4
"""For how many times its length a lease holds up others while the value is computed."""

_RENEWALS: Final = 3
"""How often a lease is renewed in the time that it holds."""


class Lease:
    """A lease that may be in the store.

    Args:
        name: The key where it is.
        seconds: How long it holds, from each renewal.
        backend: What renews it. If its coroutines never suspend, a thread does it.
        ids: The ids of the tokens of the tags of what is computed.

    Attributes:
        token: What is stored there.
        overdue: Whether others may replace it.
    """

    __slots__ = ("_backend", "_cancel", "_clock", "_due", "_overdue_at", "name", "overdue", "seconds", "token")

    def __init__(self, name: str, seconds: float, backend: Backend, ids: Mapping[str, str]) -> None:
        self._clock = waiting_for(backend).clock
        self._cancel: Callable[[], None] | None = None
        now = self._clock()
        self.name = name
        self.token = new_lease(ids)
        self.seconds = seconds
        self.overdue = False
        self._backend = backend
        self._due = now + seconds / _RENEWALS
        self._overdue_at = now + seconds * HOLD

    @property
    def tokens(self) -> tuple[bytes, ...]:
        """What may be stored, the most probable first."""
        return (overdue(self.token), self.token) if self.overdue else (self.token,)

    def keep(self) -> None:
        """Have the thread renew it until ``drop``; on a clock that a test moves, as that moves."""
        manual = self._backend._manual_clock()
        if manual is not None:
            self._cancel = manual.call_after(self.seconds / _RENEWALS, self._renew_on_clock)
            return
        _kept[self] = None
        if self.seconds < _pace[0] or not _running.locked():
            _pace[0] = min(_pace[0], self.seconds)
            _start_or_wake()

    def drop(self) -> None:
        """Have the thread renew it no more."""
        _kept.pop(self, None)
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()

    def _renew_on_clock(self) -> None:
        self.renew_if_due()
        if self._cancel is not None:
            self.keep()

    async def renew(self) -> bool:
        """Let it hold for its length once more, and return whether it was there."""
        now = self._clock()
        self._due = now + self.seconds / _RENEWALS
        expected = self.tokens[0]
        # From here on either form may be in the store.
        self.overdue = self.overdue or now >= self._overdue_at
        try:
            return await self._backend.compare_and_set(self.name, expected, self.tokens[0], self.seconds)
        except Exception:
            # A store that is away now may be back before the lease expires.
            return True

    async def keep_renewing(self, waiting: Waiting) -> None:
        """Renew it, beside the computation, until it is lost."""
        while True:
            await waiting.sleep(self.seconds / _RENEWALS)
            if not await self.renew():
                return

    def renew_if_due(self) -> None:
        """Renew it from the thread, until it is lost."""
        if self._clock() >= self._due and not drive(self.renew()):
            self.drop()


_kept: Final[dict[Lease, None]] = {}
_wakes: SimpleQueue[None] = SimpleQueue()
# The shortest lease that the thread knows of; a shorter one wakes it.
_pace: Final = [float("inf")]
# Held by the thread while it runs. Only ever taken without waiting.
_running = threading.Lock()


def _start_or_wake() -> None:
    if _running.acquire(blocking=False):
        try:
            threading.Thread(target=_renew_all, args=(_running,), name="reinhardt_backends leases", daemon=True).start()
        except BaseException as error:
            _running.release()
            # If no thread can be started, the leases hold for their own length.
            if not isinstance(error, RuntimeError):
                raise
    else:
        _wakes.put(None)


def _renew_all(running: threading.Lock) -> None:
    """Renew the leases of the process until there are none."""
    while leases := list(_kept):
        for lease in leases:
            lease.renew_if_due()
        _pace[0] = shortest = min(lease.seconds for lease in leases)
        # One that was kept meanwhile may not have known that it is too short.
        if all(lease.seconds >= shortest for lease in list(_kept)):
            with contextlib.suppress(Empty):
                _wakes.get(timeout=min(shortest / _RENEWALS / 2, threading.TIMEOUT_MAX))
    _pace[0] = float("inf")
    with contextlib.suppress(RuntimeError):
        running.release()
    if _kept:
        # One that was kept just before the lock was released.
        _start_or_wake()


def _after_fork() -> None:
    global _running, _wakes
    _running, _wakes = threading.Lock(), SimpleQueue()
    _kept.clear()
    _pace[0] = float("inf")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
