"""Litestar: a ``Store`` in a backend, for sessions, response caching, rate limits and whatever else Litestar stores.

Example::

    app = Litestar(stores={"sessions": BackendStore(Backend.from_url("redis://localhost"))})

Litestar's stores hold bytes, so a value is stored as ``bytes``, raw.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from litestar.stores.base import NamespacedStore

from . import Backend

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["BackendStore"]


class BackendStore(NamespacedStore):
    """A Litestar store in a backend. Its namespaces are namespaces of the backend."""

    def __init__(self, backend: Backend, namespace: str = "litestar", *, close: bool = False) -> None:
        """Take a backend.

        Args:
            backend: The backend.
            namespace: What the keys of this store begin with. ``delete_all`` removes these keys and no others.
            close: Whether the application closes the backend when it shuts down.
        """
        self._backend = backend
        self._store = backend.namespace(namespace)
        self._close = close
        self.namespace = namespace

    def with_namespace(self, namespace: str) -> BackendStore:
        """Return a store whose keys are apart from those of this one, but are removed by its ``delete_all``."""
        return BackendStore(self._backend, f"{self.namespace}:{namespace}")

    async def set(self, key: str, value: str | bytes, expires_in: int | timedelta | None = None) -> None:
        """Store a value, which replaces value and expiry.

        Args:
            key: The key.
            value: ``bytes``, or text, which comes back as UTF-8.
            expires_in: Seconds; what is 0 or less expires at once, and ``None`` never.
        """
        if (ttl := _seconds(expires_in)) == 0:
            await self._store.delete(key)
        else:
            await self._store.set(key, value.encode() if isinstance(value, str) else bytes(value), ttl)

    async def get(self, key: str, renew_for: int | timedelta | None = None) -> bytes | None:
        """Return a value, or ``None`` if it is missing.

        Args:
            key: The key.
            renew_for: Seconds. If the value has an expiry, reset it, in the same atomic step.

        Raises:
            DeserializationError: The value was not stored as ``bytes``.
        """
        if not (ttl := _seconds(renew_for)):
            return await self._store.get(key, bytes)
        return await self._store.get_and_renew(key, ttl, bytes)

    async def delete(self, key: str) -> None:
        """Remove a value; nothing happens if it is missing."""
        await self._store.delete(key)

    async def delete_all(self) -> None:
        """Remove every value of this store and of its namespaces."""
        await self._store.clear()

    async def exists(self, key: str) -> bool:
        """Return whether there is a value."""
        return await self._store.exists(key)

    async def expires_in(self, key: str) -> int | None:
        """Return the seconds until a value expires: -1 for one that does not, ``None`` if it is missing."""
        left = await self._store.ttl(key)
        return left if left is None else -1 if left == math.inf else math.ceil(left)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """Close the backend, if this store is meant to."""
        if self._close:
            await self._backend.aclose()


def _seconds(duration: int | timedelta | None) -> float | None:
    """Return a duration in seconds, at least 0."""
    if duration is None:
        return None
    return max(duration.total_seconds() if isinstance(duration, timedelta) else duration, 0)
