"""The decorator of a cache.

The common call, of a function whose results have no tags and no ``stale``, is served right in the wrapper: the key, one
``get`` by the type of the result, and done. Everything else goes to the engine.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, overload

from .._component import drive
from .._errors import DeserializationError, ResponseError
from .._types import MISSING
from .._values._codec import decode
from ._engine import Engine
from ._key_template import KEYWORDS, Arguments, KeyTemplate, TagTemplate, default_template
from ._lookup import NOTHING, Request
from ._stored import EntryOptions
from ._writes import refresh

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Keywords = dict[str, Any]


class _TakesClass(Protocol[Q, R_co]):
    """What takes a class first, as a class method does."""

    def __call__(self, cls: type[Any], /, *args: Q.args, **kwargs: Q.kwargs) -> R_co: ...


class BoundCachedFunction(Protocol[P, R_co]):
    """A function that ``Cache.cached`` decorates, or a method of it that is bound to an object or a class."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...

    @property
    def key(self) -> Callable[P, str]:
        """Returns the key of a call with these arguments, as ``Cache.invalidate`` takes it."""
        ...

    @property
    def invalidate(self) -> Callable[P, Coroutine[Any, Any, None]]:
        """Removes what is kept for a call with these arguments."""
        ...

    @property
    def refresh(self) -> Callable[P, Coroutine[Any, Any, R_co]]:
        """Calls the function with these arguments, keeps what it returns, and returns it."""
        ...


class CachedFunction(BoundCachedFunction[P, R_co], Protocol[P, R_co]):
    """What ``Cache.cached`` makes of a function; in a class it is a method."""

    # A class method, whose first parameter is a class, is bound to the class through which it is reached.
    @overload
    def __get__(
        self: _TakesClass[Q, Coroutine[Any, Any, R]], instance: None, owner: type
    ) -> BoundCachedFunction[Q, R]: ...
    @overload
    def __get__(self, instance: None, owner: type) -> CachedFunction[P, R_co]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[Any, Q], R], instance: object, owner: type
    ) -> BoundCachedFunction[Q, R]: ...
    # The same for pyrefly, which does not match the protocol's own parameters.
    @overload
    def __get__(
        self: Callable[Concatenate[Any, Q], Coroutine[Any, Any, R]], instance: object, owner: type
    ) -> BoundCachedFunction[Q, R]: ...


class SyncBoundCachedFunction(Protocol[P, R_co]):
    """A function that ``SyncCache.cached`` decorates, or a method of it that is bound to an object or a class."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    @property
    def key(self) -> Callable[P, str]:
        """Returns the key of a call with these arguments, as ``SyncCache.invalidate`` takes it."""
        ...

    @property
    def invalidate(self) -> Callable[P, None]:
        """Removes what is kept for a call with these arguments."""
        ...

    @property
    def refresh(self) -> Callable[P, R_co]:
        """Calls the function with these arguments, keeps what it returns, and returns it."""
        ...


class SyncCachedFunction(SyncBoundCachedFunction[P, R_co], Protocol[P, R_co]):
    """What ``SyncCache.cached`` makes of a function; in a class it is a method."""

    @overload
    def __get__(self: _TakesClass[Q, R], instance: None, owner: type) -> SyncBoundCachedFunction[Q, R]: ...
    @overload
    def __get__(self, instance: None, owner: type) -> SyncCachedFunction[P, R_co]: ...
    @overload
    def __get__(
        self: SyncCachedFunction[Concatenate[Any, Q], R], instance: object, owner: type
    ) -> SyncBoundCachedFunction[Q, R]: ...
    @overload
    def __get__(
        self: Callable[Concatenate[Any, Q], R], instance: object, owner: type
    ) -> SyncBoundCachedFunction[Q, R]: ...


class CachedDecorator(Protocol):
    """What ``Cache.cached`` returns."""

    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CachedFunction[P, R]: ...


class CoroutineNeedsCache:
    """What type checkers take an ``async def`` under ``SyncCache.cached`` for, so that they report its calls."""


class SyncCachedDecorator(Protocol):
    """What ``SyncCache.cached`` returns."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[..., Coroutine[Any, Any, Any]], /
    ) -> CoroutineNeedsCache: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncCachedFunction[P, R]: ...


class Decoration:
    """A decorator for a function of one cache."""

    def __init__(
        self, engine: Engine, key: str | None, tags: list[str], options: Callable[[Any], EntryOptions], type: Any
    ) -> None:
        self._engine = engine
        self._key = key
        self._tags = tags
        self._options = options
        self._type = type

    def __call__(self, function: Any, /) -> Any:
        local = sys._getframe(1).f_locals
        if isinstance(function, staticmethod):
            return staticmethod(self._decorated(function.__func__, local))
        if isinstance(function, classmethod):
            return _CachedClassMethod(self._decorated(function.__func__, local), local)
        wrapper = self._decorated(function, local)
        outer, _, _ = wrapper.__qualname__.rpartition(".")
        # In the body of a class it is a method; a function in a module or in another function stays a function.
        return _CachedMethod(wrapper, local) if outer and not outer.endswith("<locals>") else wrapper

    def _decorated(self, function: Callable[..., Any], local: dict[str, Any]) -> Any:
        blocking = self._engine.waiting.blocks
        if blocking:
            _check_plain(function)
        elif not inspect.iscoroutinefunction(function):
            raise TypeError("Cache.cached decorates an async def; for a plain function there is SyncCache")
        result = _returned(function, local) if self._type is MISSING else self._type
        key = default_template(function) if self._key is None else self._key
        plan = _Plan(self._engine, function, self._options(result), key, self._tags)
        wrapper = (_blocking_wrapper if blocking else _wrapper)(plan)
        self._engine.templates.declare(plan.template, function)
        return wrapper


