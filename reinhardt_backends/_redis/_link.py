"""One connection to a server, shared by all callers of one event loop (or lent to one thread).

There is no background task. A call appends its command and its slot to the mux and then, until its own reply is there,
does whatever needs doing and nobody does: it writes for everybody, or reads for everybody, or sleeps. When it has its
reply it wakes somebody who has none to go on.

A writer who is not alone yields once before it sends, so that everybody who is ready to run appends too: one ``send``
for many commands. When the socket takes no more, the writer reads while it waits, since a server that cannot deliver
its replies stops reading commands.

Only who leads or pushes arms a timer, for the earliest deadline in the queue, and ends the calls of others whose time
is up. What has arrived is read before anything is judged late.

Before the first write after idling, one read that does not wait: at the end of the stream the connection is given up
before anything was sent, and a server that said something nobody asked for is not taken for an answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from .._io import Port, Runtime
from ._mux import MAX_SLOTS, MAX_UNSENT, Loss, Mux, Slot
from ._protocol import NOTHING, ProtocolError, Refusal, new_parser
from ._wire import Wire

#: How much is read before others get their turn: the size of the buffer, and how often it is filled.
BUFFER: Final = 64 * 1024
TURNS: Final = 4

#: On a connection for large values while there is something else to do, and while there is not.
LARGE_BUFFER: Final = 16 * 1024
LARGE_TURNS: Final = 16


class Lost(Exception):
    """A call ends without a reply. Internal: the client turns it into an error of ours, or tries again."""

    def __init__(self, loss: Loss, *, sent: bool) -> None:
        super().__init__(loss.text)
        self.loss = loss
        #: Whether the server may have executed the call, or may yet.
        self.sent = sent


class Link:
    """A connected socket and the queue of calls on it.

    Args:
        runtime: What the connection serves.
        port: How to wait for the socket.
        wire: How to send and receive.
        large: Whether it is for large values, and so reads in smaller pieces while others have something to do.
    """

    def __init__(self, runtime: Runtime, port: Port, wire: Wire, *, large: bool = False) -> None:
        self.mux = Mux(runtime.unpark)
        self.lost: Loss | None = None
        self.retired = False
        #: Whether new calls may come.
        self.usable = True
        self._runtime = runtime
        self._park = runtime.park
        self._yield_once = runtime.yield_once
        self._port = port
        self._wire = wire
        self._send = wire.send
        self._recv_into = wire.recv_into
        self._buffer = bytearray(LARGE_BUFFER if large else BUFFER)
        self._turns = LARGE_TURNS if large else TURNS
        #: Says whether calls on another connection need the loop as well.
        self.has_company: Callable[[], bool] | None = None
        #: Callers who wait for room in the queue, and how many were let in and have not come yet.
        self._guests: deque[Slot] = deque()
        self._invited = 0
        #: Whether the writer waits without reading, because somebody else leads.
        self._blind = False
        parser = new_parser()
        self._feed = parser.feed
        self._gets = parser.gets

    async def exchange(self, data: bytes, count: int, deadline: float) -> Any:
        """Send a call and return its reply, or the list of its replies if ``count`` is more than one.

        Raises:
            Lost: There will be no reply.
        """
        mux = self.mux
        entered = False
        if len(mux.slots) + self._invited >= MAX_SLOTS or len(mux.out) >= MAX_UNSENT or self._guests:
            entered = True
            await self._enter(deadline)
        slot: Slot | None = None
        try:
            if mux.leader is None and mux.writer is None and self.lost is None:
                self.drain()
            if entered:
                self._invited -= 1
            if self.lost is not None:
                raise Lost(self.lost, sent=False)
            slot = mux.append(data, count, deadline)
            while not slot.done:
                if mux.writer is None and (mux.out or self._wire.pending):
                    await self._write(slot)
                elif mux.leader is None:
                    await self._lead(slot)
                else:
                    await self._park(slot)
        except BaseException as error:
            self._abandon(slot, error)
            raise
        finally:
            del data
            if (mux.writer is None or self._blind) and (mux.slots or self._guests or self.retired):
                self._hand_over()
        if slot.loss is not None:
            raise Lost(slot.loss, sent=self.lost is None or slot.mark <= mux.sent + self._wire.in_progress)
        return slot.reply

    async def _lead(self, slot: Slot) -> None:
        mux = self.mux
        mux.leader = slot
        try:
            await self._port.lead(self.drain, min(mux.next_deadline(), slot.deadline))
        finally:
            mux.leader = None
        if not slot.done:
            self._judge()

    async def _write(self, slot: Slot) -> None:
        mux = self.mux
        mux.writer = slot
        try:
            if mux.woken > 1 or len(mux.slots) > 1:
                await self._yield_once()
            while not self._flush() and not slot.done:
                if mux.leader is None:
                    mux.leader = slot
                    try:
                        await self._port.push(self.drain, mux.next_deadline())
                    finally:
                        mux.leader = None
                else:
                    self._blind = True
                    try:
                        await self._port.push(None, mux.next_deadline())
                    finally:
                        self._blind = False
                self._judge()
        finally:
            mux.writer = None

    def _flush(self) -> bool:
        """Send what there is to send. True if nothing is left, or nothing can be sent any more."""
        if self.lost is not None:
            return True
        mux = self.mux
        out = mux.out
        try:
            while out:
                mux.took(self._send(out))
            if self._wire.pending:
                self._wire.flush()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            # What the server said before it closed may explain why.
            self._read_all()
            self.lose(Loss(Loss.BROKEN, f"the connection broke while sending: {describe(error)}", bare(error)))
        except BaseException:
            self.lose(Loss(Loss.BROKEN, "the connection was interrupted while sending"))
            raise
        return True

    def drain(self) -> bool:
        """Read what has arrived and hand it out. True if whoever leads should look again."""
        company = self.has_company
        self._read(1 if company is not None and company() else self._turns)
        mux = self.mux
        leader = mux.leader
        return leader is None or leader.done or (mux.writer is None and bool(mux.out or self._wire.pending))

    def _read(self, turns: int) -> bool:
        """Read up to so many buffers. True if there may be more."""
        mux = self.mux
        buffer = self._buffer
        try:
            while self.lost is None:
                count = self._recv_into(buffer)
                if not count:
                    self.lose(Loss(Loss.BROKEN, "the server closed the connection"))
                    return False
                mux.received += count
                self._feed(buffer, 0, count)
                if not mux.hand_out(self._gets):
                    self._surplus()
                    return False
                if count < len(buffer):
                    break
                turns -= 1
                if turns <= 0 and not self._wire.holds_back:
                    return True
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self.lose(Loss(Loss.BROKEN, f"the connection broke: {describe(error)}", bare(error)))
        except ProtocolError:
            self.lose(Loss(Loss.BROKEN, "the peer does not speak the Redis protocol"))
        except Exception as error:
            self.lose(Loss(Loss.BROKEN, f"a reply could not be read: {type(error).__name__}"))
        except BaseException:
            self.lose(Loss(Loss.BROKEN, "the connection was interrupted while receiving"))
            raise
        finally:
            if self._guests:
                self._admit()
        return False

    def _read_all(self) -> None:
        while self._read(TURNS):
            pass

    def _surplus(self) -> None:
        """The server said something that nobody had asked for: who is next would take it for an answer."""
        surplus, self.mux.surplus = self.mux.surplus, NOTHING
        if isinstance(surplus, Refusal):
            self.lose(Loss(Loss.BROKEN, "the server turned the connection away", surplus))
        else:
            self.lose(Loss(Loss.BROKEN, "the server sent a reply that nobody had asked for"))

    def _judge(self) -> None:
        """End what is late, and the connection with it if it is dead."""
        mux = self.mux
        if self.lost is not None or monotonic() < mux.next_deadline():
            return
        self._read_all()
        if mux.expire(monotonic(), Loss(Loss.EXPIRED, "the server did not answer in time")):
            self.lose(Loss(Loss.SILENT, "the server stopped answering"))

    def _abandon(self, slot: Slot | None, error: BaseException) -> None:
        if slot is not None:
            if not slot.done:
                self.mux.drop(slot)
        elif not isinstance(error, Lost):
            # Interrupted while appending: whether slot and bytes agree is not known.
            self.lose(Loss(Loss.BROKEN, "the connection was interrupted"))

    def _hand_over(self) -> None:
        """Wake somebody to do what has to be done and nobody does."""
        mux = self.mux
        if self.lost is not None:
            return
        if self.retired and not mux.slots:
            self.lose(Loss(Loss.BROKEN, "the connection was retired"))
            return
        if self._guests:
            self._admit()
        if mux.writer is not None:
            # The writer leads when it is done, or reads while it waits, unless it began to wait beside a leader.
            if mux.leader is None and self._blind:
                self._port.kick()
            return
        if mux.leader is not None and not (mux.out or self._wire.pending):
            return
        heir = mux.newest_waiter() or next((guest for guest in self._guests if guest.waiter is not None), None)
        if heir is not None:
            self._runtime.unpark(heir)
        elif mux.leader is not None:
            self._port.kick()

    def _is_full(self) -> bool:
        mux = self.mux
        return len(mux.slots) + self._invited >= MAX_SLOTS or len(mux.out) >= MAX_UNSENT

    async def _enter(self, deadline: float) -> None:
        """Wait for room in the queue, and read and write for the others if none of them is left to do so."""
        mux = self.mux
        guest = Slot(1, deadline, 0, 0)
        self._guests.append(guest)
        try:
            while not guest.done:
                if monotonic() >= deadline:
                    raise Lost(Loss(Loss.EXPIRED, "there was no room on the connection in time"), sent=False)
                if mux.writer is None and (mux.out or self._wire.pending):
                    await self._write(guest)
                elif mux.leader is None:
                    await self._lead(guest)
                else:
                    await self._runtime.park_until(guest, deadline)
        except BaseException:
            if guest.done:
                self._invited -= 1
            else:
                self._guests.remove(guest)
            self._hand_over()
            raise

    def _admit(self) -> None:
        """Let in as many guests as there is room for; all of them if the connection is lost, to find that out."""
        while self._guests and (self.lost is not None or not self._is_full()):
            guest = self._guests.popleft()
            guest.done = True
            self._invited += 1
            if guest.waiter is not None:
                self._runtime.unpark(guest)
            elif guest is self.mux.leader or guest is self.mux.writer:
                self._port.kick()

    def retire(self) -> None:
        """Take no new calls; close when those in flight have ended."""
        self.retired = True
        self.usable = False
        if not self.mux.slots:
            self.lose(Loss(Loss.BROKEN, "the connection was retired"))

    def lose(self, loss: Loss) -> None:
        """Close, and end every call in flight. Called in the loop or thread that the link serves. Idempotent."""
        if self.lost is not None:
            return
        self.lost = loss
        self.usable = False
        self.mux.lose(loss)
        self.mux.out.clear()
        self._port.close()
        self._admit()

    def abandon(self) -> None:
        """Close the descriptor and nothing more: no byte is sent and nobody is woken."""
        self.lost = Loss(Loss.CLOSED, "the connection was abandoned")
        self.usable = False
        self._port.abandon()

    def cut(self) -> None:
        """Wake the thread that uses a blocking link, from another one; its next read ends the stream."""
        self._port.kick()

    def is_clean(self) -> bool:
        """Whether nothing is in flight and the link can be used again."""
        return self.lost is None and not self.mux.slots and not self.mux.out


def describe(error: BaseException) -> str:
    """An operating system error in words."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)


def bare(error: BaseException) -> BaseException:
    """An error without the frames that it came through, whose variables could hold what was sent or received."""
    error.__context__ = None
    return error.with_traceback(None)
