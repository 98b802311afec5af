"""``Lock``: one holder at a time, for as long as it says so.

The lock is a key that holds the name of its owner and expires. Taking it is one atomic step that also draws the next
number of a counter, the fencing token. Nobody is told when it is released, so whoever waits asks again, after pauses
that grow and are never quite the same. Of those who wait for one ``Lock`` object only the first asks; the others wait
for it, in the process.

What such a lock cannot do, and what the token is for, is the subject of M. Kleppmann, "How to do distributed locking"
(2016). The single key with a random owner, released by comparing, is the pattern that Redis's documentation of ``SET``
describes.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from ._atomic import Found, Step, Write
from ._backend import Backend
from ._component import IN_LOOP, Signal, Waiting, check_backend, check_timeout, require
from ._errors import BackendConnectionError, BackendError, LockLostError
from ._types import TTL, check_name, check_ttl

_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.25


def _take(now: float, found: Sequence[Found], args: Sequence[Any]) -> tuple[int, Sequence[Write]]:
    counter, there = found
    owner, milliseconds = args
    if there is not None and there[0] != owner:
        return 0, ()
    token: int = counter[0] if counter is not None and counter[0].__class__ is int else 0
    held = owner, milliseconds / 1000
    if there is not None:
        return token, (None, held)
    # The token is written first: a step that is interrupted may skip a token, and never gives one twice.
    return token + 1, ((token + 1, None), held)


# Who asks twice, since the first answer was lost, holds it once.
TAKE: Final = Step(
    "take a lock",
    """
local there = redis.call('GET', KEYS[2])
local owner = '"' .. ARGV[1] .. '"'
if there and there ~= owner then return 0 end
redis.call('SET', KEYS[2], owner, 'PX', ARGV[2])
if there then return tonumber(redis.call('GET', KEYS[1])) end
return redis.call('INCR', KEYS[1])
""",
    _take,
    harmless=True,
)


class Lock:
    """A lock in a store: of all who use this name on it, at most one holds it, until it is released or expires.

    Entering it as a context manager waits for it, and leaving releases it. One object may be shared by any number of
    tasks, event loops and threads; those that use the same object also wait for each other. It is not re-entrant: who
    holds it and asks for it again waits for himself.

    What it guarantees: while a holder's ttl has not run out, nobody else takes the lock; only who holds it releases or
    extends it; a holder that dies blocks the others for ``ttl`` seconds at most.

    What it does not: a holder that is paused for longer than the ttl, by a garbage collector, a slow disk or a
    suspended machine, goes on as if it still held the lock, while somebody else does. A store that loses its last
    writes, as Redis may when a replica takes over, may give it twice. So let it save work that would otherwise be done
    twice, and where being wrong does harm, send ``token`` along with each write, and have what is written to refuse a
    token smaller than one it has seen: the token grows with each time the lock is taken, as long as its counter is
    neither deleted nor evicted.

    Needs ``add``, ``compare_and_set`` and ``compare_and_delete``.

    Args:
        backend: Where the lock is.
        name: Its name. The keys are ``"lock:" + name`` and ``"lock-token:" + name``; the latter, a counter, stays.
        ttl: Seconds, or a ``timedelta``, after which it is free again if it was neither released nor extended.

    Raises:
        TypeError: ``backend`` is not a ``Backend``, or an argument is not what it must be.
        ValueError: The name is empty, or the ttl out of range.
        UnsupportedOperationError: The backend does not provide what it needs. The message names the verbs.
    """

    def __init__(self, backend: Backend, name: str, *, ttl: TTL) -> None:
        self._backend = check_backend(backend, "Lock")
        self._steps = backend._runs_steps()
        if not self._steps:
            require(backend, "Lock", "add", "compare_and_set", "compare_and_delete")
        self._name = check_name(name)
        self._ttl = _check_ttl(ttl)
        self._key = f"lock:{self._name}"
        self._counter = f"lock-token:{self._name}"
        self._waiting: Waiting = IN_LOOP
        self._turn = _Turn()
        self._owner: str | None = None
        self._token: int | None = None

    def __repr__(self) -> str:
        return f"<Lock {self._name!r}>"

    @property
    def name(self) -> str:
        """The name of the lock."""
        return self._name

    @property
    def token(self) -> int | None:
        """The fencing token of the holder, as far as this object holds the lock or held it last; else ``None``."""
        return self._token

    async def acquire(self, timeout: float | None = None) -> bool:
        """Wait for the lock and take it.

        Args:
            timeout: Seconds to wait at most; 0 to try once; ``None`` for as long as it takes.

        Returns:
            Whether it was taken.

        Raises:
            TypeError, ValueError: The timeout is not a number, or negative.
            BackendError: The store is away or refuses to serve.
        """
        until = None if timeout is None else self._waiting.now() + check_timeout(timeout)
        if not await self._turn.begin(self._waiting, until):
            return False
        owner = os.urandom(16).hex()
        token = 0
        try:
            token = await self._take(owner, until)
            if token:
                self._owner, self._token = owner, token
        finally:
            if not token:
                self._turn.end()
        return bool(token)

    async def release(self) -> bool:
        """Give the lock back.

        Returns:
            Whether it was still held; ``False`` if it had expired. Nobody else's lock is ever released.

        Raises:
            RuntimeError: This object has not taken the lock.
            BackendError: The store is away or refuses to serve; the lock will expire.
        """
        owner, self._owner = self._held(), None
        try:
            return await self._waiting.finish(self._backend.compare_and_delete(self._key, owner))
        finally:
            self._turn.end()

    async def extend(self, ttl: TTL | None = None) -> bool:
        """Let the lock expire later: ``ttl`` seconds from now. Atomic.

        Args:
            ttl: Seconds, or a ``timedelta``; that of the lock by default.

        Returns:
            Whether it was still held; ``False`` if it had expired, and then nothing was changed.

        Raises:
            RuntimeError: This object has not taken the lock.
            BackendError: The store is away or refuses to serve.
        """
        owner = self._held()
        return await self._backend.compare_and_set(
            self._key, owner, owner, self._ttl if ttl is None else _check_ttl(ttl)
        )

    async def locked(self) -> bool:
        """Return whether anybody holds the lock."""
        return await self._backend.exists(self._key)

    async def __aenter__(self) -> Self:
        """Wait for the lock and take it."""
        await self.acquire()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the lock back.

        Raises:
            LockLostError: It expired within the block, which raised nothing itself.
        """
        if not await self.release() and exc is None:
            raise LockLostError(f"the lock {self._name!r} expired while it was held; its ttl is {self._ttl} s")

    def _held(self) -> str:
        if self._owner is None or not self._turn.taken:
            raise RuntimeError(f"the lock {self._name!r} is not held by this object")
        return self._owner

    async def _take(self, owner: str, until: float | None) -> int:
        """Ask until the lock was taken, and return the token; 0 if it was not in time."""
        pause = _FIRST_PAUSE
        while True:
            try:
                token = await self._try(owner)
            except BaseException as error:
                if not self._steps or not isinstance(error, BackendConnectionError):
                    await self._waiting.finish(self._forget(owner))
                raise
            if token:
                return token
            sleep = pause * random.uniform(0.5, 1.0)  # noqa: S311 - only so that they do not all come at once
            if until is not None:
                left = until - self._waiting.now()
                if left <= 0:
                    return 0
                sleep = min(sleep, left)
            await self._waiting.sleep(sleep)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _try(self, owner: str) -> int:
        """Return the token if the lock was taken, 0 if it is held."""
        if self._steps:
            milliseconds = round(self._ttl * 1000)
            return int(await self._backend._run_step(TAKE, (self._counter, self._key), (owner, milliseconds)))
        # The token is drawn between two steps that both need the lock, so it is larger than any drawn before.
        candidate = _candidate(owner)
        if not await self._backend.add(self._key, candidate, self._ttl):
            return 0
        token = await self._backend.increment(self._counter)
        taken = await self._backend.compare_and_set(self._key, candidate, owner, self._ttl)
        return token if taken else 0

    async def _forget(self, owner: str) -> None:
        """Give back what may have been taken without an answer. If that fails, too, it will expire."""
        with contextlib.suppress(BackendError):
            for value in (owner,) if self._steps else (owner, _candidate(owner)):
                await self._backend.compare_and_delete(self._key, value)


