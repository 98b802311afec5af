"""``OptionalVerbs``: the verbs that a backend may leave out.

Six verbs cannot be composed into any of these: each is one atomic step, or needs to know what a store holds. A verb
that a subclass leaves out raises ``UnsupportedOperationError``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NoReturn, overload

from .._errors import UnsupportedOperationError
from .._types import TTL, JSONValue, KeepTTL
from ._overloads import D, T

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from typing_extensions import TypeForm


class OptionalVerbs:
    """What ``Backend`` declares beyond the verbs that a subclass must write."""

    async def add(self, key: str, value: Any, ttl: TTL | None = None) -> bool:
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
        self._unsupported("add")

    async def replace(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
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
        self._unsupported("replace")

    @overload
    async def pop(self, key: str, *, default: D = ...) -> JSONValue | bytes | D: ...
    @overload
    async def pop(self, key: str, type: type[T]) -> T | None: ...
    @overload
    async def pop(self, key: str, type: type[T], *, default: D) -> T | D: ...
    @overload
    async def pop(self, key: str, type: TypeAdapter[T]) -> T | None: ...
    @overload
    async def pop(self, key: str, type: TypeAdapter[T], *, default: D) -> T | D: ...
    @overload
    async def pop(self, key: str, type: TypeForm[T]) -> T | None: ...
    @overload
    async def pop(self, key: str, type: TypeForm[T], *, default: D) -> T | D: ...
    async def pop(self, key: str, type: Any = Any, *, default: Any = None) -> Any:
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
        self._unsupported("pop")

    async def ttl(self, key: str) -> float | None:
        """Return the seconds until ``key`` expires.

        Returns:
            ``math.inf`` if it has no expiry, ``None`` if it is missing.

        Raises:
            UnsupportedOperationError: The backend does not provide this verb.
        """
        self._unsupported("ttl")

    async def touch(self, key: str, ttl: TTL | None) -> bool:
        """Reset the expiry of ``key``. Atomic.

        Args:
            key: The key.
            ttl: Seconds until it expires; ``None`` removes the expiry.

        Returns:
            ``True`` for every live key, ``False`` if it is missing.

        Raises:
            UnsupportedOperationError: The backend does not provide this verb.
        """
        self._unsupported("touch")

    async def compare_and_set(self, key: str, expected: Any, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
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
        self._unsupported("compare_and_set")

    async def compare_and_delete(self, key: str, expected: Any) -> bool:
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
        self._unsupported("compare_and_delete")

    async def increment_existing(self, key: str, *, by: int = 1) -> int | None:
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
        self._unsupported("increment_existing")

    @overload
    async def get_and_renew(self, key: str, ttl: TTL, *, default: D = ...) -> JSONValue | bytes | D: ...
    @overload
    async def get_and_renew(self, key: str, ttl: TTL, type: type[T]) -> T | None: ...
    @overload
    async def get_and_renew(self, key: str, ttl: TTL, type: type[T], *, default: D) -> T | D: ...
    @overload
    async def get_and_renew(self, key: str, ttl: TTL, type: TypeAdapter[T]) -> T | None: ...
    @overload
    async def get_and_renew(self, key: str, ttl: TTL, type: TypeAdapter[T], *, default: D) -> T | D: ...
    @overload
    async def get_and_renew(self, key: str, ttl: TTL, type: TypeForm[T]) -> T | None: ...
    @overload
    async def get_and_renew(self, key: str, ttl: TTL, type: TypeForm[T], *, default: D) -> T | D: ...
    async def get_and_renew(self, key: str, ttl: TTL, type: Any = Any, *, default: Any = None) -> Any:
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
        self._unsupported("get_and_renew")

    async def set_json(self, key: str, text: str | bytes, ttl: TTL | KeepTTL | None = None) -> None:
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
        self._unsupported("set_json")

    async def get_json(self, key: str) -> str | None:
        """Return the value of ``key`` as the JSON text that is stored.

        Returns:
            The text, whichever verb stored it; ``None`` if the key is missing.

        Raises:
            DeserializationError: The value was stored as ``bytes``, or is not JSON.
            UnsupportedOperationError: The backend does not provide this verb.
        """
        self._unsupported("get_json")

    async def time(self) -> float:
        """Return the time on the clock by which the store measures expiry, in seconds since the Unix epoch.

        All callers of one store share it, whatever their own clocks say. On memory it starts at the wall clock's time
        and then runs on the monotonic clock; in a cluster it is the clock of one of the servers.

        Raises:
            UnsupportedOperationError: The backend does not provide this verb.
        """
        self._unsupported("time")

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        """Iterate over the live keys that start with ``prefix``, in no order.

        A key that is there throughout is yielded at least once; Redis may repeat one while it rehashes. Keys written
        or removed meanwhile may or may not be yielded. Foreign keys that are not UTF-8 are passed over.

        Args:
            prefix: The beginning of the keys, without the namespace's own prefix; they are yielded without it, too.

        Raises:
            UnsupportedOperationError: The backend does not provide this verb.
        """
        self._unsupported("scan")

    def _unsupported(self, verb: str, what: str | None = None) -> NoReturn:
        name = type(self).__qualname__
        raise UnsupportedOperationError(f"{name} does not provide {what or verb}", verb=verb, class_name=name)
