"""Which connection a command takes, and what is done when no reply comes.

A ``Client`` is what one backend object holds. It serves any number of event loops and threads at the same time: each
loop has connections of its own, found by the loop that runs the caller, and blocking callers share a pool. Nothing here
keeps a loop alive; the connections of a loop go with it.

Sending is not repeated lightly. Every command says what may be done about it (``Kind``), and the connection says
whether it may have left. What certainly did not may be sent again by anyone; what may have is sent again only if that
is harmless. The one deadline of the call bounds it all.

This is also the place where a second kind of server would be chosen: a client picks its place by loop alone, since one
standalone server has them all.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from .._errors import (
    BackendClosedError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    OutcomeUnknownError,
)
from .._io import runtime_for
from .._io._current import current_loop
from ._connection import Lost
from ._kind import Kind
from ._lanes import Hub, Lane
from ._mux import Loss
from ._options import Options
from ._outage import MAX_RESENDS, Outage, backoff
from ._pool import Pool
from ._replies import error_for, is_read_only, is_transient
from ._resp import Refusal, pack

#: From how many bytes on a command or a reply is large.
LARGE: Final = 256 * 1024

#: How many commands with a large reply are remembered.
REMEMBERED: Final = 256


class _Core:
    """What a client and its blocking twin share."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.outage = Outage(options.timeout)
        self.closed = False
        self.lock = threading.Lock()
        self.hubs: dict[int, Hub] = {}
        self.pool: Pool | None = None
        #: Commands, word for word, whose last reply was large.
        self.large: OrderedDict[bytes, None] = OrderedDict()
        _cores[id(self)] = weakref.ref(self)

    def new_hub(self) -> Hub:
        """The hub of the running loop, which has none yet."""
        loop = current_loop()
        runtime = runtime_for(loop)
        with self.lock:
            self.check_open()
            hub = self.hubs.get(id(loop))
            if hub is None or hub.loop() is not loop:
                over = [key for key, other in self.hubs.items() if other.loop() is None or other.runtime.is_over()]
                for key in over:
                    self.hubs.pop(key).abandon()
                hub = Hub(loop, runtime, self.options, self.outage)
                self.hubs[id(loop)] = hub
        return hub

    def get_pool(self) -> Pool:
        """The pool for blocking callers."""
        with self.lock:
            self.check_open()
            if self.pool is None:
                self.pool = Pool(self.options, self.outage)
            return self.pool

    def check_open(self) -> None:
        """Raise ``BackendClosedError`` if the client is closed."""
        if self.closed:
            raise BackendClosedError("the backend is closed")

    def close(self) -> None:
        """Close every connection where it lives. From any thread; idempotent."""
        with self.lock:
            self.closed = True
            hubs, self.hubs = self.hubs, {}
            pool, self.pool = self.pool, None
        here = _loop_or_none() if hubs else None
        for hub in hubs.values():
            if here is not None and hub.loop() is here:
                hub.close()
            else:
                hub.close_in_its_loop()
        if pool is not None:
            pool.close()

    def after_fork(self) -> None:
        """In the child: locks may be held for ever, and connections are the parent's."""
        self.lock = threading.Lock()
        hubs, self.hubs = self.hubs, {}
        pool, self.pool = self.pool, None
        for hub in hubs.values():
            hub.abandon()
        if pool is not None:
            pool.abandon()

    def __del__(self) -> None:
        _cores.pop(id(self), None)
        for hub in self.hubs.values():
            hub.close_in_its_loop()
        if self.pool is not None:
            self.pool.close()

    def note_size(self, data: bytes, reply: Any) -> None:
        """Remember whether the reply to this very command is large."""
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


