"""``Cache``: values that are computed once and kept for a while, on any backend.

This is the public class. ``_engine.py`` describes how a value is looked for, computed once and stored; ``_cached.py``
has the decorator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, get_args, overload

from .._backend import Backend
from .._component import Waiting, check_backend, check_timeout, provides, require
from .._types import MISSING, TTL, check_key, check_keys, check_name
from ._cached import CachedDecorator, Decoration
from ._engine import AWAY, LEASE, Engine
from ._lookup import CacheKeys, EntryReader, Request
from ._stored import EntryOptions, entry_options, milliseconds

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from typing_extensions import TypeForm

Value = TypeVar("Value")

AsyncFactory: TypeAlias = Callable[[], Awaitable[Value]]
"""What computes a value for a ``Cache``."""

Factory: TypeAlias = Callable[[], Value]
"""What computes a value for a ``SyncCache``."""

CacheErrorPolicy: TypeAlias = Literal["miss", "raise"]

LEASE_VERBS: Final = ("add", "compare_and_set", "compare_and_delete")


class Cache:
    """Keeps what is slow to compute: in memory for one process, on Redis for all processes.

    A value is computed once for all callers that ask at the same time, in one process and, by a lease, among processes.
    A miss returns what a hit returns: the value validated as its type, and a copy that shares nothing with others.

    It needs the six verbs that every backend has; leases need ``add``, ``compare_and_set`` and ``compare_and_delete``,
    too.

    Args:
        backend: Where the values are kept.
        ttl: Seconds for which a value is kept, where no other ttl is given.
        prefix: The beginning of all keys in the backend, followed by a colon.
        on_error: What happens while the store is away, or refuses: ``"miss"`` computes the value and keeps none, once
            for those callers of a process that ask at the same time; ``"raise"`` raises the store's error.
        lease: Seconds for which a process that died while it computed a value holds up the others. While it computes,
            the lease is renewed, and after four times its length others may take over. ``None`` for no leases;
            ``"auto"`` for 30 seconds where the backend has the verbs, and no leases elsewhere.
        finish: Seconds for which a computation goes on after its caller was cancelled, to be kept for others; the
            caller is held up meanwhile. By default it is handed over to a waiting caller, or ends. Blocking callers
            cannot be cancelled.
        stale_on_error: Whether a stale value is served if computing the new one fails, where nothing else is asked for.

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
        on_error: CacheErrorPolicy = "miss",
        lease: TTL | Literal["auto"] | None = "auto",
        finish: float | None = None,
        stale_on_error: bool = False,
    ) -> None:
        check_backend(backend, "Cache")
        milliseconds(ttl, "ttl")
        if on_error not in get_args(CacheErrorPolicy):
            raise ValueError(f"on_error must be 'miss' or 'raise', not {on_error!r}")
        if lease == "auto":
            lease = LEASE if provides(backend, *LEASE_VERBS) else None
        elif lease is not None:
            require(backend, "Cache with leases", *LEASE_VERBS)
        seconds = None if lease is None else milliseconds(lease, "lease") / 1000
        reader = EntryReader(backend, CacheKeys(check_name(prefix)))
        self._ttl = ttl
        self._stale_on_error = stale_on_error
        self._engine = Engine(
            reader,
            seconds,
            None if finish is None else check_timeout(finish),
            AWAY if on_error == "miss" else (),
        )

    @overload
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        *,
        ttl: TTL | None = ...,
        stale: TTL | None = ...,
        stale_on_error: bool | None = ...,
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
        stale_on_error: bool | None = ...,
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
        stale_on_error: bool | None = ...,
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
        stale_on_error: bool | None = ...,
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
        stale_on_error: bool | None = None,
        tags: Iterable[str] = (),
    ) -> Any:
        """Return the value of ``key``; compute and keep it if there is none.

        Whatever the factory returns is kept, ``None`` included. What it raises is not kept; each caller that waits for
        the value gets a copy of it. A stored value that is not valid as ``type`` counts as none.

        Args:
            key: The key.
            factory: Computes the value; called without arguments.
            type: As for ``Backend.get``.
            ttl: Seconds for which the value is kept; the ttl of the cache by default.
            stale: Seconds after that in which it is still served while one caller computes a new one.
            stale_on_error: Whether that caller gets the stale value if the factory fails; as the cache by default.
            tags: Plain names by which it can be invalidated together with others.

        Raises:
            SerializationError: The value cannot be stored, or could not be read back as ``type``.
            RuntimeError: The factory asks for the very key that it computes.
        """
        name = self._engine.reader.keys.value_name(key)
        options = self._options(type, ttl=ttl, stale=stale, stale_on_error=stale_on_error)
        if not callable(factory):
            raise TypeError(f"a factory must be a function without arguments, not {factory.__class__.__name__}")
        return await self._engine.serve(Request(name, options, tuple(check_keys(tags)), factory))

    def cached(
        self,
        *,
        key: str,
        ttl: TTL | None = None,
        type: Any = MISSING,
        stale: TTL | None = None,
        stale_on_error: bool | None = None,
        tags: Iterable[str] = (),
    ) -> CachedDecorator:
        """Decorate a function so that its results are kept, as by ``get_or_set``.

        The decorated function has a method ``key``, which takes the arguments of a call and returns its key, and a
        method ``invalidate``, which removes what is kept for it. Bound to an object or a class, these take no instance
        either. (From Python 3.13 on, a class method has them bound if it is decorated outside: ``@cache.cached(...)``
        above ``@classmethod``.)

        Args:
            key: A template of the key, with the function's parameters in braces, as in ``"user:{user_id}"``. An
                ``int``, ``bool``, ``None``, ``UUID`` or ``date`` stands in the key as ``str()`` has it, and a ``str``
                percent-encoded, behind a ``'`` if it reads like one of those. Of anything else, name an attribute
                (``{user.id}``) or convert it (``{price!s}``, ``{day:%Y}``); otherwise calls raise ``TypeError``. No two
                functions of a cache may have the same template, unless both contain ``{__shared__}``, which adds
                nothing to the key.
            ttl: Seconds for which a result is kept; the ttl of the cache by default.
            type: The type that results are validated as; the function's return annotation by default, and without one
                plain JSON data.
            stale: Seconds after that in which a result is still served while one caller computes a new one.
            stale_on_error: Whether that caller gets the stale one if the function fails; as the cache by default.
            tags: Templates of names by which results can be invalidated together. A tag is plain text, formatted as by
                ``str.format``: if two collide, more is invalidated.

        Raises:
            TypeError: What is decorated is not an ``async def`` (for ``SyncCache``: not a plain function), or its
                return annotation cannot be resolved or validated.
            ValueError: A template cannot be read, names something that is no parameter, or is that of another function.
        """
        options = partial(self._options, ttl=ttl, stale=stale, stale_on_error=stale_on_error)
        options(Any)
        return Decoration(self._engine, key, check_keys(tags), options, type)

    async def invalidate(self, key: str) -> None:
        """Remove what is kept under ``key``. Callers that ask from now on get what was computed from now on.

        ``key`` is the key itself, as for ``get_or_set``. For a decorated function with arguments that have to be
        encoded, use ``function.invalidate(...)``, or the key that ``function.key(...)`` returns.

        That holds for computations under way in this process, and with leases in any. An error of the store is raised
        whatever ``on_error`` says, since the old value may still be there.
        """
        await self._engine.invalidate(self._engine.reader.keys.value_name(key))

    async def invalidate_tag(self, tag: str) -> None:
        """Remove everything that is kept with ``tag``. Costs one call of the backend, however much that is.

        Callers that ask from now on get what was computed from now on, whatever is computed at the moment. An error of
        the store is raised whatever ``on_error`` says, since the old values may still be there.
        """
        await self._engine.invalidate_tag(check_key(tag))

    def _options(self, type: Any, *, ttl: TTL | None, stale: TTL | None, stale_on_error: bool | None) -> EntryOptions:
        """Return the options of one entry, those of the cache where nothing else is given."""
        if stale_on_error is None:
            stale_on_error = self._stale_on_error
        return entry_options(type, self._ttl if ttl is None else ttl, stale, stale_on_error)

    @property
    def _waiting(self) -> Waiting:
        """How to wait; a blocking face replaces it."""
        return self._engine.waiting

    @_waiting.setter
    def _waiting(self, waiting: Waiting) -> None:
        self._engine.waiting = waiting
