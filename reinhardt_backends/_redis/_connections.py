"""The connections to one server: those of each event loop that used it, and the pool of blocking callers.

A ``Node`` is shared by a client and its blocking twin, from any number of loops and threads. It keeps no loop alive;
the connections of a loop go with it. Closing closes the connections of each loop in that loop. After a fork the child
starts afresh: inherited connections are closed without sending a byte, and locks are replaced, since a thread of the
parent may hold them.

A loop has at most two connections. Small values share the first. Large ones use the second, since a value of megabytes
would delay every small one behind it: commands that carry much, and commands that are word for word the same as one
whose last reply was large.
"""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final, Protocol, TypeVar

from .._backend import BackendStats
from .._backend._locks import RLock
from .._errors import BackendClosedError, BackendConnectionError, BackendError, BackendTimeoutError
from .._io import Attempt, Runtime, current_loop, runtime_for
from ._commands import Kind
from ._health import Health
from ._link import Link
from ._mux import Failure, describe
from ._options import Options
from ._pool import Pool
from ._sentinel import Locator
from ._source import Source

T = TypeVar("T")

#: From how many bytes on a command or a reply is large.
LARGE: Final = 256 * 1024

#: How many commands with a large reply are remembered.
REMEMBERED: Final = 256


class _Waiter:
    __slots__ = ("waiter",)

    def __init__(self) -> None:
        self.waiter: Any = None


class SharedConnection(Source):
    """One connection that all callers of a loop share, and its replacements.

    Connecting is a role, like reading and writing: a running task takes it. Other callers park until the connection is
    there, and share the error if it is not. If the connecting task is cancelled, the next one to wake starts again.

    Args:
        runtime: The loop that it serves.
        options: How to reach the server.
        health: What is known about the server.
        locator: Finds the server, if ``options`` do not say where it is.
        peer: The connection for small values, if this is the one for large ones.
    """

    def __init__(
        self,
        runtime: Runtime,
        options: Options,
        health: Health,
        locator: Locator | None = None,
        *,
        peer: SharedConnection | None = None,
    ) -> None:
        super().__init__(runtime, options, health, locator, large=peer is not None)
        self.link: Link | None = None
        self._peer = peer
        self._closed = False
        self._attempt: Attempt | None = None
        self._waiting: dict[_Waiter, None] = {}
        self._resting: dict[_Waiter, None] = {}
        #: How many attempts have ended, and the error of the last one.
        self._round = 0
        self._error: BackendError | None = None

    async def connected(self, deadline: float, kind: Kind) -> Link:
        """Return the connection, opened if need be.

        Raises:
            BackendError: There is no connection; nothing was sent.
        """
        await self._follow(deadline)
        while True:
            if self._closed:
                raise BackendClosedError("the backend is closed")
            outage = self._health.outage(kind)
            if outage is not None:
                if self._attempt is not None or not outage.may_probe():
                    await self._await_probe(outage, deadline)
                    continue
                return await self._connect(partial(self._probe_outage, outage), deadline)
            link = self.link
            if link is not None and link.usable:
                return link
            if monotonic() >= deadline:
                raise BackendTimeoutError(f"{self._options.location}: no connection in time")
            if self._attempt is not None:
                await self._await_attempt(deadline)
            else:
                await self._connect(self._open_patiently, deadline)

    async def _await_attempt(self, deadline: float) -> None:
        seen = self._round
        caller = _Waiter()
        self._waiting[caller] = None
        try:
            await self._runtime.park_until(caller, deadline)
        finally:
            self._waiting.pop(caller, None)
        if self._round != seen and self._error is not None:
            raise copy_error(self._error)

    async def _connect(self, way: Callable[[Attempt, float], Awaitable[Link]], deadline: float) -> Link:
        """Connect for all callers in one of the ways of ``Source``, and use the connection from now on."""
        self._attempt = attempt = Attempt()
        shared: BackendError | None = None
        try:
            link = await way(attempt, deadline)
            old, self.link = self.link, link
            if self._peer is not None:
                link.busy_peer = self._peer.is_busy
            if old is not None and old is not link and old.failure is None:
                # One that takes no calls any more may still answer those that it has.
                old.supersede() if old.usable else old.retire()
            return link
        except BackendError as error:
            # If only this caller's time was up, the others, which may have more, try for themselves.
            if monotonic() < deadline:
                shared = copy_error(error)
            raise
        finally:
            self._attempt = None
            self._error = shared
            self._round += 1
            self._wake(self._waiting)

    async def _ask_server(self, link: Link, deadline: float) -> None:
        if link is self.link and self._attempt is None and not self._health.down.known:
            with suppress(BackendError):
                await self._connect(partial(self._replace_silent, link), deadline)
        elif self._has_answered_since(link):
            link.supersede()

    async def _replace_silent(self, link: Link, attempt: Attempt, deadline: float) -> Link:
        """Connect in place of a silent connection; return the same one if the server holds back its commands."""
        other = await self._probe(attempt, deadline)
        held = True
        try:
            held = await self._judge_silent(link, other, deadline)
        finally:
            # Also if this task was cancelled, or the backend was closed meanwhile.
            if held or self._closed:
                self._discard(other)
        return link if held else other

    def _wake(self, callers: dict[_Waiter, None]) -> None:
        for caller in list(callers):
            del callers[caller]
            self._runtime.unpark(caller)

    def is_busy(self) -> bool:
        """Whether calls are in flight."""
        return self.link is not None and bool(self.link.mux.slots)

    def give_back(self, link: Link) -> None:
        """Note that a call on the connection has ended. Others may still use it."""
        if not link.usable:
            link.retire()

    def drop_idle(self, link: Link) -> None:
        """Do nothing: there are no idle connections beside this one."""

    async def rest(self, until: float) -> None:
        caller = _Waiter()
        self._resting[caller] = None
        try:
            if not self._closed:
                await self._runtime.park_until(caller, until)
        finally:
            self._resting.pop(caller, None)

    def close(self) -> None:
        """End every call that uses the connection or waits for one. Called in the loop. Idempotent."""
        self._closed = True
        if self._attempt is not None:
            self._attempt.abort()
        self._abort_review()
        if self.link is not None:
            self.link.fail(Failure(Failure.CLOSED, "the backend was closed"))
        self._wake(self._resting)
        self._wake(self._waiting)

    def close_silently(self) -> None:
        """Close the descriptors only: the loop has ended, or this is the child of a fork."""
        self._closed = True
        link = self.link
        for attempt in (self._attempt, self._review):
            if attempt is not None and attempt.port is not None:
                attempt.port.close_silently()
        if link is not None:
            link.close_silently()


