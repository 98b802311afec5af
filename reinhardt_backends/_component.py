"""What throttles, caches, sessions and locks have in common: what they require of a backend, and how they wait.

**Requirements** are checked when a component is made, not in the middle of a request. A backend provides a verb if its
class overrides the one of ``Backend`` that raises ``UnsupportedOperationError``, or if that one is composed of others.
A namespace provides what its parent does.

**Waiting.** A component is written once, as coroutines. In an event loop they sleep as that loop does. Under a blocking
face that drives them with one ``send(None)`` they must never suspend, so there they block the calling thread. A
component that waits keeps its way of waiting in the attribute ``_waiting``; its blocking face replaces it.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar, cast

from ._backend import Backend, ManualClock, Namespace, View
from ._errors import UnsupportedOperationError

if TYPE_CHECKING:
    from ._io import Runtime

T = TypeVar("T")

Caller: TypeAlias = weakref.ref[Any]
"""The identity of a task or thread. Equal as long as that lives, and not kept alive by it."""

_COMPOSED: Final = frozenset(
    {"get_many", "set_many", "delete_many", "namespace", "with_timeout", "wait_until_ready", "ping", "aclose"}
    | {"observed", "stats"}
)


def check_backend(backend: Backend, component: str) -> Backend:
    """Return what a component was given as its backend.

    Raises:
        TypeError: It is no ``Backend``.
    """
    if isinstance(backend, Backend):
        return backend
    raise TypeError(f"{component} takes a Backend, not {type(backend).__name__}")


def provides(backend: Backend, *verbs: str) -> bool:
    """Whether a backend provides every one of these verbs."""
    return not _missing(backend, verbs)


def require(backend: Backend, component: str, *verbs: str) -> None:
    """Check that a backend provides the verbs that a component needs.

    Raises:
        UnsupportedOperationError: It does not; the message and ``verb`` name those that are missing.
    """
    missing = _missing(backend, verbs)
    if missing:
        name = type(_root(backend)).__qualname__
        verb = ", ".join(missing)
        raise UnsupportedOperationError(
            f"{component} needs {' and '.join(verbs)}; {name} does not provide {verb}", verb=verb, class_name=name
        )


def refuse_eviction(backend: Backend, component: str, evictable: bool) -> None:
    """Check that a backend keeps live keys, as far as its object can tell; views are seen through.

    A Redis server with a ``maxmemory-policy`` that evicts is not recognised: its backend knows nothing of it.

    Raises:
        ValueError: It may evict them, and ``evictable`` does not accept that.
    """
    root = _root(backend)
    if not evictable and root._may_evict():
        raise ValueError(
            f"{component} would lose entries: this {type(root).__qualname__} evicts live keys at its bound; "
            "use a backend without maxsize and maxbytes, or accept the loss with evictable=True"
        )


def _missing(backend: Backend, verbs: tuple[str, ...]) -> list[str]:
    provider = type(_root(backend))
    needed = [verb for verb in verbs if verb not in _COMPOSED]
    return [verb for verb in needed if getattr(provider, verb) is getattr(Backend, verb)]


def _root(backend: Backend) -> Backend:
    while isinstance(backend, View):
        backend = backend._parent
    return backend


def stored_prefix(backend: Backend) -> str:
    """Return what stands before each key of a backend in the store: its own prefix, and those of its namespaces."""
    prefix = ""
    while isinstance(backend, View):
        if isinstance(backend, Namespace):
            prefix = backend._prefix + prefix
        backend = backend._parent
    own: str = getattr(backend, "_prefix", "")
    return own + prefix


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


def blocking_verb(backend: Backend, name: str) -> Callable[..., Any]:
    """Return a verb of a blocking backend as a plain function, the fastest there is."""
    plain = backend._plain_verb(name)
    if plain is not None:
        return plain
    verb = getattr(backend, name)
    return lambda *args, **kwargs: drive(verb(*args, **kwargs))


class Signal:
    """An event that happens once.

    It has no lock: each step is one operation of a list, so a signal handler or a fork in the middle of any of them
    leaves nothing held.

    Attributes:
        given: Whether it has happened.
    """

    __slots__ = ("_wakers", "given")

    def __init__(self) -> None:
        self.given = False
        self._wakers: list[Callable[[], object]] = []

    def give(self) -> None:
        """Let it happen, and wake all waiters. From any thread; never waits; idempotent."""
        self.given = True
        while True:
            try:
                wake = self._wakers.pop()
            except IndexError:
                return
            wake()

    def attach(self, wake: Callable[[], object]) -> bool:
        """Have a function called once, in the giver's thread, when it happens. ``False`` if it has happened."""
        self._wakers.append(wake)
        # A giver that missed the waker has set ``given`` before, so it is seen here.
        return not self.given

    def detach(self, wake: Callable[[], object]) -> None:
        """Remove a function that was attached."""
        with contextlib.suppress(ValueError):
            self._wakers.remove(wake)


