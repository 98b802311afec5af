"""The client of a cluster: it has the face of the client of one server, and finds the key in the command.

A node of a cluster is what one server is (``_connections.Node``): the connections of its loops, and its pool. A call
goes to the owner of its slot by the way that every call takes. Where that does not help, and for calls of several
commands, it is continued here: it begins on every node that it needs, sends on each, and reads from each in turn, so
that many nodes are served side by side without tasks.

Connecting to a node is one attempt. Trying again, and the deadline, are matters of this module, since another map may
name another node.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final, NamedTuple

from .._backend import BackendStats, StoreInfo
from .._backend._slots import SLOTS, slot_of
from .._errors import BackendClosedError, BackendError, BackendTimeoutError, ResponseError
from ._client import BlockingClient, Client
from ._cluster_call import ClusterCall, Exchange
from ._cluster_map import MOVED_PACE, PACE, ClusterMap, Member
from ._cluster_options import ClusterOptions
from ._cluster_scan import ClusterPages
from ._commands import ANYTHING, NUMBER, VALUE, WORD, Kind, Reply
from ._connections import Node, copy_error
from ._health import PROBE
from ._mux import CallFailed
from ._protocol import Refusal, pack, pack_each
from ._scan import Pages
from ._source import LOOK, Source

Words = tuple[bytes | str | float, ...]


class _Spread(NamedTuple):
    """How a command over many keys is sent as one command for each key.

    Attributes:
        name: The command for one key.
        width: How many words there are for each key.
        expects: What that is answered with.
        merge: Makes one reply of the replies.
        foreign_is_missing: Whether the command takes a key that holds another type for a missing one.
    """

    name: bytes
    width: int
    expects: Reply
    merge: Callable[[list[Any]], Any]
    foreign_is_missing: bool = False


def _last(replies: list[Any]) -> Any:
    return replies[-1]


_SPREAD: Final[dict[Any, _Spread]] = {
    b"MGET": _Spread(b"GET", 1, VALUE, list, foreign_is_missing=True),
    b"MSET": _Spread(b"SET", 2, WORD, _last),
    b"DEL": _Spread(b"DEL", 1, NUMBER, sum),
    b"UNLINK": _Spread(b"UNLINK", 1, NUMBER, sum),
}


class ClusterClient(Client):
    """The connections to all nodes of a cluster, for callers in event loops.

    Args:
        options: How to reach the cluster. Nothing is connected until the first call.
    """

    def __init__(self, options: ClusterOptions) -> None:
        self._node = None
        self.cluster = ClusterMap(options)
        self._timeout = options.timeout

    @property
    def location(self) -> str:
        return self.cluster.options.location

    @property
    def is_closed(self) -> bool:
        return self.cluster.closed

    def call(
        self, kind: Kind, *words: bytes | str | float, expects: Reply = ANYTHING, deadline: float | None = None
    ) -> Coroutine[Any, Any, Any]:
        if words[0] in _SPREAD or words[0] == b"PING":
            return self._call_everywhere(kind, words, expects, deadline)
        return self.send(kind, _key_in(words), pack(words), expects, deadline)

    def _call_everywhere(
        self, kind: Kind, words: Words, expects: Reply, deadline: float | None
    ) -> Coroutine[Any, Any, Any]:
        """Send a command that may be for several nodes."""
        name = words[0]
        if name == b"PING":
            return self._ping(kind, pack(words), expects, deadline)
        spread = _SPREAD.get(name)
        if spread is not None and (len(words) > spread.width + 1 or name == b"MGET"):
            return self._call_spread(kind, words, spread, deadline)
        return self.send(kind, _key_in(words), pack(words), expects, deadline)

    def _route(self, key: bytes | None) -> tuple[Node, int]:
        slot = random.randrange(SLOTS) if key is None else slot_of(key)  # noqa: S311 - any node will do
        return self.cluster.slots[slot] or self.cluster.home, slot

    async def call_many(
        self,
        kind: Kind,
        commands: Sequence[tuple[bytes | str | float, ...]],
        *,
        expects: Reply = ANYTHING,
        deadline: float | None = None,
    ) -> list[Any]:
        until = self.deadline() if deadline is None else deadline
        if commands and (spread := _SPREAD.get(commands[0][0])) is not None:
            # All have the same name: a verb over so many keys that they are several commands.
            return [await self._call_spread(kind, words, spread, until) for words in commands]
        slots = [self._route(_key_in(words))[1] for words in commands]
        packed = [pack(words) for words in commands]
        del commands
        call = ClusterCall(self.cluster, kind, slots, packed, expects, until)
        del packed
        return await self._complete(call)

    def store_info(self) -> StoreInfo:
        host, port = self.cluster.options.seeds[0]
        return StoreInfo("redis", host, port, 0)

    def stats(self) -> BackendStats:
        return self.cluster.stats()

    async def aclose(self) -> None:
        self.cluster.close()

    def pages(self, prefix: bytes) -> Pages:
        return ClusterPages(self, prefix)

    def blocking(self) -> Client:
        twin = object.__new__(_BlockingClusterClient)
        vars(twin).update(vars(self))
        return twin

    async def call_on(self, member: Member, kind: Kind, *args: bytes, expects: Reply = ANYTHING) -> Any:
        """Send a command to one node, whatever its slots are. ``None`` if the node has left the map.

        Raises:
            BackendError: As ``call`` does.
        """
        deadline = self.deadline()
        data = pack(args)
        failures = 0
        while member.name is None or member.name in self.cluster.members:
            try:
                return await Client._persist(self, member, 0, kind, data, 1, expects, deadline, None)
            except (ResponseError, BackendClosedError):
                raise
            except BackendError:
                failures += 1
                if monotonic() + PACE >= deadline or (failures > 1 and member.health.outage(kind) is not None):
                    raise
            if self.cluster.may_ask(PACE):
                await self._learn(deadline, avoid=member)
            await self.pause()
        return None

    async def pause(self) -> None:
        """Wait as long as another map takes at least."""
        await self._home().rest(monotonic() + PACE)

    async def learn_now(self, deadline: float) -> None:
        """Ask for the map, after any question that is under way.

        Raises:
            BackendError: No node has answered in time.
        """
        while not self.cluster.may_ask(0.0):
            if monotonic() >= deadline:
                raise BackendTimeoutError(f"{self.location}: no map of the cluster in time")
            await self._home().rest(monotonic() + LOOK)
        await self.cluster.learn(self._home().runtime, deadline)

    async def _call_spread(self, kind: Kind, words: Words, spread: _Spread, deadline: float | None) -> Any:
        """Send a command over many keys as one for each key."""
        until = self.deadline() if deadline is None else deadline
        name, width = spread.name, spread.width
        keys = [key.encode() if isinstance(key, str) else bytes(key) for key in words[1::width]]  # type: ignore[arg-type]
        if width == 1:
            packed = pack_each(name, keys)
        else:
            packed = [pack((name, *pair)) for pair in zip(keys, words[2::2], strict=True)]
        slots = list(map(slot_of, keys))
        del words, keys
        call = ClusterCall(self.cluster, kind, slots, packed, spread.expects, until)
        call.foreign_is_missing = spread.foreign_is_missing
        del packed
        return spread.merge(await self._complete(call))

    async def _ping(self, kind: Kind, data: bytes, expects: Reply, deadline: float | None) -> Any:
        """Send a command to every primary."""
        until = self.deadline() if deadline is None else deadline
        await self._await_map(until)
        owners = dict(zip(reversed(self.cluster.slots), range(SLOTS - 1, -1, -1), strict=True))
        slots = [slot for owner, slot in owners.items() if owner is not None]
        call = ClusterCall(self.cluster, kind, slots, [data] * len(slots), expects, until)
        return (await self._complete(call))[-1]

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
        call = ClusterCall(self.cluster, kind, [slot], [data], expects, deadline)
        del data
        if trouble is not None and isinstance(node, Member):
            call.note_first(node, trouble)
            trouble = None
        return (await self._complete(call))[0]

    async def _complete(self, call: ClusterCall) -> list[Any]:
        """Send the commands of a call until all are answered, or must not be sent again."""
        failure: BackendError
        try:
            while True:
                until = call.end_round()
                if not call.pending:
                    return call.replies
                await self._await_turn(call, until)
                await self._make_round(call)
        except BackendError as error:
            failure = call.judge(error)
            if failure is error:
                raise
        finally:
            call.forget()
        raise failure

    async def _make_round(self, call: ClusterCall) -> None:
        """Send all commands that have no reply yet: begin on every node, send on each, and read from each in turn."""
        exchanges: list[Exchange] = []
        groups = call.groups()
        if any(member.health.outage(call.kind) is not None for member, _ in groups):
            # Another node may have taken the place of one that is known to be out of service.
            reliable = self.cluster.has_reliable()
            if self.cluster.may_ask(PACE if reliable else PROBE):
                await self._learn(min(call.deadline, monotonic() + (PACE if reliable else PROBE)))
            groups = call.groups()
        try:
            for member, positions in groups:
                exchange = await self._begin(call, member, positions)
                if exchange is not None:
                    exchanges.append(exchange)
            if len(exchanges) > 1:
                last = exchanges[-1]
                if len(last.link.mux.slots) > 1:
                    # Others are in flight, and those that are ready to run may add their commands.
                    await last.source.runtime.yield_once()
                for exchange in exchanges:
                    exchange.link.send()
            for exchange in exchanges:
                await self._finish(call, exchange)
        finally:
            for exchange in exchanges:
                exchange.end()

    async def _begin(self, call: ClusterCall, member: Member, positions: list[int]) -> Exchange | None:
        """Queue commands on a connection to one node. Without one, note that."""
        history = call.history(member)
        data, count = call.packed(positions)
        try:
            source = self._source(member, data)
            link = await source.connected(call.deadline, call.kind)
        except BackendError as error:
            self.cluster.check_open()
            call.note_unconnected(member, error.with_traceback(None))
            return None
        exchange = Exchange(member, source, link, positions, data, count)
        try:
            await history.prepare(link)
            exchange.slot = await history.begin(link, data, count)
            return exchange
        except CallFailed as failed:
            source.drop_idle(link)
            call.note(member, failed.with_traceback(None))
        except BackendError as error:
            call.fail(error.with_traceback(None))
        finally:
            del data
            if exchange.slot is None:
                exchange.end()
        return None

    async def _finish(self, call: ClusterCall, exchange: Exchange) -> None:
        member, slot = exchange.member, exchange.slot
        if slot is None:
            return
        try:
            reply = await call.history(member).finish(exchange.link, slot, exchange.count)
            call.take(exchange, reply if exchange.count > 1 else [reply])
        except CallFailed as failed:
            exchange.source.drop_idle(exchange.link)
            call.note(member, failed.with_traceback(None))
        else:
            member.note_size(exchange.data, reply)

    async def _await_turn(self, call: ClusterCall, until: float) -> None:
        """Wait before the next attempt, and ask for the map if that is due."""
        cluster = self.cluster
        if not cluster.members:
            await self._await_map(call.deadline)
        moved, call.moved = call.moved, None
        if moved is not None and cluster.may_ask(MOVED_PACE):
            await self._learn(call.deadline, first=moved)
        wants_map, call.wants_map = call.wants_map, False
        if not until:
            return
        owners = [cluster.slots[call.slots[position]] for position in call.pending]
        home = self._home()
        while (now := monotonic()) < until:
            cluster.check_open()
            if wants_map:
                if cluster.may_ask(PACE):
                    await self._learn(call.deadline, avoid=owners[0])
                if [cluster.slots[call.slots[position]] for position in call.pending] != owners:
                    return
                now = monotonic()
            await home.rest(min(until, now + PACE) if wants_map else until)

    async def _learn(self, deadline: float, *, first: Member | None = None, avoid: Member | None = None) -> None:
        """Ask for the map, with the right to do so. If no node answers, go on with what is known."""
        with suppress(BackendError):
            runtime = self._home().runtime
            await self.cluster.learn(runtime, deadline, first=first, avoid=None if avoid is None else avoid.name)

    async def _await_map(self, deadline: float) -> None:
        """Return when there is a map.

        Raises:
            BackendError: No node could be asked for it.
        """
        cluster = self.cluster
        home = self._home()
        while not cluster.members:
            cluster.check_open()
            seen = cluster.failures
            if cluster.may_ask(0.0):
                await cluster.learn(home.runtime, deadline)
            elif monotonic() >= deadline:
                raise BackendTimeoutError(f"{self.location}: no map of the cluster in time")
            else:
                await home.rest(monotonic() + LOOK)
                if cluster.failures != seen and cluster.failure is not None:
                    raise copy_error(cluster.failure)

    def _home(self) -> Source:
        """Return where the calling task or thread rests that waits for no node in particular."""
        self.cluster.check_open()
        return self._source(self.cluster.home, b"")


class _BlockingClusterClient(ClusterClient, BlockingClient):  # pyright: ignore[reportIncompatibleMethodOverride]
    """The client of a cluster whose callers are threads."""

    def blocking(self) -> Client:
        return self


def _key_in(words: Words) -> bytes | None:
    """Return the first key of a command, if it has one."""
    if len(words) == 1:
        return None
    key = words[3 if words[0] == b"EVALSHA" else 1]
    return key.encode() if isinstance(key, str) else key  # type: ignore[return-value]
