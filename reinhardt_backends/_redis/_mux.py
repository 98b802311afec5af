"""The queue of calls on one shared connection, without any I/O.

Redis answers the commands of one connection in order, so a connection that many callers share is a queue: each call
appends its bytes to one out-buffer and a *slot* to one FIFO, and each reply that is read belongs to the oldest slot.
Nothing else ties a reply to its caller. Hence the rules of this module.

- A slot never leaves the FIFO before its replies have come. A cancelled or late call marks its slot as done, and the
  slot discards the reply that arrives later.
- Bytes that were appended belong to the connection, not to the task that appended them.
- There are two roles, and at most one task has each: the *writer* sends for all calls, the *leader* reads for all. A
  running task takes a role; a role is never handed to a sleeping task, which may be cancelled before it runs. A task
  that leaves wakes the newest waiter, which checks what there is to do. The newest has the most time left to lead.

Offsets into the stream of bytes tell what was sent: a single command that did not leave whole was not executed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Final

from ._protocol import NOTHING, Push

#: How many commands may be in flight on one connection, and how many bytes may wait to be sent.
MAX_SLOTS: Final = 1024
MAX_UNSENT: Final = 8 * 1024 * 1024

#: How many commands are sent at once while more are appended. With 128 callers, the server executes half of their
#: commands while the event loop runs the other half of the callers. Smaller parts cost more than they save.
PART: Final = 64


class Failure:
    """Why a slot ends without a reply.

    Attributes:
        reason: One of the constants below: the connection broke, the server fell silent on it, it was closed by us, or
            the deadline of the slot passed.
        text: The same in words, for error messages.
        cause: The error that caused it, if there was one.
        client: The connection as the server knows it, if the connection has ended and the server said so once.
    """

    __slots__ = ("cause", "client", "reason", "text")

    BROKEN: Final = "broken"
    SILENT: Final = "silent"
    CLOSED: Final = "closed"
    EXPIRED: Final = "expired"

    def __init__(self, reason: str, text: str, cause: BaseException | None = None) -> None:
        self.reason = reason
        self.text = text
        self.cause = cause
        self.client: ServerClient | None = None


class CallFailed(Exception):
    """A call ended without a reply. Internal: the client turns it into an error of ours, or tries again."""

    def __init__(self, failure: Failure, *, sent: bool) -> None:
        super().__init__(failure.text)
        self.failure = failure
        #: Whether the server may have executed the call, or may yet.
        self.sent = sent


def describe(error: BaseException) -> str:
    """An operating system error in words."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)


def bare(error: BaseException) -> BaseException:
    """An error without the frames that it came through, whose variables could hold what was sent or received."""
    error.__context__ = None
    return error.with_traceback(None)


class ServerClient:
    """A connection as the server knows it.

    Attributes:
        number: Its ``CLIENT ID``.
        since: When it was opened.
        server: The address of the server.
        gone: Whether the server has confirmed that it has ended.
    """

    __slots__ = ("gone", "number", "server", "since")

    def __init__(self, number: int, since: float, server: str) -> None:
        self.number = number
        self.since = since
        self.server = server
        self.gone = False


class Slot:
    """One call in flight: how many replies it expects, and the task that waits for them."""

    __slots__ = ("count", "deadline", "done", "failure", "mark", "reply", "waiter")

    def __init__(self, count: int, deadline: float, mark: int) -> None:
        self.count = count
        self.deadline = deadline
        #: The server may have executed something of this call once so many bytes of the stream have left.
        self.mark = mark
        #: One reply, or a list of ``count`` of them where more than one command was sent.
        self.reply: Any = None if count == 1 else []
        self.failure: Failure | None = None
        #: The call has ended: it was answered, failed, or was dropped by its caller.
        self.done = False
        self.waiter: Any = None