class Client:
    """The connections to one server, for callers in event loops.

    Args:
        options: How to reach the server. Nothing is connected until the first call.
    """

    def __init__(self, options: Options) -> None:
        self._core = _Core(options)
        self._timeout = options.timeout

    @property
    def options(self) -> Options:
        """How the server is reached."""
        return self._core.options

    @property
    def is_closed(self) -> bool:
        """Whether the client, or its twin, was closed."""
        return self._core.closed

    async def call(self, kind: Kind, *args: bytes | str | float) -> Any:
        """Send one command and return its reply: ``bytes``, ``int``, ``None`` or a list of those.

        Args:
            kind: What may be done if no reply comes.
            *args: The words of the command.

        Raises:
            ResponseError: The server refused. ``NOSCRIPT`` is told like any other refusal.
            OutcomeUnknownError: A write may have been sent, and there was no reply.
            BackendClosedError: The client is closed, or was in the meantime.
            BackendConnectionError: The server could not be reached; nothing was changed.
        """
        data = pack(args)
        del args
        deadline = monotonic() + self._timeout
        core = self._core
        trouble: Lost | Refusal | None = None
        try:
            # What follows is _persist for the usual case: there is a connection, and it answers.
            loop = current_loop()
            hub = core.hubs.get(id(loop))
            if (
                hub is not None
                and hub.loop() is loop
                and len(data) <= LARGE
                and not (core.large and data in core.large)
            ):
                link = hub.small.link
                if link is not None and link.usable:
                    try:
                        reply = await link.exchange(data, 1, deadline)
                    except Lost as lost:
                        trouble = lost.with_traceback(None)
                    else:
                        if reply.__class__ is bytes and len(reply) <= LARGE:
                            return reply
                        if reply.__class__ is not Refusal:
                            core.note_size(data, reply)
                            return reply
                        trouble = reply
                        if is_read_only(reply):
                            link.retire()
            return await self._persist(kind, data, 1, deadline, trouble)
        finally:
            del data

    async def call_many(self, kind: Kind, commands: Sequence[tuple[bytes | str | float, ...]]) -> list[Any]:
        """Send several commands in one round trip and return their replies in order.

        All replies are read; if some are refusals, the first is raised. Not atomic.

        Args:
            kind: What may be done if no reply comes, for all of them alike.
            commands: The words of each command.

        Raises:
            BackendError: As ``call`` does.
        """
        count = len(commands)
        if not count:
            return []
        data = b"".join(map(pack, commands))
        del commands
        try:
            replies = await self._persist(kind, data, count, monotonic() + self._timeout, None)
        finally:
            del data
        return replies if count > 1 else [replies]

    async def aclose(self) -> None:
        """Close every connection, in the loop it serves. Calls in flight end in ``BackendClosedError``. Idempotent."""
        self._core.close()

    def blocking(self) -> Client:
        """A twin for callers without an event loop: its coroutines never suspend. Closing either closes both."""
        return _BlockingClient(self._core)

    def _place(self, data: bytes) -> Lane | Pool:
        """Where the calling task or thread gets its connection from."""
        core = self._core
        core.check_open()
        loop = current_loop()
        hub = core.hubs.get(id(loop))
        if hub is None or hub.loop() is not loop:
            hub = core.new_hub()
        return hub.lane(large=len(data) > LARGE or data in core.large)

    async def _persist(
        self, kind: Kind, data: bytes, count: int, deadline: float, trouble: Lost | Refusal | None
    ) -> Any:
        """Send a call as often as it is sensible. ``trouble`` is how the first attempt ended, if there was one."""
        history = _History(kind, self._core.options.location, deadline)
        failure: BackendError
        try:
            while True:
                place = self._place(data)
                if trouble is not None:
                    await history.consider(trouble, place)
                    trouble = None
                link = await place.connected(deadline)
                try:
                    reply = await link.exchange(data, count, deadline)
                    trouble = _refusal(reply, count)
                    if trouble is not None and is_read_only(trouble):
                        link.usable = False
                except Lost as lost:
                    trouble = lost.with_traceback(None)
                    place.drop_idle()
                    continue
                finally:
                    place.give_back(link)
                if trouble is None:
                    self._core.note_size(data, reply)
                    return reply
                if kind is Kind.ONCE and count > 1 and not all(one.__class__ is Refusal for one in reply):
                    # Some were executed, so none is sent again.
                    raise error_for(trouble, self._core.options.location)
                del reply
        except BackendError as error:
            failure = history.judge(error)
            if failure is error:
                raise
        finally:
            del data
        raise failure


