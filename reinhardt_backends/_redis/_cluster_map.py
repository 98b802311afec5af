"""Which node of a cluster has a slot, and how that is found out.

The map is shared by all loops and threads. It is a list of the owner of each slot, and it is corrected in two ways.

- ``MOVED`` names the owner of one slot. It is noted at once, for all callers.
- One caller asks a node for the whole map (*single flight*), while the others go on with what is known. After ``MOVED``
  that is at most once a second; while calls find no server for their slot, at most every 50 ms.

Nodes are known by their ids, since one node may be announced under several addresses. A node that has no slots any more
leaves the map: its connections take no new calls, and close when those in flight have ended. The seeds stay candidates,
and their names are resolved again each time.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Final

from .._backend import BackendStats
from .._backend._locks import RLock
from .._backend._slots import SLOTS
from .._errors import AuthenticationError, BackendClosedError, BackendConnectionError, BackendError, ResponseError
from .._io import Runtime
from ._addresses import Address
from ._cluster_options import ClusterOptions
from ._cluster_replies import Announced, Range, Redirection, read_map
from ._commands import Kind
from ._connections import Node, copy_error, survive_forks
from ._health import PROBE
from ._mux import CallFailed
from ._protocol import Refusal, error_for, pack, without_echo
from ._source import Source

#: Seconds between questions for the map: after ``MOVED``, and while calls find no server for their slot.
MOVED_PACE: Final = 1.0
PACE: Final = 0.05

#: Seconds that one node may take to answer, when another one could be asked instead.
PATIENCE: Final = 0.5

#: Seconds for which a node that is in no map is kept after a call was redirected to it.
KEPT: Final = 10.0

_QUESTION: Final = pack((b"CLUSTER", b"SLOTS"))
_numbers = count()


class Member(Node):
    """A node of a cluster.

    Attributes:
        name: Its id; ``None`` until a map has named it.
        number: Which number it has in this process. Connections are taken in the order of numbers.
        redirected: When a call was last redirected to it.
    """

    def __init__(self, cluster: ClusterMap, address: Address) -> None:
        self.number = next(_numbers)
        self.redirected = -PROBE
        self._bond = _Bond(weakref.ref(cluster))
        super().__init__(cluster.options.at(address))

    def _observe(self) -> None:
        super()._observe()
        self.health.guide = self._bond

    @property
    def name(self) -> bytes | None:
        """Its id; ``None`` until a map has named it."""
        return self._bond.name

    @name.setter
    def name(self, value: bytes | None) -> None:
        self._bond.name = value

    @property
    def address(self) -> Address:
        """Where it is reached."""
        return self.options.host, self.options.port

    @property
    def is_troubled(self) -> bool:
        """Whether it has left calls without an answer lately."""
        return self.health.down.suspected

    def source(self, runtime: Runtime) -> Source:
        """Return where a caller that waits by this runtime gets a connection from."""
        return self.shared(b"") if runtime.suspends else self.get_pool()


class _Bond:
    """What ties a node to its cluster. It keeps neither alive."""

    def __init__(self, cluster: weakref.ref[ClusterMap]) -> None:
        self.name: bytes | None = None
        self._cluster = cluster

    async def is_replaced(self, runtime: Runtime, deadline: float) -> bool:
        """Ask another node for the map, and return whether it leaves this one out."""
        cluster = self._cluster()
        if cluster is None or self.name is None:
            return False
        if cluster.may_ask(PACE):
            with suppress(BackendError):
                await cluster.learn(runtime, deadline, avoid=self.name)
        return self.name not in cluster.members


class ClusterMap:
    """The owner of each slot.

    Args:
        options: How to reach the cluster. Nothing is connected until the first call.

    Attributes:
        slots: The owner of each slot; ``None`` where none is known.
        members: The primaries that own slots, by id.
        home: A node that is never connected: where callers rest that wait for a change of the map.
        closed: Whether the cluster was closed.
        failures: How many questions for the map have failed.
        failure: How the last one failed.
    """

    def __init__(self, options: ClusterOptions) -> None:
        self.options = options
        self.slots: list[Member | None] = [None] * SLOTS
        self.members: dict[bytes, Member] = {}
        self.home = Member(self, options.seeds[0])
        self.closed = False
        self.failures = 0
        self.failure: BackendError | None = None
        #: The nodes in the map, and those that calls were redirected to, by each of their addresses.
        self._places: dict[Address, Member] = {}
        self._replicas: tuple[Address, ...] = ()
        # Re-entrant, since a signal handler or a finalizer may call or close in the middle of a call of its thread.
        self._lock = RLock()
        self._asking = False
        self._asked = -MOVED_PACE
        #: The node that is being asked.
        self._visited = self.home
        survive_forks(self)

    def after_fork(self) -> None:
        """Start afresh in the child: a thread of the parent may have been asking, or have held the lock."""
        self._lock = RLock()
        self._asking = False

    def anyone(self) -> Member:
        """Return any primary."""
        return random.choice(list(self.members.values()))  # noqa: S311 - whichever it is

    def has_reliable(self) -> bool:
        """Whether a node answers lately."""
        return any(not one.is_troubled for one in list(self.members.values()))

    def check_open(self) -> None:
        """Raise ``BackendClosedError`` if the cluster is closed."""
        if self.closed:
            raise BackendClosedError("the backend is closed")

    def stats(self) -> BackendStats:
        """Return what is known about the connections to all nodes. An outage is one of any node."""
        self.check_open()
        each = [member.stats() for member in {*self.members.values(), *self._places.values()}]
        return BackendStats(
            connections=sum(one.connections or 0 for one in each),
            in_flight=sum(one.in_flight or 0 for one in each),
            outage=any(one.outage for one in each),
        )

    def close(self) -> None:
        """Close every connection to every node. From any thread; idempotent."""
        with self._lock:
            self.closed = True
            members = {self.home, self._visited, *self.members.values(), *self._places.values()}
        for member in members:
            member.close()

    def may_ask(self, pace: float) -> bool:
        """Take the right to ask for the map: one caller has it, so many seconds after the last question. Use it."""
        with self._lock:
            if self._asking or monotonic() < self._asked + pace:
                return False
            self._asking = True
            return True

    async def learn(
        self, runtime: Runtime, deadline: float, *, first: Member | None = None, avoid: bytes | None = None
    ) -> None:
        """Ask for the map, of one node after the other until one answers. Only with the right to ask.

        Args:
            runtime: What waits.
            deadline: When to give up.
            first: The node to ask first.
            avoid: The id of a node that will not answer, and is asked last.

        Raises:
            BackendError: No node has answered.
        """
        failure: BackendError | None = None
        try:
            for member in self._candidates(first, avoid):
                if failure is not None and monotonic() >= deadline:
                    break
                self._visited = member
                is_known = self._places.get(member.address) is member
                try:
                    self.check_open()
                    ranges = await self._ask(member, runtime, min(deadline, monotonic() + self._patience(member)))
                    self._use(ranges, member)
                    return
                except BackendError as error:
                    self.check_open()
                    if failure is None or not isinstance(failure, (AuthenticationError, ResponseError)):
                        failure = error
                finally:
                    # A known one that leaves the map by its own answer has calls in flight, which end normally.
                    if not (is_known or self._places.get(member.address) is member or self.closed):
                        member.close()
        finally:
            self._asked = monotonic()
            self._asking = False
        failure = failure or BackendConnectionError(f"{self.options.location}: no node is known")
        self.failure = copy_error(failure)
        self.failures += 1
        raise failure

    def _patience(self, member: Member) -> float:
        """Seconds that a node may take to answer: a new connection takes longer."""
        return PATIENCE if self.members else max(PROBE, PATIENCE)

    def _candidates(self, first: Member | None, avoid: bytes | None) -> Iterator[Member]:
        """Yield the nodes to ask: those that answer lately, then all others, the seeds included."""
        if first is not None:
            yield first
        members = [one for one in self.members.values() if one is not first]
        random.shuffle(members)
        members.sort(key=lambda one: (one.name == avoid, one.is_troubled))
        reliable = [one for one in members if one.name != avoid and not one.is_troubled]
        yield from reliable
        asked = {one.address for one in reliable}
        for address in (*self._replicas, *self.options.seeds):
            if address not in asked:
                asked.add(address)
                known = self._places.get(address)
                # A node that is known by another address may not be reachable there.
                yield known if known is not None and known.address == address else Member(self, address)
        for member in members:
            if member.address not in asked:
                yield member

    async def _ask(self, member: Member, runtime: Runtime, deadline: float) -> list[Range]:
        location = member.options.location
        source = member.source(runtime)
        link = await source.connected(deadline, Kind.READ)
        failed = "did not say which slots it knows"
        try:
            reply = await link.exchange(_QUESTION, 1, deadline)
            if isinstance(reply, Refusal):
                raise error_for(without_echo(reply), location)
            ranges = read_map(reply)
            if ranges:
                return ranges
            failed = "knows of no slots" if ranges is not None else failed
        except CallFailed as error:
            failed = error.failure.text
            source.drop_idle(link)
        finally:
            source.give_back(link)
        raise BackendConnectionError(f"{location}: {failed}")

    def _use(self, ranges: Sequence[Range], asked: Member) -> None:
        """Put a map into force."""
        slots: list[Member | None] = [None] * SLOTS
        members: dict[bytes, Member] = {}
        replicas: list[Address] = []
        with self._lock:
            self.check_open()
            places: dict[Address, Member] = {}
            for one in ranges:
                member = members.get(one.primary.id)
                if member is None:
                    member = members[one.primary.id] = self._member(one.primary, asked, places)
                slots[one.first : one.last + 1] = [member] * (one.last + 1 - one.first)
                replicas += [self._reached(replica, asked) for replica in one.replicas]
            recently = monotonic() - KEPT
            for address, member in self._places.items():
                if member.redirected > recently:
                    places.setdefault(address, member)
            gone = {*self._places.values(), *self.members.values()} - {*places.values()}
            self.slots, self.members, self._places = slots, members, places
            self._replicas = tuple(dict.fromkeys(replicas))
        for member in gone:
            member.health.retire_links()

    def _member(self, primary: Announced, asked: Member, places: dict[Address, Member]) -> Member:
        """Return the node that a map names, and note its addresses."""
        address = self._reached(primary, asked)
        member = self.members.get(primary.id)
        if member is None or (member.address != address and member.is_troubled):
            member = self._places.get(address)
            if member is None or member.name not in (None, primary.id):
                member = asked if asked.address == address else Member(self, address)
            member.name = primary.id
        hosts = (primary.host or asked.options.host, *primary.others)
        for place in (member.address, *(self.options.reach((host, primary.port)) for host in hosts)):
            places[place] = member
        return member

    def _reached(self, node: Announced, asked: Member) -> Address:
        return self.options.reach((node.host or asked.options.host, node.port))

    def redirected(self, redirection: Redirection, asked: Member) -> Member:
        """Return the node that a redirection points to. If it owns the slot, note that for all callers."""
        address = self.options.reach((redirection.host or asked.options.host, redirection.port))
        with self._lock:
            self.check_open()
            member = self._places.get(address)
            if member is None:
                member = self._places[address] = Member(self, address)
            member.redirected = monotonic()
            if not redirection.asking:
                self.slots[redirection.slot] = member
        return member