class Mux:
    """The FIFO, the out-buffer and the two roles of one connection."""

    __slots__ = (
        "_latest",
        "_ordered",
        "_wake",
        "appended",
        "leader",
        "live",
        "out",
        "received",
        "replies",
        "sent",
        "slots",
        "unexpected",
        "woken",
        "writer",
    )

    def __init__(self, wake: Callable[[Slot], None]) -> None:
        self._wake = wake
        #: The deadline appended last, and whether those in the queue are in order.
        self._latest = -inf
        self._ordered = True
        self.slots: deque[Slot] = deque()
        self.out = bytearray()
        #: How many bytes of the stream were appended, and how many of them have left.
        self.appended = 0
        self.sent = 0
        self.received = 0
        #: How many complete replies have come.
        self.replies = 0
        #: How many slots in the queue have a caller that still waits.
        self.live = 0
        self.leader: Slot | None = None
        self.writer: Slot | None = None
        #: How many calls the last read answered. Their callers are likely to come back together.
        self.woken = 0
        #: The first reply that no slot expected, if there was one.
        self.unexpected: Any = NOTHING

    def append(self, data: bytes, count: int, deadline: float) -> Slot:
        """Queue the bytes of a call that expects ``count`` replies."""
        # Of several commands the first may be executed before the last has left.
        start = self.appended
        self.appended = end = start + len(data)
        slot = Slot(count, deadline, end if count == 1 else start + 1)
        if deadline < self._latest:
            self._ordered = not self.slots
        self._latest = deadline
        self.out += data
        self.slots.append(slot)
        self.live += 1
        return slot

    def hand_out(self, gets: Callable[[], Any]) -> bool:
        """Give each reply that the parser has to the slot that it belongs to. False if a reply belongs to none."""
        slots = self.slots
        wake = self._wake
        woken = others = 0
        while True:
            reply = gets()
            if reply is NOTHING:
                self.woken = woken
                self.live -= woken
                self.replies += woken + others
                if not slots:
                    self._ordered = True
                return True
            if reply.__class__ is Push:
                continue
            if not slots:
                self.live -= woken
                self.unexpected = reply
                return False
            slot = slots[0]
            if slot.count == 1:
                slot.reply = reply
            else:
                slot.reply.append(reply)
                if len(slot.reply) < slot.count:
                    others += 1
                    continue
            slots.popleft()
            if not slot.done:
                slot.done = True
                woken += 1
                if slot.waiter is not None:
                    wake(slot)
            else:
                slot.reply = None
                others += 1

    def drop(self, slot: Slot) -> None:
        """Mark the slot of a cancelled call. It stays in the queue and discards its replies when they come."""
        self.live -= 1
        slot.done = True
        slot.waiter = None
        slot.deadline = inf
        if slot.count == 1:
            slot.reply = None

    def next_deadline(self) -> float:
        """The earliest deadline of a slot in flight."""
        if not self.live:
            return inf
        if not self._ordered:
            return min((slot.deadline for slot in self.slots if not slot.done), default=inf)
        for slot in self.slots:
            if not slot.done:
                return slot.deadline
        return inf

    def expire(self, now: float, failure: Failure) -> None:
        """End every slot whose deadline has passed. Call it only after everything that has arrived was handed out."""
        for slot in self.slots:
            if slot.done:
                continue
            if slot.deadline <= now:
                self._end(slot, failure)
            elif self._ordered:
                break

    def fail(self, failure: Failure) -> None:
        """End every slot: the connection has failed."""
        slots = list(self.slots)
        self.slots.clear()
        for slot in slots:
            if not slot.done:
                self._end(slot, failure)

    def _end(self, slot: Slot, failure: Failure) -> None:
        self.live -= 1
        slot.failure = failure
        slot.done = True
        slot.deadline = inf
        if slot.waiter is not None:
            self._wake(slot)

    def newest_waiter(self) -> Slot | None:
        """The waiting slot that was appended last: its task can lead for the longest time."""
        if not self.live:
            return None
        return next((slot for slot in reversed(self.slots) if slot.waiter is not None and not slot.done), None)
