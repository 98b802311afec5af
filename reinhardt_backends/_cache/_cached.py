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
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, overload

from .._component import IN_THREAD, blocking_verb, drive
from .._errors import DeserializationError, ResponseError
from .._types import MISSING
from ._engine import Engine
from ._key_template import Arguments, KeyTemplate
from ._lookup import NOTHING, Job
from ._stored import recipe_of

if TYPE_CHECKING:
    from .._types import TTL

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Keywords = dict[str, Any]


class CachedFunction(Protocol[P, R_co]):
    """What ``Cache.cached`` makes of a function; as a method it is one."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...

    @property
    def invalidate(self) -> Callable[P, Coroutine[Any, Any, None]]:
        """Removes what is kept for the call with these arguments; of a method, the instance comes first."""
        ...

    @overload
    def __get__(self, instance: None, owner: type) -> CachedFunction[P, R_co]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[Any, Q], R], instance: object, owner: type
    ) -> Callable[Q, Coroutine[Any, Any, R]]: ...


class SyncCachedFunction(Protocol[P, R_co]):
    """What ``SyncCache.cached`` makes of a function; as a method it is one."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    @property
    def invalidate(self) -> Callable[P, None]:
        """Removes what is kept for the call with these arguments; of a method, the instance comes first."""
        ...

    @overload
    def __get__(self, instance: None, owner: type) -> SyncCachedFunction[P, R_co]: ...
    @overload
    def __get__(self: SyncCachedFunction[Concatenate[Any, Q], R], instance: object, owner: type) -> Callable[Q, R]: ...


class CachedDecorator(Protocol):
    """What ``Cache.cached`` returns."""

    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CachedFunction[P, R]: ...


class SyncCachedDecorator(Protocol):
    """What ``SyncCache.cached`` returns."""

    def __call__(self, function: Callable[P, R], /) -> SyncCachedFunction[P, R]: ...


class Decoration:
    """A decorator for the functions of one cache."""

    def __init__(self, engine: Engine, key: str, ttl: TTL, type: Any, stale: TTL | None, tags: list[str]) -> None:
        self._engine = engine
        self._key = key
        self._ttl = ttl
        self._type = type
        self._stale = stale
        self._tags = tags

    def __call__(self, function: Callable[..., Any], /) -> Any:
        blocking = self._engine.waiting is IN_THREAD
        if blocking:
            _check_plain(function)
        elif not inspect.iscoroutinefunction(function):
            raise TypeError("Cache.cached decorates an async def; for a plain function there is SyncCache")
        result = _returned(function, sys._getframe(1).f_locals) if self._type is MISSING else self._type
        plan = _Plan(self, function, result)
        return (_blocking_wrapper if blocking else _wrapper)(plan)


class _Plan:
    """One function and how its calls are cached."""

    def __init__(self, decoration: Decoration, function: Callable[..., Any], type: Any) -> None:
        signature = inspect.signature(function)
        self.function = function
        self.engine = decoration._engine
        self.recipe = recipe_of(type, decoration._ttl, decoration._stale)
        self.template = KeyTemplate(decoration._key, signature, self.engine.shelf.prefix)
        self._tags = [KeyTemplate(tag, signature) for tag in decoration._tags]
        self.direct = not self._tags and not self.recipe.stale and (self.recipe.plain or type is Any)

    def job(self, name: str, args: Arguments, kwargs: Keywords) -> Job:
        tags = tuple(dict.fromkeys(tag.key(args, kwargs) for tag in self._tags))
        return Job(name, self.recipe, tags, lambda: self.function(*args, **kwargs))


def _wrapper(plan: _Plan) -> Any:
    engine, template, direct = plan.engine, plan.template, plan.direct
    arity, quick, result = template.arity, template.quick, plan.recipe.type
    get, serve, tolerated = engine.shelf.backend.get, engine.serve, engine.tolerated
    missed = _missed(tolerated)

    @functools.wraps(plan.function)
    async def cached(*args: Any, **kwargs: Any) -> Any:
        name = quick(args) if len(args) == arity and not kwargs else template.key(args, kwargs)
        if not direct:
            return await serve(plan.job(name, args, kwargs))
        try:
            value = await get(name, result, default=MISSING)
        except missed as error:
            return await serve(plan.job(name, args, kwargs), away=_is_away(error, tolerated))
        if value is not MISSING and value.__class__ is not bytes:
            return value
        return await serve(plan.job(name, args, kwargs), NOTHING if value is MISSING else None)

    async def invalidate(*args: Any, **kwargs: Any) -> None:
        await engine.invalidate(template.key(args, kwargs))

    return _with(cached, invalidate)


def _blocking_wrapper(plan: _Plan) -> Any:
    engine, template, direct = plan.engine, plan.template, plan.direct
    arity, quick, result = template.arity, template.quick, plan.recipe.type
    get, serve, tolerated = blocking_verb(engine.shelf.backend, "get"), engine.serve, engine.tolerated
    missed = _missed(tolerated)

    @functools.wraps(plan.function)
    def cached(*args: Any, **kwargs: Any) -> Any:
        name = quick(args) if len(args) == arity and not kwargs else template.key(args, kwargs)
        if not direct:
            return drive(serve(plan.job(name, args, kwargs)))
        try:
            value = get(name, result, default=MISSING)
        except missed as error:
            return drive(serve(plan.job(name, args, kwargs), away=_is_away(error, tolerated)))
        if value is not MISSING and value.__class__ is not bytes:
            return value
        return drive(serve(plan.job(name, args, kwargs), NOTHING if value is MISSING else None))

    def invalidate(*args: Any, **kwargs: Any) -> None:
        drive(engine.invalidate(template.key(args, kwargs)))

    return _with(cached, invalidate)


def _with(wrapper: Any, invalidate: Callable[..., Any]) -> Any:
    wrapper.invalidate = invalidate
    return wrapper


def _missed(tolerated: tuple[type[Exception], ...]) -> tuple[type[Exception], ...]:
    """Return the errors of a ``get`` after which it may be that there just is no value."""
    return (DeserializationError, ResponseError, *tolerated)


def _is_away(error: Exception, tolerated: tuple[type[Exception], ...]) -> bool:
    """Whether an error of a ``get`` means that the store is away. If it means neither that nor a miss, raise it."""
    if isinstance(error, DeserializationError) or (isinstance(error, ResponseError) and error.code == "WRONGTYPE"):
        return False
    if not isinstance(error, tolerated):
        raise error
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
