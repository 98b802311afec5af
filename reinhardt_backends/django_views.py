"""Django: a decorator that limits how often a view is used. Import it from ``reinhardt_backends.django``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse

from . import Algorithm, Backend, MemoryBackend, Rate, SyncThrottle, Throttle, ThrottleErrorPolicy, ThrottleResult
from .asgi import ClientAddress


def rate_limit(
    *rates: str | Rate,
    by: Callable[[HttpRequest], Any] | None = None,
    name: str | None = None,
    cache: str = "default",
    algorithm: Algorithm = "fixed-window",
    on_error: ThrottleErrorPolicy = "raise",
    trusted_proxies: tuple[str, ...] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that lets each client use a view as often as the rates allow, and responds 429 otherwise.

    It decorates functions, blocking and asynchronous; methods take it through ``method_decorator``. Every response says
    in ``RateLimit-Policy`` and ``RateLimit`` how much is left, and a refusal in ``Retry-After`` when to come back.

    Args:
        *rates: ``"5/min"`` or ``Rate(5, 60)``, as for ``Throttle``.
        by: Returns what is limited, such as ``request.user.pk``; ``None`` for no limit. By default it is the address
            of the client.
        name: Views with the same name share their hits. By default each route has hits of its own.
        cache: The name of a ``DjangoCache`` in ``CACHES``. Hits are counted in its backend.
        algorithm: As for ``Throttle``.
        on_error: As for ``Throttle``.
        trusted_proxies: The proxies whose ``X-Forwarded-For`` is believed, as for ``ClientAddress``.

    Raises:
        TypeError, ValueError: A rate or an option is not valid.
    """
    if by is not None and trusted_proxies:
        raise TypeError("trusted_proxies is for limits by address; `by` gives another key")
    address = ClientAddress(trusted_proxies)
    made: dict[tuple[type[Any], Backend], Any] = {}

    def throttle(kind: type[Any]) -> Any:
        backend = getattr(caches[cache], "backend", None)
        if not isinstance(backend, Backend):
            raise ImproperlyConfigured(f"the cache {cache!r} must be a DjangoCache, in whose backend hits are counted")
        if (kind, backend) not in made:
            made.clear()
            made[kind, backend] = kind(backend, *rates, algorithm=algorithm, prefix="throttle:view", on_error=on_error)
        return made[kind, backend]

    def key_of(request: HttpRequest, view: Callable[..., Any]) -> str | None:
        key = address(_scope(request)) if by is None else by(request)
        kind = "address" if by is None else "key"
        return None if key is None else f"{_route_of(request, view) if name is None else name}:{kind}:{key}"

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def blocking(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if (key := key_of(request, view)) is None:
                return view(request, *args, **kwargs)
            result = throttle(SyncThrottle).hit(key)
            return _with_fields(view(request, *args, **kwargs) if result else _refusal(), result)

        @wraps(view)
        async def asynchronous(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if (key := key_of(request, view)) is None:
                return await view(request, *args, **kwargs)
            result = await throttle(Throttle).hit(key)
            return _with_fields(await view(request, *args, **kwargs) if result else _refusal(), result)

        # Django's own: it knows functions that are marked as coroutine functions.
        return asynchronous if iscoroutinefunction(view) else blocking  # pyright: ignore[reportDeprecated]

    # Made at once, so that a rate that cannot be read is an error where it is written.
    Throttle(MemoryBackend(), *rates, algorithm=algorithm, on_error=on_error)
    return decorate


def _route_of(request: HttpRequest, view: Callable[..., Any]) -> str:
    """Return what tells a view from others, and is the same whatever the client sends."""
    match = request.resolver_match
    return f"{'' if match is None else match.route} {view.__module__}.{getattr(view, '__qualname__', '')}"


def _scope(request: HttpRequest) -> dict[str, Any]:
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return {
        "client": (request.META.get("REMOTE_ADDR", ""), 0),
        "headers": [(b"x-forwarded-for", forwarded.encode("latin-1", "replace"))] if forwarded else [],
    }


def _refusal() -> HttpResponse:
    return HttpResponse("Too Many Requests\n", status=429, content_type="text/plain; charset=utf-8")


def _with_fields(response: Any, result: ThrottleResult) -> Any:
    for field, value in result.headers().items():
        response.headers[field] = value
    return response
