"""A read that is sent before its reply is wanted, so that the server works while the caller does.

It saves time and promises nothing. Where it cannot be sent at once, it is not; where its reply is not to be had, the
caller makes an ordinary call, which also deals with refusals. It may be forgotten at any time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from .._io import current_loop
from ._commands import Reply
from ._mux import CallFailed
from ._protocol import Refusal
from ._retry import out_of_step

if TYPE_CHECKING:
    from ._connections import LoopConnections, Node
    from ._link import Link
    from ._mux import Slot
    from ._pool import Pool


class Ahead(ABC):
    """A read in flight.

    Args:
        node: The server.
        link: The connection.
        slot: The place in its queue.
    """

    def __init__(self, node: Node, link: Link, slot: Slot) -> None:
        self._node = node
        self._link = link
        self._slot = slot

    async def reply(self, expects: Reply) -> Any:
        """Return the reply, or ``None`` if there is none of this kind."""
        link = self._link
        try:
            if await self._is_here():
                reply = await link.finish(self._slot)
                if expects.fits([reply]):
                    return reply
                if reply.__class__ is not Refusal:
                    out_of_step(link)
        except CallFailed:
            pass
        finally:
            self.end()
        return None

    @abstractmethod
    async def _is_here(self) -> bool:
        """Return whether the connection serves the caller."""

    @abstractmethod
    def end(self) -> None:
        """Let go of the connection, whether the reply was read or not."""


class SharedAhead(Ahead):
    """A read on the connection that the calls of a loop share."""

    def __init__(self, node: Node, link: Link, slot: Slot, connections: LoopConnections) -> None:
        super().__init__(node, link, slot)
        self._connections = connections

    async def _is_here(self) -> bool:
        # The iteration may go on in another loop, or in the child of a fork.
        loop = current_loop()
        connections = self._connections
        if connections.loop() is not loop or self._node.loops.get(id(loop)) is not connections:
            return False
        if self._slot.done:
            # Other tasks must run even if the server is always faster than the caller.
            await connections.runtime.yield_once()
        return True

    def end(self) -> None:
        # The slot stays in the queue, and takes the reply when others read it.
        pass


class LentAhead(Ahead):
    """A read on a connection of a pool, which serves no other call meanwhile."""

    def __init__(self, node: Node, link: Link, slot: Slot, pool: Pool) -> None:
        super().__init__(node, link, slot)
        self._pool = pool

    async def _is_here(self) -> bool:
        # In the child of a fork there is another pool.
        return self._node.pool is self._pool

    def end(self) -> None:
        if self._node.pool is self._pool:
            self._pool.give_back(self._link)