class _BlockingClient(Client):
    """A client whose callers are threads."""

    def __init__(self, core: _Core) -> None:
        self._core = core
        self._timeout = core.options.timeout

    async def call(self, kind: Kind, *args: bytes | str | float) -> Any:
        data = pack(args)
        del args
        deadline = monotonic() + self._timeout
        trouble: Lost | Refusal | None = None
        try:
            pool = self._core.pool
            link = pool.take() if pool is not None else None
            if pool is not None and link is not None:
                try:
                    reply = await link.exchange(data, 1, deadline)
                except Lost as lost:
                    trouble = lost.with_traceback(None)
                    pool.drop_idle()
                else:
                    if reply.__class__ is not Refusal:
                        return reply
                    trouble = reply
                    link.usable = not is_read_only(reply)
                finally:
                    pool.give_back(link)
            return await self._persist(kind, data, 1, deadline, trouble)
        finally:
            del data

    def blocking(self) -> Client:
        return self

    def _place(self, data: bytes) -> Lane | Pool:
        return self._core.get_pool()


class _History:
    """What has happened to one call so far, and what that allows."""

    def __init__(self, kind: Kind, location: str, deadline: float) -> None:
        self._kind = kind
        self._location = location
        self._deadline = deadline
        #: Whether an attempt may have been executed.
        self._sent = False
        self._broken = 0
        self._refused = 0
        self._replica = False

    async def consider(self, trouble: Lost | Refusal, place: Lane | Pool) -> None:
        """Return, after a pause if one is due, if the call may be sent again; raise if not."""
        if isinstance(trouble, Lost):
            self._sent = self._sent or trouble.sent
            error = self._lost(trouble.loss)
            self._broken += 1
            pause = backoff(self._broken - 1) if self._broken > 1 else 0.0
            hopeless = (
                trouble.loss.what in {Loss.CLOSED, Loss.EXPIRED}
                or self._broken > MAX_RESENDS
                or (self._sent and self._kind is Kind.ONCE)
            )
        else:
            error = error_for(trouble, self._location)
            self._refused += 1
            if is_read_only(trouble) and not self._replica:
                self._replica = True
                return
            pause = backoff(self._refused)
            hopeless = not is_transient(trouble)
        until = monotonic() + pause
        if hopeless or until >= self._deadline:
            raise error
        if pause:
            await place.rest(until)

    def _lost(self, loss: Loss) -> BackendError:
        error: BackendError
        if loss.what == Loss.CLOSED:
            return BackendClosedError(f"{self._location}: {loss.text}")
        if loss.what in {Loss.EXPIRED, Loss.SILENT}:
            return BackendTimeoutError(f"{self._location}: {loss.text}")
        if isinstance(loss.cause, Refusal):
            return error_for(loss.cause, self._location)
        error = BackendConnectionError(f"{self._location}: {loss.text}")
        error.__cause__ = loss.cause
        return error

    def judge(self, error: BackendError) -> BackendError:
        """The error that the caller gets: of a write that may have been executed, only that nobody knows."""
        if not self._sent or self._kind is Kind.READ or isinstance(error, BackendClosedError):
            return error
        unknown = OutcomeUnknownError(f"{self._location}: the command may have been sent, and was not answered")
        unknown.__cause__ = error.with_traceback(None)
        return unknown


def _refusal(reply: Any, count: int) -> Refusal | None:
    """The refusal that counts: of several the first, unless all of them only ask to come again later."""
    if count == 1:
        return reply if reply.__class__ is Refusal else None
    refusals = [one for one in reply if one.__class__ is Refusal]
    if not refusals:
        return None
    return next((one for one in refusals if not is_transient(one)), refusals[0])


def _size(reply: Any) -> int:
    """How many bytes a reply carries."""
    if reply.__class__ is bytes:
        return len(reply)
    return sum(len(one) for one in reply if one.__class__ is bytes) if reply.__class__ is list else 0


#: Every core that is alive, for the child of a fork.
_cores: dict[int, weakref.ref[_Core]] = {}


def _after_fork() -> None:
    for reference in list(_cores.values()):
        core = reference()
        if core is not None:
            core.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
