"""Which connection a command takes.

A ``Client`` is what one backend object holds. It finds the connection of the loop that runs the caller, sends, and
returns the reply; failures are handled by the rules of ``_retry``. Its blocking twin does the same with a connection
from the pool, and never suspends. This client has one server for all keys; that of a cluster is in ``_cluster``.
"""

from __future__ import annotations

import copy
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any, Self

from .._backend import BackendStats, StoreInfo
from .._errors import BackendError
from .._io import current_loop
from ._ahead import Ahead, LentAhead, SharedAhead
from ._commands import ANYTHING, Kind, Reply
from ._connections import LARGE, Node
from ._mux import CallFailed
from ._options import Options
from ._protocol import Refusal, error_for, is_read_only, is_unknown_script, pack, without_echo
from ._retry import History, out_of_step, refusal_in
from ._scan import Pages
from ._scripts import with_source
from ._source import Source


class Client:
    """The connections to one server, for callers in event loops.

    Args:
        options: How to reach the server. Nothing is connected until the first call.
    """

    def __init__(self, options: Options) -> None:
        #: The server; ``None`` in a cluster, where it depends on the key.
        self._node: Node | None = Node(options)
        self._timeout = options.timeout

    @property
    def server(self) -> Node:
        """The server of all keys."""
        if self._node is None:
            raise TypeError("a cluster is not one server")
        return self._node

    @property
    def location(self) -> str:
        """Where the server is, for messages."""
        return self.server.options.location

    @property
    def is_closed(self) -> bool:
        """Whether the client, or its twin, was closed."""
        return self.server.closed

    def with_timeout(self, seconds: float) -> Self:
        """Return a view with the same connections, whose calls have this deadline."""
        view = copy.copy(self)
        view._timeout = seconds
        return view

    def deadline(self) -> float:
        """Return the deadline of a verb that begins now, for those that take several calls."""
        return monotonic() + self._timeout

    def call(
        self, kind: Kind, *words: bytes | str | float, expects: Reply = ANYTHING, deadline: float | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Send one command, given as its words, and return its reply; otherwise as ``send``."""
        return self.send(kind, None, pack(words), expects, deadline)

    async def send(
        self, kind: Kind, key: bytes | None, data: bytes, expects: Reply = ANYTHING, deadline: float | None = None
    ) -> Any:
        """Send one packed command and return its reply: ``bytes``, ``int``, ``None`` or a list of those.

        Args:
            kind: What may be done if no reply comes.
            key: Its key, by which a cluster finds the server. ``None`` if any server will do.
            data: The bytes of the command.
            expects: What the reply looks like. Another one counts as none, and ends the connection.
            deadline: When to give up, if the call is part of a verb that began earlier.

        Raises:
            ResponseError: The server refused. A script that it does not know is sent to it.
            OutcomeUnknownError: A write may have been sent, and there was no reply.
            BackendClosedError: The client is closed, or was in the meantime.
            BackendConnectionError: The server could not be reached; nothing was changed.
        """
        node, slot = self._node, 0
        if node is None:
            node, slot = self._route(key)
        del key
        now = monotonic()
        if deadline is None:
            deadline = now + self._timeout
        trouble: CallFailed | Refusal | None = None
        try:
            # _persist for the usual case: there is a connection, and it answers.
            loop = current_loop()
            connections = node.loops.get(id(loop))
            if (
                connections is not None
                and connections.loop() is loop
                and len(data) <= LARGE
                and not (node.large and data in node.large)
            ):
                link = connections.small.link
                if link is not None and link.usable and now < link.fresh_until and now < node.health.clear_until:
                    link.fresh_until = now + link.idle_limit
                    try:
                        reply = await link.exchange(data, 1, deadline)
                    except CallFailed as failed:
                        trouble = failed.with_traceback(None)
                    else:
                        type_ = reply.__class__
                        if type_ in expects.plain and (type_ is not bytes or len(reply) <= LARGE):
                            return reply
                        if type_ is Refusal:
                            trouble = reply
                            if is_read_only(reply):
                                link.retire()
                        elif expects.fits([reply]):
                            node.note_size(data, reply)
                            return reply
                        else:
                            trouble = out_of_step(link)
            return await self._persist(node, slot, kind, data, 1, expects, deadline, trouble)
        finally:
            del data

    def send_ahead(self, node: Node, words: tuple[bytes, ...]) -> Ahead | None:
        """Send a read whose reply is asked for later. ``None`` if that is not possible at once."""
        now = monotonic()
        loop = current_loop()
        connections = node.loops.get(id(loop))
        if connections is None or connections.loop() is not loop or now >= node.health.clear_until:
            return None
        link = connections.small.link
        if link is None or not link.usable or now >= link.fresh_until or not link.has_room():
            return None
        link.fresh_until = now + link.idle_limit
        try:
            slot = link.begin(pack(words), 1, now + self._timeout)
        except CallFailed:
            return None
        link.send()
        return SharedAhead(node, link, slot, connections)

    async def call_many(
        self,
        kind: Kind,
        commands: Sequence[tuple[bytes | str | float, ...]],
        *,
        expects: Reply = ANYTHING,
        deadline: float | None = None,
    ) -> list[Any]:
        """Send several commands in one round trip and return their replies in order.

        All replies are read; if some are refusals, the first is raised. Not atomic.

        Args:
            kind: What may be done if no reply comes, for all of them alike.
            commands: The words of each command.
            expects: What the replies look like, as for ``call``.
            deadline: When to give up, if the call is part of a verb that began earlier.

        Raises:
            BackendError: As ``call`` does.
        """
        count = len(commands)
        if not count:
            return []
        data = b"".join(map(pack, commands))
        del commands
        try:
            until = self.deadline() if deadline is None else deadline
            replies = await self._persist(self.server, 0, kind, data, count, expects, until, None)
        finally:
            del data
        return replies if count > 1 else [replies]

    def store_info(self) -> StoreInfo:
        """Return what the store is, for spans and metrics."""
        options = self.server.options
        if options.sentinels is not None:
            return StoreInfo("redis", options.sentinels.service, None, options.db)
        if options.path is not None:
            return StoreInfo("redis", options.path, None, options.db)
        return StoreInfo("redis", options.host, options.port, options.db)

    def stats(self) -> BackendStats:
        """Return what is known about the connections of all loops and threads."""
        return self.server.stats()

    async def aclose(self) -> None:
        """Close every connection, in the loop it serves. Calls in flight end in ``BackendClosedError``. Idempotent."""
        self.server.close()

    def pages(self, prefix: bytes) -> Pages:
        """Return the names on the server that begin with a prefix."""
        return Pages(self, prefix)

    def blocking(self) -> Client:
        """Return a twin for callers without an event loop: its coroutines never suspend. Closing either closes both."""
        twin = object.__new__(BlockingClient)
        vars(twin).update(vars(self))
        return twin

    def _route(self, key: bytes | None) -> tuple[Node, int]:
        """Return the server that has a key, and the slot of the key."""
        return self.server, 0

    def _source(self, node: Node, data: bytes) -> Source:
        """Return where the calling task or thread gets a connection to a server from."""
        return node.shared(data)

    async def _persist(
        self,
        node: Node,
        slot: int,
        kind: Kind,
        data: bytes,
        count: int,
        expects: Reply,
        deadline: float,
        trouble: CallFailed | Refusal | None,
    ) -> Any:
        """Send a call until it is answered or must not be sent again.

        ``trouble`` is how the first attempt ended, if there was one.
        """
        history = History(kind, node.options.location, deadline, node.health)
        failure: BackendError
        try:
            while True:
                source = self._source(node, data)
                if trouble is not None:
                    data = await _before_next(history, trouble, data, source)
                    trouble = None
                link = await source.connected(deadline, kind)
                try:
                    await history.prepare(link)
                    reply = await history.exchange(link, data, count)
                    trouble = refusal_in(reply, count)
                    if trouble is not None and is_read_only(trouble):
                        link.usable = False
                    elif trouble is None and not expects.fits(reply if count > 1 else [reply]):
                        raise out_of_step(link)
                except CallFailed as failed:
                    trouble = failed.with_traceback(None)
                    source.drop_idle(link)
                    continue
                finally:
                    source.give_back(link)
                if trouble is None:
                    history.succeeded()
                    node.note_size(data, reply)
                    return reply
                if kind is Kind.ONCE and count > 1 and not all(one.__class__ is Refusal for one in reply):
                    # Some were executed, so none is sent again.
                    raise error_for(without_echo(trouble, data), node.options.location)
                del reply
        except BackendError as error:
            failure = history.judge(error)
            if failure is error:
                raise
        finally:
            del data
        raise failure


class BlockingClient(Client):
    """A client whose callers are threads."""

    async def send(
        self, kind: Kind, key: bytes | None, data: bytes, expects: Reply = ANYTHING, deadline: float | None = None
    ) -> Any:
        node, slot = self._node, 0
        if node is None:
            node, slot = self._route(key)
        del key
        now = monotonic()
        if deadline is None:
            deadline = now + self._timeout
        trouble: CallFailed | Refusal | None = None
        try:
            pool = node.pool
            link = pool.take(now) if pool is not None and now < node.health.clear_until else None
            if pool is not None and link is not None:
                try:
                    reply = await link.exchange(data, 1, deadline)
                except CallFailed as failed:
                    trouble = failed.with_traceback(None)
                    pool.drop_idle(link)
                else:
                    if reply.__class__ in expects.plain or expects.fits([reply]):
                        return reply
                    if reply.__class__ is Refusal:
                        trouble = reply
                        link.usable = not is_read_only(reply)
                    else:
                        trouble = out_of_step(link)
                finally:
                    pool.give_back(link)
            return await self._persist(node, slot, kind, data, 1, expects, deadline, trouble)
        finally:
            del data

    def send_ahead(self, node: Node, words: tuple[bytes, ...]) -> Ahead | None:
        now = monotonic()
        pool = node.pool
        # Threads that wait for a connection must not wait for a caller that is busy with something else.
        if pool is None or pool.is_full() or now >= node.health.clear_until:
            return None
        link = pool.take(now)
        if link is None:
            return None
        try:
            ahead = LentAhead(node, link, link.begin(pack(words), 1, now + self._timeout), pool)
            link.send()
        except CallFailed:
            pool.give_back(link)
            return None
        return ahead

    def blocking(self) -> Client:
        return self

    def _source(self, node: Node, data: bytes) -> Source:
        return node.get_pool()


async def _before_next(history: History, trouble: CallFailed | Refusal, data: bytes, source: Source) -> bytes:
    """Return what to send next, after a pause if one is due. Raise if the call must not be sent again."""
    try:
        if isinstance(trouble, Refusal):
            script = with_source(data) if is_unknown_script(trouble) else None
            if script is not None:
                return script
            trouble = without_echo(trouble, data)
        await history.consider(trouble, source.rest)
        return data
    finally:
        del data
