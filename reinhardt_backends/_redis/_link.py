"""One connection to a server, shared by all callers of one event loop (or lent to one thread).

There is no background task. A call appends its command and its slot to the mux. Until its own reply has come it takes
whatever role is free: it writes for all calls, reads for all calls, or parks. When it leaves with its reply, it wakes a
waiter to take over.

If other calls are in flight, the writer yields once before it sends, so that every task that is ready to run appends
too: one ``send`` for many commands. While the socket takes no more, the writer reads: a server that cannot deliver its
replies stops reading commands.

Only a task that leads or writes arms a timer, for the earliest deadline in the queue, and it ends the calls of others
whose deadline has passed. What has arrived is read before anything is judged late.

Before the first write after idling, one read that does not wait: at the end of the stream the connection is given up
before anything was sent, and a message that the server sent unasked is not taken for a reply.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from .._io import Port, Runtime
from ._mux import MAX_SLOTS, MAX_UNSENT, Failure, Mux, Slot
from ._protocol import NOTHING, Parser, ProtocolError, Refusal
from ._wire import Wire

#: How much is read before others get their turn: the size of the buffer, and how often it is filled.
BUFFER: Final = 64 * 1024
TURNS: Final = 4

#: On a connection for large values while there is something else to do, and while there is not.
LARGE_BUFFER: Final = 16 * 1024
LARGE_TURNS: Final = 16


class CallFailed(Exception):
    """A call ended without a reply. Internal: the client turns it into an error of ours, or tries again."""

    def __init__(self, failure: Failure, *, sent: bool) -> None:
        super().__init__(failure.text)
        self.failure = failure
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
        self.failure: Failure | None = None
        self.retired = False
        #: The number of the connection on the server, if the server said it.
        self.client_id: int | None = None
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
        self.busy_peer: Callable[[], bool] | None = None
        #: Calls that wait for room in the queue, and how many were admitted and have not appended yet.
        self._queued: deque[Slot] = deque()
        self._admitted = 0
        #: Whether the writer waits without reading, because another task leads.
        self._writes_only = False
        parser = Parser()
        self._feed = parser.feed
        self._gets = parser.gets

    async def exchange(self, data: bytes, count: int, deadline: float) -> Any:
        """Send a call and return its reply, or the list of its replies if ``count`` is more than one.

        Raises:
            CallFailed: There will be no reply.
        """
        mux = self.mux
        entered = False
        if len(mux.slots) + self._admitted >= MAX_SLOTS or len(mux.out) >= MAX_UNSENT or self._queued:
            entered = True
            await self._enter(deadline)
        slot: Slot | None = None
        try:
            if mux.leader is None and mux.writer is None and self.failure is None:
                self.drain()
            if entered:
                self._admitted -= 1
            if self.failure is not None:
                raise CallFailed(self.failure, sent=False)
            slot = mux.append(data, count, deadline)
            while not slot.done:
                if mux.writer is None and (mux.out or self._wire.pending):
                    await self._write(slot)
                elif mux.leader is None:
                    await self._lead(slot)
                else:
                    await self._park(slot)
        except BaseException as error:
            self._drop_call(slot, error)
            raise
        finally:
            del data
            if (mux.writer is None or self._writes_only) and (mux.slots or self._queued or self.retired):
                self._wake_next()
        if slot.failure is not None:
            raise CallFailed(slot.failure, sent=self.failure is None or slot.mark <= mux.sent + self._wire.in_progress)
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
                    self._writes_only = True
                    try:
                        await self._port.push(None, mux.next_deadline())
                    finally:
                        self._writes_only = False
                self._judge()
        finally:
            mux.writer = None

    def _flush(self) -> bool:
        """Send what there is to send. True if nothing is left, or nothing can be sent any more."""
        if self.failure is not None:
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
            self.fail(Failure(Failure.BROKEN, f"the connection broke while sending: {describe(error)}", bare(error)))
        except BaseException:
            self.fail(Failure(Failure.BROKEN, "the connection was interrupted while sending"))
            raise
        return True

    def drain(self) -> bool:
        """Read what has arrived and hand it out. True if the leader should check its slot."""
        company = self.busy_peer
        self._read(1 if company is not None and company() else self._turns)
        mux = self.mux
        leader = mux.leader
        return leader is None or leader.done or (mux.writer is None and bool(mux.out or self._wire.pending))

    def _read(self, turns: int) -> bool:
        """Read up to ``turns`` buffers. True if there may be more."""
        mux = self.mux
        buffer = self._buffer
        try:
            while self.failure is None:
                count = self._recv_into(buffer)
                if not count:
                    self.fail(Failure(Failure.BROKEN, "the server closed the connection"))
                    return False
                mux.received += count
                self._feed(buffer, count)
                if not mux.hand_out(self._gets):
                    self._unexpected()
                    return False
                if count < len(buffer):
                    break
                turns -= 1
                if turns <= 0 and not self._wire.holds_back:
                    return True
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self.fail(Failure(Failure.BROKEN, f"the connection broke: {describe(error)}", bare(error)))
        except ProtocolError:
            self.fail(Failure(Failure.BROKEN, "the peer does not speak the Redis protocol"))
        except Exception as error:
            self.fail(Failure(Failure.BROKEN, f"a reply could not be read: {type(error).__name__}"))
        except BaseException:
            self.fail(Failure(Failure.BROKEN, "the connection was interrupted while receiving"))
            raise
        finally:
            if self._queued:
                self._admit()
        return False

    def _read_all(self) -> None:
        while self._read(TURNS):
            pass

    def _unexpected(self) -> None:
        """Fail: the server sent a reply that no call expected, and the next call would take it for its own."""
        unexpected, self.mux.unexpected = self.mux.unexpected, NOTHING
        if isinstance(unexpected, Refusal):
            self.fail(Failure(Failure.BROKEN, "the server turned the connection away", unexpected))
        else:
            self.fail(Failure(Failure.BROKEN, "the server sent a reply that no call expected"))

    def _judge(self) -> None:
        """End late calls, and the connection with them if it is dead."""
        mux = self.mux
        if self.failure is not None or monotonic() < mux.next_deadline():
            return
        self._read_all()
        if mux.expire(monotonic(), Failure(Failure.EXPIRED, "the server did not answer in time")):
            self.fail(Failure(Failure.SILENT, "the server stopped answering"))

    def _drop_call(self, slot: Slot | None, error: BaseException) -> None:
        if slot is not None:
            if not slot.done:
                self.mux.drop(slot)
        elif not isinstance(error, CallFailed):
            # Interrupted while appending: slot and bytes may disagree.
            self.fail(Failure(Failure.BROKEN, "the connection was interrupted"))

    def _wake_next(self) -> None:
        """Wake a task to take a role that is free and needed."""
        mux = self.mux
        if self.failure is not None:
            return
        if self.retired and not mux.slots:
            self.fail(Failure(Failure.BROKEN, "the connection was retired"))
            return
        if self._queued:
            self._admit()
        if mux.writer is not None:
            # The writer leads when it is done. It reads while it waits, unless there was a leader when it began.
            if mux.leader is None and self._writes_only:
                self._port.kick()
            return
        if mux.leader is not None and not (mux.out or self._wire.pending):
            return
        next_waiter = mux.newest_waiter() or next(
            (caller for caller in self._queued if caller.waiter is not None), None
        )
        if next_waiter is not None:
            self._runtime.unpark(next_waiter)
        elif mux.leader is not None:
            self._port.kick()

    def _is_full(self) -> bool:
        mux = self.mux
        return len(mux.slots) + self._admitted >= MAX_SLOTS or len(mux.out) >= MAX_UNSENT

    async def _enter(self, deadline: float) -> None:
        """Wait for room in the queue; read and write for the others if none of them is left to do so."""
        mux = self.mux
        caller = Slot(1, deadline, 0, 0)
        self._queued.append(caller)
        try:
            while not caller.done:
                if monotonic() >= deadline:
                    raise CallFailed(
                        Failure(Failure.EXPIRED, "there was no room on the connection in time"), sent=False
                    )
                if mux.writer is None and (mux.out or self._wire.pending):
                    await self._write(caller)
                elif mux.leader is None:
                    await self._lead(caller)
                else:
                    await self._runtime.park_until(caller, deadline)
        except BaseException:
            if caller.done:
                self._admitted -= 1
            else:
                self._queued.remove(caller)
            self._wake_next()
            raise

    def _admit(self) -> None:
        """Admit queued calls while there is room; all of them if the connection has failed, so that they find out."""
        while self._queued and (self.failure is not None or not self._is_full()):
            caller = self._queued.popleft()
            caller.done = True
            self._admitted += 1
            if caller.waiter is not None:
                self._runtime.unpark(caller)
            elif caller is self.mux.leader or caller is self.mux.writer:
                self._port.kick()

    def retire(self) -> None:
        """Take no new calls; close when those in flight have ended."""
        self.retired = True
        self.usable = False
        if not self.mux.slots:
            self.fail(Failure(Failure.BROKEN, "the connection was retired"))

    def fail(self, failure: Failure) -> None:
        """Close, and end every call in flight. Called in the loop or thread that the link serves. Idempotent."""
        if self.failure is not None:
            return
        self.failure = failure
        self.usable = False
        self.mux.fail(failure)
        self.mux.out.clear()
        self._port.close()
        self._admit()

    def close_silently(self) -> None:
        """Close the descriptor only: no byte is sent and no task is woken."""
        self.failure = Failure(Failure.CLOSED, "the connection was abandoned")
        self.usable = False
        self._port.close_silently()

    def cut(self) -> None:
        """Wake the thread that uses a blocking link, from another one; its next read ends the stream."""
        self._port.kick()

    def is_clean(self) -> bool:
        """Whether nothing is in flight, so that the link can be used again."""
        return self.failure is None and not self.mux.slots and not self.mux.out


def describe(error: BaseException) -> str:
    """An operating system error in words."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)


def bare(error: BaseException) -> BaseException:
    """An error without the frames that it came through, whose variables could hold what was sent or received."""
    error.__context__ = None
    return error.with_traceback(None)
