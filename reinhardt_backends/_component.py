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
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar, cast

from ._backend import Backend, View
from ._errors import UnsupportedOperationError

T = TypeVar("T")

_COMPOSED: Final = frozenset(
    {"get_many", "set_many", "delete_many", "namespace", "with_timeout", "wait_until_ready", "ping", "aclose"}
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


class Waiting(Protocol):
    """A way to wait."""

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


class _InLoop:
    """In the caller's event loop. Cancelling ends the wait and nothing else."""

    def now(self) -> float:
        import anyio

        return anyio.current_time()

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


class _InThread:
    """In the calling thread, which blocks."""

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


IN_LOOP: Final[Waiting] = _InLoop()
IN_THREAD: Final[Waiting] = _InThread()


def check_timeout(timeout: float) -> float:
    """Return the seconds that somebody is ready to wait.

    Raises:
        TypeError: They are not a number.
        ValueError: They are negative.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"a timeout must be seconds, not {type(timeout).__name__}")
    if not timeout >= 0:
        raise ValueError("a timeout must not be negative")
    return timeout