class _Turn:
    """Whose turn it is to ask the store, among those who share a ``Lock``: first come, first served."""

    def __init__(self) -> None:
        self._start_anew()

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._queue: deque[Signal] = deque()
        self._taken = False

    @property
    def taken(self) -> bool:
        """Whether it is somebody's turn."""
        self._notice_fork()
        return self._taken

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            # The turn is the parent's, and a thread of the parent may have held the lock.
            self._start_anew()

    async def begin(self, waiting: Waiting, until: float | None) -> bool:
        """Wait for one's turn, and return whether it came in time."""
        mine = Signal()
        if self._take_or_queue(mine):
            return True
        try:
            timeout = None if until is None else max(until - waiting.now(), 0)
            if await waiting.wait(mine, timeout):
                return True
        except BaseException:
            self._leave(mine)
            raise
        self._leave(mine)
        return False

    def _take_or_queue(self, mine: Signal) -> bool:
        self._notice_fork()
        with self._lock:
            taken, self._taken = self._taken, True
            if taken:
                self._queue.append(mine)
        return not taken

    def _leave(self, mine: Signal) -> None:
        with self._lock:
            waits = mine in self._queue
            if waits:
                self._queue.remove(mine)
        if not waits:
            # The turn came just as the wait ended.
            self.end()

    def end(self) -> None:
        """Pass the turn on."""
        with self._lock:
            following = self._queue.popleft() if self._queue else None
            self._taken = following is not None
        if following is not None:
            following.give()


def _candidate(owner: str) -> str:
    return f"{owner}?"


def _check_ttl(ttl: TTL) -> float:
    milliseconds = check_ttl(ttl)
    if milliseconds is None:
        raise TypeError("a lock needs a ttl: its holder may die")
    return milliseconds / 1000
