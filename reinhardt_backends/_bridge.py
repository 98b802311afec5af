"""How a blocking caller runs coroutines: in its own thread, or in the portal.

A coroutine that never suspends needs no event loop: one ``send(None)`` runs it to its end. That is ``drive``.

Any other coroutine needs a loop, and that is the portal: one daemon thread for each runtime, shared by every face,
started when it is first needed. Work goes there as *strands*. A strand is one task in the portal and, at the other end
of a queue, one blocking caller. A call is a strand that gives one answer. An iteration or a ``with`` block is a strand
that gives an answer and waits to be asked again, so that all of it happens in one task, as cancel scopes and task
groups demand.

Two rules keep callers from hanging, since an interrupt (Ctrl-C) may arrive between any two steps of theirs:

* Handing work over never waits, and whether the work begins or was given up is settled by who takes a lock first.
* A strand always ends by putting a last answer into its queue, and says so in ``ended`` before it does. A caller that
  is interrupted cancels the strand and waits until it has ended; a second interrupt ends that wait, too.

anyio's own ``BlockingPortal`` waits while it hands work over, refuses callers inside a trio loop, ends for everybody
when one call raises ``SystemExit``, and does not say when a cancelled call has come to its end.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from types import TracebackType

    import anyio

T = TypeVar("T")

Runtime: TypeAlias = Literal["asyncio", "trio"]

_RUNTIMES: Final = ("asyncio", "trio")

# On Windows a wait without an end is deaf to Ctrl-C.
_TICK: Final = 0.1 if sys.platform == "win32" else None


def drive(coroutine: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
    """Run a coroutine that never suspends to its end, and return its result.

    Raises:
        RuntimeError: It suspended. It was closed, so what it held is released.
    """
    running = cast("Coroutine[Any, Any, T]", coroutine)
    try:
        running.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    error = RuntimeError(
        f"{getattr(running, '__qualname__', running)} suspended where no event loop runs it; "
        "a backend that says never_suspends must await nothing that waits"
    )
    try:
        running.close()
    except Exception as cause:
        raise error from cause
    raise error


class Runner(Protocol):
    """How a face runs what the object behind it does. What makes a coroutine is called where the coroutine will run."""

    @property
    def runtime(self) -> Runtime: ...

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine to its end."""
        ...

    def iterate(self, make: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """Iterate, on demand."""
        ...

    def hold(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> AbstractContextManager[T]:
        """Enter and leave a context manager."""
        ...


def check_runtime(runtime: Runtime) -> Runtime:
    """Return the name of a runtime that the portal can have."""
    if runtime not in _RUNTIMES:
        raise ValueError(f"runtime must be 'asyncio' or 'trio', not {runtime!r}")
    return runtime


class Driven:
    """A ``Runner`` that drives what never suspends, in the calling thread."""

    __slots__ = ("runtime",)

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return drive(make())

    def iterate(self, make: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        return _drive_each(aiter(make()))

    def hold(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> AbstractContextManager[T]:
        return _DrivenContext(make())


def _drive_each(iterator: AsyncIterator[T]) -> Iterator[T]:
    try:
        while True:
            try:
                item = drive(anext(iterator))
            except StopAsyncIteration:
                return
            yield item
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            drive(close())


class _DrivenContext(AbstractContextManager[T, Any]):
    def __init__(self, manager: AbstractAsyncContextManager[T]) -> None:
        self._manager = manager

    def __enter__(self) -> T:
        return drive(self._manager.__aenter__())

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return drive(self._manager.__aexit__(exc_type, exc, traceback))


class Ported:
    """A ``Runner`` that runs everything in the portal of one runtime."""

    __slots__ = ("runtime",)

    def __init__(self, runtime: Runtime) -> None:
        if runtime == "trio":
            _require_trio()
        self.runtime = runtime

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async def work(_: _Strand) -> T:
            return await make()

        result: T = _Strand(_portal(self.runtime), work).begin()
        return result

    def iterate(self, make: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        return _PortalIterator(_portal(self.runtime), make)

    def hold(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> AbstractContextManager[T]:
        return _PortalContext(_portal(self.runtime), make)


class _PortalIterator(Iterator[T]):
    """An iteration in the portal: one task does every step and the closing, each when it is asked for."""

    def __init__(self, portal: _Portal, make: Callable[[], AsyncIterator[T]]) -> None:
        async def work(strand: _Strand) -> None:
            iterator = aiter(make())
            try:
                item: Any = None
                while await strand.answer(item):
                    try:
                        item = await anext(iterator)
                    except StopAsyncIteration:
                        return
            finally:
                close = getattr(iterator, "aclose", None)
                if close is not None:
                    await close()

        self._turn = threading.Lock()
        self._strand = _Strand(portal, work)
        self._strand.begin()

    def __next__(self) -> T:
        item: T = self._step(True)
        if self._strand.over:
            raise StopIteration
        return item

    def close(self) -> None:
        """End the iteration, and return when the asynchronous iterator is closed."""
        self._step(False)

    def _step(self, wanted: bool) -> Any:
        if not self._turn.acquire(blocking=False):
            raise ValueError("the iterator is already executing")
        try:
            return None if self._strand.over else self._strand.ask(wanted)
        finally:
            self._turn.release()

    def __del__(self) -> None:
        # The collector may run in the portal's own thread, so nobody waits here.
        strand = getattr(self, "_strand", None)
        if strand is not None and not strand.over:
            strand.tell(False)


class _PortalContext(AbstractContextManager[T, Any]):
    """A context manager in the portal: one task enters it, waits for the block to end, and leaves it."""

    def __init__(self, portal: _Portal, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        async def work(strand: _Strand) -> bool:
            raised: BaseException | None = None
            try:
                async with make() as value:
                    raised = await strand.answer(value)
                    if raised is not None:
                        raise raised
            except BaseException as error:
                if error is not raised:
                    raise
                return False
            return raised is not None

        self._strand = _Strand(portal, work)

    def __enter__(self) -> T:
        value: T = self._strand.begin()
        return value

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._strand.forked:
            # What was entered before the fork is the parent's to leave.
            return False
        suppressed: bool = self._strand.ask(exc)
        if exc is not None:
            exc.__traceback__ = traceback
        return suppressed


class _Strand:
    """One task in the portal, and the blocking end of it, which one caller at a time may use.

    Attributes:
        over: Whether the last answer was taken, so that there is nothing more to ask for.
    """

    def __init__(self, portal: _Portal, work: Callable[[_Strand], Coroutine[Any, Any, Any]]) -> None:
        self.over = False
        self._portal = portal
        self._work = work
        self._first = threading.Lock()
        self._answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._ended = False
        self._request: Any = None

    # The caller's end.

    def begin(self) -> Any:
        """Start the task, and return its first answer."""
        self._portal.check()
        self._portal.strands.add(self)
        return self._exchange(self._portal.spawn, self._run)

    def ask(self, request: Any) -> Any:
        """Hand over a request, and return the answer. With the last one, ``over`` becomes true."""
        self._portal.check()
        return self._exchange(self._receive, request)

    def tell(self, request: Any) -> None:
        """Hand over a request without waiting for the answer."""
        try:
            self._portal.soon(self._receive, request)
        except Exception:
            # The portal has ended, in this process or by a fork: the task is no more.
            self.over = True

    @property
    def forked(self) -> bool:
        """Whether the task is in another process."""
        return self._portal.forked

    def _exchange(self, function: Callable[[Any], object], argument: Any) -> Any:
        try:
            self._portal.check()
            self._portal.soon(function, argument)
            value, error = self._take()
            # Before a task ends it says so. An answer that is not the last may be read after that, too.
            self.over = self._ended and self._answers.empty()
        except BaseException:
            self._give_up()
            raise
        if error is None:
            return value
        try:
            raise error
        finally:
            # No cycle of error, traceback and frame.
            del error, value

    def _take(self) -> tuple[Any, BaseException | None]:
        while True:
            try:
                return self._answers.get(timeout=_TICK)
            except Empty:
                continue

    def _give_up(self) -> None:
        """Cancel the task and wait until it has ended, or see to it that it never begins."""
        self.over = True
        if self._first.acquire(blocking=False):
            self._portal.strands.discard(self)
            return
        if not self._ended:
            self._portal.soon(self._cancel, None)
        while not self._ended:
            self._take()
