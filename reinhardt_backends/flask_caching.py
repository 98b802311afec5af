"""Flask-Caching: a cache in a backend.

Example::

    Cache(app, config={"CACHE_TYPE": "reinhardt_backends.flask_caching.BackendCache", "CACHE_BACKEND": backend})

Values are stored as JSON, and nothing is pickled: a value that would come back as something else is refused.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flask_caching.backends.base import BaseCache

from . import Backend, SerializationError, SyncBackend, decode, encode

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["BackendCache"]


class BackendCache(BaseCache):
    """A cache for Flask-Caching in a backend, with the methods of cachelib."""

    def __init__(self, backend: Backend, namespace: str = "flask", default_timeout: int = 300, **options: Any) -> None:
        """Take a backend.

        Args:
            backend: The backend.
            namespace: What all keys begin with. ``clear`` removes these keys and no others.
            default_timeout: Seconds after which values expire that are stored without a timeout; 0 for never.
            **options: Further options of Flask-Caching's ``BaseCache``.
        """
        super().__init__(default_timeout, **options)
        self._store = SyncBackend(backend.namespace(namespace))

    @classmethod
    def factory(cls, app: Flask, config: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> BackendCache:
        """Make a cache of Flask-Caching's settings.

        ``CACHE_BACKEND`` is a ``Backend`` or a URL, ``CACHE_KEY_PREFIX`` what all keys begin with (``"flask"``).
        """
        backend = config.get("CACHE_BACKEND")
        if isinstance(backend, str):
            backend = Backend.from_url(backend)
        if not isinstance(backend, Backend):
            raise TypeError("CACHE_BACKEND must be a Backend or a URL")
        prefix = config.get("CACHE_KEY_PREFIX")
        return cls(backend, *args, **{"namespace": "flask" if prefix in (None, "flask_cache_") else prefix, **kwargs})

    def get(self, key: str) -> Any:
        """Return a value, or ``None`` if it is missing."""
        return self._store.get(key)

    def get_many(self, *keys: str) -> list[Any]:
        """Return the values of keys in their order, ``None`` for what is missing."""
        found = self._store.get_many(keys)
        return [found.get(key) for key in keys]

    def set(self, key: str, value: Any, timeout: int | timedelta | None = None) -> bool:
        """Store a value.

        Raises:
            SerializationError: It would come back as something else.
        """
        return bool(self.set_many({key: value}, timeout))

    def add(self, key: str, value: Any, timeout: int | timedelta | None = None) -> bool:
        """Store a value if the key is missing. Atomic."""
        ttl = self._ttl(timeout)
        return not self._store.exists(key) if ttl == 0 else self._store.add(key, _checked(value), ttl)

    def set_many(self, mapping: dict[str, Any], timeout: int | timedelta | None = None) -> list[str]:
        """Store values, and return their keys."""
        values, ttl = {key: _checked(value) for key, value in mapping.items()}, self._ttl(timeout)
        if ttl == 0:
            self._store.delete_many(values)
        else:
            self._store.set_many(values, ttl)
        return list(values)

    def delete(self, key: str) -> bool:
        """Remove a value, and return whether there was one."""
        return self._store.delete(key)

    def delete_many(self, *keys: str) -> list[str]:
        """Remove values, and return the keys of those that there were."""
        return [key for key in keys if self._store.delete(key)]

    def has(self, key: str) -> bool:
        """Return whether there is a value."""
        return self._store.exists(key)

    def clear(self) -> bool:
        """Remove all values of this cache."""
        self._store.clear()
        return True

    def inc(self, key: str, delta: int = 1) -> int:
        """Add to a counter, which begins at 0, and return its value. Atomic."""
        return self._store.increment(key, self._ttl(None), by=delta)

    def dec(self, key: str, delta: int = 1) -> int:
        """Subtract from a counter, which begins at 0, and return its value. Atomic."""
        return self.inc(key, -delta)

    def _ttl(self, timeout: int | timedelta | None) -> float | None:
        """Return the ttl of a timeout: ``None`` for never, and 0 for what expires at once."""
        timeout = self.default_timeout if timeout is None else timeout
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        return None if seconds == 0 else max(seconds, 0)


def _checked(value: Any) -> Any:
    if decode(encode(value)) != value:
        raise SerializationError(f"a value of type {type(value).__name__} would change as JSON")
    return value
