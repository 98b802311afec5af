"""Which connection a command takes.

A ``Client`` is what one backend object holds. It finds the connection of the loop that runs the caller, sends, and
returns the reply; what may go wrong meanwhile is dealt with by the rules of ``_retry``. Its blocking twin does the same
with a connection from the pool, and never suspends.

This is also the place where a second kind of server would be chosen: a client picks its connection by loop alone, since
one standalone server has every key.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from .._errors import BackendError
from .._io._current import current_loop
from ._connections import LARGE, Core
from ._kind import Kind
from ._lanes import Lane
from ._link import Lost
from ._options import Options
from ._pool import Pool
from ._protocol import Refusal, pack
from ._replies import error_for, is_read_only
from ._retry import History, refusal_in


class Client:
    """The connections to one server, for callers in event loops.

    Args:
        options: How to reach the server. Nothing is connected until the first call.
    """

    def __init__(self, options: Options) -> None:
        self._core = Core(options)
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
        history = History(kind, self._core.options.location, deadline)
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
                    trouble = refusal_in(reply, count)
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

    def __init__(self, core: Core) -> None:
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
