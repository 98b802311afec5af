"""``Backend``: the contract as an abstract class, with its documentation.

A subclass writes the six abstract verbs. Others are composed of them, or do nothing by default; those of
``OptionalVerbs`` raise ``UnsupportedOperationError`` until the subclass provides them. Nothing here keeps state on the
instance, so a subclass need not call ``super().__init__()``. The verbs are documented here and in ``_optional`` only:
backends inherit the docstrings, and the blocking face is generated from them.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, SupportsIndex, overload

from .._types import TTL, JSONValue, KeepTTL, Secret, check_name, check_seconds
from ._clock import ManualClock
from ._composed import delete_each, delete_scanned, get_each, ping_until_ready, set_each
from ._events import Listener, Observer, StoreInfo, check_listener
from ._optional import OptionalVerbs
from ._overloads import D, T, abstract_at_run_time
from ._schemes import build_backend
from ._stats import BackendStats

if TYPE_CHECKING:
    from types import TracebackType

    from pydantic import AnyUrl, TypeAdapter
    from typing_extensions import TypeForm

    from ._atomic import KeyStep, Step


class Backend(OptionalVerbs, ABC):
    """A key-value store with expiry, atomic counters and typed values, shared by everything in an application.

    One instance may be used by any number of tasks, event loops and threads at once. Keys are ``str``; a ttl is seconds
    (``int``, ``float``) or a ``timedelta``, at most 10**11 seconds, rounded up to the next millisecond. A key is
    *missing* if it was never set, was deleted, has expired, or was evicted from a bounded backend; a key that is not
    missing is *live*. ``None`` is a value like any other.

    Every verb may raise, and its documentation does not repeat:

    * ``TypeError``, ``ValueError``: a key, ttl, count or type is not what it must be. Nothing was changed.
    * ``BackendClosedError``: the backend was closed, before or during the call.
    * ``BackendConnectionError`` (``AuthenticationError``, ``BackendTimeoutError``): the store could not be reached;
      nothing was changed. Never on memory.
    * ``OutcomeUnknownError``: a write may have been sent and no reply came. Never on memory.
    * ``ResponseError``: the server refused the command. Never on memory.

    Whether a verb is a checkpoint depends on the backend: the verbs of ``MemoryBackend`` never suspend.
    """

    never_suspends: ClassVar[bool] = False
    """Set it to ``True`` in the body of a subclass whose coroutines never suspend: the blocking face then runs them in
    the calling thread instead of an event loop. It says so for that very class, not for subclasses of it."""

    @classmethod
    def from_url(cls, url: str | AnyUrl, **options: Any) -> Self:
        """Build a backend from configuration.

        Args:
            url: ``memory://`` or ``redis://``, ``rediss://``, ``unix://``, with the options of the backend's class as
                query, as in ``memory://?maxsize=10000&policy=lfu``; or with a scheme of ``register_scheme``. pydantic's
                ``RedisDsn`` will do, too.
            **options: Further keyword arguments for the class. One that only the class of another scheme takes is
                ignored, so that one configuration serves memory and Redis.

        Raises:
            TypeError: No scheme knows an option, or its value has the wrong type.
            ValueError: The scheme is unknown, or is one of another class than that on which this is called; or the
                query has an unknown option; or the value of an option is not valid.
            ImportError: The backend needs an extra that is not installed; the message names it.
        """
        given = Secret((url, options))
        del url, options
        backend: Self = build_backend(cls, given)
        return backend

    @abstractmethod
    async def set(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> None:
        """Store ``value`` under ``key`` and replace both value and expiry. Atomic.

        Args:
            key: The key.
            value: Anything pydantic can turn into JSON, or ``bytes``, which are stored raw.
            ttl: Seconds until the key expires. ``None`` removes an earlier expiry, ``KEEP_TTL`` leaves it as it is.

        Raises:
            SerializationError: The value could not be read back, so it was not stored.
            CapacityError: The value alone is larger than the backend's bound.
        """

    @overload
    async def get(self, key: str, *, default: D = ..., renew: TTL | None = ...) -> JSONValue | bytes | D: ...
    @overload
    async def get(self, key: str, type: type[T], *, renew: TTL | None = ...) -> T | None: ...
    @overload
    async def get(self, key: str, type: type[T], *, default: D, renew: TTL | None = ...) -> T | D: ...
    @overload
    async def get(self, key: str, type: TypeAdapter[T], *, renew: TTL | None = ...) -> T | None: ...
    @overload
    async def get(self, key: str, type: TypeAdapter[T], *, default: D, renew: TTL | None = ...) -> T | D: ...
    @overload
    async def get(self, key: str, type: TypeForm[T], *, renew: TTL | None = ...) -> T | None: ...
    @overload
    async def get(self, key: str, type: TypeForm[T], *, default: D, renew: TTL | None = ...) -> T | D: ...
    @abstract_at_run_time
    async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: TTL | None = None) -> Any:
        """Return the value of ``key``, validated as ``type``, or ``default`` if it is missing.

        Args:
            key: The key.
            type: Any type expression that pydantic can validate, or a ``TypeAdapter``. Reading is strict: a stored
                ``"1"`` is not an ``int``. Without a type, the value comes as plain JSON data, or as ``bytes`` where
                ``bytes`` were stored.
            default: What to return if the key is missing.
            renew: Seconds. On a hit, also reset the expiry, in the same atomic step (a sliding expiry).

        Raises:
            DeserializationError: The stored value is not valid as ``type``.
        """

    @abstractmethod
    async def delete(self, key: str) -> bool:
        """Remove ``key``. Atomic.

        Returns:
            ``True`` if a live key was removed, ``False`` if it was missing.
        """

    @abstractmethod
    async def exists(self, key: str) -> bool:
        """Return whether ``key`` is live."""

    @abstractmethod
    async def increment(self, key: str, ttl: TTL | None = None, *, by: int = 1) -> int:
        """Add ``by`` to the counter ``key`` and return the new value. Atomic.

        A missing key counts as 0. If the key has no expiry after the step and ``ttl`` is given, the expiry is set, in
        the same step; an expiry that is there is never moved (a fixed window).

        Args:
            key: The key.
            ttl: Seconds until a counter that has no expiry expires.
            by: Any integer of the signed 64-bit range.

        Raises:
            CounterError: The value is not an integer, or would leave the signed 64-bit range. Nothing was changed.
        """

    @abstractmethod
    async def clear(self) -> None:
        """Remove every key of this backend or namespace and of its child namespaces, and no other key.

        Keys that were there throughout are gone; keys written meanwhile may or may not be. Not atomic: a call that
        fails midway may have removed some.
        """

    @overload
    async def get_many(self, keys: Iterable[str]) -> dict[str, JSONValue | bytes]: ...
    @overload
    async def get_many(self, keys: Iterable[str], type: type[T]) -> dict[str, T]: ...
    @overload
    async def get_many(self, keys: Iterable[str], type: TypeAdapter[T]) -> dict[str, T]: ...
    @overload
    async def get_many(self, keys: Iterable[str], type: TypeForm[T]) -> dict[str, T]: ...
    async def get_many(self, keys: Iterable[str], type: Any = Any) -> dict[str, Any]:
        """Return the values of the live keys among ``keys``, in the order asked.

        On Redis, a key of a foreign type, such as a list, is passed over.

        Args:
            keys: An iterable of keys; one given twice counts once.
            type: As for ``get``.

        Raises:
            DeserializationError: One of the values is not valid as ``type``.
        """
        return await get_each(self, keys, type)

    async def set_many(self, mapping: Mapping[str, Any], ttl: TTL | KeepTTL | None = None) -> None:
        """Store every pair of ``mapping`` as ``set`` would. Not atomic: a call that fails midway may be done in part.

        Args:
            mapping: Keys and values.
            ttl: As for ``set``, for all of them.

        Raises:
            SerializationError: A value could not be read back.
            CapacityError: A value alone is larger than the backend's bound.
        """
        await set_each(self, mapping, ttl)

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Remove every key of ``keys``. Not atomic: a call that fails midway may be done in part.

        Args:
            keys: An iterable of keys; one given twice counts once.

        Returns:
            How many live keys were removed.
        """
        return await delete_each(self, keys)

    def namespace(self, name: str) -> Backend:
        """Return a view of this backend whose keys are prefixed with ``name + ":"``.

        Views share the store of the backend. Closing a view closes the view only.

        Args:
            name: Any key that is not empty.
        """
        from ._views import Namespace

        return Namespace(self, check_name(name) + ":")

    def with_timeout(self, seconds: float) -> Backend:
        """Return a view of this backend whose calls end within a deadline of their own.

        The view uses the same store and connections. A shorter deadline ends only its own call. Of several views, the
        one made last sets the deadline. ``scan`` and ``clear`` have it for each page. Stores without I/O, such as
        ``MemoryBackend``, need no deadline, and nothing changes for them. A user's backend is cancelled at the
        deadline: reads raise ``BackendTimeoutError`` then, writes ``OutcomeUnknownError``. Closing the view closes the
        view only.

        Args:
            seconds: The deadline of one call, more than 0.
        """
        from ._views import Namespace

        return Namespace(self._with_timeout(check_seconds(seconds)), "")

    def observed(self, listener: Listener, *, keys: bool = False) -> Backend:
        """Return a view of this backend that reports each of its calls to a listener.

        The view uses the same store and connections, and an atomic step stays one call. Components on the view report
        their outcomes, too, such as a cache its hits and misses. What is not called through the view costs nothing and
        is not reported. Closing the view closes the view only.

        Args:
            listener: A plain function that takes an ``Event``. It is called after each call, in the task or thread of
                the caller, so let it be quick. If it raises, the call goes on, and the error's type is logged.
            keys: Whether an ``Event`` has the keys. They may hold what must not get into logs and metrics.

        Raises:
            TypeError: The listener cannot be called, or is a coroutine function.
        """
        from ._views import Namespace

        return Namespace(self._observed(check_listener(listener), keys), "")

    def stats(self) -> BackendStats:
        """Return what is known about the backend without counting or asking the store; it takes no time.

        A view says what the backend behind it says: about all of its keys and calls.

        Raises:
            BackendClosedError: The backend was closed.
        """
        return BackendStats()

    async def wait_until_ready(self, timeout: float) -> None:
        """Return as soon as the store answers a ``ping``; try again until then.

        Args:
            timeout: Seconds to wait at most, more than 0.

        Raises:
            BackendTimeoutError: It did not answer in time. The cause is the last failure.
        """
        await ping_until_ready(self, check_seconds(timeout, "timeout"))

    async def ping(self) -> None:
        """Reach the store, or raise."""

    async def aclose(self) -> None:
        """Release what is held. Idempotent.

        Calls in flight end in ``BackendClosedError``, and so does every verb after it.
        """

    async def __aenter__(self) -> Self:
        """Return the backend itself; leaving the block closes it."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the backend."""
        await self.aclose()

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        """Refuse to be copied or pickled: locks and connections are not, and the state would not be shared."""
        raise TypeError(f"{type(self).__name__} cannot be copied or pickled: pass its url, and make a backend from it")

    async def _clear_prefix(self, prefix: str) -> None:
        """Remove every key that starts with ``prefix``: what ``clear`` of a namespace does."""
        if type(self).scan is Backend.scan:
            self._unsupported("clear", "clear of a namespace, which needs scan")
        await delete_scanned(self, prefix)

    def _may_evict(self) -> bool:
        """Whether the store may remove live keys to stay within a bound."""
        return False

    def _manual_clock(self) -> ManualClock | None:
        """Return the clock of the store if a test moves it."""
        return None

    def _runs_steps(self) -> bool:
        """Whether this backend runs atomic steps over several keys."""
        return False

    async def _run_step(self, step: Step, keys: Sequence[str], args: Sequence[str | int | float | bytes]) -> Any:
        """Run an atomic step over ``keys`` and return its answer."""
        self._unsupported(step.name)

    def _run_key_step(self, step: KeyStep, key: str) -> Awaitable[Any]:
        """Run an atomic step over one key and return its answer."""
        self._unsupported(step.name)

    def _blocking_twin(self) -> Backend | None:
        """Return a backend over the same store whose coroutines never suspend, or ``None`` if there is none."""
        return self if type(self).__dict__.get("never_suspends") is True else None

    def _with_timeout(self, seconds: float) -> Backend:
        """Return a backend over the same store and connections whose calls have this deadline."""
        from ._deadline import Deadline

        # What never suspends can neither wait for I/O nor be cancelled.
        return self if self._blocking_twin() is self else Deadline(self, seconds)

    def _observed(self, listener: Listener, keys: bool) -> Backend:
        """Return a view of this backend that reports each call."""
        from ._observed import Observed

        return Observed(self, Observer(listener, keys, self._store_info()))

    def _store_info(self) -> StoreInfo:
        """Say which store this is."""
        return StoreInfo(type(self).__name__)

    async def _sleep(self, seconds: float) -> None:
        if self._blocking_twin() is self:
            time.sleep(seconds)  # noqa: ASYNC251 - it must not suspend
            return
        import anyio

        await anyio.sleep(seconds)

    def _plain_verb(self, name: str) -> Callable[..., Any] | None:
        """Return the plain function under a verb that never suspends, if there is one. Its arguments are the verb's."""
        return None