class LoopConnections:
    """The two connections of one event loop.

    Args:
        loop: The loop, referred to weakly.
        runtime: How to wait in it.
        options: How to reach the server.
        health: What is known about the server.
        locator: Finds the server, if ``options`` do not say where it is.
    """

    def __init__(
        self,
        loop: weakref.ref[Any],
        runtime: Runtime,
        options: Options,
        health: Health,
        locator: Locator | None = None,
    ) -> None:
        self.loop = loop
        self.runtime = runtime
        self.small = SharedConnection(runtime, options, health, locator)
        self.large = SharedConnection(runtime, options, health, locator, peer=self.small)

    def close(self) -> None:
        """Close both connections, in the loop."""
        self.small.close()
        self.large.close()

    def close_in_its_loop(self) -> None:
        """Close from any thread. The connections of a loop that has ended are closed at once."""
        if not self.runtime.run_soon(self.close):
            self.close_silently()

    def close_silently(self) -> None:
        """Close the descriptors only."""
        self.small.close_silently()
        self.large.close_silently()


def copy_error(error: BackendError) -> BackendError:
    """Copy an error for another caller: one exception object must not be raised in several tasks."""
    copy = type(error)(*error.args)
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error.__cause__
    return copy


class Node:
    """All connections to one server.

    Args:
        options: How to reach the server. Nothing is connected until the first call.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._observe()
        self.closed = False
        # Re-entrant, since a signal handler or a finalizer may call or close in the middle of a call of its thread.
        self.lock = RLock()
        #: The connections of each loop, by the identity of the loop.
        self.loops: dict[int, LoopConnections] = {}
        self.pool: Pool | None = None
        #: Commands, word for word, whose last reply was large.
        self.large: OrderedDict[bytes, None] = OrderedDict()
        survive_forks(self)

    def _observe(self) -> None:
        """Begin to learn about the server."""
        self.health = Health(self.options.timeout, self.options.location)
        sentinels = self.options.sentinels
        self._locator = None if sentinels is None else Locator(self.options, sentinels, self.health)

    def shared(self, data: bytes) -> SharedConnection:
        """Return the connection of the running loop for such a command."""
        self.check_open()
        loop = current_loop()
        connections = self.loops.get(id(loop))
        if connections is None or connections.loop() is not loop:
            connections = self._first(self._add_loop)
        return connections.large if len(data) > LARGE or data in self.large else connections.small

    def get_pool(self) -> Pool:
        """Return the pool of blocking callers."""
        return self.pool or self._first(self._add_pool)

    def _first(self, make: Callable[[], T]) -> T:
        """Make what the first call needs. Without a file descriptor left, its modules cannot be loaded."""
        try:
            return make()
        except OSError as error:
            text = describe(error)
        raise BackendConnectionError(f"cannot connect to {self.options.location}: {text}")

    def _add_loop(self) -> LoopConnections:
        """Return the connections of the running loop, which has none yet."""
        loop = current_loop()
        runtime = runtime_for(loop)
        with self.lock:
            self.check_open()
            connections = self.loops.get(id(loop))
            if connections is None or connections.loop() is not loop:
                # A copy: a loop that is freed meanwhile removes its entry.
                for key, other in list(self.loops.items()):
                    if other.loop() is None or other.runtime.is_over():
                        self.loops.pop(key, None)
                        other.close_silently()
                connections = LoopConnections(self._watch(loop), runtime, self.options, self.health, self._locator)
                self.loops[id(loop)] = connections
            # A signal handler may have closed the node in between.
            self.check_open()
        return connections

    def _watch(self, loop: Any) -> weakref.ref[Any]:
        """Return a weak reference to a loop. When the loop is freed, its connections are closed."""
        loops, key = self.loops, id(loop)

        def gone(reference: weakref.ref[Any]) -> None:
            # Runs whenever memory is freed, perhaps in a thread that holds the lock, so it takes none. Until this
            # returns no other loop can have the same address.
            connections = loops.get(key)
            if connections is not None and connections.loop is reference:
                loops.pop(key, None)
                connections.close_silently()

        return weakref.ref(loop, gone)

    def _add_pool(self) -> Pool:
        with self.lock:
            self.check_open()
            if self.pool is None:
                self.pool = Pool(self.options, self.health, self._locator)
            return self.pool

    def check_open(self) -> None:
        """Raise ``BackendClosedError`` if the node is closed."""
        if self.closed:
            raise BackendClosedError("the backend is closed")

    def stats(self) -> BackendStats:
        """Return what is known about the connections of all loops and threads."""
        self.check_open()
        # A copy: another thread may add a loop.
        shared = [one for loop in list(self.loops.values()) for one in (loop.small, loop.large)]
        links = [one.link for one in shared if one.link is not None and one.link.failure is None]
        opened, busy = (0, 0) if self.pool is None else self.pool.count()
        return BackendStats(
            connections=len(links) + opened,
            in_flight=sum(len(link.mux.slots) for link in links) + busy,
            outage=self.health.down.known or self.health.read_only.known,
        )

    def close(self) -> None:
        """Close every connection in its loop or thread. From any thread; idempotent."""
        with self.lock:
            self.closed = True
            loops, self.loops = self.loops, {}
            pool, self.pool = self.pool, None
        here = _loop_or_none() if loops else None
        # Copies: a loop that is freed meanwhile removes its entry.
        for connections in list(loops.values()):
            if here is not None and connections.loop() is here:
                connections.close()
            else:
                connections.close_in_its_loop()
        if pool is not None:
            pool.close()

    def after_fork(self) -> None:
        """Start afresh in the child: threads of the parent may hold locks, and the connections are the parent's."""
        self.lock = RLock()
        self._observe()
        loops, self.loops = self.loops, {}
        pool, self.pool = self.pool, None
        for connections in list(loops.values()):
            connections.close_silently()
        if pool is not None:
            pool.close_silently()

    def __del__(self) -> None:
        # May run at any time, for an object of which only a part was made, and while the interpreter ends. The names of
        # the module may be None by then, so it uses none of them.
        try:
            for connections in list(self.loops.values()):
                connections.close_in_its_loop()
            if self.pool is not None:
                self.pool.close()
        except Exception:  # noqa: S110
            pass

    def note_size(self, data: bytes, reply: Any) -> None:
        """Remember whether the reply to this command is large."""
        if _size(reply) > LARGE:
            self.large[data] = None
            if len(self.large) > REMEMBERED:
                self.large.popitem(last=False)
        elif self.large:
            self.large.pop(data, None)


def _loop_or_none() -> Any:
    try:
        return current_loop()
    except RuntimeError:
        return None


def _size(reply: Any) -> int:
    """How many bytes a reply carries."""
    if reply.__class__ is bytes:
        return len(reply)
    return sum(len(one) for one in reply if one.__class__ is bytes) if reply.__class__ is list else 0


class Forkable(Protocol):
    """What must start afresh in the child of a fork."""

    def after_fork(self) -> None:
        """Replace locks, which threads of the parent may hold, and close what belongs to the parent."""


def survive_forks(one: Forkable) -> None:
    """Have an object start afresh in each child of a fork, as long as it lives."""
    key = id(one)
    _forkable[key] = weakref.ref(one, lambda _: _forkable.pop(key, None))


_forkable: dict[int, weakref.ref[Forkable]] = {}


def _after_fork() -> None:
    for reference in list(_forkable.values()):
        one = reference()
        if one is not None:
            one.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
