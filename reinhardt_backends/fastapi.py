"""FastAPI: rate limits, sessions and the backend as dependencies.

Example::

    backend = Backend.from_url("redis://localhost")
    app = FastAPI()
    app.state.backend = backend

    @app.post("/login", dependencies=[Depends(rate_limit("5/min"))])
    async def login() -> ...: ...

    @app.get("/report")
    @cache.cached(key="report:{day}", ttl=60)
    async def report(day: date) -> Report: ...

``Cache.cached`` keeps the signature of a function, so routes and dependencies can be cached as they are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any, Final

from fastapi import Depends, HTTPException, Response, WebSocketException
from fastapi.requests import HTTPConnection  # noqa: TC002 - FastAPI resolves annotations

from . import Algorithm, Backend, MemoryBackend, Rate, Throttle, ThrottleErrorPolicy, ThrottleResult
from .asgi import ClientAddress, WebSession

__all__ = ["CurrentBackend", "CurrentSession", "get_backend", "get_session", "rate_limit"]

_TRY_AGAIN_LATER: Final = 1013
"""The code that closes a websocket over the limit, from IANA's registry of close codes."""


def rate_limit(
    *rates: str | Rate,
    by: Callable[..., Any] | None = None,
    name: str | None = None,
    backend: Backend | None = None,
    algorithm: Algorithm = "fixed-window",
    on_error: ThrottleErrorPolicy = "raise",
    trusted_proxies: Iterable[str] = (),
) -> Callable[..., Awaitable[ThrottleResult | None]]:
    """Return a dependency that lets each client use a route as often as the rates allow, and raises 429 otherwise.

    The response says in ``RateLimit-Policy`` and ``RateLimit`` how much is left, and a refusal in ``Retry-After`` when
    to come back. FastAPI adds these fields unless the route returns a ``Response`` of its own or raises; the dependency
    gives such a route the ``ThrottleResult``, whose ``headers()`` it can pass on. A websocket counts once, and is
    closed with code 1013 over the limit.

    Args:
        *rates: ``"5/min"`` or ``Rate(5, 60)``, as for ``Throttle``.
        by: A dependency that returns what is limited, such as the id of the user; ``None`` for no limit. By default
            it is the address of the client.
        name: Routes with the same name share their hits. By default each route has hits of its own.
        backend: Where hits are counted; by default ``app.state.backend``.
        algorithm: As for ``Throttle``.
        on_error: As for ``Throttle``.
        trusted_proxies: The proxies whose ``X-Forwarded-For`` is believed, as for ``ClientAddress``.

    Raises:
        TypeError, ValueError: A rate or an option is not valid.
    """
    if by is not None and trusted_proxies:
        raise TypeError("trusted_proxies is for limits by address; `by` gives another key")
    address = ClientAddress(trusted_proxies)

    def throttle_on(store: Backend) -> Throttle:
        return Throttle(store, *rates, algorithm=algorithm, prefix="throttle:route", on_error=on_error)

    # Made at once, so that a rate that cannot be read is an error where it is written.
    last = (backend, throttle_on(MemoryBackend() if backend is None else backend))

    def client(connection: HTTPConnection) -> str:
        return address(connection.scope)

    subject: Any = Depends(client if by is None else by)

    async def limit(connection: HTTPConnection, response: Response, key: Any = subject) -> ThrottleResult | None:
        nonlocal last
        if key is None:
            return None
        store = get_backend(connection) if backend is None else backend
        used, throttle = last
        if used is not store:
            throttle = throttle_on(store)
            last = (store, throttle)
        place = _route_of(connection) if name is None else name
        result = await throttle.hit(f"{place}:{'address' if by is None else 'key'}:{key}")
        if not result:
            raise _refusal(connection, result)
        for field, value in result.headers().items():
            response.headers.append(field, value)
        return result

    return limit


def get_backend(connection: HTTPConnection) -> Backend:
    """Return ``app.state.backend``. A dependency; ``CurrentBackend`` is the annotation for it.

    Raises:
        RuntimeError: The application has none.
    """
    backend = getattr(connection.app.state, "backend", None)
    if not isinstance(backend, Backend):
        raise RuntimeError(  # noqa: TRY004 - no argument has the wrong type
            "app.state.backend must be a Backend: assign it when the application is made"
        )
    return backend


def get_session(connection: HTTPConnection) -> WebSession:
    """Return the session of the request. A dependency; ``CurrentSession`` is the annotation for it.

    Raises:
        RuntimeError: The application has no ``SessionMiddleware`` of this library.
    """
    session = connection.scope.get("session")
    if not isinstance(session, WebSession):
        raise RuntimeError(  # noqa: TRY004 - no argument has the wrong type
            "there is no session: add reinhardt_backends.asgi.SessionMiddleware to the application"
        )
    return session


CurrentBackend = Annotated[Backend, Depends(get_backend)]
"""The annotation of a parameter that takes ``app.state.backend``."""

CurrentSession = Annotated[WebSession, Depends(get_session)]
"""The annotation of a parameter that takes the session of the request."""


def _refusal(connection: HTTPConnection, result: ThrottleResult) -> Exception:
    if connection.scope["type"] == "websocket":
        return WebSocketException(_TRY_AGAIN_LATER, "Too Many Requests")
    return HTTPException(429, "Too Many Requests", result.headers())


def _route_of(connection: HTTPConnection) -> str:
    """Return what tells the route of a request from others, and is the same whatever the client sends."""
    scope = connection.scope
    route, endpoint, path = scope["route"], scope["endpoint"], scope["path"]
    # Some versions of FastAPI leave the prefix out with which a router is included. If there are no parameters in it,
    # it is what comes in the path before that of the route.
    prefix = ""
    if set(scope["path_params"]) <= set(route.param_convertors):
        starts = (at for at, sign in enumerate(path) if sign == "/" and route.path_regex.match(path[at:]))
        prefix = path[: next(starts, 0)]
    methods = ",".join(sorted(getattr(route, "methods", None) or ["WEBSOCKET"]))
    return f"{methods} {prefix}{route.path} {endpoint.__module__}.{getattr(endpoint, '__qualname__', '')}"
