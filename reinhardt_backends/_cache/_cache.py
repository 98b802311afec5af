"""``Cache``: values that are computed once and kept for a while, on any backend.

This is the public class. ``_engine.py`` describes how a value is looked for, computed once and stored; ``_cached.py``
has the decorator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args, overload

from typing_extensions import TypeVar

from .._backend import Backend
from .._component import Waiting, check_backend, check_timeout, provides, require
from .._types import MISSING, TTL, check_key, check_keys, check_name
from ._cached import CachedDecorator, Decoration
from ._engine import AWAY, LEASE, Engine
from ._lookup import CacheKeys, Request, no_factory
from ._stored import EntryOptions, entry_options, milliseconds
from ._writes import refresh, write

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from typing_extensions import TypeForm

Value = TypeVar("Value")
Default = TypeVar("Default", default=None)

AsyncFactory: TypeAlias = Callable[[], Awaitable[Value]]
"""What computes a value for a ``Cache``."""

Factory: TypeAlias = Callable[[], Value]
"""What computes a value for a ``SyncCache``."""

TTLOf: TypeAlias = Callable[[Any], TTL | None]
"""Tells from a value for how long it is kept."""

Keep: TypeAlias = Callable[[Any], bool]
"""Tells whether a value is kept."""

CacheErrorPolicy: TypeAlias = Literal["miss", "raise"]

LEASE_VERBS: Final = ("add", "compare_and_set", "compare_and_delete")


class Cache:
    """Keeps what is slow to compute: in memory for one process, on Redis for all processes.

    A value is computed once for all callers that ask at the same time, in one process and, by a lease, among processes.
    A miss returns what a hit returns: the value validated as its type, and a copy that shares nothing with others.

    It needs the six verbs that every backend has; leases need ``add``, ``compare_and_set`` and ``compare_and_delete``,
    too.

    A cache of a module is made at import, with or without a backend, and ``bind`` gives it one when the program starts.

    Args:
        backend: Where the values are kept; ``None`` if ``bind`` tells that later. Until then calls raise
            ``RuntimeError``.
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
        jitter: The largest part of its ttl, at least 0 and less than 1, by which a value expires earlier, at random, so
            that values that were computed together do not expire together.
        enabled: Whether values are kept at all. If not, as in some tests, each call computes, and needs no backend.

    Raises:
        TypeError, ValueError: An argument is not what it must be.
        UnsupportedOperationError: A lease was asked for, and the backend does not provide a verb that it needs.
    """

    def __init__(
        self,
        backend: Backend | None = None,
        *,
        ttl: TTL,
        prefix: str = "cache",
        on_error: CacheErrorPolicy = "miss",
        lease: TTL | Literal["auto"] | None = "auto",
        finish: float | None = None,
        stale_on_error: bool = False,
        jitter: float = 0.0,
        enabled: bool = True,
    ) -> None:
        milliseconds(ttl, "ttl")
        if on_error not in get_args(CacheErrorPolicy):
            raise ValueError(f"on_error must be 'miss' or 'raise', not {on_error!r}")
        self._lease: float | Literal["auto"] | None = "auto"
        if lease != "auto":
            self._lease = None if lease is None else milliseconds(lease, "lease") / 1000
        self._ttl = ttl
        self._stale_on_error = stale_on_error
        self._jitter = _check_jitter(jitter)
        self._engine = Engine(
            CacheKeys(check_name(prefix)),
            None if finish is None else check_timeout(finish),
            AWAY if on_error == "miss" else (),
        )
        if not enabled:
            self._engine.disable()
        if backend is not None:
            self.bind(backend)

    def bind(self, backend: Backend) -> None:
        """Keep values in this backend from now on. Call it when the program starts, before the cache is used.

        Raises:
            TypeError: It is not a ``Backend``.
            UnsupportedOperationError: A lease was asked for, and the backend does not provide a verb that it needs.
        """
        check_backend(backend, "Cache")
        lease = self._lease
        if lease == "auto":
            lease = LEASE if provides(backend, *LEASE_VERBS) else None
        elif lease is not None:
            require(backend, "Cache with leases", *LEASE_VERBS)
        self._engine.bind(backend, lease)

    @property
    def enabled(self) -> bool:
        """Whether values are kept. If not, each call computes."""
        return self._engine.enabled

    def disabled(self) -> AbstractContextManager[None]:
        """Within the block, have each call compute and keep nothing, in the whole program: for tests.

        Nothing is asked of the backend, which may be missing. ``get`` finds nothing, ``set`` and ``invalidate`` do
        nothing. What is kept already is there again after the block.
        """
        return _disabled(self._engine)

    @overload
    async def get(self, key: str) -> Any: ...
    @overload
    async def get(self, key: str, *, default: Default) -> Any | Default: ...
    @overload
    async def get(self, key: str, type: type[Value], *, default: Default = ...) -> Value | Default: ...
    @overload
    async def get(self, key: str, type: TypeAdapter[Value], *, default: Default = ...) -> Value | Default: ...
    @overload
    async def get(self, key: str, type: TypeForm[Value], *, default: Default = ...) -> Value | Default: ...
    async def get(self, key: str, type: Any = Any, *, default: Any = None) -> Any:
        """Return what is kept under ``key`` and fresh; ``default`` if there is none, or none that is valid as ``type``.

        Nothing is computed, and nothing is waited for. With ``on_error="miss"`` the result is ``default`` also while
        the store is away.
        """
        name = self._engine.reader.keys.value_name(key)
        options = self._options(type)
        return default if (found := await self._engine.find(name, options)) is MISSING else found

    async def set(
        self,
        key: str,
        value: Any,
        type: Any = Any,
        *,
        ttl: TTL | None = None,
        stale: TTL | None = None,
        tags: Iterable[str] = (),
    ) -> None:
        """Keep a value that was computed elsewhere, as if ``get_or_set`` had computed it now.

        Callers that ask from now on get it. What is computed for the key at the moment is not kept.

        Args:
            key: The key.
            value: The value.
            type: As for ``Backend.get``: the type that it has to be valid as.
            ttl: Seconds for which it is kept; the ttl of the cache by default.
            stale: Seconds after that in which ``get_or_set(stale=...)`` still serves it.
            tags: Plain names by which it can be invalidated together with others.

        Raises:
            SerializationError: The value cannot be stored, or could not be read back as ``type``.
            BackendError: The store could not be reached, or refused, whatever ``on_error`` says: the old value may
                still be there.
        """
        name = self._engine.reader.keys.value_name(key)
        options = self._options(type, ttl=ttl, stale=stale)
        await write(self._engine, Request(name, options, tuple(check_keys(tags)), no_factory), value)

    @overload
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        stale_on_error: bool | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Any: ...
    @overload
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: type[Value],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        stale_on_error: bool | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Value: ...
    @overload
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: TypeAdapter[Value],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        stale_on_error: bool | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Value: ...
    @overload
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: TypeForm[Value],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        stale_on_error: bool | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Value: ...
    async def get_or_set(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: Any = Any,
        *,
        ttl: TTL | TTLOf | None = None,
        stale: TTL | None = None,
        stale_on_error: bool | None = None,
        tags: Iterable[str] = (),
        keep: Keep | None = None,
    ) -> Any:
        """Return the value of ``key``; compute and keep it if there is none.

        Whatever the factory returns is kept, ``None`` included. What it raises is not kept; each caller that waits for
        the value gets a copy of it. A stored value that is not valid as ``type`` counts as none.

        Args:
            key: The key.
            factory: Computes the value; called without arguments.
            type: As for ``Backend.get``.
            ttl: Seconds for which the value is kept; the ttl of the cache by default. Or a function that tells it from
                the value: ``None`` for the default, 0 or less for not at all.
            stale: Seconds after that in which it is still served while one caller computes a new one.
            stale_on_error: Whether that caller gets the stale value if the factory fails; as the cache by default.
            tags: Plain names by which it can be invalidated together with others.
            keep: Tells whether a value is kept. One that is not is returned all the same.

        Raises:
            SerializationError: The value cannot be stored, or could not be read back as ``type``.
            RuntimeError: The factory asks for the very key that it computes.
        """
        options = self._options(type, ttl=ttl, stale=stale, stale_on_error=stale_on_error, keep=keep)
        return await self._engine.serve(self._request(key, factory, options, tags))

    @overload
    async def refresh(
        self,
        key: str,
        factory: AsyncFactory[Any],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Any: ...
    @overload
    async def refresh(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: type[Value],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Value: ...
    @overload
    async def refresh(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: TypeAdapter[Value],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Value: ...
    @overload
    async def refresh(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: TypeForm[Value],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Value: ...
    async def refresh(
        self,
        key: str,
        factory: AsyncFactory[Any],
        type: Any = Any,
        *,
        ttl: TTL | TTLOf | None = None,
        stale: TTL | None = None,
        tags: Iterable[str] = (),
        keep: Keep | None = None,
    ) -> Any:
        """Compute the value of ``key`` now, keep it, and return it.

        Meanwhile others get the old value, which stays if the factory fails. So that a value is never missing, call
        this shortly before it expires, or whenever it has changed. If there is no old value, others wait for the new
        one, as with ``get_or_set``, which describes the arguments.

        If the key or a tag is invalidated meanwhile, or another ``refresh`` begins, the value is returned and not kept.

        Raises:
            SerializationError: The value cannot be stored, or could not be read back as ``type``.
            RuntimeError: The factory asks for the very key that it computes.
        """
        options = self._options(type, ttl=ttl, stale=stale, keep=keep)
        return await refresh(self._engine, self._request(key, factory, options, tags))

    def cached(
        self,
        *,
        key: str | None = None,
        ttl: TTL | TTLOf | None = None,
        type: Any = MISSING,
        stale: TTL | None = None,
        stale_on_error: bool | None = None,
        tags: Iterable[str] = (),
        keep: Keep | None = None,
    ) -> CachedDecorator:
        """Decorate a function so that its results are kept, as by ``get_or_set``.

        The decorated function has methods that take the arguments of a call: ``key`` returns its key, ``invalidate``
        removes what is kept for it, and ``refresh`` computes it now, keeps it and returns it. Bound to an object or a
        class, these take no instance either.

        Put it above ``@classmethod``. The other way round, from Python 3.13 on, ``refresh`` and keys that name a class
        raise ``TypeError``.

        Args:
            key: A template of the key, with the function's parameters in braces, as in ``"user:{user_id}"``. An
                ``int``, ``bool``, ``None``, ``UUID`` or ``date`` stands in the key as ``str()`` has it, and a ``str``
                percent-encoded, behind a ``'`` if it reads like one of those. Of anything else, name an attribute
                (``{user.id}``) or convert it (``{price!s}``, ``{day:%Y}``); otherwise calls raise ``TypeError``. No two
                functions of a cache may have the same template, unless both contain ``{__shared__}``, which adds
                nothing to the key. Without a template, it is the module and qualified name of the function and all
                its parameters; renaming the function then loses what is kept. A method needs a template.
            ttl: Seconds for which a result is kept; the ttl of the cache by default. Or a function that tells it from
                the result: ``None`` for the default, 0 or less for not at all.
            type: The type that results are validated as; the function's return annotation by default, and without one
                plain JSON data.
            stale: Seconds after that in which a result is still served while one caller computes a new one.
            stale_on_error: Whether that caller gets the stale one if the function fails; as the cache by default.
            tags: Templates of names by which results can be invalidated together. A tag is plain text, formatted as by
                ``str.format``: if two collide, more is invalidated.
            keep: Tells whether a result is kept. One that is not is returned all the same.

        Raises:
            TypeError: What is decorated is not an ``async def`` (for ``SyncCache``: not a plain function), or its
                return annotation cannot be resolved or validated.
            ValueError: A template cannot be read, names something that is no parameter, or is that of another function.
        """
        options = partial(self._options, ttl=ttl, stale=stale, stale_on_error=stale_on_error, keep=keep)
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

    def _request(self, key: str, factory: Callable[[], Any], options: EntryOptions, tags: Iterable[str]) -> Request:
        name = self._engine.reader.keys.value_name(key)
        if not callable(factory):
            raise TypeError(f"a factory must be a function without arguments, not {factory.__class__.__name__}")
        return Request(name, options, tuple(check_keys(tags)), factory)

    def _options(
        self,
        type: Any,
        *,
        ttl: TTL | TTLOf | None = None,
        stale: TTL | None = None,
        stale_on_error: bool | None = None,
        keep: Keep | None = None,
    ) -> EntryOptions:
        """Return the options of one entry, those of the cache where nothing else is given."""
        if stale_on_error is None:
            stale_on_error = self._stale_on_error
        return entry_options(type, ttl, self._ttl, stale, stale_on_error, keep, self._jitter)

    @property
    def _waiting(self) -> Waiting:
        """How to wait; a blocking face replaces it."""
        return self._engine.waiting

    @_waiting.setter
    def _waiting(self, waiting: Waiting) -> None:
        self._engine.waiting = waiting


@contextmanager
def _disabled(engine: Engine) -> Generator[None]:
    engine.disable()
    try:
        yield
    finally:
        engine.enable()


def _check_jitter(jitter: float) -> float:
    if isinstance(jitter, bool) or not isinstance(jitter, (int, float)):
        raise TypeError(f"jitter must be a number, not {type(jitter).__name__}")
    if not 0 <= jitter < 1:
        raise ValueError("jitter must be at least 0 and less than 1")
    return jitter
