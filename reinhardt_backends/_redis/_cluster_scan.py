"""The names in a cluster that begin with a prefix, complete although slots move from node to node meanwhile.

A pass scans nodes one after the other. A key may escape it: the node that takes it was scanned before, and the node
that gives it after it had gone. Keys go only from the giver of a slot to its taker. So each primary is asked before and
after a pass for its epoch, its slots and the slots under way. The next pass scans the nodes that may have taken keys
too late: those that have taken slots or begun to, those whose giver was scanned after them, and those that are new.
If no node is left, every key that was there all the time was found. If there is no end to it, that is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .._errors import BackendConnectionError
from ._cluster_map import Member
from ._cluster_replies import NodeState, Redirection, read_state
from ._commands import NUMBER, PAGE, Kind
from ._scan import Pages

if TYPE_CHECKING:
    from ._cluster import ClusterClient

#: After how many passes a scan is given up. A pass after the first takes a small part of the first one's time.
MOST_PASSES: Final = 100


class ClusterPages(Pages):
    """The names of all primaries."""

    def __init__(self, client: ClusterClient, prefix: bytes) -> None:
        super().__init__(client, prefix)
        self._cluster_client = client
        self._passes = 0
        #: The nodes that are left of this pass, the next one last, and the one that is being scanned.
        self._left: list[tuple[bytes, Member]] = []
        self._now: tuple[bytes, Member] | None = None
        #: The nodes that this pass has scanned, in order, and those that any pass has.
        self._order: list[bytes] = []
        self._scanned: set[bytes] = set()
        self._before: dict[bytes, NodeState] = {}

    async def next(self) -> list[bytes]:
        while True:
            if self._now is None:
                if not self._left and not await self._begin_pass():
                    return []
                self._now = self._left.pop()
                self._cursor = b"0"
                self._order.append(self._now[0])
            name, member = self._now
            page = await self._page_asked_for()
            if page is None:
                page = await self._cluster_client.call_on(member, Kind.READ, *self._words(), expects=PAGE)
            names = [] if page is None else self._turn(page)
            if page is None or self._cursor is None:
                self._now = None
                if page is not None:
                    self._scanned.add(name)
            if names:
                return names

    async def unlink(self, names: list[bytes]) -> list[bytes]:
        await self._client.call(Kind.IDEMPOTENT, b"UNLINK", *names, expects=NUMBER)
        return await self.next()

    def _node(self) -> Member | None:
        return None if self._now is None else self._now[1]

    async def _begin_pass(self) -> bool:
        """Choose the nodes of the next pass. False if there need not be one."""
        client = self._cluster_client
        if self._passes >= MOST_PASSES:
            raise BackendConnectionError(f"{client.location}: slots have moved for so long that no scan was complete")
        self._passes += 1
        await client.learn_now(client.deadline())
        members = dict(client.cluster.members)
        states: dict[bytes, NodeState] = {}
        waiting = list(members)
        while waiting:
            name = waiting.pop()
            state = read_state(await client.call_on(members[name], Kind.READ, b"CLUSTER", b"NODES"))
            if state is None:
                # It has just been replaced. The next map says by which node.
                await client.pause()
                continue
            states[name] = state
            for target, (host, port) in state.targets.items():
                # A node that is about to get its first slot is in no map.
                if target not in members:
                    members[target] = client.cluster.redirected(Redirection(True, 0, host, port), members[name])
                    waiting.append(target)
        self._left = [(name, members[name]) for name in members if self._is_due(name, states.get(name))]
        self._before, self._order = states, []
        return bool(self._left)

    def _is_due(self, name: bytes, state: NodeState | None) -> bool:
        """Return whether a node may have keys that were not seen."""
        before = self._before.get(name)
        if name not in self._scanned:
            return True
        if state is None or before is None or state.took_since(before):
            return True
        if name not in self._order:
            return False
        later = self._order[self._order.index(name) + 1 :]
        return any(giver in later for giver in state.importing.values())
