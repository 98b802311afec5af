"""``Throttle.limit``: a decorator that lets a function be called only as often as the rates allow."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeAlias, TypeVar

from .._component import drive
from .._types import check_key
from ._result import ThrottleResult

if TYPE_CHECKING:
    from ._throttle import Throttle

P = ParamSpec("P")
R = TypeVar("R")

LimitKey: TypeAlias = "str | Callable[..., str] | None"


class ThrottledError(Exception):
    """A call was denied by a rate limit.

    It is not a ``BackendError``: the store did its work.

    Attributes:
        result: What the throttle says: ``result.retry_after`` is when to try again, ``result.headers()`` tells it to an
            HTTP client.
    """

    def __init__(self, message: str = "", *, result: ThrottleResult | None = None) -> None:
        super().__init__(message)
        self.result = result


class LimitDecorator(Protocol):
    """What ``Throttle.limit`` returns."""

    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...


class SyncLimitDecorator(Protocol):
    """What ``SyncThrottle.limit`` returns."""

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...


class Limit:
    """A decorator for the functions that one throttle limits."""

    def __init__(self, throttle: Throttle, key: LimitKey, cost: int, timeout: float | None) -> None:
        if isinstance(key, str):
            if "{" in key:
                raise ValueError("a key with fields needs a function, such as key=lambda user: f'login:{user}'")
            key = check_key(key)
        elif key is not None and not callable(key):
            raise TypeError(f"the key of a limit must be a str or a function, not {type(key).__name__}")
        self._throttle = throttle
        self._key = key
        self._cost = cost
        self._timeout = timeout

    def __call__(self, function: Any, /) -> Any:
        blocking = self._throttle._waiting.blocks
        if not callable(function):
            raise TypeError(f"a limit decorates a function, not {type(function).__name__}")
        if inspect.iscoroutinefunction(function) is blocking:
            raise TypeError(
                "SyncThrottle.limit decorates a plain function; for an async def there is Throttle"
                if blocking
                else "Throttle.limit decorates an async def; for a plain function there is SyncThrottle"
            )
        return self._blocking(function) if blocking else self._suspending(function)

    def _suspending(self, function: Callable[..., Any]) -> Callable[..., Any]:
        key_of = self._key_of(function)

        @functools.wraps(function)
        async def limited(*args: Any, **kwargs: Any) -> Any:
            await self._enter(key_of(*args, **kwargs))
            return await function(*args, **kwargs)

        return limited

    def _blocking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        key_of = self._key_of(function)

        @functools.wraps(function)
        def limited(*args: Any, **kwargs: Any) -> Any:
            drive(self._enter(key_of(*args, **kwargs)))
            return function(*args, **kwargs)

        return limited

    def _key_of(self, function: Callable[..., Any]) -> Callable[..., str]:
        key = f"{function.__module__}.{function.__qualname__}" if self._key is None else self._key
        return key if callable(key) else lambda *args, **kwargs: key

    async def _enter(self, key: str) -> None:
        throttle, cost = self._throttle, self._cost
        if self._timeout == 0:
            result = await throttle.hit(key, cost)
        else:
            result = await throttle.wait(key, cost, self._timeout)
        if not result.allowed:
            rates = ", ".join(map(str, throttle.rates))
            raise ThrottledError(f"more calls than {rates}: try again in {result.retry_after:.3g} s", result=result)
