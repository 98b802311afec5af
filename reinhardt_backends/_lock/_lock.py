"""``Lock``: one holder at a time, for as long as its ttl says.

The lock is a key that holds the id of its holder and expires; ``_ownership.py`` has the atomic steps on it. A store
notifies no one, so waiters ask again: the first in the store's queue after pauses of a few milliseconds, the others
less often. Among the waiters for one ``Lock`` object only the first asks, and a release in the same process wakes it.

Over a user's backend, which runs no steps, the lock is taken with plain verbs, and there is no queue in the store.

What such a lock cannot do, and what the token is for, is the subject of M. Kleppmann, "How to do distributed locking"
(2016). The single key with a random owner, released by comparing, is the pattern that Redis's documentation of ``SET``
describes.
"""

from __future__ import annotations

import contextlib
import time
from types import TracebackType
from typing import Final, Self

from .._backend import WARNING, Backend, LimitedRecord, reporter_for
from .._component import (
    Caller,
    Line,
    Waiter,
    Waiting,
    check_backend,
    check_timeout,
    refuse_eviction,
    require,
    waiting_for,
)
from .._errors import (
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    LockLostError,
    OutcomeUnknownError,
)
from .._types import MISSING, TTL, check_name, check_ttl
from ._attempt import Attempt, Pauses
from ._holds import Hold, Holds
from ._keys import lock_keys
from ._ownership import EXTEND, RELEASE, TAKE, TOKEN_TTL, holder_of, next_token

# A store gets this time to answer, however little is left of the timeout of ``acquire``.
_SHORTEST_CALL: Final = 0.1

_LOST: Final = LimitedRecord("lock", WARNING, "a lock has ended before it was released")


