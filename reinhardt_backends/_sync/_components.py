# Generated from _throttle/_throttle.py, _cache/_cache.py, _session/_store.py, _lock/_lock.py. Do not edit.
# Change those, and run python -m reinhardt_backends._sync._generate
"""The blocking faces: what is asynchronous elsewhere, for code that does not await."""

from __future__ import annotations

from .._backend import Backend
from .._blocking import Face
from .._blocking import blocking_target
from .._blocking import drive
from .._cache._cache import Cache
from .._cache._cache import CacheErrorPolicy
from .._cache._cache import Default
from .._cache._cache import Factory
from .._cache._cache import Keep
from .._cache._cache import TTLOf
from .._cache._cache import Value
from .._cache._cached import SyncCachedDecorator
from .._lock._lock import Lock
from .._session._session import Data
from .._session._session import Session
from .._session._session import SessionInfo
from .._session._session import SessionLike
from .._session._store import SessionStore
from .._throttle._limit import SyncLimitDecorator
from .._throttle._limiters import Algorithm
from .._throttle._rates import Rate
from .._throttle._result import ThrottleResult
from .._throttle._throttle import Throttle
from .._throttle._throttle import ThrottleErrorPolicy
from .._types import MISSING
from .._types import TTL
from ._backend import SyncBackend
from collections.abc import Callable
from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any
from typing import Generic
from typing import Literal
from typing import Self
from typing import TYPE_CHECKING
from typing import cast
from typing import overload

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from typing_extensions import TypeForm


