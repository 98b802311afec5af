"""Blocking faces of asynchronous objects.

A coroutine that never suspends needs no event loop: one ``send(None)`` runs it to its end. That is ``drive``, and it is
the only way in which blocking callers run coroutines. ``blocking_backend`` sees to it that a backend's coroutines never
suspend: those of ``MemoryBackend``, and of classes that say ``never_suspends``, do not; ``RedisBackend`` has a twin on
blocking sockets; the coroutines of any other backend block while the portal, an event loop in a worker thread, runs
them. A component on such a backend is driven as well; it waits in the calling thread.

``Face`` is what the generated classes have in common.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from typing import Any, ClassVar, Generic, NoReturn, Self, SupportsIndex, TypeVar, cast, get_args

from .._backend import Backend, Namespace, PagedKeys, close_iterator
from .._component import blocking_waiting, drive
from .._memory import MemoryBackend
from ._portal import Runtime
from ._portal_backend import PortalBackend, PortalKeys

T = TypeVar("T")


def drive_each(iterator: AsyncIterator[T]) -> Iterator[T]:
    """Return an iterator over an asynchronous one that never suspends. Closing it closes the other."""
    if isinstance(iterator, PortalKeys):
        # It is plain underneath, and must not be waited for when it is collected as garbage.
        return cast("Iterator[T]", iterator.plain)
    if isinstance(iterator, PagedKeys):
        return cast("Iterator[T]", _PlainKeys.over(iterator))
    return _drive_each(iterator)


class _PlainKeys(chain[str]):
    """The keys of a scan as a plain iterator. A generator would take twice as long for each key."""

    _keys: PagedKeys

    @classmethod
    def over(cls, keys: PagedKeys) -> Self:
        """Return an iterator that drives ``keys``, a page at a time."""
        plain = cast("Self", cls.from_iterable(iter(lambda: [] if keys.closed else drive(keys.next_page()), [])))
        plain._keys = keys
        return plain

    def close(self) -> None:
        """End the iteration, as that of a generator ends."""
        drive(self._keys.aclose())
        deque(self, maxlen=0)


def _drive_each(iterator: AsyncIterator[T]) -> Iterator[T]:
    try:
        while True:
            try:
                item = drive(anext(iterator))
            except StopAsyncIteration:
                return
            yield item
    finally:
        drive(close_iterator(iterator))


def blocking_backend(backend: Backend, runtime: Runtime = "asyncio") -> Backend:
    """Return a backend over the same store whose coroutines never suspend; they block where they have to wait.

    Raises:
        TypeError: It is not a ``Backend``, or it is a face already.
        ValueError: There is no such runtime.
        ImportError: The runtime is not installed.
    """
    if isinstance(backend, Face):
        raise TypeError("this is a blocking backend already; pass a Backend")
    if not isinstance(backend, Backend):
        given = backend.__name__ if isinstance(backend, type) else type(backend).__name__
        raise TypeError(f"a blocking face needs an instance of Backend, not {given}")
    if runtime not in get_args(Runtime):
        raise ValueError(f"runtime must be 'asyncio' or 'trio', not {runtime!r}")
    return backend._blocking_twin() or PortalBackend(backend, runtime)


class Face(Generic[T]):
    """The blocking side of one asynchronous object: what the generated classes have in common.

    Args:
        target: The object whose coroutines are driven. It uses a blocking backend.
    """

    __slots__ = ("__weakref__", "_target")

    def __init__(self, target: T) -> None:
        self._target = target
        waiting = getattr(target, "_waiting", None)
        if waiting is not None:
            cast("Any", target)._waiting = blocking_waiting(waiting)


class BackendFace(Face[Backend]):
    """The blocking face of a backend: the same store for code that does not await.

    It has every verb of ``Backend`` under the same name; ``aclose`` is ``close`` here, ``async with`` is ``with``, and
    an asynchronous iterator is a plain one. Use it from any number of threads. It works inside a running event loop,
    too, which it blocks as any blocking call does.

    Over ``MemoryBackend``, over ``RedisBackend``, over their namespaces and over classes that say ``never_suspends``,
    verbs run in the calling thread. Over any other backend they run in an event loop in a worker thread, which all
    faces share and which starts when it is first needed. There, Ctrl-C cancels the running call and waits for its end.

    Every verb may raise, and its documentation does not repeat:

    * ``TypeError``, ``ValueError``: a key, ttl, count or type is not what it must be. Nothing was changed.
    * ``BackendClosedError``: the backend was closed, before or during the call.
    * ``BackendConnectionError`` (``AuthenticationError``, ``BackendTimeoutError``): the store could not be reached;
      nothing was changed. Never on memory.
    * ``OutcomeUnknownError``: a write may have been sent and no reply came. Never on memory.
    * ``ResponseError``: the server refused the command. Never on memory.
    * ``RuntimeError``: a class that says ``never_suspends`` does suspend, or a face was used in its own worker thread.

    Args:
        backend: What it is the face of. Closing the face closes it.
        runtime: The event loop of the worker thread, if one is needed: ``"asyncio"`` or ``"trio"``.

    Raises:
        TypeError: ``backend`` is not a ``Backend``, or is a ``SyncBackend`` already.
        ValueError: There is no such runtime.
        ImportError: The runtime is not installed.
    """

    __slots__ = ("_backend", "_memory", "_namespace", "_runtime")

    # The generated classes, by the class of the backend that each is for: one that drives, and two that call the plain
    # functions under the coroutines of the memory backend.
    _classes: ClassVar[dict[type[Any], type[BackendFace]]] = {}

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        """Refuse to be copied or pickled, as the backend does."""
        raise TypeError(f"{type(self).__name__} cannot be copied or pickled: pass its url, and make a backend from it")

    def __init_subclass__(cls, *, over: type[Backend] | None = None) -> None:
        super().__init_subclass__()
        if over is not None:
            BackendFace._classes[over] = cls

    def __init__(self, backend: Backend, *, runtime: Runtime = "asyncio") -> None:
        super().__init__(blocking_backend(backend, runtime))
        self._backend = backend
        self._runtime: Runtime = runtime
        classes = BackendFace._classes
        if type(self) in classes.values():
            chosen: Any = classes[self._find_memory(backend)]
            self.__class__ = chosen

    def _find_memory(self, backend: Backend) -> type[Any]:
        """Keep the memory backend whose plain functions can be called directly, and return what tells how."""
        if type(backend) is MemoryBackend:
            self._memory: MemoryBackend = backend
            return MemoryBackend
        if type(backend) is Namespace and type(backend._parent) is MemoryBackend:
            self._memory, self._namespace = backend._parent, backend
            return Namespace
        return Backend

    def __repr__(self) -> str:
        return f"<SyncBackend over {self._backend!r}>"

    @property
    def backend(self) -> Backend:
        """The backend behind this face."""
        return self._backend


def blocking_target(backend: Backend | BackendFace) -> Backend:
    """Return the blocking backend under a face, or that of a backend, as ``blocking_backend`` does."""
    return backend._target if isinstance(backend, BackendFace) else blocking_backend(backend)
