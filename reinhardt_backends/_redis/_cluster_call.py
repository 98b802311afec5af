"""One call to a cluster: its commands, what each node has made of them, and what is to be done next.

The commands of a call are sent on their own. Each that is not served where it was sent goes elsewhere, alone: what was
executed is not sent again, and no command is refused because of another one (``TRYAGAIN``).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from time import monotonic
from typing import Any, Final

from .._errors import AuthenticationError, BackendClosedError, BackendError, OutcomeUnknownError, ResponseError
from ._cluster_map import ClusterMap, Member
from ._cluster_replies import redirection_in
from ._commands import Kind, Reply
from ._link import Link
from ._mux import CallFailed, Slot
from ._protocol import TRANSIENT, Refusal, error_for, is_read_only, is_transient, is_unknown_script, pack, without_echo
from ._retry import History, backoff, out_of_step
from ._scripts import with_source
from ._source import Source

#: How often a command is redirected without a pause.
REDIRECTIONS: Final = 3

_ASKING: Final = pack((b"ASKING",))
_WAITING: Final = object()


class Exchange:
    """The commands of a call that one node gets in one write.

    Attributes:
        member: The node.
        source: Where its connection is from.
        link: The connection.
        slot: The place in its queue, once the commands are there.
        positions: Which commands these are.
        data: The same, packed.
        count: How many replies there will be.
    """

    __slots__ = ("count", "data", "link", "member", "positions", "slot", "source")

    def __init__(
        self, member: Member, source: Source, link: Link, positions: list[int], data: bytes, count: int
    ) -> None:
        self.member = member
        self.source = source
        self.link = link
        self.slot: Slot | None = None
        self.positions = positions
        self.data = data
        self.count = count

    def end(self) -> None:
        """Return the connection. A call in flight is dropped."""
        self.data = b""
        if self.slot is not None and not self.slot.done:
            self.link.mux.drop(self.slot)
        self.source.give_back(self.link)


class ClusterCall:
    """What has become of the commands of one call so far.

    Args:
        cluster: The map.
        kind: What the commands allow.
        slots: The slot of each command.
        commands: Each command, packed.
        expects: What each reply looks like.
        deadline: The deadline of the call.

    Attributes:
        replies: The reply to each command.
        pending: Which commands have none yet.
        moved: A node that owns a slot which the map gave to another one.
        pause: Seconds to wait before the next attempt.
        wants_map: Whether another map may help.
        foreign_is_missing: Whether a key that holds another type counts as missing.
    """

    def __init__(
        self,
        cluster: ClusterMap,
        kind: Kind,
        slots: Sequence[int],
        commands: list[bytes],
        expects: Reply,
        deadline: float,
    ) -> None:
        self._cluster = cluster
        self.kind = kind
        self.slots = slots
        self._commands = commands
        self._expects = expects
        self.deadline = deadline
        self.replies: list[Any] = [_WAITING] * len(commands)
        self.pending = list(range(len(commands)))
        self._histories: dict[Member, History] = {}
        #: To which nodes commands go that were redirected once.
        self._asking: dict[int, Member] = {}
        self._redirections = 0
        self._unconnected = 0
        self.moved: Member | None = None
        self.pause = 0.0
        self.wants_map = False
        self.foreign_is_missing = False
        #: What is raised if there is no time for another attempt, or no sense in one.
        self._error: BackendError | None = None
        self._is_over = False

    def history(self, member: Member) -> History:
        """Return what has happened to the call on one node."""
        found = self._histories.get(member)
        if found is None:
            found = History(self.kind, member.options.location, self.deadline, member.health)
            self._histories[member] = found
        return found

    def groups(self) -> list[tuple[Member, list[int]]]:
        """Return which commands go where next. Connections are taken in this order, so that threads do not block."""
        owners, slots, asking = self._cluster.slots, self.slots, self._asking
        groups: dict[Member, list[int]] = {}
        for position in self.pending:
            member = (asking.get(position) if asking else None) or owners[slots[position]] or self._cluster.anyone()
            group = groups.get(member)
            if group is None:
                groups[member] = [position]
            else:
                group.append(position)
        return sorted(groups.items(), key=_number_of)

    def packed(self, positions: list[int]) -> tuple[bytes, int]:
        """Return what to send for some commands, and how many replies that has."""
        commands = self._commands
        if not self._asking:
            return b"".join([commands[position] for position in positions]), len(positions)
        asking = sum(position in self._asking for position in positions)
        pieces = [_ASKING + commands[one] if one in self._asking else commands[one] for one in positions]
        return b"".join(pieces), len(positions) + asking

    def take(self, exchange: Exchange, replies: list[Any]) -> None:
        """Take the replies of one node.

        Raises:
            CallFailed: They are none to these commands.
        """
        positions = exchange.positions
        if len(replies) > len(positions):
            # The answer to each ASKING goes before that to its command. If both are refused, the first says why.
            found = iter(replies)
            replies = []
            for position in positions:
                asked = next(found) if position in self._asking else None
                reply = next(found)
                replies.append(asked if asked.__class__ is reply.__class__ is Refusal else reply)
        plain = self._expects.plain
        if not self._asking and plain.issuperset(map(type, replies)):
            for position, reply in zip(positions, replies, strict=True):
                self.replies[position] = reply
            self.history(exchange.member).succeeded()
            return
        refused: list[Refusal] = []
        for position, reply in zip(positions, replies, strict=True):
            self._asking.pop(position, None)
            if reply.__class__ in plain or (reply.__class__ is not Refusal and self._expects.fits([reply])):
                self.replies[position] = reply
            elif reply.__class__ is not Refusal:
                raise out_of_step(exchange.link)
            elif not self._goes_on(position, reply, exchange.member):
                refused.append(without_echo(reply, self._commands[position]))
        if refused:
            trouble = next((one for one in refused if not is_transient(one)), refused[0])
            self.note(exchange.member, trouble)
        else:
            self.history(exchange.member).succeeded()

    def _goes_on(self, position: int, reply: Refusal, member: Member) -> bool:
        """Return whether a refusal says how the command can be sent again at once, or is as good as a reply."""
        if self.foreign_is_missing and str(reply).startswith("WRONGTYPE"):
            self.replies[position] = None
            return True
        redirection = redirection_in(reply)
        if redirection is None:
            script = with_source(self._commands[position]) if is_unknown_script(reply) else None
            if script is not None:
                self._commands[position] = script
            return script is not None
        target = self._cluster.redirected(redirection, member)
        if redirection.asking:
            self._asking[position] = target
        else:
            self.moved = target
        if not isinstance(self._error, ResponseError):
            # Why a node refused the command says more than where the next one was.
            self._error = error_for(without_echo(reply), member.options.location)
        return True

    def note(self, member: Member, trouble: CallFailed | Refusal) -> None:
        """Note that commands have no reply from a node, or were refused."""
        if isinstance(trouble, Refusal):
            self.wants_map = self.wants_map or is_read_only(trouble) or str(trouble).startswith("CLUSTERDOWN")
        self._wait(*self.history(member).weigh(trouble))

    def note_first(self, member: Member, trouble: CallFailed | Refusal) -> None:
        """Note how an attempt ended that was made before there was this object."""
        if isinstance(trouble, CallFailed):
            self.note(member, trouble)
        elif not self._goes_on(0, trouble, member):
            self.note(member, without_echo(trouble, self._commands[0]))

    def note_unconnected(self, member: Member, error: BackendError) -> None:
        """Note that there is no connection to a node. Nothing was sent."""
        hopeless = isinstance(error, (AuthenticationError, BackendClosedError))
        refused = isinstance(error, ResponseError) and error.code not in TRANSIENT
        if not (hopeless or refused or member.health.served):
            text = f"{error} (the cluster announces this address; address_map can give another one)"
            error = type(error)(text)
        if member.health.outage(self.kind) is not None:
            # The first error of the call says more than that the outage is known.
            self._wait(inf, self._error or error)
        elif hopeless or refused:
            self._wait(inf, error)
        else:
            self._unconnected += 1
            self.wants_map = True
            self._wait(backoff(self._unconnected), error)

    def _wait(self, pause: float, error: BackendError) -> None:
        if not self._is_over:
            self._error = error
            self._is_over = pause == inf
        self.pause = max(self.pause, pause)

    def fail(self, error: BackendError) -> None:
        """Note that the call must not be sent again."""
        self._wait(inf, error)

    def end_round(self) -> float:
        """Return until when to wait before the next attempt; 0 if there is no need to.

        Raises:
            BackendError: There is no time for another attempt, or no sense in one.
        """
        self.pending = [position for position in self.pending if self.replies[position] is _WAITING]
        pause, self.pause = self.pause, 0.0
        if self._is_over and self._error is not None:
            raise self._error
        if not self.pending:
            return 0.0
        if self.moved is not None or self._asking:
            self._redirections += 1
            if self._redirections > REDIRECTIONS:
                pause = max(pause, backoff(self._redirections - REDIRECTIONS))
        until = monotonic() + pause
        if self._error is not None and until >= self.deadline:
            raise self._error
        return until if pause else 0.0

    def judge(self, error: BackendError) -> BackendError:
        """Return the error that the caller gets (``History.judge``)."""
        for history in self._histories.values():
            error = history.judge(error)
            if isinstance(error, OutcomeUnknownError):
                break
        return error

    def forget(self) -> None:
        """Let go of the commands and replies, which a traceback could show."""
        self._commands = []


def _number_of(group: tuple[Member, list[int]]) -> int:
    return group[0].number
