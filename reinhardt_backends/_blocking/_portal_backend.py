"""A backend whose coroutines run in the portal and block the calling thread until they are done.

``PortalRunner`` runs coroutines, iterations and ``async with`` blocks in the portal. ``PortalBackend`` makes a real
``Backend`` of it: its coroutines never suspend, so blocking callers and components drive it as they drive any other.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

from .._backend import Backend, View
from ._portal import Portal, Runtime, Strand, portal

T = TypeVar("T")


class PortalBackend(View):
    """A view of a backend that suspends, for code that is driven in the calling thread.

    Args:
        parent: The backend; its coroutines run in the portal.
        runtime: The event loop of the portal.
    """

    def __init__(self, parent: Backend, runtime: Runtime) -> None:
        super().__init__(parent)
        self._runner = PortalRunner(runtime)
        # The blocks that were entered and not left yet, the last one at the end.
        self._entered: list[AbstractContextManager[Any, Any]] = []

    def __repr__(self) -> str:
        return f"<{self._parent!r} in the {self._runner.runtime} portal>"

    async def _call(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        return self._runner.call(lambda: getattr(self._parent, verb)(*args, **kwargs))

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return PortalKeys(self._runner.iterate(lambda: self._parent.scan(prefix)))

    def _with_timeout(self, seconds: float) -> Backend:
        return PortalBackend(self._parent._with_timeout(seconds), self._runner.runtime)

    def _blocking_twin(self) -> Backend | None:
        return self

    async def __aenter__(self) -> Self:
        block = self._runner.hold(lambda: self._parent)
        block.__enter__()
        self._entered.append(block)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        if self._entered:
            return self._entered.pop().__exit__(exc_type, exc, traceback)
        # Left without having been entered, as ``ExitStack.push`` does.
        return await self._call("__aexit__", exc_type, exc, traceback)


class PortalKeys:
    """An iteration in the portal as an async iterator whose steps block.

    Attributes:
        plain: The same as a plain iterator.
    """

    def __init__(self, plain: PortalIterator[str]) -> None:
        self.plain = plain

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        for key in self.plain:
            return key
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.plain.close()


class PortalRunner:
    """Runs coroutines in the portal of one runtime, from any thread, and blocks until they are done.

    What makes a coroutine is called in the portal, too.
    """

    __slots__ = ("runtime",)

    def __init__(self, runtime: Runtime) -> None:
        if runtime == "trio":
            _require_trio()
        self.runtime: Runtime = runtime

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine to its end."""

        async def work(_: Strand) -> T:
            return await make()

        result: T = Strand(portal(self.runtime), work).begin()
        return result

    def iterate(self, make: Callable[[], AsyncIterator[T]]) -> PortalIterator[T]:
        """Iterate, on demand."""
        return PortalIterator(portal(self.runtime), make)

    def hold(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> AbstractContextManager[T]:
        """Enter and leave a context manager."""
        return PortalContext(portal(self.runtime), make)


class PortalIterator(Iterator[T]):
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
        # The collector may run in the portal's own thread, so this does not wait.
        strand = getattr(self, "_strand", None)
        if strand is not None and not strand.over:
            strand.send_last(False)


class PortalContext(AbstractContextManager[T, Any]):
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
