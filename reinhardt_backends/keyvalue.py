"""AsyncKeyValue: a store in a backend, for FastMCP and other libraries that are built on py-key-value.

Example::

    store = BackendKeyValue(Backend.from_url("redis://localhost"))

Values are JSON objects and are stored as such. A collection is a namespace of the backend.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, SupportsFloat

from key_value.aio.errors import InvalidTTLError, SerializationError

from . import Backend
from . import SerializationError as RefusedError

__all__ = ["BackendKeyValue"]

_DEFAULT: Final = "default_collection"
_Value = dict[str, Any]


class BackendKeyValue:
    """A store with the methods of ``AsyncKeyValue``; also lists keys, and destroys a collection or all of them."""

    def __init__(self, backend: Backend, namespace: str = "keyvalue", *, default_collection: str = _DEFAULT) -> None:
        """Take a backend.

        Args:
            backend: The backend.
            namespace: What all keys begin with.
            default_collection: The collection of keys for which none is named.
        """
        self._store = backend.namespace(namespace)
        self._default = default_collection

    async def get(self, key: str, *, collection: str | None = None) -> _Value | None:
        """Return a value, or ``None`` if it is missing.

        Raises:
            DeserializationError: What is stored is not a JSON object.
        """
        return await self._in(collection).get(key, dict[str, Any])

    async def get_many(self, keys: Sequence[str], *, collection: str | None = None) -> list[_Value | None]:
        """Return the values of keys in their order, ``None`` for what is missing."""
        found = await self._in(collection).get_many(keys, dict[str, Any])
        return [found.get(key) for key in keys]

    async def ttl(self, key: str, *, collection: str | None = None) -> tuple[_Value | None, float | None]:
        """Return a value and the seconds until it expires, ``None`` for never. Two calls of the backend."""
        (pair,) = await self.ttl_many([key], collection=collection)
        return pair

    async def ttl_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[tuple[_Value | None, float | None]]:
        """Return values and the seconds until they expire. One call of the backend, and one more for each key."""
        store = self._in(collection)
        found = await store.get_many(keys, dict[str, Any])
        left = {key: await store.ttl(key) for key in found}
        # A value that expires in between is missing.
        return [
            (None, None) if left.get(key) is None else (found[key], None if left[key] == math.inf else left[key])
            for key in keys
        ]

    async def put(
        self, key: str, value: Mapping[str, Any], *, collection: str | None = None, ttl: SupportsFloat | None = None
    ) -> None:
        """Store a value.

        Args:
            key: The key.
            value: What ``json`` can write as an object.
            collection: The collection.
            ttl: Seconds until it expires.

        Raises:
            InvalidTTLError: The ttl is not a number of seconds, more than 0.
            SerializationError: The value is not JSON. It is the class of py-key-value.
        """
        seconds, text = _seconds(ttl), _text(value)
        await _accepted(self._in(collection).set_json(key, text, seconds))

    async def put_many(
        self,
        keys: Sequence[str],
        values: Sequence[Mapping[str, Any]],
        *,
        collection: str | None = None,
        ttl: SupportsFloat | None = None,
    ) -> None:
        """Store values, as ``put`` does."""
        seconds, texts = _seconds(ttl), map(_text, values)
        pairs = {key: json.loads(text) for key, text in zip(keys, texts, strict=True)}
        await _accepted(self._in(collection).set_many(pairs, seconds))

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        """Remove a value, and return whether there was one."""
        return await self._in(collection).delete(key)

    async def delete_many(self, keys: Sequence[str], *, collection: str | None = None) -> int:
        """Remove values, and return how many there were."""
        return await self._in(collection).delete_many(keys)

    async def keys(self, collection: str | None = None, *, limit: int | None = None) -> list[str]:
        """Return the keys of a collection, at most ``limit`` of them."""
        return sorted({key async for key in self._in(collection).scan()})[:limit]

    async def destroy_collection(self, collection: str) -> bool:
        """Remove every value of a collection, and return ``True``."""
        await self._in(collection).clear()
        return True

    async def destroy(self) -> bool:
        """Remove every value of every collection, and return ``True``."""
        await self._store.clear()
        return True

    def _in(self, collection: str | None) -> Backend:
        # With a colon in its name, one collection could hold keys of another.
        name = (collection or self._default).replace("%", "%25").replace(":", "%3A")
        return self._store.namespace(name)


def _seconds(ttl: SupportsFloat | None) -> float | None:
    if ttl is None:
        return None
    given: Any = ttl
    if isinstance(given, bool) or not hasattr(given, "__float__") or not 0 < float(given) < math.inf:
        raise InvalidTTLError(ttl)
    return float(given)


def _text(value: Mapping[str, Any]) -> str:
    try:
        return json.dumps({**value}, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"the value is not JSON: {type(error).__name__}") from None


async def _accepted(write: Any) -> None:
    try:
        await write
    except RefusedError as error:
        raise SerializationError("the value is not JSON that can be read back") from error