class SyncThrottle(Face[Throttle]):
    """Limits how often something may be done: for each key, so many hits in so much time.

    Over ``MemoryBackend`` and ``RedisBackend``, and namespaces of these, a decision is one atomic step on the store's
    own clock, on Redis one round trip. Over any other backend a single rate by ``fixed-window`` needs the six verbs
    that every backend has, and two or three calls; the other algorithms, and several rates, need ``add`` and
    ``compare_and_set``, and the clock of this machine. If clocks are ``d`` seconds apart, at most ``d`` times the rate
    comes through in addition. A clock that is set back forgets no hit, and makes no caller wait for longer than it
    otherwise could.

    The algorithms:

    * ``"fixed-window"``: a window begins with the first hit, and allows ``limit`` hits until it ends. The cheapest.
      Around the end of a window up to twice the limit may come in a short time. A well-known use of ``INCR``, and
      described as such in its documentation by Redis.
    * ``"sliding-window"``: as that, and of the hits in the window before counts the share that a window ending now
      would cover, as if they had been spread evenly. An approximation by two counters; by J. Desgats, Cloudflare, 2017.
    * ``"gcra"``: a bucket of ``limit`` tokens, or of ``burst`` of them, that is refilled evenly over the period. Allows
      a burst, and then the rate, evenly. The generic cell rate algorithm of ITU-T I.371.

    Throttles with the same backend, prefix, algorithm and rates share their hits. Not to share them, give them prefixes
    of their own. On a backend that evicts live keys, such as ``MemoryBackend(maxsize=...)``, the limits used longest
    ago are forgotten first.

    Args:
        backend: Where the hits are counted.
        *rates: ``"100/min"``, ``"10/s"``, ``"5 per minute"``, ``"5/10s"``, or ``Rate(limit, period)``. Of several, each
            must allow a hit, and a denied one counts for none of them.
        algorithm: How the hits are counted.
        prefix: What the keys in the backend begin with.
        on_error: What happens while the store cannot be reached or refuses to serve: ``"raise"`` the error, ``"allow"``
            every hit, ``"deny"`` every hit, or ``"local"``: count in the memory of this process instead. Until an
            outage is known, each call tries the store first, so let the backend have a short ``timeout``.

    Raises:
        TypeError: ``backend`` is not a ``Backend``, or a rate or the prefix has the wrong type.
        ValueError: There is no rate, a rate cannot be read, two rates have the same period, or an option is unknown.
        UnsupportedOperationError: The backend does not provide what the algorithm needs. The message names the verbs.
    """

    __slots__ = ()

    def __init__(
        self,
        backend: Backend | SyncBackend,
        *rates: str | Rate,
        algorithm: Algorithm = "fixed-window",
        prefix: str = "throttle",
        on_error: ThrottleErrorPolicy = "raise",
    ) -> None:
        super().__init__(Throttle(blocking_target(backend), *rates, algorithm=algorithm, prefix=prefix, on_error=on_error))

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The rates, in the order given."""
        return self._target.rates

    def allow(self, key: str, cost: int = 1) -> bool:
        """Count a hit if every rate allows it, and return whether they do. Atomic; a denied hit changes nothing.

        Args:
            key: What is limited: an address, a user, ``"login:" + name``.
            cost: How many hits it counts as.

        Raises:
            TypeError: The key is not a ``str``, or the cost not an ``int``.
            ValueError: The cost is less than 1, or more than the limit, so that it would never be allowed.
            BackendError: The store could not be reached or refused to serve, and ``on_error`` is ``"raise"``.
        """
        return drive(self._target.allow(key, cost))

    def hit(self, key: str, cost: int = 1) -> ThrottleResult:
        """Count a hit if every rate allows it, and return what they say. Atomic; a denied hit changes nothing.

        Args:
            key: What is limited.
            cost: How many hits it counts as.

        Raises:
            TypeError: The key is not a ``str``, or the cost not an ``int``.
            ValueError: The cost is less than 1, or more than the limit, so that it would never be allowed.
            BackendError: The store could not be reached or refused to serve, and ``on_error`` is ``"raise"``.
        """
        return drive(self._target.hit(key, cost))

    def peek(self, key: str, cost: int = 1) -> ThrottleResult:
        """Return what the rates would say to a hit, and count nothing.

        Args:
            key: What is limited.
            cost: How many hits it would count as.

        Raises:
            TypeError: The key is not a ``str``, or the cost not an ``int``.
            ValueError: The cost is less than 1, or more than the limit, so that it would never be allowed.
            BackendError: The store could not be reached or refused to serve, and ``on_error`` is ``"raise"``.
        """
        return drive(self._target.peek(key, cost))

    def reset(self, key: str) -> None:
        """Forget all hits of a key.

        Args:
            key: What is limited.

        Raises:
            TypeError: The key is not a ``str``.
            BackendError: The store could not be reached or refused to serve, whatever ``on_error`` is.
        """
        return drive(self._target.reset(key))

    def wait(self, key: str, cost: int = 1, timeout: float | None = None) -> ThrottleResult:
        """Count a hit as soon as every rate allows it, sleeping until then.

        Those that wait for one key of this object are served in order of arrival, whatever their costs; the first of
        them sleeps for as long as the rates say, and the others wait for it. Hits of other processes, and those that do
        not wait, may come first; then it sleeps again. A hit that would take longer than the timeout is denied as soon
        as that is known, and at the end of its timeout a hit is tried once more, out of turn.

        Args:
            key: What is limited.
            cost: How many hits it counts as.
            timeout: Seconds to wait at most; ``None`` for as long as it takes.

        Returns:
            What the rates said last: ``allowed`` is ``False`` if it would have taken longer than ``timeout``.

        Raises:
            TypeError: The key is not a ``str``, or a number has the wrong type.
            ValueError: The cost is less than 1 or more than the limit, or the timeout is negative.
            BackendTimeoutError: The store did not answer in time, and ``on_error`` is ``"raise"``. The hit may have
                been counted.
            BackendError: The store could not be reached or refused to serve, and ``on_error`` is ``"raise"``.
        """
        return drive(self._target.wait(key, cost, timeout))

    def limit(
        self, key: str | Callable[..., str] | None = None, *, cost: int = 1, timeout: float | None = 0
    ) -> SyncLimitDecorator:
        """Return a decorator: each call of the function is a hit, and runs only if every rate allows it.

        Example::

            @throttle.limit(key=lambda name, password: f"login:{name}")
            async def log_in(name: str, password: str) -> bool: ...

        Args:
            key: What is limited: a function that takes the arguments of a call and returns the key, or one key for all
                calls. By default the name of the decorated function, with its module.
            cost: How many hits a call counts as.
            timeout: Seconds to wait at most until a call is allowed, as for ``wait``. 0 refuses at once, ``None`` waits
                for as long as it takes.

        Raises:
            TypeError: An argument, or the decorated function, has the wrong type.
            ValueError: The key has fields (``"login:{name}"``), the cost is less than 1 or more than the limit, or the
                timeout is negative.
            ThrottledError: When the function is called more often than the rates allow.
            BackendError: When the function is called: the store could not be reached or refused to serve, and
                ``on_error`` is ``"raise"``.
        """
        return cast("SyncLimitDecorator", self._target.limit(key, cost=cost, timeout=timeout))


class SyncCache(Face[Cache]):
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

    __slots__ = ()

    def __init__(
        self,
        backend: Backend | SyncBackend | None = None,
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
        super().__init__(Cache(None if backend is None else blocking_target(backend), ttl=ttl, prefix=prefix, on_error=on_error, lease=lease, finish=finish, stale_on_error=stale_on_error, jitter=jitter, enabled=enabled))

    def bind(self, backend: Backend | SyncBackend) -> None:
        """Keep values in this backend from now on. Call it when the program starts, before the cache is used.

        Raises:
            TypeError: It is not a ``Backend``.
            UnsupportedOperationError: A lease was asked for, and the backend does not provide a verb that it needs.
        """
        return self._target.bind(blocking_target(backend))

    @property
    def enabled(self) -> bool:
        """Whether values are kept. If not, each call computes."""
        return self._target.enabled

    def disabled(self) -> AbstractContextManager[None]:
        """Within the block, have each call compute and keep nothing, in the whole program: for tests.

        Nothing is asked of the backend, which may be missing. ``get`` finds nothing, ``set`` and ``invalidate`` do
        nothing. What is kept already is there again after the block.
        """
        return self._target.disabled()

    @overload
    def get(self, key: str) -> Any: ...
    @overload
    def get(self, key: str, *, default: Default) -> Any | Default: ...
    @overload
    def get(self, key: str, type: type[Value], *, default: Default = ...) -> Value | Default: ...
    @overload
    def get(self, key: str, type: TypeAdapter[Value], *, default: Default = ...) -> Value | Default: ...
    @overload
    def get(self, key: str, type: TypeForm[Value], *, default: Default = ...) -> Value | Default: ...
    def get(self, key: str, type: Any = Any, *, default: Any = None) -> Any:
        """Return what is kept under ``key`` and fresh; ``default`` if there is none, or none that is valid as ``type``.

        Nothing is computed, and nothing is waited for. With ``on_error="miss"`` the result is ``default`` also while
        the store is away.
        """
        return drive(self._target.get(key, type, default=default))

    def set(
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
        return drive(self._target.set(key, value, type, ttl=ttl, stale=stale, tags=tags))

    @overload
    def get_or_set(
        self,
        key: str,
        factory: Factory[Any],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        stale_on_error: bool | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Any: ...
    @overload
    def get_or_set(
        self,
        key: str,
        factory: Factory[Any],
        type: type[Value],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        stale_on_error: bool | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Value: ...
    @overload
    def get_or_set(
        self,
        key: str,
        factory: Factory[Any],
        type: TypeAdapter[Value],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        stale_on_error: bool | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Value: ...
    @overload
    def get_or_set(
        self,
        key: str,
        factory: Factory[Any],
        type: TypeForm[Value],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        stale_on_error: bool | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Value: ...
    def get_or_set(
        self,
        key: str,
        factory: Factory[Any],
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
        return drive(self._target.get_or_set(key, factory, type, ttl=ttl, stale=stale, stale_on_error=stale_on_error, tags=tags, keep=keep))

    @overload
    def refresh(
        self,
        key: str,
        factory: Factory[Any],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Any: ...
    @overload
    def refresh(
        self,
        key: str,
        factory: Factory[Any],
        type: type[Value],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Value: ...
    @overload
    def refresh(
        self,
        key: str,
        factory: Factory[Any],
        type: TypeAdapter[Value],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Value: ...
    @overload
    def refresh(
        self,
        key: str,
        factory: Factory[Any],
        type: TypeForm[Value],
        *,
        ttl: TTL | TTLOf | None = ...,
        stale: TTL | None = ...,
        tags: Iterable[str] = ...,
        keep: Keep | None = ...,
    ) -> Value: ...
    def refresh(
        self,
        key: str,
        factory: Factory[Any],
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
        return drive(self._target.refresh(key, factory, type, ttl=ttl, stale=stale, tags=tags, keep=keep))

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
    ) -> SyncCachedDecorator:
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
        return cast("SyncCachedDecorator", self._target.cached(key=key, ttl=ttl, type=type, stale=stale, stale_on_error=stale_on_error, tags=tags, keep=keep))

    def invalidate(self, key: str) -> None:
        """Remove what is kept under ``key``. Callers that ask from now on get what was computed from now on.

        ``key`` is the key itself, as for ``get_or_set``. For a decorated function with arguments that have to be
        encoded, use ``function.invalidate(...)``, or the key that ``function.key(...)`` returns.

        That holds for computations under way in this process, and with leases in any. An error of the store is raised
        whatever ``on_error`` says, since the old value may still be there.
        """
        return drive(self._target.invalidate(key))

    def invalidate_tag(self, tag: str) -> None:
        """Remove everything that is kept with ``tag``. Costs one call of the backend, however much that is.

        Callers that ask from now on get what was computed from now on, whatever is computed at the moment. An error of
        the store is raised whatever ``on_error`` says, since the old values may still be there.
        """
        return drive(self._target.invalidate_tag(tag))


class SyncSessionStore(Face[SessionStore[Data]], Generic[Data]):
    """Sessions with a sliding expiry, kept in a backend and found by an id that only the client has.

    Every method may raise the errors that the verbs of a backend raise.

    Args:
        backend: Where they are kept. It must provide ``add`` and ``compare_and_set`` beside the six verbs.
        type: The type of their data: a pydantic model, ``dict[str, Any]``, or anything else that pydantic can validate.
        ttl: Seconds without a ``load`` or ``save`` after which a session ends. A session may have a ttl of its own.
        absolute_ttl: Seconds from the login (or, for a visitor, from ``create``) after which a session ends in any
            case; ``None`` for never.
        max_per_user: How many sessions a user may have. One more ends the oldest. ``None`` for any number.
        prefix: What all its keys in the backend begin with, followed by a colon.
        evictable: Accept a backend that evicts live keys, and so ends sessions early, to stay within its bounds.

    Raises:
        TypeError, ValueError: An argument is not what it must be, or the backend evicts live keys.
        UnsupportedOperationError: The backend does not provide a verb that is needed.
    """

    __slots__ = ()

    def __init__(
        self,
        backend: Backend | SyncBackend,
        type: type[Data] | TypeAdapter[Data] | TypeForm[Data],
        *,
        ttl: TTL,
        absolute_ttl: TTL | None = None,
        max_per_user: int | None = None,
        prefix: str = "session",
        evictable: bool = False,
    ) -> None:
        super().__init__(SessionStore(blocking_target(backend), type, ttl=ttl, absolute_ttl=absolute_ttl, max_per_user=max_per_user, prefix=prefix, evictable=evictable))

    def create(self, data: Data, user: str | None = None, *, ttl: TTL | None = None) -> Session[Data]:
        """Begin a session.

        A call that fails midway leaves no session that could be loaded.

        Args:
            data: Its data.
            user: Its user; ``None`` for a visitor.
            ttl: Seconds without a ``load`` or ``save`` after which it ends; the ttl of the store by default.

        Raises:
            SerializationError: The data cannot be stored, or would come back as something else.
        """
        return drive(self._target.create(data, user, ttl=ttl))

    def load(self, id: str) -> Session[Data] | None:
        """Return the session of an id and reset its expiry.

        Args:
            id: What a client sent, of any length and with any characters. What cannot be an id costs no call of the
                backend.

        Returns:
            ``None`` if the store has issued no such id, or the session has ended or was rotated, or its data is no
            longer valid as the type of the store. Nothing is changed then.
        """
        hidden: list[Any] = [id]
        del id
        return drive(self._target.load(hidden.pop()))

    def was_rotated(self, id: str) -> bool:
        """Return whether a client gave up an id within the last minute: by ``rotate``, or by a logout in a request.

        A request with such an id was sent before. Its client has, or is about to receive, a newer id or none; so do not
        delete the cookie, which may be another one by now.
        """
        hidden: list[Any] = [id]
        del id
        return drive(self._target.was_rotated(hidden.pop()))

    def save(self, session: Session[Data]) -> None:
        """Store the data and the user of a session and reset its expiry. Atomic.

        Raises:
            SessionConflictError: It was changed elsewhere since it was loaded, or has ended. Nothing was changed.
            SerializationError: The data cannot be stored, or would come back as something else.
        """
        return drive(self._target.save(session))

    def rotate(self, session: Session[Data], *, ttl: TTL | None = None) -> Session[Data]:
        """Give a session a new id, and store its data and user as ``save`` does. Atomic: the old id ends at once.

        Call it whenever a session gains rights, such as on login, so that an id that was known before does not gain
        them.

        Args:
            session: The session.
            ttl: Seconds without a ``load`` or ``save`` after which it ends from now on, as for "remember me"; left
                out, its ttl stays as it is.

        Returns:
            The session that was given; it has the new id.

        Raises:
            SessionConflictError: It was changed elsewhere since it was loaded, or has ended. Nothing was changed.
            SerializationError: The data cannot be stored, or would come back as something else.
        """
        return drive(self._target.rotate(session, ttl=ttl))

    def revoke(self, id: str | Session[Data] | SessionInfo[Data]) -> bool:
        """End a session. It cannot come back: a copy of it that was loaded before cannot be saved.

        Args:
            id: Its id, or the session, or what ``sessions_of`` returned for it. An id that was rotated ends nothing.

        Returns:
            Whether there was one to end.
        """
        hidden: list[Any] = [id]
        del id
        return drive(self._target.revoke(hidden.pop()))

    def revoke_handle(self, handle: str, *, user: str | None = None) -> bool:
        """End the session of a handle, as a user may choose it from a list of their sessions.

        Args:
            handle: The handle, which is no secret.
            user: End it only if it is a session of this user. A handle that comes from a client needs that check.

        Returns:
            Whether there was one to end.
        """
        return drive(self._target.revoke_handle(handle, user=user))

    def revoke_others(self, session: SessionLike) -> int:
        """End every session of a user but this one, as after a change of the password.

        Atomic: after one step none of the others can be loaded or saved. For a session without a user nothing happens.

        Args:
            session: The session that stays: a ``Session``, or ``scope["session"]``.

        Returns:
            How many there were.
        """
        return drive(self._target.revoke_others(session))

    def revoke_user(self, user: str) -> int:
        """End every session of a user at once. Atomic: after the first step none of them can be loaded or saved.

        Returns:
            How many there were.
        """
        return drive(self._target.revoke_user(user))

    def sessions_of(self, user: str) -> list[SessionInfo[Data]]:
        """Return the sessions of a user, the oldest first. No expiry is reset.

        When each was last seen takes one call of the backend for each, all at the same time; for a blocking caller one
        after the other.
        """
        return drive(self._target.sessions_of(user))


class SyncLock(Face[Lock]):
    """A lock in a store: of all who use this name on it, at most one holds it, until it is released or expires.

    ``async with lock`` waits for it and releases it at the end. One object may be shared by any number of tasks, event
    loops and threads. Those of one process get the lock in order of arrival, and processes take turns. It is not
    re-entrant: a task or thread that holds it and asks for it again gets a ``RuntimeError``.

    What it guarantees: while a holder's ttl has not run out, no other takes the lock; only its holder releases or
    extends it; a holder that dies blocks the others for ``ttl`` seconds at most.

    What it does not: a holder that is paused for longer than the ttl, by a garbage collector, a slow disk or a
    suspended machine, goes on as if it still held the lock, while another holder has taken it. A store that loses its
    last writes, as Redis may when a replica takes over, may give it twice. So let it save work that would otherwise be
    done twice, and where being wrong does harm, send ``token`` along with each write, and have the target of the write
    refuse a token smaller than one it has seen. Tokens grow: each is the last one plus one, or the store's time in
    microseconds if that is more. The last token is kept for 24 hours after its last use; so tokens shrink only if the
    store loses it (24 hours without use, eviction, a failover that loses writes) and its clock is then set back to
    before it.

    Needs ``add``, ``compare_and_set`` and ``compare_and_delete``.

    Args:
        backend: Where the lock is. It must not evict live keys.
        name: Its name. The keys are ``{lock:NAME}`` and ``{lock:NAME}:token``, which share a slot in a cluster. (After
            a prefix or namespace whose first braces are ``{}``, the second key ends in a number to that end.)
        ttl: Seconds, or a ``timedelta``, after which it is free again if it was neither released nor extended.
        timeout: Seconds to wait for it at most, for ``async with`` and for ``acquire`` without a timeout of its own;
            ``None`` for as long as it takes.
        renew: Whether ``async with`` extends the lock every third of its ttl while the block runs. A block can see in
            ``lost`` that this failed. In an event loop, enter and leave the block in one task.
        evictable: Whether to accept a backend that evicts live keys, so that the lock may be held twice.

    Raises:
        TypeError: ``backend`` is not a ``Backend``, or an argument has the wrong type.
        ValueError: The name is empty, the ttl or timeout out of range, or the backend evicts live keys.
        UnsupportedOperationError: The backend does not provide a verb that the lock needs. The message names the verbs.
    """

    __slots__ = ()

    def __init__(
        self,
        backend: Backend | SyncBackend,
        name: str,
        *,
        ttl: TTL,
        timeout: float | None = None,
        renew: bool = False,
        evictable: bool = False,
    ) -> None:
        super().__init__(Lock(blocking_target(backend), name, ttl=ttl, timeout=timeout, renew=renew, evictable=evictable))

    @property
    def name(self) -> str:
        """The name of the lock."""
        return self._target.name

    @property
    def token(self) -> int | None:
        """The fencing token of the caller's hold; without one, that with which this object last took the lock."""
        return self._target.token

    @property
    def lost(self) -> bool:
        """Whether the caller's hold is known to have ended before its release. Asks nothing of the store.

        So it is when ``extend`` or the renewal found the lock expired, when another task or thread took it with this
        object, or when its ttl has run out on the clock of this machine.
        """
        return self._target.lost

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for the lock and take it.

        Args:
            timeout: Seconds to wait at most; 0 to try once; ``None`` for the timeout of the lock, if it has one.

        Returns:
            Whether it was taken. ``False`` only if it was seen held.

        Raises:
            TypeError, ValueError: The timeout is not a number, or negative.
            RuntimeError: The calling task or thread holds the lock, or waits for it already.
            BackendTimeoutError: The store did not answer in time. Unlike with the verbs of a backend, this does not say
                that nothing was changed: the store may have given the lock to this call. The call gives it back if it
                reaches the store, and otherwise it has no holder until it has expired.
            BackendError: The store could not be reached or refused to serve.
        """
        return drive(self._target.acquire(timeout))

    def release(self) -> bool:
        """Give the lock back.

        Returns:
            Whether it was still held; ``False`` if it had expired. The lock of another holder is never released.

        Raises:
            RuntimeError: This object has not taken the lock.
            BackendError: The store could not be reached or refused to serve; the lock will expire.
        """
        return drive(self._target.release())

    def extend(self, ttl: TTL | None = None) -> bool:
        """Let the lock expire later: ``ttl`` seconds from now. Atomic.

        Args:
            ttl: Seconds, or a ``timedelta``; that of the lock by default.

        Returns:
            Whether it was still held; ``False`` if it had expired, and then nothing was changed.

        Raises:
            RuntimeError: This object has not taken the lock.
            BackendError: The store could not be reached or refused to serve.
        """
        return drive(self._target.extend(ttl))

    def locked(self) -> bool:
        """Return whether the lock is held by anyone."""
        return drive(self._target.locked())

    def __enter__(self) -> Self:
        """Wait for the lock and take it.

        Raises:
            TimeoutError: It was held by others for the whole timeout of the lock.
        """
        drive(self._target.__aenter__())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the lock back.

        An exception of the block is never replaced: if the release fails as well, a note on the exception says so.

        Raises:
            LockLostError: It expired within the block, which raised nothing itself.
        """
        return drive(self._target.__aexit__(exc_type, exc, traceback))