class _Plan:
    """One function and how its calls are cached.

    Attributes:
        direct: Whether a hit is one typed ``get``.
        tagged: Whether a hit is one ``get_many`` of the value and the tokens of its tags.
        missed: The errors of a ``get`` after which it may be that there just is no value.
    """

    def __init__(
        self, engine: Engine, function: Callable[..., Any], options: EntryOptions, key: str, tags: list[str]
    ) -> None:
        signature = inspect.signature(function)
        self.function = function
        self.engine = engine
        self.options = options
        self.template = KeyTemplate(key, signature, engine.reader.keys.values)
        self.direct = not tags and not options.stale and (options.typed or options.type is Any)
        self.tagged = bool(tags) and not options.stale
        self.missed: tuple[type[Exception], ...] = (DeserializationError, ResponseError, *engine.tolerated)
        self._tags = [TagTemplate(tag, signature) for tag in tags]

    def tags(self, args: Arguments, kwargs: Keywords) -> tuple[str, ...]:
        return tuple(dict.fromkeys([tag.tag(args, kwargs) for tag in self._tags]))

    def request(self, name: str, args: Arguments, kwargs: Keywords, tags: tuple[str, ...] | None = None) -> Request:
        given = self.tags(args, kwargs) if tags is None else tags
        return Request(name, self.options, given, lambda: self.function(*args, **kwargs))


async def _serve(plan: _Plan, name: str, args: Arguments, kwargs: Keywords) -> Any:
    return await plan.engine.serve(plan.request(name, args, kwargs))


async def _serve_tagged(plan: _Plan, name: str, args: Arguments, kwargs: Keywords) -> Any:
    """Serve a call of a function with tags: one ``get_many``, and in the usual case no more."""
    engine, tags = plan.engine, plan.tags(args, kwargs)
    if not engine.enabled:
        return await engine.serve(plan.request(name, args, kwargs, tags))
    try:
        found, data = await engine.reader.read_tagged(name, tags)
    except plan.missed as error:
        away = _is_away(error, engine)
        return await engine.serve(plan.request(name, args, kwargs, tags), away=away)
    if data is not None:
        try:
            value = decode(data, plan.options.type)
            engine.reports.outcome("hit", name)
            return value
        except DeserializationError:
            # It was stored as another type, so it counts as missing.
            data = None
    return await engine.serve(plan.request(name, args, kwargs, tags), found=found)


def _wrapper(plan: _Plan) -> Any:
    engine, template, direct, result = plan.engine, plan.template, plan.direct, plan.options.type
    serve, missed = engine.serve, plan.missed
    serve_marked = _serve_tagged if plan.tagged else _serve
    single = template.single is not None
    head, tail = template.single or ("", "")

    @functools.wraps(plan.function)
    async def cached(*args: Any, **kwargs: Any) -> Any:
        name = None
        # The commonest key, right here: a call of a function for it would cost as much as the rest.
        if single and len(args) == 1 and not kwargs:
            argument = args[0]
            kind = argument.__class__
            if kind is int:
                name = f"{head}{argument}{tail}"
            elif kind is str and argument.isascii() and argument.isidentifier() and argument not in KEYWORDS:
                name = head + argument + tail
        if name is None:
            name = template.name(args, kwargs)
        if not direct:
            return await serve_marked(plan, name, args, kwargs)
        try:
            plain = engine.plain_get
            value = await engine.get(name, result, default=MISSING) if plain is None else plain(name, result, MISSING)
        except missed as error:
            return await serve(plan.request(name, args, kwargs), typed=False, away=_is_away(error, engine))
        if value is MISSING:
            return await serve(plan.request(name, args, kwargs), NOTHING)
        if value.__class__ is bytes:
            return await serve(plan.request(name, args, kwargs), typed=False)
        return value

    async def invalidate(*args: Any, **kwargs: Any) -> None:
        await engine.invalidate(template.name(args, kwargs))

    async def renewed(*args: Any, **kwargs: Any) -> Any:
        return await refresh(engine, plan.request(template.name(args, kwargs), args, kwargs))

    return _completed(cached, plan, invalidate, renewed)


