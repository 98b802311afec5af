"""Since when a connection has brought nothing.

A connection is *silent* if for a second nothing was received and the peer acknowledged nothing. It is *stuck* if no
complete reply has come for some time, although replies are due and bytes may arrive: after a corrupt header the rest of
the stream is taken for one long reply.

To cost nothing in the usual case, nothing is noted when something arrives. A task that waited in vain notes how much
had come when its wait began.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from .._io import Port
from ._mux import Mux

if TYPE_CHECKING:
    from ._link import Link

#: After how many seconds a connection is silent: half the backend's ``timeout``, and at most this.
SILENCE: Final = 1.0

#: The part of a time span that counts as all of it, since a wait begins a little after its deadline was computed.
NEARLY: Final = 0.9


class Watch(Protocol):
    """What a connection in use reports to."""

    @property
    def patience(self) -> float:
        """For how many seconds no complete reply may come while replies are due."""
        ...

    def heard(self) -> None:
        """Note that the server has sent something."""

    def silent(self, since: float) -> None:
        """Note that calls have waited since then, and that the server has sent nothing."""

    async def ask(self, link: Link, deadline: float) -> None:
        """Find out over a second connection whether a silent one should be given up."""


def silence_within(patience: float) -> float:
    """After how many seconds a connection is silent, for a backend with this timeout."""
    return min(SILENCE, patience / 2)


class Silence:
    """The silence of one connection.

    Attributes:
        since: Since when nothing was received.
        no_reply_since: Since when no complete reply has come.
        spared: Whether it was kept although another server has taken the place of this one.
    """

    __slots__ = ("_acknowledged", "_received", "_replies", "no_reply_since", "since", "spared")

    def __init__(self) -> None:
        self.since = self.no_reply_since = monotonic()
        self._received = self._replies = -1
        self._acknowledged: int | None = None
        self.spared = False

    def look(self, begun: float, received: int, replies: int) -> bool:
        """Note how much had come when a wait began. Return whether it is more than at the last look."""
        if replies != self._replies:
            self._replies = replies
            self.no_reply_since = begun
        if received == self._received:
            return False
        self._received = received
        self._acknowledged = None
        self.since = begun
        return True

    def excuse(self) -> None:
        """Begin afresh: the server has said that it will answer later."""
        self.since = monotonic()

    def is_stuck(self, mux: Mux, now: float, patience: float) -> bool:
        """Whether the oldest reply that is due has no caller, and no reply was completed for ``patience`` seconds."""
        return (
            mux.replies == self._replies
            and now - self.no_reply_since >= patience * NEARLY
            and bool(mux.slots)
            and mux.slots[0].done
        )

    def holds(self, mux: Mux) -> bool:
        """Whether nothing was received since the last look."""
        return mux.received == self._received

    def ended_by_progress(self, mux: Mux, port: Port) -> bool:
        """Whether the peer has acknowledged some of what it had not acknowledged when this was asked last."""
        before = self._acknowledged
        outstanding = port.unacknowledged()
        if outstanding is None:
            # The platform does not say: what the socket accepts of a backlog is the best guess.
            outstanding = len(mux.out)
        acknowledged = mux.sent - outstanding
        self._acknowledged = acknowledged if outstanding else None
        if before is None or acknowledged <= before:
            return False
        self.since = monotonic()
        return True