class Waiter:
    """One that waits in a ``Line``.

    Attributes:
        caller: The task or thread that waits.
        place: Its place in the line; ``None`` if it has none of its own, because the caller has one already.
        signal: What wakes it.
    """

    __slots__ = ("__weakref__", "caller", "place", "signal")

    def __init__(self, caller: Caller | None) -> None:
        self.caller = caller
        self.place: weakref.ref[Waiter] | None = None
        self.signal = Signal()


class Line:
    """The waiters of one process in order of arrival, whatever tasks, event loops and threads they are in.

    As in ``Signal``, every change is one atomic operation. The child of a fork starts with an empty line. A waiter that
    an interrupt kept from leaving leaves when it is deleted, so that it does not hold up the others for good.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._waiters: deque[weakref.ref[Waiter]] = deque()
        self._callers: dict[Caller | None, weakref.ref[Waiter]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiters)

    def includes(self, caller: Caller | None) -> bool:
        """Whether a caller is in the line. A signal handler runs in the thread that it interrupts."""
        if self._pid != os.getpid():
            self._start()
        place = None if caller is None else self._callers.get(caller)
        return place is not None and place() is not None

    def join(self, waiter: Waiter) -> None:
        """Give a waiter the last place. If its caller is in the line already, it gets none, and never waits.

        Join within the block that leaves, so that an interrupt leaves no waiter behind.
        """
        if not self.includes(waiter.caller):
            waiter.place = weakref.ref(waiter, self._remove)
            # First, so that a signal handler in between does not wait for the waiter that it interrupts.
            self._callers[waiter.caller] = waiter.place
            self._waiters.append(waiter.place)

    def leave(self, waiter: Waiter) -> None:
        """Give up a place, and wake the first waiter."""
        if waiter.place is None:
            self.wake_first()
            return
        self._remove(waiter.place)
        self._callers.pop(waiter.caller, None)
        waiter.place = None

    def _remove(self, place: weakref.ref[Waiter]) -> None:
        with contextlib.suppress(ValueError):
            self._waiters.remove(place)
        self.wake_first()

    def wake_first(self) -> None:
        """Wake the first waiter, so that it looks again."""
        with contextlib.suppress(IndexError):
            first = self._waiters[0]()
            if first is not None:
                first.signal.give()

    def is_first(self, waiter: Waiter) -> bool:
        """Whether it is a waiter's turn."""
        try:
            return waiter.place is None or self._waiters[0] is waiter.place
        except IndexError:
            return True

    async def reach_front(self, waiter: Waiter, waiting: Waiting, until: float | None) -> bool:
        """Wait until a waiter is the first, or until some time. Return whether it is."""
        while not self.is_first(waiter):
            waiter.signal = signal = Signal()
            left = None if until is None else until - waiting.now()
            if self.is_first(waiter):
                break
            if left is not None and left <= 0:
                return False
            await waiting.wait(signal, left)
        return True

    async def pause(self, waiter: Waiter, waiting: Waiting, seconds: float) -> None:
        """Sleep for some time, or until ``wake_first`` wakes this waiter."""
        waiter.signal = signal = Signal()
        await waiting.wait(signal, seconds)


class Waiting(Protocol):
    """A way to wait.

    Attributes:
        blocks: Whether it blocks the calling thread.
        clock: A monotonic clock in seconds that any thread may read.
    """

    @property
    def blocks(self) -> bool: ...
    @property
    def clock(self) -> Callable[[], float]: ...

    def caller(self) -> Caller | None:
        """Return the identity of the running task or thread; ``None`` if it has none."""
        ...

    def now(self) -> float:
        """Return the time of the clock by which ``sleep`` sleeps, in seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for some time."""
        ...

    async def wait(self, signal: Signal, timeout: float | None = None) -> bool:
        """Wait for a signal, at most ``timeout`` seconds, and return whether it was given."""
        ...

    async def finish(self, work: Awaitable[T]) -> T:
        """Await what must come to its end even if the caller is cancelled, such as giving back what it holds."""
        ...

    def background(self, work: Callable[[], Coroutine[Any, Any, None]]) -> AbstractAsyncContextManager[None]:
        """Run something beside a block. Enter and leave the block in one task."""
        ...