class Lock:
    """A lock in a store: of all who use this name on it, at most one holds it, until it is released or expires.

    ``async with lock`` waits for it and releases it at the end. One object may be shared by any number of tasks, event
    loops and threads. Those of one process get the lock in order of arrival, and processes take turns. It is not
    re-entrant: a task or thread that holds it and asks for it again gets a ``RuntimeError``.

    What it guarantees: while a holder's ttl has not run out, no other takes the lock; only its holder releases or
    extends it; a holder that dies blocks the others for ``ttl`` seconds at most.

    What it does not: a holder that is paused for longer than the ttl, by a garbage collector, a slow disk or a
    suspended machine, goes on as if it still held the lock, while another holder has taken it. A store that loses its
    last writes, as Redis may when a replica takes over, may give it twice. So let it save work that would otherwise be
    done twice, and where being wrong does harm, send ``token`` along with each write, and have the target of the write
    refuse a token smaller than one it has seen. Tokens grow: each is the last one plus one, or the store's time in
    microseconds if that is more. The last token is kept for 24 hours after its last use; so tokens shrink only if the
    store loses it (24 hours without use, eviction, a failover that loses writes) and its clock is then set back to
    before it.

    Needs ``add``, ``compare_and_set`` and ``compare_and_delete``.

    Args:
        backend: Where the lock is. It must not evict live keys.
        name: Its name. The keys are ``{lock:NAME}`` and ``{lock:NAME}:token``, which share a slot in a cluster. (After
            a prefix or namespace whose first braces are ``{}``, the second key ends in a number to that end.)
        ttl: Seconds, or a ``timedelta``, after which it is free again if it was neither released nor extended.
        timeout: Seconds to wait for it at most, for ``async with`` and for ``acquire`` without a timeout of its own;
            ``None`` for as long as it takes.
        renew: Whether ``async with`` extends the lock every third of its ttl while the block runs. A block can see in
            ``lost`` that this failed. In an event loop, enter and leave the block in one task.
        evictable: Whether to accept a backend that evicts live keys, so that the lock may be held twice.

    Raises:
        TypeError: ``backend`` is not a ``Backend``, or an argument has the wrong type.
        ValueError: The name is empty, the ttl or timeout out of range, or the backend evicts live keys.
        UnsupportedOperationError: The backend does not provide a verb that the lock needs. The message names the verbs.
    """

    def __init__(
        self,
        backend: Backend,
        name: str,
        *,
        ttl: TTL,
        timeout: float | None = None,
        renew: bool = False,
        evictable: bool = False,
    ) -> None:
        self._backend = check_backend(backend, "Lock")
        refuse_eviction(backend, "Lock", evictable)
        self._steps = backend._runs_steps()
        if not self._steps:
            require(backend, "Lock", "add", "compare_and_set", "compare_and_delete")
        self._name = check_name(name)
        self._ttl = _check_ttl(ttl)
        self._timeout = None if timeout is None else check_timeout(timeout)
        self._renew = renew
        self._key, self._token_key = lock_keys(backend, self._name)
        self._waiting: Waiting = waiting_for(backend)
        self._reporter = reporter_for(backend, "lock")
        self._line = Line()
        self._holds = Holds()

    def __repr__(self) -> str:
        return f"<Lock {self._name!r}>"

    @property
    def name(self) -> str:
        """The name of the lock."""
        return self._name

    @property
    def token(self) -> int | None:
        """The fencing token of the caller's hold; without one, that with which this object last took the lock."""
        hold = self._holds.latest_of(self._waiting.caller())
        return None if hold is None else hold.token

    @property
    def lost(self) -> bool:
        """Whether the caller's hold is known to have ended before its release. Asks nothing of the store.

        So it is when ``extend`` or the renewal found the lock expired, when another task or thread took it with this
        object, or when its ttl has run out on the clock of this machine.
        """
        hold = self._holds.latest_of(self._waiting.caller())
        return hold is not None and not hold.released and (hold.lost or self._waiting.clock() >= hold.end)

    async def acquire(self, timeout: float | None = None) -> bool:
        """Wait for the lock and take it.

        Args:
            timeout: Seconds to wait at most; 0 to try once; ``None`` for the timeout of the lock, if it has one.

        Returns:
            Whether it was taken. ``False`` only if it was seen held.

        Raises:
            TypeError, ValueError: The timeout is not a number, or negative.
            RuntimeError: The calling task or thread holds the lock, or waits for it already.
            BackendTimeoutError: The store did not answer in time. Unlike with the verbs of a backend, this does not say
                that nothing was changed: the store may have given the lock to this call. The call gives it back if it
                reaches the store, and otherwise it has no holder until it has expired.
            BackendError: The store could not be reached or refused to serve.
        """
        seconds = self._timeout if timeout is None else check_timeout(timeout)
        attempt = Attempt(None if seconds is None else self._waiting.now() + seconds, queues=seconds != 0)
        caller = self._waiting.caller()
        await self._refuse_reentry(caller)
        waiter = Waiter(caller)
        begun = started = self._waiting.clock()
        try:
            self._line.join(waiter)
            if attempt.queues:
                await self._line.reach_front(waiter, self._waiting, attempt.until)
            begun, token = await self._compete(attempt, waiter)
        finally:
            self._line.leave(waiter)
            if attempt.left_traces:
                await self._waiting.finish(self._give_up(attempt))
        if self._reporter is not None:
            seconds = self._waiting.clock() - started
            if attempt.seen_held:
                self._reporter.report("waited", self._name, seconds=seconds)
            self._reporter.report("acquired" if token else "denied", self._name, seconds=seconds)
        if token:
            self._holds.add(caller, Hold(attempt.owner, token, begun + self._ttl))
        return bool(token)

    async def release(self) -> bool:
        """Give the lock back.

        Returns:
            Whether it was still held; ``False`` if it had expired. The lock of another holder is never released.

        Raises:
            RuntimeError: This object has not taken the lock.
            BackendError: The store could not be reached or refused to serve; the lock will expire.
        """
        return await self._give_back(self._held())

    async def _give_back(self, hold: Hold) -> bool:
        self._holds.remove(hold)
        # A renewal goes on no longer, whether the block that began it has ended or not.
        hold.done.give()
        try:
            released = await self._waiting.finish(self._release(self._backend, hold.owner))
            if not released:
                self._note_lost(hold)
            return released
        finally:
            self._line.wake_first()

    async def extend(self, ttl: TTL | None = None) -> bool:
        """Let the lock expire later: ``ttl`` seconds from now. Atomic.

        Args:
            ttl: Seconds, or a ``timedelta``; that of the lock by default.

        Returns:
            Whether it was still held; ``False`` if it had expired, and then nothing was changed.

        Raises:
            RuntimeError: This object has not taken the lock.
            BackendError: The store could not be reached or refused to serve.
        """
        return await self._extend(self._held(), self._ttl if ttl is None else _check_ttl(ttl))

    async def locked(self) -> bool:
        """Return whether the lock is held by anyone."""
        return await self._holder() is not None

    async def __aenter__(self) -> Self:
        """Wait for the lock and take it.

        Raises:
            TimeoutError: It was held by others for the whole timeout of the lock.
        """
        if not await self.acquire():
            raise TimeoutError(f"the lock {self._name!r} was held by others for {self._timeout} s")
        hold = self._held()
        if self._renew:
            hold.renewal = self._waiting.background(lambda: self._keep_renewing(hold))
            try:
                await hold.renewal.__aenter__()
            except BaseException:
                hold.renewal = None
                await self.release()
                raise
        self._holds.enter_block(self._waiting.caller(), hold)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the lock back.

        An exception of the block is never replaced: if the release fails as well, a note on the exception says so.

        Raises:
            LockLostError: It expired within the block, which raised nothing itself.
        """
        try:
            released = await self._leave()
        except (BackendError, RuntimeError) as error:
            if exc is None:
                raise
            exc.add_note(f"the lock {self._name!r} could not be released: {type(error).__name__}")
            return
        if not released and exc is None:
            raise LockLostError(f"the lock {self._name!r} expired while it was held; its ttl is {self._ttl} s")

    async def _leave(self) -> bool:
        caller = self._waiting.caller()
        # Only that hold: if the block has released it early, others may have taken the lock with this object since.
        entered = self._holds.leave_block(caller)
        try:
            if entered is not None and entered.renewal is not None:
                entered.done.give()
                await entered.renewal.__aexit__(None, None, None)
        finally:
            released = await self._give_back(self._unreleased(self._holds.of(caller) or entered))
        return released

    def _held(self) -> Hold:
        return self._unreleased(self._holds.latest_of(self._waiting.caller()))

    def _unreleased(self, hold: Hold | None) -> Hold:
        if hold is None or hold.released:
            raise RuntimeError(f"the lock {self._name!r} is not held by this object")
        return hold

    async def _refuse_reentry(self, caller: Caller | None) -> None:
        hold = self._holds.of(caller)
        if self._line.includes(caller) or (hold is not None and await self._holder() == hold.owner):
            raise RuntimeError(
                f"the lock {self._name!r} is not re-entrant, and this task or thread holds it or waits for it already"
            )
        if hold is not None:
            self._holds.remove(hold)

    async def _compete(self, attempt: Attempt, waiter: Waiter) -> tuple[float, int]:
        """Ask for the lock until it is taken or time is up. Return when it was asked for last, and the token or 0."""
        pauses = Pauses()
        while True:
            begun = self._waiting.clock()
            try:
                answer = await self._ask(attempt)
            except (BackendTimeoutError, OutcomeUnknownError) as error:
                if attempt.until is None or self._waiting.now() < attempt.until:
                    raise
                if attempt.seen_held:
                    return begun, 0
                raise BackendTimeoutError(
                    f"the store did not say in time whether the lock {self._name!r} is held; "
                    "if it was taken, it is released or expires"
                ) from error
            if answer > 0:
                return begun, answer
            left = None if attempt.until is None else attempt.until - self._waiting.now()
            if left is not None and left <= 0:
                return begun, 0
            pause = pauses.after(-answer)
            await self._line.pause(waiter, self._waiting, pause if left is None else min(pause, left))

    async def _ask(self, attempt: Attempt) -> int:
        """Return the token if the lock was taken; otherwise minus the place in the queue."""
        before, attempt.left_traces = attempt.left_traces, True
        attempt.answered = False
        try:
            store = self._store(attempt)
            if self._steps:
                answer = await self._take_in_a_step(store, attempt)
            else:
                answer = await self._take_by_verbs(store, attempt.owner)
        except BackendConnectionError:
            # Nothing was changed by a step; of several verbs, the first may have been applied.
            attempt.left_traces = before or not self._steps
            raise
        attempt.answered = True
        attempt.left_traces = answer < 0
        attempt.seen_held = answer <= 0
        return answer

    def _store(self, attempt: Attempt) -> Backend:
        """Return the backend with the deadline of an attempt; one that is tried once has that of the backend."""
        if attempt.until is None or not attempt.queues:
            return self._backend
        return self._backend._with_timeout(max(attempt.until - self._waiting.now(), _SHORTEST_CALL))

    async def _take_in_a_step(self, store: Backend, attempt: Attempt) -> int:
        arguments = attempt.owner, round(self._ttl * 1000), int(attempt.queues), _microseconds()
        return int(await store._run_step(TAKE, (self._token_key, self._key), arguments))

    async def _take_by_verbs(self, store: Backend, owner: str) -> int:
        # The token is drawn between two steps that both need the lock, so it is larger than any drawn before.
        candidate = _candidate(owner)
        if not await store.add(self._key, candidate, self._ttl):
            return 0
        while True:
            last = await store.get(self._token_key, default=MISSING)
            token = next_token(last, _microseconds())
            if last is MISSING:
                drawn = await store.add(self._token_key, token, TOKEN_TTL)
            else:
                drawn = await store.compare_and_set(self._token_key, last, token, TOKEN_TTL)
            if drawn:
                taken = await store.compare_and_set(self._key, candidate, owner, self._ttl)
                return token if taken else 0

    async def _release(self, store: Backend, owner: str) -> bool:
        if self._steps:
            return bool(await store._run_step(RELEASE, (self._key,), (owner,)))
        return await store.compare_and_delete(self._key, owner)

    async def _give_up(self, attempt: Attempt) -> None:
        """Leave the queue, and give back what may have been taken without an answer. If that fails, it expires.

        On a store that has not answered, a short deadline is enough to send it behind what was sent before.
        """
        with contextlib.suppress(BackendError):
            store = self._backend if attempt.answered else self._backend._with_timeout(_SHORTEST_CALL)
            if not self._steps:
                await store.compare_and_delete(self._key, _candidate(attempt.owner))
            await self._release(store, attempt.owner)

    async def _extend(self, hold: Hold, ttl: float) -> bool:
        begun = self._waiting.clock()
        if self._steps:
            held = bool(await self._backend._run_step(EXTEND, (self._key,), (hold.owner, round(ttl * 1000))))
        else:
            held = await self._backend.compare_and_set(self._key, hold.owner, hold.owner, ttl)
        if held:
            hold.end = begun + ttl
        elif not hold.released:
            self._note_lost(hold)
        return held

    def _note_lost(self, hold: Hold) -> None:
        if not hold.lost:
            hold.lost = True
            _LOST.write()
            if self._reporter is not None:
                self._reporter.report("lost", self._name)

    async def _keep_renewing(self, hold: Hold) -> None:
        """Extend a hold until it is done or lost. A failure is not final: the next attempt may succeed."""
        while not hold.lost and not await self._waiting.wait(hold.done, self._ttl / 3):
            with contextlib.suppress(Exception):
                await self._extend(hold, self._ttl)

    async def _holder(self) -> str | None:
        return holder_of(await self._backend.get(self._key, default=MISSING))


def _candidate(owner: str) -> str:
    return f"{owner}?"


def _microseconds() -> int:
    return time.time_ns() // 1000


def _check_ttl(ttl: TTL) -> float:
    milliseconds = check_ttl(ttl)
    if milliseconds is None:
        raise TypeError("a lock needs a ttl: its holder may die")
    return milliseconds / 1000
