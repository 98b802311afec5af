"""Django: a backend for ``CACHES``, and a decorator that limits how often a view is used.

Example::

    CACHES = {"default": {"BACKEND": "reinhardt_backends.django.DjangoCache", "LOCATION": "redis://localhost:6379/0"}}

``django_values`` has how values are stored, and ``django_views`` the decorator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from django.core.cache import BaseCache
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.exceptions import ImproperlyConfigured

from . import Backend, SyncBackend
from .django_values import UNSIGNED, JSONValues, SignedPickles
from .django_views import rate_limit

__all__ = ["DjangoCache", "rate_limit"]

Plan: TypeAlias = tuple[Callable[[Any], Any], Callable[[Any], Any]]
"""The call of a verb, and what a method of the cache makes of the answer."""

_SERIALIZERS: Final[dict[str, type[JSONValues | SignedPickles]]] = {"json": JSONValues, "signed-pickle": SignedPickles}
_CULLING: Final = ("MAX_ENTRIES", "CULL_FREQUENCY")
"""Options of Django's own caches that mean nothing here; ``maxsize`` and ``maxbytes`` bound a cache in memory."""
_backends: Final[dict[str, Backend]] = {}
"""What was made from URLs. Django makes a cache for each thread, and all of them share one backend."""


def _both(name: str, plan: Callable[..., Plan]) -> tuple[Any, Any]:
    """Return a blocking and an asynchronous method of Django's that carry out the plan of a call."""

    @wraps(getattr(BaseCache, name))
    def blocking(self: DjangoCache, *args: Any, **kwargs: Any) -> Any:
        call, finish = plan(self, *args, **kwargs)
        return finish(call(self._blocking))

    @wraps(getattr(BaseCache, f"a{name}"))
    async def asynchronous(self: DjangoCache, *args: Any, **kwargs: Any) -> Any:
        call, finish = plan(self, *args, **kwargs)
        return finish(await call(self._store))

    return blocking, asynchronous


class DjangoCache(BaseCache):
    """A cache for Django's ``CACHES`` in a backend, with Django's own methods, blocking and asynchronous."""

    def __init__(self, location: str | Backend, params: dict[str, Any]) -> None:
        """Take what is in the settings.

        Args:
            location: ``LOCATION``: a URL as for ``Backend.from_url``, or a ``Backend``.
            params: The other settings. ``OPTIONS``: ``SERIALIZER`` (``"json"``, ``"signed-pickle"``), ``NAMESPACE``,
                with which all keys begin (``"django"``), and the options of the backend's class.

        Raises:
            ImproperlyConfigured: The serializer is unknown.
        """
        super().__init__(params)
        options = {name: value for name, value in params.get("OPTIONS", {}).items() if name not in _CULLING}
        serializer, namespace = options.pop("SERIALIZER", "json"), options.pop("NAMESPACE", "django")
        if serializer not in _SERIALIZERS:
            raise ImproperlyConfigured(f"the cache option SERIALIZER must be one of {', '.join(_SERIALIZERS)}")
        if isinstance(location, str):
            name = f"{location} {sorted(options.items())}"
            location = _backends.get(name) or _backends.setdefault(name, Backend.from_url(location, **options))
        self.backend = location
        self._values = _SERIALIZERS[serializer]()
        self._store = location.namespace(namespace)
        self._blocking = SyncBackend(self._store)

    def _get(self, key: Any, default: Any = None, version: int | None = None) -> Plan:
        call, load = self._get_many([key], version)
        return call, lambda found: load(found).get(key, default)

    def _set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> Plan:
        name, ttl = self.make_and_validate_key(key, version), self._ttl(timeout)
        if ttl == 0:
            return methodcaller("delete", name), lambda _: None
        return methodcaller("set", name, self._values.dump(name, value), ttl), lambda _: None

    def _add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> Plan:
        name, ttl = self.make_and_validate_key(key, version), self._ttl(timeout)
        if ttl == 0:
            return methodcaller("exists", name), lambda exists: not exists
        return methodcaller("add", name, self._values.dump(name, value), ttl), bool

    def _touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> Plan:
        name, ttl = self.make_and_validate_key(key, version), self._ttl(timeout)
        return methodcaller("delete", name) if ttl == 0 else methodcaller("touch", name, ttl), bool

    def _delete(self, key: Any, version: int | None = None) -> Plan:
        return methodcaller("delete", self.make_and_validate_key(key, version)), bool

    def _has_key(self, key: Any, version: int | None = None) -> Plan:
        return methodcaller("exists", self.make_and_validate_key(key, version)), bool

    def _get_many(self, keys: Iterable[Any], version: int | None = None) -> Plan:
        names = self._names(keys, version)
        return methodcaller("get_many", names), lambda found: self._load(names, found)

    def _set_many(self, data: dict[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> Plan:
        names, ttl = self._names(data, version), self._ttl(timeout)
        if ttl == 0:
            return methodcaller("delete_many", names), lambda _: []
        dumped = {name: self._values.dump(name, data[key]) for name, key in names.items()}
        return methodcaller("set_many", dumped, ttl), lambda _: []

    def _delete_many(self, keys: Iterable[Any], version: int | None = None) -> Plan:
        return methodcaller("delete_many", self._names(keys, version)), lambda _: None

    def _incr(self, key: Any, delta: int = 1, version: int | None = None) -> Plan:
        def found(total: int | None) -> int:
            if total is None:
                raise ValueError(f"Key {key!r} not found")
            return total

        return methodcaller("increment_existing", self.make_and_validate_key(key, version), by=delta), found

    # BaseCache declares the types of these methods.
    if not TYPE_CHECKING:
        get, aget = _both("get", _get)
        set, aset = _both("set", _set)
        add, aadd = _both("add", _add)
        touch, atouch = _both("touch", _touch)
        delete, adelete = _both("delete", _delete)
        has_key, ahas_key = _both("has_key", _has_key)
        get_many, aget_many = _both("get_many", _get_many)
        set_many, aset_many = _both("set_many", _set_many)
        delete_many, adelete_many = _both("delete_many", _delete_many)
        incr, aincr = _both("incr", _incr)
        clear, aclear = _both("clear", lambda self: (methodcaller("clear"), lambda _: None))

    def _names(self, keys: Iterable[Any], version: int | None) -> dict[str, Any]:
        return {self.make_and_validate_key(key, version): key for key in keys}

    def _ttl(self, timeout: Any) -> float | None:
        """Return the ttl of a timeout; 0 for what expires at once."""
        timeout = self.default_timeout if timeout == DEFAULT_TIMEOUT else timeout
        return None if timeout is None else max(timeout, 0)

    def _load(self, names: dict[str, Any], found: dict[str, Any]) -> dict[Any, Any]:
        loaded = {names[name]: self._values.load(name, stored) for name, stored in found.items()}
        return {key: value for key, value in loaded.items() if value is not UNSIGNED}
