"""One connection to a server, shared by all callers of one event loop (or lent to one thread).

There is no background task. A call appends its command and its slot to the mux. Until its own reply has come it takes
whatever role is free: it writes for all calls, reads for all calls, or parks. When it leaves with its reply, it wakes a
waiter to take over.

If other calls are in flight, the writer yields once before it sends, so that every task that is ready to run appends
too: one ``send`` for many commands. As soon as a ``PART`` is complete it is sent, and the server works on it meanwhile.
While the socket takes no more, the writer reads: a server that cannot deliver its replies stops reading commands.

Only a task that leads or writes arms a timer, for the earliest deadline in the queue, and it ends the calls of others
whose deadline has passed. What has arrived is read before anything is judged late.

Before the first write after idling, one read that does not wait: at the end of the stream the connection is given up
before anything was sent, and a message that the server sent unasked is not taken for a reply.

While it waits, the leader also judges the connection now and then (``_check``, ``_silence``). If it is silent, the
``Watch`` asks over a second connection. If it is stuck for the ``timeout`` of the backend and the oldest reply that is
due belongs to a call that has ended, it is given up. A connection given up while the peer may be alive is reset.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic
from typing import Any, Final

from .._io import Attempt, Port, Runtime
from ._mux import MAX_SLOTS, MAX_UNSENT, PART, CallFailed, Failure, Mux, ServerClient, Slot, bare, describe
from ._protocol import NOTHING, Parser, ProtocolError, Refusal
from ._silence import SILENCE, Silence, Watch, silence_within
from ._wire import BUFFER, LARGE_BUFFER, LARGE_TURNS, TURNS, Wire

#: After how many seconds without a call the state of a TCP connection is unknown.
IDLE: Final = 30.0


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
        #: How much had been received when ``Health`` looked last.
        self.noted = 0
        #: Whether new calls may come.
        self.usable = True
        self._runtime = runtime
        self._park = runtime.park
        self._yield_once = runtime.yield_once
        self._port = port
        self._wire = wire
        self._send = wire.send
        self._recv_into = wire.recv_into
        self._has_arrived = wire.has_arrived
        self._buffer = bytearray(LARGE_BUFFER if large else BUFFER)
        self._turns = LARGE_TURNS if large else TURNS
        #: Says whether calls on another connection need the loop as well.
        self.busy_peer: Callable[[], bool] | None = None
        #: Calls that wait for room in the queue, and how many were admitted and have not appended yet.
        self._queued: dict[Slot, None] = {}
        self._admitted = 0
        #: Whether the writer waits without reading, because another task leads.
        self._writes_only = False
        #: With so many calls in the queue, what they have appended is sent before the writer sends it.
        self._send_at = inf
        #: When the tasks that wait for the socket wake at the latest.
        self._wakes_at = inf
        #: What the connection reports to, once it is in use.
        self.watch: Watch | None = None
        #: How often the leader judges the connection while it waits.
        self._tick = SILENCE / 2
        #: The connection as the server knows it, and whether the server said that it is a replica.
        self.client: ServerClient | None = None
        self.is_replica = False
        #: What occupies its place in a pool.
        self.place: Attempt | None = None
        #: For how many seconds without a call the socket tells the state of the connection, and until when it does.
        self.idle_limit = IDLE
        self.opened = now = monotonic()
        self.fresh_until = now + IDLE
        self.silence = Silence()
        self._asking = False
        #: Whether it was reported as silent, and nothing was received since.
        self._troubled = False
        self._feed = Parser().feed

    def exchange(self, data: bytes, count: int, deadline: float) -> Awaitable[Any]:
        """Send a call and return its reply, or the list of its replies if ``count`` is more than one.

        Raises:
            CallFailed: There will be no reply.
        """
        mux = self.mux
        if self._queued or len(mux.slots) + self._admitted >= MAX_SLOTS or len(mux.out) >= MAX_UNSENT:
            return self._exchange_later(data, count, deadline)
        return self.finish(self.begin(data, count, deadline))

    async def _exchange_later(self, data: bytes, count: int, deadline: float) -> Any:
        try:
            await self.enter(deadline)
            return await self.finish(self.begin(data, count, deadline))
        finally:
            del data

    def begin(self, data: bytes, count: int, deadline: float) -> Slot:
        """Queue a call without sending it. It must be finished, or dropped from the mux.

        Raises:
            CallFailed: The connection has ended.
        """
        mux = self.mux
        try:
            if mux.leader is None and mux.writer is None and (mux.slots or self._has_arrived()):
                self._read_unasked()
            if self.failure is None:
                slot = mux.append(data, count, deadline)
                if len(mux.slots) >= self._send_at:
                    self._send_at = len(mux.slots) + PART if self._flush() else inf
                return slot
        except BaseException:
            # Interrupted while appending: slot and bytes may disagree.
            self.fail(Failure(Failure.BROKEN, "the connection was interrupted"))
            raise
        finally:
            del data
        raise CallFailed(self.failure, sent=False)

    async def finish(self, slot: Slot) -> Any:
        """Send a call that has begun, and return its reply or the list of its replies.

        Raises:
            CallFailed: There will be no reply.
        """
        mux = self.mux
        deadline = slot.deadline
        try:
            while not slot.done:
                if mux.writer is None and (mux.out or self._wire.pending):
                    if len(mux.slots) > 1 or mux.woken > 1 or not self._flush():
                        await self._write(slot)
                elif mux.leader is None:
                    await self._lead(slot)
                else:
                    if deadline < self._wakes_at:
                        self._wakes_at = deadline
                        self._port.hasten(deadline)
                    await self._park(slot)
        except BaseException:
            if not slot.done:
                mux.drop(slot)
            raise
        finally:
            if (mux.writer is None or self._writes_only) and (mux.slots or self._queued or self.retired):
                self._wake_next()
        if slot.failure is not None:
            raise CallFailed(slot.failure, sent=self.failure is None or slot.mark <= mux.sent + self._wire.in_progress)
        return slot.reply

    async def _lead(self, slot: Slot) -> None:
        mux = self.mux
        begun, received, replies = monotonic(), mux.received, mux.replies
        wake = self._next_wake(slot, begun)
        if slot.done:
            return
        mux.leader = slot
        try:
            await self._port.lead(self.drain, wake)
        except BaseException:
            self._look(begun, received, replies)
            raise
        finally:
            mux.leader = None
        if not slot.done:
            self._look(begun, received, replies)
            await self._check(slot)
        elif self._troubled:
            self._recover()

    async def _write(self, slot: Slot) -> None:
        mux = self.mux
        mux.writer = slot
        try:
            if mux.woken > 1 or len(mux.slots) > 1:
                self._send_at = len(mux.slots) + PART
                await self._yield_once()
            while not self._flush() and not slot.done:
                begun = monotonic()
                self._look(begun, mux.received, mux.replies)
                wake = self._next_wake(slot, begun)
                if slot.done:
                    return
                if mux.leader is None:
                    mux.leader = slot
                    try:
                        await self._port.push(self.drain, wake)
                    finally:
                        mux.leader = None
                else:
                    self._writes_only = True
                    try:
                        await self._port.push(None, wake)
                    finally:
                        self._writes_only = False
                await self._check(slot)
                if slot in self._queued and monotonic() >= slot.deadline:
                    return  # of a caller that waits for room, nothing else judges the deadline
        finally:
            mux.writer = None

    def _next_wake(self, slot: Slot, now: float) -> float:
        """When a task that begins to wait for the socket must wake: at the earliest deadline, or to judge."""
        mux = self.mux
        if mux.slots and mux.slots[0].done:
            self._give_up_if_stuck(now)
        self._wakes_at = wake = min(mux.next_deadline(), slot.deadline, now + self._tick)
        return wake

    def _look(self, begun: float, received: int, replies: int) -> None:
        if self.silence.look(begun, received, replies) and self._troubled:
            self._recover()

    def _recover(self) -> None:
        self._troubled = False
        if self.watch is not None:
            self.watch.heard()

    async def _check(self, slot: Slot) -> None:
        """Judge the connection after a wait that brought ``slot`` no reply, and end the calls that are late."""
        mux = self.mux
        silence = self.silence
        now = monotonic()
        late = mux.next_deadline() <= now
        if self.failure is not None and not slot.done:
            # Interrupted in the middle of handing out its reply, the slot is in no queue any more.
            slot.failure, slot.done = self.failure, True
        if self.failure is not None or not (late or now - silence.no_reply_since >= self._tick):
            return
        self._read_all()
        self._look(now, mux.received, mux.replies)
        if late:
            mux.expire(now, Failure(Failure.EXPIRED, "the server did not answer in time"))
        watch = self.watch
        if watch is None or not mux.slots:
            return
        silent = now - silence.since >= 2 * self._tick
        if late or silent:
            self._troubled = True
            watch.silent(silence.since)
        if self._give_up_if_stuck(now) or silence.ended_by_progress(mux, self._port) or not silent:
            return
        if not slot.done and not self._asking:
            self._asking = True
            try:
                self._wake_next()
                await watch.ask(self, slot.deadline)
            finally:
                self._asking = False

    def _give_up_if_stuck(self, now: float) -> bool:
        """Fail if the oldest reply that is due has no caller, and no reply was completed for the backend's timeout."""
        watch = self.watch
        if watch is None or not self.silence.is_stuck(self.mux, now, watch.patience):
            return False
        self._read_all()
        if self.silence.is_stuck(self.mux, now, watch.patience):
            self.fail(Failure(Failure.SILENT, "the server stopped answering"))
        return self.failure is not None

    def supersede(self, why: str = "the server answers on another connection only") -> None:
        """Another connection, which the server has answered, takes the place of this one.

        A silent connection is given up. One that has spoken in the meantime ends its calls in flight and closes.
        """
        self._read_all()
        if self.failure is None and self.silence.holds(self.mux) and self.mux.slots:
            self.fail(Failure(Failure.SILENT, why))
        else:
            self.retire()

    def _flush(self) -> bool:
        """Send what there is to send. True if nothing is left, or nothing can be sent any more."""
        if self.failure is not None:
            return True
        mux = self.mux
        out = mux.out
        try:
            while out:
                number = self._send(out)
                del out[:number]
                mux.sent += number
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

    def _read_unasked(self) -> None:
        """Read what arrived while no task led, and give the connection up if it is stuck with calls that have ended."""
        # The call that reads is about to begin, so that calls in the queue must not be admitted to its place.
        self._admitted += 1
        self._read(self._turns)
        self._admitted -= 1
        if self.mux.slots:
            self._give_up_if_stuck(monotonic())

    def drain(self) -> bool:
        """Read what has arrived and hand it out. True if the leader should check its slot."""
        busy_peer = self.busy_peer
        self._read(1 if busy_peer is not None and busy_peer() else self._turns)
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
                if not mux.hand_out(self._feed(buffer, count)):
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
            if not self._runtime.suspends:
                # A signal handler may have raised it.
                raise
        except BaseException:
            self.fail(Failure(Failure.BROKEN, "the connection was interrupted while receiving"))
            raise
        finally:
            self._admit()
        return False

    def _read_all(self) -> None:
        while self._read(TURNS):
            pass

    def _unexpected(self) -> None:
        """Fail: the server sent a reply that no call expected, and the next call would take it for its own."""
        unexpected, self.mux.unexpected = self.mux.unexpected, NOTHING
        refusal = unexpected if isinstance(unexpected, Refusal) else None
        text = "the server turned the connection away" if refusal else "the server sent a reply that no call expected"
        self.fail(Failure(Failure.BROKEN, text, refusal))

    def _wake_next(self) -> None:
        """Wake a task to take a role that is free and needed."""
        mux = self.mux
        if self.failure is not None:
            return
        if self.retired and not mux.live:
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

    def has_room(self) -> bool:
        """Whether a call can begin at once."""
        return not self._queued and not self._is_full()

    def send(self) -> None:
        """Send what is queued, as far as the socket takes it at once."""
        if self.mux.writer is None:
            self._flush()

    def _is_full(self) -> bool:
        mux = self.mux
        return len(mux.slots) + self._admitted >= MAX_SLOTS or len(mux.out) >= MAX_UNSENT

    async def enter(self, deadline: float) -> None:
        """Wait for room in the queue; read and write for the others if none of them is left to do so.

        The next call to begin must be the caller's, with no await in between.
        """
        mux = self.mux
        caller = Slot(1, deadline, 0)
        self._queued[caller] = None
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
                self._queued.pop(caller, None)
            self._wake_next()
            raise
        self._admitted -= 1

    def _admit(self) -> None:
        """Admit queued calls while there is room; all of them if the connection has failed, so that they find out."""
        while self._queued and (self.failure is not None or not self._is_full()):
            caller = next(iter(self._queued))
            del self._queued[caller]
            caller.done = True
            self._admitted += 1
            if caller.waiter is not None:
                self._runtime.unpark(caller)
            elif caller is self.mux.leader or caller is self.mux.writer:
                self._port.kick()

    def retire(self) -> None:
        """Take no new calls; close when no caller waits for a reply any more."""
        self.retired = True
        self.usable = False
        if not self.mux.live:
            self.fail(Failure(Failure.BROKEN, "the connection was retired"))

    def fail(self, failure: Failure) -> None:
        """Close, and end every call in flight. Called in the loop or thread that the link serves. Idempotent."""
        if self.failure is not None:
            return
        failure.client = self.client
        self.failure = failure
        self.usable = False
        in_flight = bool(self.mux.slots or self.mux.out)
        self.mux.fail(failure)
        self.mux.out.clear()
        self._port.close(reset=in_flight and failure.reason != Failure.CLOSED)
        self._admit()

    def close_silently(self) -> None:
        """Close the descriptor only: no byte is sent and no task is woken."""
        self.failure, self.usable = Failure(Failure.CLOSED, "the connection was abandoned"), False
        self._port.close_silently()

    def use(self, watch: Watch) -> None:
        """Begin to serve calls: report to ``watch`` what happens."""
        self.watch = watch
        self._tick = silence_within(watch.patience) / 2

    def occupy(self, place: Attempt) -> None:
        """Keep a place of a pool alive. Ending it wakes the thread that uses the connection."""
        # The place must not refer to the connection: a connection that is dropped must be freed at once.
        self.place = place
        place.enter(self._port.kick, self._port)

    def cut(self) -> None:
        """Wake the thread that uses a blocking link, from another one; its next read ends the stream."""
        self._port.kick()

    def is_clean(self) -> bool:
        """Whether nothing is in flight, so that the link can be used again."""
        return self.failure is None and not self.mux.slots and not self.mux.out
