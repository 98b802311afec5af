"""``Backend``: the contract as an abstract class, with its documentation.

A subclass writes the six abstract verbs. Others are composed of them, or do nothing by default; those of
``OptionalVerbs`` raise ``UnsupportedOperationError`` until the subclass provides them. Nothing here keeps state on the
instance, so a subclass need not call ``super().__init__()``. The verbs are documented here and in ``_optional`` only:
backends inherit the docstrings, and the blocking face is generated from them.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self, SupportsIndex, overload

from .._errors import (
    BackendConnectionError,
    BackendTimeoutError,
    OutcomeUnknownError,
    ResponseError,
)
from .._types import (
    MISSING,
    TTL,
    JSONValue,
    KeepTTL,
    Secret,
    check_keys,
    check_mapping,
    check_name,
    check_new_ttl,
    check_seconds,
)
from .._values._codec import encode
from ._optional import OptionalVerbs
from ._overloads import D, T, abstract_at_run_time
from ._pages import close_iterator
from ._schemes import class_for

if TYPE_CHECKING:
    from types import TracebackType

    from pydantic import TypeAdapter
    from typing_extensions import TypeForm

    from ._atomic import Step

_CLEAR_BATCH: Final = 1000
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5


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

    @staticmethod
    def from_url(url: str, **options: Any) -> Backend:
        """Build a backend from configuration.

        Args:
            url: ``memory://`` or ``redis://``, ``rediss://``, ``unix://``, with the options of the backend's class as
                query, as in ``memory://?maxsize=10000&policy=lfu``.
            **options: Further keyword arguments for the class.

        Raises:
            ValueError: The scheme or an option is unknown, or the value of an option is not valid.
            ImportError: The backend needs an extra that is not installed; the message names it.
        """
        given = Secret((url, options))
        del url, options
        backend: Backend = class_for(given)._from_url(given.reveal()[0], **given.reveal()[1])
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
        found: dict[str, Any] = {}
        for key in check_keys(keys):
            value = await self.get(key, type, default=MISSING)
            if value is not MISSING:
                found[key] = value
        return found

    async def set_many(self, mapping: Mapping[str, Any], ttl: TTL | KeepTTL | None = None) -> None:
        """Store every pair of ``mapping`` as ``set`` would. Not atomic: a call that fails midway may be done in part.

        Args:
            mapping: Keys and values.
            ttl: As for ``set``, for all of them.

        Raises:
            SerializationError: A value could not be read back.
            CapacityError: A value alone is larger than the backend's bound.
        """
        pairs = check_mapping(mapping)
        check_new_ttl(ttl)
        for _, value in pairs:
            encode(value)
        for key, value in pairs:
            await self.set(key, value, ttl)

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Remove every key of ``keys``. Not atomic: a call that fails midway may be done in part.

        Args:
            keys: An iterable of keys; one given twice counts once.

        Returns:
            How many live keys were removed.
        """
        removed = 0
        for key in check_keys(keys):
            removed += await self.delete(key)
        return removed

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

    async def wait_until_ready(self, timeout: float) -> None:
        """Return as soon as the store answers a ``ping``; try again until then.

        Args:
            timeout: Seconds to wait at most, more than 0.

        Raises:
            BackendTimeoutError: It did not answer in time. The cause is the last failure.
        """
        until = time.monotonic() + check_seconds(timeout, "timeout")
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._with_timeout(max(until - time.monotonic(), _FIRST_PAUSE)).ping()
            except (BackendConnectionError, OutcomeUnknownError, ResponseError) as error:
                if time.monotonic() + pause >= until:
                    raise BackendTimeoutError(f"the store was not ready within {timeout:g} s") from error
            await self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

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
        keys = self.scan(prefix)
        try:
            batch: list[str] = []
            async for key in keys:
                batch.append(key)
                if len(batch) == _CLEAR_BATCH:
                    await self.delete_many(batch)
                    batch = []
            await self.delete_many(batch)
        finally:
            await close_iterator(keys)

    def _may_evict(self) -> bool:
        """Whether the store may remove live keys to stay within a bound."""
        return False

    def _runs_steps(self) -> bool:
        """Whether this backend runs atomic steps over several keys."""
        return False

    async def _run_step(self, step: Step, keys: Sequence[str], args: Sequence[str | int | float | bytes]) -> Any:
        """Run an atomic step over ``keys`` and return its answer."""
        self._unsupported(step.name)

    def _blocking_twin(self) -> Backend | None:
        """Return a backend over the same store whose coroutines never suspend, or ``None`` if there is none."""
        return self if type(self).__dict__.get("never_suspends") is True else None

    def _with_timeout(self, seconds: float) -> Backend:
        """Return a backend over the same store and connections whose calls have this deadline."""
        from ._deadline import Deadline

        # What never suspends can neither wait for I/O nor be cancelled.
        return self if self._blocking_twin() is self else Deadline(self, seconds)

    async def _sleep(self, seconds: float) -> None:
        if self._blocking_twin() is self:
            time.sleep(seconds)  # noqa: ASYNC251 - it must not suspend
            return
        import anyio

        await anyio.sleep(seconds)

    def _plain_verb(self, name: str) -> Callable[..., Any] | None:
        """Return the plain function under a verb that never suspends, if there is one. Its arguments are the verb's."""
        return None