class _InLoop:
    """In the caller's event loop. Cancelling ends the wait and nothing else."""

    blocks = False
    clock = staticmethod(time.monotonic)

    def caller(self) -> Caller | None:
        import anyio

        try:
            return weakref.ref(anyio.get_current_task().coro)
        except (RuntimeError, TypeError):
            # No event loop runs, or the task runs something that cannot be referred to weakly.
            return None

    def now(self) -> float:
        from ._io import current_time

        return current_time()

    async def sleep(self, seconds: float) -> None:
        import anyio

        await anyio.sleep(seconds)

    async def wait(self, signal: Signal, timeout: float | None = None) -> bool:
        import anyio

        from ._io import current_loop, runtime_for

        event = anyio.Event()
        runtime = runtime_for(current_loop())

        def wake() -> None:
            runtime.run_soon(event.set)

        if signal.attach(wake):
            try:
                with anyio.move_on_after(timeout):
                    await event.wait()
            finally:
                signal.detach(wake)
        return signal.given

    async def finish(self, work: Awaitable[T]) -> T:
        import anyio

        results: list[T] = []
        with anyio.CancelScope(shield=True):
            results.append(await work)
        return results[0]

    @asynccontextmanager
    async def background(self, work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncGenerator[None, None]:
        import anyio

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            yield
            group.cancel_scope.cancel()


class _InThread:
    """In the calling thread, which blocks."""

    blocks = True
    clock = staticmethod(time.monotonic)

    def caller(self) -> Caller | None:
        return weakref.ref(threading.current_thread())

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - the point of this way to wait

    async def wait(self, signal: Signal, timeout: float | None = None) -> bool:
        # A bare lock as the event: unlike ``Event.set``, releasing it takes no lock that a signal handler may hold.
        event = threading.Lock()
        event.acquire()
        if signal.attach(event.release):
            try:
                event.acquire(timeout=-1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX))
            finally:
                signal.detach(event.release)
        return signal.given

    async def finish(self, work: Awaitable[T]) -> T:
        return await work

    @asynccontextmanager
    async def background(self, work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncGenerator[None, None]:
        def run() -> None:
            drive(work())

        # What it waits for ends with the block, and an interpreter that exits need not wait for it.
        threading.Thread(target=run, name="reinhardt_backends background", daemon=True).start()
        yield


class _OnManualClock:
    """Waits as another way does, and no longer than a clock that a test moves.

    Time passes as it does in the world and, in addition, by as much as the test moves the clock. So a wait for a store
    on that clock ends when the store is ready, and a timeout ends even if nothing moves the clock.
    """

    def __init__(self, base: Waiting, manual: ManualClock) -> None:
        self._base = base
        self._manual = manual
        self.blocks = base.blocks

    def clock(self) -> float:
        return self._base.clock() + self._manual()

    def blocking(self) -> Waiting:
        return _OnManualClock(IN_THREAD, self._manual)

    def caller(self) -> Caller | None:
        return self._base.caller()

    def now(self) -> float:
        return self._base.now() + self._manual()

    async def sleep(self, seconds: float) -> None:
        await self.wait(Signal(), seconds)

    async def wait(self, signal: Signal, timeout: float | None = None) -> bool:
        if timeout is None or timeout == math.inf:
            return await self._base.wait(signal, timeout)
        woken = Signal()
        cancel = self._manual.call_after(max(timeout, 0), woken.give)
        try:
            if signal.attach(woken.give):
                await self._base.wait(woken, timeout)
        finally:
            signal.detach(woken.give)
            cancel()
        return signal.given

    async def finish(self, work: Awaitable[T]) -> T:
        return await self._base.finish(work)

    def background(self, work: Callable[[], Coroutine[Any, Any, None]]) -> AbstractAsyncContextManager[None]:
        return self._base.background(work)


IN_LOOP: Final[Waiting] = _InLoop()
IN_THREAD: Final[Waiting] = _InThread()


def waiting_for(backend: Backend) -> Waiting:
    """Return how a component on a backend waits in event loops."""
    manual = backend._manual_clock()
    return IN_LOOP if manual is None else _OnManualClock(IN_LOOP, manual)


def blocking_waiting(waiting: Waiting) -> Waiting:
    """Return the way to wait that blocks the calling thread instead."""
    return waiting.blocking() if isinstance(waiting, _OnManualClock) else IN_THREAD


def event_loops() -> tuple[Callable[[], Any], Callable[[Any], Runtime]]:
    """Return what tells which event loop runs, and what parks tasks in it: ``current_loop`` and ``runtime_for``."""
    from ._io import current_loop, runtime_for

    return current_loop, runtime_for


def check_timeout(timeout: float) -> float:
    """Return the seconds that a caller is ready to wait.

    Raises:
        TypeError: It is not a number.
        ValueError: It is negative or NaN.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"a timeout must be seconds, not {type(timeout).__name__}")
    if not timeout >= 0:
        raise ValueError("a timeout must not be negative")
    return timeout
