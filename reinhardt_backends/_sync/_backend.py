# Generated from _backend/_backend.py, _backend/_optional.py, _memory/_backend.py. Do not edit.
# Change those, and run python -m reinhardt_backends._sync._generate
"""The blocking faces: what is asynchronous elsewhere, for code that does not await."""

from __future__ import annotations

from .._backend._backend import Backend
from .._backend._events import Listener
from .._backend._overloads import D
from .._backend._overloads import T
from .._backend._stats import BackendStats
from .._backend._views import Namespace
from .._blocking import BackendFace
from .._blocking import drive
from .._blocking import drive_each
from .._memory._backend import MemoryBackend
from .._types import JSONValue
from .._types import KeepTTL
from .._types import TTL
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import Self
from typing import TYPE_CHECKING
from typing import overload

if TYPE_CHECKING:
    from pydantic import AnyUrl
    from pydantic import TypeAdapter
    from types import TracebackType
    from typing_extensions import TypeForm


class SyncBackend(BackendFace, over=Backend):
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

    __slots__ = ()

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
        hidden: list[Any] = [options, url]
        del url, options
        return cls(Backend.from_url(hidden.pop(), **hidden.pop()))

    def set(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> None:
        """Store ``value`` under ``key`` and replace both value and expiry. Atomic.

        Args:
            key: The key.
            value: Anything pydantic can turn into JSON, or ``bytes``, which are stored raw.
            ttl: Seconds until the key expires. ``None`` removes an earlier expiry, ``KEEP_TTL`` leaves it as it is.

        Raises:
            SerializationError: The value could not be read back, so it was not stored.
            CapacityError: The value alone is larger than the backend's bound.
        """
        return drive(self._target.set(key, value, ttl))

    @overload
    def get(self, key: str, *, default: D = ..., renew: TTL | None = ...) -> JSONValue | bytes | D: ...
    @overload
    def get(self, key: str, type: type[T], *, renew: TTL | None = ...) -> T | None: ...
    @overload
    def get(self, key: str, type: type[T], *, default: D, renew: TTL | None = ...) -> T | D: ...
    @overload
    def get(self, key: str, type: TypeAdapter[T], *, renew: TTL | None = ...) -> T | None: ...
    @overload
    def get(self, key: str, type: TypeAdapter[T], *, default: D, renew: TTL | None = ...) -> T | D: ...
    @overload
    def get(self, key: str, type: TypeForm[T], *, renew: TTL | None = ...) -> T | None: ...
    @overload
    def get(self, key: str, type: TypeForm[T], *, default: D, renew: TTL | None = ...) -> T | D: ...
    def get(self, key: str, type: Any = Any, *, default: Any = None, renew: TTL | None = None) -> Any:
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
        if renew is None:
            return drive(self._target.get(key, type, default=default))
        return drive(self._target.get(key, type, default=default, renew=renew))

    def delete(self, key: str) -> bool:
        """Remove ``key``. Atomic.

        Returns:
            ``True`` if a live key was removed, ``False`` if it was missing.
        """
        return drive(self._target.delete(key))

    def exists(self, key: str) -> bool:
        """Return whether ``key`` is live."""
        return drive(self._target.exists(key))

    def increment(self, key: str, ttl: TTL | None = None, *, by: int = 1) -> int:
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
        return drive(self._target.increment(key, ttl, by=by))

    def clear(self) -> None:
        """Remove every key of this backend or namespace and of its child namespaces, and no other key.

        Keys that were there throughout are gone; keys written meanwhile may or may not be. Not atomic: a call that
        fails midway may have removed some.
        """
        return drive(self._target.clear())

    @overload
    def get_many(self, keys: Iterable[str]) -> dict[str, JSONValue | bytes]: ...
    @overload
    def get_many(self, keys: Iterable[str], type: type[T]) -> dict[str, T]: ...
    @overload
    def get_many(self, keys: Iterable[str], type: TypeAdapter[T]) -> dict[str, T]: ...
    @overload
    def get_many(self, keys: Iterable[str], type: TypeForm[T]) -> dict[str, T]: ...
    def get_many(self, keys: Iterable[str], type: Any = Any) -> dict[str, Any]:
        """Return the values of the live keys among ``keys``, in the order asked.

        On Redis, a key of a foreign type, such as a list, is passed over.

        Args:
            keys: An iterable of keys; one given twice counts once.
            type: As for ``get``.

        Raises:
            DeserializationError: One of the values is not valid as ``type``.
        """
        return drive(self._target.get_many(keys, type))

    def set_many(self, mapping: Mapping[str, Any], ttl: TTL | KeepTTL | None = None) -> None:
        """Store every pair of ``mapping`` as ``set`` would. Not atomic: a call that fails midway may be done in part.

        Args:
            mapping: Keys and values.
            ttl: As for ``set``, for all of them.

        Raises:
            SerializationError: A value could not be read back.
            CapacityError: A value alone is larger than the backend's bound.
        """
        return drive(self._target.set_many(mapping, ttl))

    def delete_many(self, keys: Iterable[str]) -> int:
        """Remove every key of ``keys``. Not atomic: a call that fails midway may be done in part.

        Args:
            keys: An iterable of keys; one given twice counts once.

        Returns:
            How many live keys were removed.
        """
        return drive(self._target.delete_many(keys))

    def namespace(self, name: str) -> SyncBackend:
        """Return a view of this backend whose keys are prefixed with ``name + ":"``.

        Views share the store of the backend. Closing a view closes the view only.

        Args:
            name: Any key that is not empty.
        """
        return SyncBackend(self._backend.namespace(name), runtime=self._runtime)

    def with_timeout(self, seconds: float) -> SyncBackend:
        """Return a view of this backend whose calls end within a deadline of their own.

        The view uses the same store and connections. A shorter deadline ends only its own call. Of several views, the
        one made last sets the deadline. ``scan`` and ``clear`` have it for each page. Stores without I/O, such as
        ``MemoryBackend``, need no deadline, and nothing changes for them. A user's backend is cancelled at the
        deadline: reads raise ``BackendTimeoutError`` then, writes ``OutcomeUnknownError``. Closing the view closes the
        view only.

        Args:
            seconds: The deadline of one call, more than 0.
        """
        return SyncBackend(self._backend.with_timeout(seconds), runtime=self._runtime)

    def observed(self, listener: Listener, *, keys: bool = False) -> SyncBackend:
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
        return SyncBackend(self._backend.observed(listener, keys=keys), runtime=self._runtime)

    def stats(self) -> BackendStats:
        """Return what is known about the backend without counting or asking the store; it takes no time.

        A view says what the backend behind it says: about all of its keys and calls.

        Raises:
            BackendClosedError: The backend was closed.
        """
        return self._target.stats()

    def wait_until_ready(self, timeout: float) -> None:
        """Return as soon as the store answers a ``ping``; try again until then.

        Args:
            timeout: Seconds to wait at most, more than 0.

        Raises:
            BackendTimeoutError: It did not answer in time. The cause is the last failure.
        """
        return drive(self._target.wait_until_ready(timeout))

    def ping(self) -> None:
        """Reach the store, or raise."""
        return drive(self._target.ping())

    def close(self) -> None:
        """Release what is held. Idempotent.

        Calls in flight end in ``BackendClosedError``, and so does every verb after it.
        """
        return drive(self._target.aclose())

    def __enter__(self) -> Self:
        """Return the backend itself; leaving the block closes it."""
        drive(self._target.__aenter__())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the backend."""
        return drive(self._target.__aexit__(exc_type, exc, traceback))

    def add(self, key: str, value: Any, ttl: TTL | None = None) -> bool:
        """Store ``value`` only if ``key`` is missing. Atomic.

        Args:
            key: The key.
            value: As for ``set``.
            ttl: Seconds until the key expires; ``None`` for no expiry.

        Returns:
            Whether it was stored.

        Raises:
            SerializationError: The value could not be read back, so it was not stored.
            CapacityError: The value alone is larger than the backend's bound.
            UnsupportedOperationError: The backend does not provide this verb.
        """
        return drive(self._target.add(key, value, ttl))

    def replace(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        """Store ``value`` only if ``key`` is live. Atomic.

        Args:
            key: The key.
            value: As for ``set``.
            ttl: As for ``set``; ``KEEP_TTL`` leaves the expiry as it is.

        Returns:
            Whether it was stored.

        Raises:
            SerializationError: The value could not be read back, so it was not stored.
            CapacityError: The value alone is larger than the backend's bound.
            UnsupportedOperationError: The backend does not provide this verb.
        """
        return drive(self._target.replace(key, value, ttl))

    @overload
    def pop(self, key: str, *, default: D = ...) -> JSONValue | bytes | D: ...
    @overload
    def pop(self, key: str, type: type[T]) -> T | None: ...
    @overload
    def pop(self, key: str, type: type[T], *, default: D) -> T | D: ...
    @overload
    def pop(self, key: str, type: TypeAdapter[T]) -> T | None: ...
    @overload
    def pop(self, key: str, type: TypeAdapter[T], *, default: D) -> T | D: ...
    @overload
    def pop(self, key: str, type: TypeForm[T]) -> T | None: ...
    @overload
    def pop(self, key: str, type: TypeForm[T], *, default: D) -> T | D: ...
    def pop(self, key: str, type: Any = Any, *, default: Any = None) -> Any:
        """Return the value of ``key`` and remove it; no two callers get the same one.

        Args:
            key: The key.
            type: As for ``get``. With a type it takes two round trips on Redis: read and validate, then delete if
                unchanged.
            default: What to return if the key is missing.

        Raises:
            DeserializationError: The stored value is not valid as ``type``; the key stays.
            UnsupportedOperationError: The backend does not provide this verb.
        """
        return drive(self._target.pop(key, type, default=default))

    def ttl(self, key: str) -> float | None:
        """Return the seconds until ``key`` expires.

        Returns:
            ``math.inf`` if it has no expiry, ``None`` if it is missing.

        Raises:
            UnsupportedOperationError: The backend does not provide this verb.
        """
        return drive(self._target.ttl(key))

    def touch(self, key: str, ttl: TTL | None) -> bool:
        """Reset the expiry of ``key``. Atomic.

        Args:
            key: The key.
            ttl: Seconds until it expires; ``None`` removes the expiry.

        Returns:
            ``True`` for every live key, ``False`` if it is missing.

        Raises:
            UnsupportedOperationError: The backend does not provide this verb.
        """
        return drive(self._target.touch(key, ttl))

    def compare_and_set(self, key: str, expected: Any, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        """Store ``value`` only if the stored bytes are those that ``set(key, expected)`` would store. Atomic.

        The order of a dict or set counts, and so does foreign spacing; ``1``, ``1.0`` and ``True`` differ.

        Args:
            key: The key.
            expected: The value that must be there.
            value: As for ``set``.
            ttl: As for ``set``; ``KEEP_TTL`` leaves the expiry as it is.

        Returns:
            Whether it was stored; ``False`` if the key is missing.

        Raises:
            SerializationError: ``expected`` or ``value`` cannot be stored.
            CapacityError: The value alone is larger than the backend's bound.
            UnsupportedOperationError: The backend does not provide this verb.
        """
        return drive(self._target.compare_and_set(key, expected, value, ttl))

    def compare_and_delete(self, key: str, expected: Any) -> bool:
        """Remove ``key`` only if the stored bytes are those that ``set(key, expected)`` would store. Atomic.

        Args:
            key: The key.
            expected: The value that must be there, compared as by ``compare_and_set``.

        Returns:
            Whether it was removed; ``False`` if the key is missing.

        Raises:
            SerializationError: ``expected`` cannot be stored.
            UnsupportedOperationError: The backend does not provide this verb.
        """
        return drive(self._target.compare_and_delete(key, expected))

    def increment_existing(self, key: str, *, by: int = 1) -> int | None:
        """Add ``by`` to the counter ``key`` only if it is live, and return the new value. Atomic.

        The expiry stays as it is.

        Args:
            key: The key.
            by: Any integer of the signed 64-bit range.

        Returns:
            The new value; ``None`` if the key is missing, which is not created.

        Raises:
            CounterError: The value is not an integer, or would leave the signed 64-bit range. Nothing was changed.
            UnsupportedOperationError: The backend does not provide this verb.
        """
        return drive(self._target.increment_existing(key, by=by))

    @overload
    def get_and_renew(self, key: str, ttl: TTL, *, default: D = ...) -> JSONValue | bytes | D: ...
    @overload
    def get_and_renew(self, key: str, ttl: TTL, type: type[T]) -> T | None: ...
    @overload
    def get_and_renew(self, key: str, ttl: TTL, type: type[T], *, default: D) -> T | D: ...
    @overload
    def get_and_renew(self, key: str, ttl: TTL, type: TypeAdapter[T]) -> T | None: ...
    @overload
    def get_and_renew(self, key: str, ttl: TTL, type: TypeAdapter[T], *, default: D) -> T | D: ...
    @overload
    def get_and_renew(self, key: str, ttl: TTL, type: TypeForm[T]) -> T | None: ...
    @overload
    def get_and_renew(self, key: str, ttl: TTL, type: TypeForm[T], *, default: D) -> T | D: ...
    def get_and_renew(self, key: str, ttl: TTL, type: Any = Any, *, default: Any = None) -> Any:
        """Return the value of ``key``, and reset its expiry only if it has one. Atomic.

        A key without expiry stays without; ``get(renew=)`` would give it one.

        Args:
            key: The key.
            ttl: Seconds until a key that has an expiry expires.
            type: As for ``get``.
            default: What to return if the key is missing.

        Raises:
            DeserializationError: The stored value is not valid as ``type``.
            UnsupportedOperationError: The backend does not provide this verb.
        """
        return drive(self._target.get_and_renew(key, ttl, type, default=default))

    def set_json(self, key: str, text: str | bytes, ttl: TTL | KeepTTL | None = None) -> None:
        """Store text that is JSON already, byte for byte, and replace both value and expiry. Atomic.

        Every other verb reads it as the value that it spells. Spaces, escapes and the order of members stay as they
        are, and ``compare_and_set`` and ``compare_and_delete`` compare them.

        Args:
            key: The key.
            text: One JSON value, as ``str`` or in UTF-8.
            ttl: As for ``set``.

        Raises:
            SerializationError: It is not JSON that ``get`` could read.
            CapacityError: The value alone is larger than the backend's bound.
            UnsupportedOperationError: The backend does not provide this verb.
        """
        return drive(self._target.set_json(key, text, ttl))

    def get_json(self, key: str) -> str | None:
        """Return the value of ``key`` as the JSON text that is stored.

        Returns:
            The text, whichever verb stored it; ``None`` if the key is missing.

        Raises:
            DeserializationError: The value was stored as ``bytes``, or is not JSON.
            UnsupportedOperationError: The backend does not provide this verb.
        """
        return drive(self._target.get_json(key))

    def time(self) -> float:
        """Return the time on the clock by which the store measures expiry, in seconds since the Unix epoch.

        All callers of one store share it, whatever their own clocks say. On memory it starts at the wall clock's time
        and then runs on the monotonic clock; in a cluster it is the clock of one of the servers.

        Raises:
            UnsupportedOperationError: The backend does not provide this verb.
        """
        return drive(self._target.time())

    def scan(self, prefix: str = "") -> Iterator[str]:
        """Iterate over the live keys that start with ``prefix``, in no order.

        A key that is there throughout is yielded at least once; Redis may repeat one while it rehashes. Keys written
        or removed meanwhile may or may not be yielded. Foreign keys that are not UTF-8 are passed over.

        Args:
            prefix: The beginning of the keys, without the namespace's own prefix; they are yielded without it, too.

        Raises:
            UnsupportedOperationError: The backend does not provide this verb.
        """
        return drive_each(self._target.scan(prefix))


class SyncMemory(SyncBackend, over=MemoryBackend):
    __slots__ = ()

    def set(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> None:
        return self._memory._set(key, value, ttl)

    def get(self, key: str, type: Any = Any, *, default: Any = None, renew: TTL | None = None) -> Any:
        return self._memory._get(key, type, default, renew)

    def delete(self, key: str) -> bool:
        return self._memory._delete(key)

    def exists(self, key: str) -> bool:
        return self._memory._exists(key)

    def increment(self, key: str, ttl: TTL | None = None, *, by: int = 1) -> int:
        return self._memory._increment(key, ttl, by)

    def clear(self) -> None:
        return self._memory._clear()

    def add(self, key: str, value: Any, ttl: TTL | None = None) -> bool:
        return self._memory._add(key, value, ttl)

    def replace(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        return self._memory._replace(key, value, ttl)

    def pop(self, key: str, type: Any = Any, *, default: Any = None) -> Any:
        return self._memory._pop(key, type, default)

    def ttl(self, key: str) -> float | None:
        return self._memory._ttl(key)

    def touch(self, key: str, ttl: TTL | None) -> bool:
        return self._memory._touch(key, ttl)

    def get_many(self, keys: Iterable[str], type: Any = Any) -> dict[str, Any]:
        return self._memory._get_many(keys, type)

    def set_many(self, mapping: Mapping[str, Any], ttl: TTL | KeepTTL | None = None) -> None:
        return self._memory._set_many(mapping, ttl)

    def delete_many(self, keys: Iterable[str]) -> int:
        return self._memory._delete_many(keys)

    def compare_and_set(self, key: str, expected: Any, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        return self._memory._compare_and_set(key, expected, value, ttl)

    def compare_and_delete(self, key: str, expected: Any) -> bool:
        return self._memory._compare_and_delete(key, expected)

    def increment_existing(self, key: str, *, by: int = 1) -> int | None:
        return self._memory._increment_existing(key, by)

    def get_and_renew(self, key: str, ttl: TTL, type: Any = Any, *, default: Any = None) -> Any:
        return self._memory._get_and_renew(key, ttl, type, default)

    def set_json(self, key: str, text: str | bytes, ttl: TTL | KeepTTL | None = None) -> None:
        return self._memory._set_json(key, text, ttl)

    def get_json(self, key: str) -> str | None:
        return self._memory._get_json(key)

    def time(self) -> float:
        return self._memory._time()

    def scan(self, prefix: str = "") -> Iterator[str]:
        return self._memory._scan(prefix)

    def ping(self) -> None:
        return self._memory._ping()

    def close(self) -> None:
        return self._memory._close()


class SyncMemoryNamespace(SyncBackend, over=Namespace):
    __slots__ = ()

    def set(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> None:
        return self._memory._set(self._namespace._full(key), value, ttl)

    def get(self, key: str, type: Any = Any, *, default: Any = None, renew: TTL | None = None) -> Any:
        return self._memory._get(self._namespace._full(key), type, default, renew)

    def delete(self, key: str) -> bool:
        return self._memory._delete(self._namespace._full(key))

    def exists(self, key: str) -> bool:
        return self._memory._exists(self._namespace._full(key))

    def increment(self, key: str, ttl: TTL | None = None, *, by: int = 1) -> int:
        return self._memory._increment(self._namespace._full(key), ttl, by)

    def add(self, key: str, value: Any, ttl: TTL | None = None) -> bool:
        return self._memory._add(self._namespace._full(key), value, ttl)

    def replace(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        return self._memory._replace(self._namespace._full(key), value, ttl)

    def pop(self, key: str, type: Any = Any, *, default: Any = None) -> Any:
        return self._memory._pop(self._namespace._full(key), type, default)

    def ttl(self, key: str) -> float | None:
        return self._memory._ttl(self._namespace._full(key))

    def touch(self, key: str, ttl: TTL | None) -> bool:
        return self._memory._touch(self._namespace._full(key), ttl)

    def compare_and_set(self, key: str, expected: Any, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        return self._memory._compare_and_set(self._namespace._full(key), expected, value, ttl)

    def compare_and_delete(self, key: str, expected: Any) -> bool:
        return self._memory._compare_and_delete(self._namespace._full(key), expected)

    def increment_existing(self, key: str, *, by: int = 1) -> int | None:
        return self._memory._increment_existing(self._namespace._full(key), by)

    def get_and_renew(self, key: str, ttl: TTL, type: Any = Any, *, default: Any = None) -> Any:
        return self._memory._get_and_renew(self._namespace._full(key), ttl, type, default)

    def set_json(self, key: str, text: str | bytes, ttl: TTL | KeepTTL | None = None) -> None:
        return self._memory._set_json(self._namespace._full(key), text, ttl)

    def get_json(self, key: str) -> str | None:
        return self._memory._get_json(self._namespace._full(key))
