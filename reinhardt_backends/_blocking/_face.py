"""How a blocking face runs what is behind it: driven in the calling thread, or in the portal.

A coroutine that never suspends needs no event loop: one ``send(None)`` runs it to its end. That is ``drive``, and what
faces over memory, over blocking sockets and over classes that say ``never_suspends`` do. Any other coroutine runs in
the portal, an event loop in a worker thread.

A face is the blocking side of one asynchronous object, and ``Face`` is what the generated classes have in common.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from .._backend import Backend
from ._portal import Portal, Runtime, Strand, portal

T = TypeVar("T")


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


class Driven:
    """A ``Runner`` that drives what never suspends, in the calling thread."""

    __slots__ = ("runtime",)

    def __init__(self, runtime: Runtime) -> None:
        self.runtime: Runtime = runtime

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
        self.runtime: Runtime = runtime

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async def work(_: Strand) -> T:
            return await make()

        result: T = Strand(portal(self.runtime), work).begin()
        return result

    def iterate(self, make: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        return _PortalIterator(portal(self.runtime), make)

    def hold(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> AbstractContextManager[T]:
        return _PortalContext(portal(self.runtime), make)


class _PortalIterator(Iterator[T]):
    """An iteration in the portal: one task does every step and the closing, each when it is asked for."""

    def __init__(self, portal: Portal, make: Callable[[], AsyncIterator[T]]) -> None:
        async def work(strand: Strand) -> None:
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
        self._strand = Strand(portal, work)
        self._strand.begin()

    def __next__(self) -> T:
        return self._step(True)

    def close(self) -> None:
        """End the iteration, and return when the asynchronous iterator is closed."""
        with contextlib.suppress(StopIteration):
            self._step(False)

    def _step(self, wanted: bool) -> T:
        if not self._turn.acquire(blocking=False):
            raise ValueError("the iterator is already executing")
        try:
            if not self._strand.over:
                item: T = self._strand.ask(wanted)
                if not self._strand.over:
                    return item
            raise StopIteration
        finally:
            self._turn.release()

    def __del__(self) -> None:
        # The collector may run in the portal's own thread, so nobody waits here.
        strand = getattr(self, "_strand", None)
        if strand is not None and not strand.over:
            strand.tell(False)


class _PortalContext(AbstractContextManager[T, Any]):
    """A context manager in the portal: one task enters it, waits for the block to end, and leaves it."""

    def __init__(self, portal: Portal, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        async def work(strand: Strand) -> bool:
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

        self._strand = Strand(portal, work)

    def __enter__(self) -> T:
        value: T = self._strand.begin()
        return value

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._strand.portal.forked:
            # What was entered before the fork is the parent's to leave.
            return False
        suppressed: bool = self._strand.ask(exc)
        if exc is not None:
            exc.__traceback__ = traceback
        return suppressed


def _require_trio() -> None:
    try:
        importlib.import_module("trio")
    except ImportError as error:
        raise ImportError(
            "runtime='trio' needs trio, which is not installed: pip install 'reinhardt-backends[trio]'"
        ) from error


def choose(backend: Backend, runtime: Runtime) -> tuple[Backend, Runner]:
    """Return what a face of ``backend`` runs, and how.

    Raises:
        TypeError: It is not a ``Backend``, or it is a face already.
        ValueError: There is no such runtime.
        ImportError: The runtime is not installed.
    """
    if isinstance(backend, Face):
        raise TypeError("that is a blocking face already; give it a Backend")
    if not isinstance(backend, Backend):
        given = backend.__name__ if isinstance(backend, type) else type(backend).__name__
        raise TypeError(f"a blocking face needs an instance of Backend, not {given}")
    if runtime not in ("asyncio", "trio"):
        raise ValueError(f"runtime must be 'asyncio' or 'trio', not {runtime!r}")
    twin = backend._blocking_twin()
    return (backend, Ported(runtime)) if twin is None else (twin, Driven(runtime))


class Face(Generic[T]):
    """The blocking side of one asynchronous object: what the generated classes have in common.

    Args:
        target: The object whose coroutines are run.
        runner: How they are run.
    """

    __slots__ = ("__weakref__", "_held", "_runner", "_target")

    def __init__(self, target: T, runner: Runner) -> None:
        self._target = target
        self._runner = runner
        # The blocks that were entered and not left yet, the last one at the end.
        self._held: list[AbstractContextManager[Any, Any]] = []

    @classmethod
    def _over(cls, target: T, runner: Runner) -> Self:
        """Return the face of an object that another one made."""
        face = cls.__new__(cls)
        Face.__init__(face, target, runner)
        return face

    def _enter(self) -> None:
        target = cast("AbstractAsyncContextManager[Any]", self._target)
        held = self._runner.hold(lambda: target)
        held.__enter__()
        self._held.append(held)

    def _leave(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._held:
            left = self._held.pop().__exit__(exc_type, exc, traceback)
        else:
            # Left without having been entered, as ``ExitStack.push`` does.
            target = cast("AbstractAsyncContextManager[Any]", self._target)
            left = self._runner.call(lambda: target.__aexit__(exc_type, exc, traceback))
        # No backend may suppress an exception. One that does all the same does it here, too.
        return cast("None", left)