def _blocking_wrapper(plan: _Plan) -> Any:
    engine, template, direct, result = plan.engine, plan.template, plan.direct, plan.options.type
    serve, missed = engine.serve, plan.missed

    @functools.wraps(plan.function)
    def cached(*args: Any, **kwargs: Any) -> Any:
        name = template.name(args, kwargs)
        if not direct:
            return drive(serve(plan.request(name, args, kwargs)))
        try:
            value = engine.blocking_get(name, result, default=MISSING)
        except missed as error:
            return drive(serve(plan.request(name, args, kwargs), typed=False, away=_is_away(error, engine)))
        if value is MISSING:
            return drive(serve(plan.request(name, args, kwargs), NOTHING))
        if value.__class__ is bytes:
            return drive(serve(plan.request(name, args, kwargs), typed=False))
        return value

    def invalidate(*args: Any, **kwargs: Any) -> None:
        drive(engine.invalidate(template.name(args, kwargs)))

    def renewed(*args: Any, **kwargs: Any) -> Any:
        return drive(refresh(engine, plan.request(template.name(args, kwargs), args, kwargs)))

    return _completed(cached, plan, invalidate, renewed)


def _completed(wrapper: Any, plan: _Plan, invalidate: Callable[..., Any], refresh: Callable[..., Any]) -> Any:
    def key(*args: Any, **kwargs: Any) -> str:
        return plan.template.key(args, kwargs)

    wrapper.key = key
    wrapper.invalidate = invalidate
    wrapper.refresh = refresh
    return wrapper


class _CachedMethod:
    """A decorated function in the body of a class. Bound, its ``key`` and so on take no instance either.

    Args:
        wrapper: The decorated function.
        body: The variables of the body of the class.
    """

    def __init__(self, wrapper: Any, body: dict[str, Any]) -> None:
        self.__wrapped__ = wrapper
        self._body = body

    def __get__(self, instance: object | None, owner: type) -> Any:
        return self.__wrapped__ if instance is None else _BoundMethod(self.__wrapped__, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Of a static method; and of a class method from Python 3.13 on, which no longer binds what it wraps.
        return self.__wrapped__(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in ("key", "invalidate", "refresh") and self._is_in_a_classmethod():
            # That class method asks for its attribute, and does not say of which class it is.
            return getattr(_BoundMethod(self.__wrapped__, _UNKNOWN_CLASS), name)
        return getattr(self.__wrapped__, name)

    def _is_in_a_classmethod(self) -> bool:
        found = self._body.get(self.__wrapped__.__name__)
        return isinstance(found, classmethod) and found.__func__ is self


class _UnknownClass:
    """The class of a class method that is decorated inside, on Python 3.13 and later. A call cannot be made with it."""

    def __getattr__(self, name: str) -> Any:
        raise TypeError("here the class is not known: put @cache.cached above @classmethod")

    __call__ = __getattr__


_UNKNOWN_CLASS: Final = _UnknownClass()


class _CachedClassMethod(_CachedMethod):
    """A decorated class method."""

    def __get__(self, instance: object | None, owner: type) -> Any:
        return _BoundMethod(self.__wrapped__, owner)


class _BoundMethod(functools.partial):  # type: ignore[type-arg]
    """A decorated function and what it is bound to."""

    __slots__ = ()

    @property
    def __self__(self) -> Any:
        return self.args[0]

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.func.__doc__

    def key(self, *args: Any, **kwargs: Any) -> Any:
        return self.func.key(*self.args, *args, **kwargs)  # type: ignore[attr-defined]

    def invalidate(self, *args: Any, **kwargs: Any) -> Any:
        return self.func.invalidate(*self.args, *args, **kwargs)  # type: ignore[attr-defined]

    def refresh(self, *args: Any, **kwargs: Any) -> Any:
        if self.args[0] is _UNKNOWN_CLASS:
            _UNKNOWN_CLASS("refresh")
        return self.func.refresh(*self.args, *args, **kwargs)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        # No more than this: what looks like a function has the signature of one, instance included.
        if name in ("__name__", "__qualname__"):
            return getattr(self.func, name)
        raise AttributeError(name)


def _is_away(error: Exception, engine: Engine) -> bool:
    """Whether an error of a ``get`` means that the store is away. If it means neither that nor a miss, raise it."""
    if isinstance(error, DeserializationError) or (isinstance(error, ResponseError) and error.code == "WRONGTYPE"):
        return False
    if not isinstance(error, engine.tolerated):
        raise error
    engine.reports.away(error)
    return True


def _check_plain(function: Callable[..., Any]) -> None:
    kinds: Final = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    if not inspect.isroutine(function) or any(kind(function) for kind in kinds):
        raise TypeError("SyncCache.cached decorates a plain function; for an async def there is Cache")


def _returned(function: Callable[..., Any], local: dict[str, Any]) -> Any:
    """Return what the return annotation of a function says, ``Any`` if it has none."""
    try:
        annotations = function.__annotations__
        if "return" not in annotations:
            return Any
        # The other annotations are none of our business, and may name what exists for type checkers only.
        holder = type("holder", (), {"__annotations__": {"return": annotations["return"]}})
        module = getattr(inspect.unwrap(function), "__globals__", {})
        return typing.get_type_hints(holder, module, {**local}, include_extras=True)["return"]
    except Exception as error:
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(
            f"the return annotation of {name} cannot be resolved ({error}); give the type as type="
        ) from error
