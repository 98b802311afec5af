"""The portal: event loops in worker threads, for blocking callers of coroutines that really suspend.

There is one daemon thread for each runtime, shared by all callers and started when it is first needed. Work goes there
as *strands*. A strand is one task in the portal and, at the other end of a queue, one blocking caller. A call is a
strand that gives one answer. An iteration or a ``with`` block is a strand that gives an answer and waits to be asked
again, so that all of it happens in one task, as cancel scopes and task groups demand.

Two rules keep callers from hanging, since an interrupt (Ctrl-C) may arrive between any two steps of theirs:

* Handing work over never waits, and whether it begins or was given up is settled by the first to take a lock.
* A strand always ends by putting a last answer into its queue, and says so in ``_ended`` before it does. A caller that
  is interrupted cancels the strand and waits until it has ended; a second interrupt ends that wait, too.

anyio's own ``BlockingPortal`` waits while it hands work over, refuses callers inside a trio loop, ends for all callers
when one call raises ``SystemExit``, and does not report when a cancelled call has ended.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from .._backend._locks import RLock

if TYPE_CHECKING:
    from contextvars import ContextVar

    import anyio
    from anyio.abc import TaskGroup

Runtime: TypeAlias = Literal["asyncio", "trio"]

_HandOver: TypeAlias = Callable[[Context, Callable[[Any], object], Any], object]

# Seconds after which a caller that waits looks for an interrupt. One that arrives just before a wait begins, or that
# another thread receives, does not end the wait. On Windows none does.
_TICK: Final = 0.1 if sys.platform == "win32" else 1.0


class Strand:
    """One task in the portal, and the blocking end of it, which one caller at a time may use.

    Args:
        portal: Where the task runs.
        work: What it does. What it returns or raises is its last answer.

    Attributes:
        over: Whether the last answer was taken, so that there is nothing more to ask for.
    """

    def __init__(self, portal: Portal, work: Callable[[Strand], Coroutine[Any, Any, Any]]) -> None:
        self.portal = portal
        self.over = False
        self._work = work
        self._first = threading.Lock()
        self._ended = False
        self._answers: SimpleQueue[tuple[Any, BaseException | None, bool]] = SimpleQueue()
        self._request: Any = None
        self._asked: anyio.Event | None = None
        self._scope: anyio.CancelScope

    # The caller's end.

    def begin(self) -> Any:
        """Start the task, and return its first answer."""
        self.portal.check()
        self.portal.strands.add(self)
        return self._exchange(self.portal.spawn, self._run)

    def ask(self, request: Any) -> Any:
        """Hand over a request, and return the answer. With the last one, ``over`` becomes true."""
        return self._exchange(self._receive, request)

    def send_last(self, request: Any) -> None:
        """Hand over the last request without waiting for the answer."""
        self.over = True
        try:
            if not self._never_begins() and not self.portal.dead:
                self.portal.soon(self._receive, request)
        except Exception:  # noqa: S110
            # The loop has just ended, or the interpreter is ending: no task is left to receive it.
            pass

    def _exchange(self, function: Callable[[Any], object], argument: Any) -> Any:
        # A portal that ends after this answers every strand of its own.
        self.portal.check()
        try:
            self.portal.soon(function, argument)
            value, error, self.over = self._take()
        except BaseException:
            self._give_up()
            raise
        if error is None:
            return value
        try:
            raise error
        finally:
            # No cycle of error, traceback and frame.
            del error

    def _take(self) -> tuple[Any, BaseException | None, bool]:
        while True:
            try:
                return self._answers.get(timeout=_TICK)
            except Empty:
                continue

    def _give_up(self) -> None:
        """Cancel the task and wait until it has ended, or see to it that it never begins."""
        self.over = True
        if self._never_begins():
            return
        with contextlib.suppress(RuntimeError):
            # The loop may have ended; then the strand has, or is about to be abandoned.
            self.portal.soon(self._cancel, None)
        # It says that it has ended before it gives the last answer, which an interrupt may have lost.
        while not self._ended:
            self._take()

    def _never_begins(self) -> bool:
        """See to it that the task does not begin, and return whether it had not."""
        if not self._first.acquire(blocking=False):
            return False
        self.portal.strands.discard(self)
        return True

    # The task's end.

    async def answer(self, value: Any) -> Any:
        """Give an answer, and return what is asked next."""
        import anyio

        self._asked = asked = anyio.Event()
        self._answers.put((value, None, False))
        await asked.wait()
        request, self._request = self._request, None
        return request

    async def _run(self) -> None:
        if not self._first.acquire(blocking=False):
            return
        import anyio

        value: Any = None
        error: BaseException | None = None
        try:
            with anyio.CancelScope() as self._scope:
                value = await self._work(self)
        except BaseException as raised:
            error = raised
        self._end(value, error)
        # No cycle of error, traceback and frame.
        del error

    def _receive(self, request: Any) -> None:
        # Interrupts may have made the caller lose count, and an error here would end the loop for all of them.
        if self._asked is not None:
            self._request = request
            self._asked.set()

    def _cancel(self, _: None) -> None:
        if not self._ended:
            self._scope.cancel()

    def _end(self, value: Any, error: BaseException | None) -> None:
        self._ended = True
        self.portal.strands.discard(self)
        self._answers.put((value, error, True))

    def abandon(self) -> None:
        """Answer a caller whose task will not run any further."""
        if not self._ended:
            self._end(None, RuntimeError("the event loop of the blocking face was stopped"))


class Portal:
    """An event loop in a thread of its own. Get the one of a runtime from ``portal``.

    Attributes:
        dead: Whether the loop has ended, or is in the parent of this process.
        forked: Whether it is in the parent of this process.
        strands: Those that have not ended.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.dead = False
        self.forked = False
        self.strands: set[Strand] = set()
        self._runtime: Runtime = runtime
        self._ident: int | None = None
        self._ready = threading.Lock()
        self._ready.acquire()
        self._failure: BaseException | None = None
        self._tasks: TaskGroup
        self._library: ContextVar[str | None] | None = None
        self._hand_over: _HandOver
        threading.Thread(target=self._main, name=f"reinhardt_backends {runtime} portal", daemon=True).start()

    def check(self) -> None:
        """Wait until the loop runs.

        Raises:
            RuntimeError: It has ended, or it is the calling thread's own.
        """
        if self.forked:
            raise RuntimeError("what was begun before a fork cannot go on in the child process")
        if self._ident is None and not self.dead:
            with self._ready:
                pass
        if self.dead:
            raise RuntimeError("the event loop of the blocking face was stopped") from self._failure
        if self._ident == threading.get_ident():
            raise RuntimeError("a blocking backend deadlocks in its own worker thread; await the backend instead")

    def soon(self, function: Callable[[Any], object], argument: Any) -> None:
        """Call ``function(argument)`` in the loop, with the context variables of the caller. Never waits."""
        context = copy_context()
        if self._library is not None:
            context.run(self._library.set, self._runtime)
        self._hand_over(context, function, argument)

    def spawn(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task; in the loop's thread only."""
        self._tasks.start_soon(task)

    def stop(self) -> None:
        """End the loop. Only for a portal that was never shared."""
        self.check()
        self.soon(lambda _: self._tasks.cancel_scope.cancel(), None)

    def _main(self) -> None:
        try:
            import anyio

            # A thread may inherit the context of its starter, which may say that another loop is running.
            Context().run(lambda: anyio.run(self._serve, backend=self._runtime))
        except BaseException as error:
            self._failure = error
        self.dead = True
        with _lock:
            if _portals.get(self._runtime) is self:
                del _portals[self._runtime]
        if self._ident is None:
            self._ready.release()
        for strand in list(self.strands):
            strand.abandon()

    async def _serve(self) -> None:
        import anyio

        self._library = _library_variable()
        self._hand_over = _hand_over_to(self._runtime)
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self._ident = threading.get_ident()
            self._ready.release()
            await anyio.sleep_forever()


def _hand_over_to(runtime: Runtime) -> _HandOver:
    """Return what calls a function in the running loop from any thread, without waiting for it."""
    if runtime == "trio":
        from trio.lowlevel import current_trio_token

        token = current_trio_token()
        return lambda context, function, argument: token.run_sync_soon(lambda: context.run(function, argument))
    from asyncio import get_running_loop

    loop = get_running_loop()
    return lambda context, function, argument: loop.call_soon_threadsafe(function, argument, context=context)


def _library_variable() -> ContextVar[str | None] | None:
    """Return the variable in which a caller's context may say that another event loop is running."""
    try:
        from sniffio import current_async_library_cvar
    except ImportError:
        return None
    return current_async_library_cvar


_portals: dict[Runtime, Portal] = {}
# Re-entrant, since a signal handler or finalizer may need a portal while the same thread starts one.
_lock = RLock()


def portal(runtime: Runtime) -> Portal:
    """Return the portal of a runtime, started on first use."""
    found = _portals.get(runtime)
    if found is None:
        with _lock:
            found = _portals.get(runtime)
            if found is None:
                started = Portal(runtime)
                # A signal handler may have started one in the meantime.
                found = _portals.setdefault(runtime, started)
                if found is not started:
                    started.stop()
    return found


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  a thread of the parent may have held the old one
    _lock = RLock()
    for inherited in _portals.values():
        inherited.dead = inherited.forked = True
    _inherited.extend(_portals.values())
    _portals.clear()


# Kept for good: the loop of another process must be neither closed nor collected here.
_inherited: Final[list[Portal]] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
