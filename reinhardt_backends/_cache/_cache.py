"""``Cache``: values that are computed once and kept for a while, on any backend.

Here is what a program sees. How a value is looked for, computed once and stored is told in
``_engine.py``, and the decorator is in ``_cached.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, get_args, overload

from .._backend import Backend
from .._component import Waiting, check_backend, provides, require
from .._types import MISSING, TTL, check_key, check_keys, check_name
from ._cached import CachedDecorator, Decoration
from ._engine import AWAY, Engine
from ._lookup import Job, Shelf
from ._stored import milliseconds, recipe_of

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from typing_extensions import TypeForm

Value = TypeVar("Value")

AsyncFactory: TypeAlias = Callable[[], Awaitable[Value]]
"""What computes a value for a ``Cache``."""

Factory: TypeAlias = Callable[[], Value]
"""What computes a value for a ``SyncCache``."""

OnCacheError: TypeAlias = Literal["miss", "raise"]

LEASE: Final = 30.0
"""Seconds for which a lease holds, if nothing else is asked for."""

LEASE_VERBS: Final = ("add", "compare_and_set", "compare_and_delete")


class Cache:
    """Keeps what is slow to compute: in memory for a process, on Redis for all of them.

    A value is computed once for all who ask at the same time, in one process and, by a lease, among processes. It comes
    back as a hit would give it, always: validated as its type, and a copy of one's own.

    It needs the six verbs that every backend has; leases need ``add``, ``compare_and_set`` and ``compare_and_delete``,
    too.

    Args:
        backend: Where the values are kept.
        ttl: Seconds for which a value is kept, where no other ttl is given.
        prefix: What all keys in the backend begin with, followed by a colon.
        on_error: What happens while the store is away, or refuses: ``"miss"`` computes the value and keeps none, each
            caller in each process for itself but for those who ask at once; ``"raise"`` raises the store's error.
        lease: Seconds within which a value should be computed; a process that died while it did holds up the others
            for so long. ``None`` for no leases. ``"auto"`` for 30 seconds where the backend has the verbs, and no
            leases elsewhere.

    Raises:
        TypeError, ValueError: An argument is not what it must be.
        UnsupportedOperationError: A lease was asked for, and the backend does not provide a verb that it needs.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        ttl: TTL,
        prefix: str = "cache",
        on_error: OnCacheError = "miss",
        lease: TTL | Literal["auto"] | None = "auto",
    ) -> None:
        check_backend(backend, "Cache")
        milliseconds(ttl, "ttl")
        if on_error not in get_args(OnCacheError):
            raise ValueError(f"on_error must be 'miss' or 'raise', not {on_error!r}")
        if lease == "auto":
            lease = LEASE if provides(backend, *LEASE_VERBS) else None
        elif lease is not None:
            require(backend, "Cache with leases", *LEASE_VERBS)
        seconds = None if lease is None else milliseconds(lease, "lease") / 1000
        shelf = Shelf(backend, check_name(prefix), atomic=lease is not None)
        self._ttl = ttl
        self._engine = Engine(shelf, seconds, AWAY if on_error == "miss" else ())

    @overload
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        *,
        ttl: TTL | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
    ) -> Any: ...
    @overload
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: type[Value],
        *,
        ttl: TTL | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
    ) -> Value: ...
    @overload
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: TypeAdapter[Value],
        *,
        ttl: TTL | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
    ) -> Value: ...
    @overload
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: TypeForm[Value],
        *,
        ttl: TTL | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
    ) -> Value: ...
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: Any = Any,
        *,
        ttl: TTL | None = None,
        stale: TTL | None = None,
        tags: Iterable[str] = (),
    ) -> Any:
        """Return the value of ``key``; compute and keep it if there is none.

        Whatever the factory returns is kept, ``None`` included. What it raises is not kept; everybody who waits for the
        value gets it. A stored value that is not valid as ``type`` counts as none.

        Args:
            key: The key.
            factory: Computes the value; called without arguments.
            type: As for ``Backend.get``.
            ttl: Seconds for which the value is kept; the ttl of the cache by default.
            stale: Seconds after that in which it is still served while one caller computes it anew.
            tags: Names by which it can be invalidated together with others.

        Raises:
            SerializationError: The value cannot be stored, or could not be read back as ``type``.
            RuntimeError: The factory asks for the very key that it computes.
        """
        name = self._engine.shelf.value_name(key)
        recipe = recipe_of(type, self._ttl if ttl is None else ttl, stale)
        if not callable(factory):
            raise TypeError(f"a factory must be a function without arguments, not {factory.__class__.__name__}")
        job = Job(name, recipe, tuple(check_keys(tags)), factory)
        return await self._engine.serve(job)

    def cached(
        self,
        *,
        key: str,
        ttl: TTL | None = None,
        type: Any = MISSING,
        stale: TTL | None = None,
        tags: Iterable[str] = (),
    ) -> CachedDecorator:
        """Decorate a function so that its results are kept, as by ``get_or_set``.

        The decorated function has a method ``invalidate``, which takes the arguments of a call and removes what is kept
        for it.

        Args:
            key: A template of the key, with the function's parameters in braces, as in ``"user:{user_id}"``. Calls for
                which all of these have the same text share a value.
            ttl: Seconds for which a result is kept; the ttl of the cache by default.
            type: What the results are validated as; the function's return annotation by default, and without one
                plain JSON data.
            stale: Seconds after that in which a result is still served while one caller computes it anew.
            tags: Templates like ``key``: names by which results can be invalidated together.

        Raises:
            TypeError: What is decorated is not an ``async def`` (for ``SyncCache``: not a plain function), or its
                return annotation cannot be resolved or validated.
            ValueError: A template cannot be read, or names something that is no parameter.
        """
        recipe_of(Any, self._ttl if ttl is None else ttl, stale)
        return Decoration(self._engine, key, self._ttl if ttl is None else ttl, type, stale, check_keys(tags))

    async def invalidate(self, key: str) -> None:
        """Remove what is kept under ``key``. Whoever asks from now on gets what was computed from now on.

        That holds for computations under way in this process, and with leases in any. An error of the store is raised
        whatever ``on_error`` says, since the old value may still be there.
        """
        await self._engine.invalidate(self._engine.shelf.value_name(key))

    async def invalidate_tag(self, tag: str) -> None:
        """Remove everything that is kept with ``tag``. Costs one call of the backend, however much that is.

        Whoever asks from now on gets what was computed from now on, whatever is computed at the moment. An error of the
        store is raised whatever ``on_error`` says, since the old values may still be there.
        """
        await self._engine.invalidate_tag(check_key(tag))

    @property
    def _waiting(self) -> Waiting:
        """How to wait; a blocking face replaces it."""
        return self._engine.waiting

    @_waiting.setter
    def _waiting(self, waiting: Waiting) -> None:
        self._engine.waiting = waiting
