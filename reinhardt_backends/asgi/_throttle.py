"""``ThrottleMiddleware``: a throttle in front of an application."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast, get_args

from .._throttle._rates import Rate
from .._throttle._result import ThrottleResult
from .._throttle._throttle import Throttle
from ._client import Address, ClientAddress, Network
from ._messages import (
    RESPONSES,
    App,
    Field,
    Message,
    Receive,
    Scope,
    Send,
    can_respond,
    plain_response,
    serves,
    with_fields,
)

T = TypeVar("T")

Key: TypeAlias = str | None
"""The key under which a request is counted; ``None`` for a request that is not limited."""

RefusalBody: TypeAlias = Literal["plain", "json", "problem"]
"""The form of the body of a refusal."""

_TEXT: Final = "Too Many Requests"
_PROBLEM: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"


class ThrottleMiddleware:
    """Lets clients in as often as a throttle allows, and answers 429 otherwise.

    Every response says in ``RateLimit-Policy`` and ``RateLimit`` how much is left, and a refusal says in
    ``Retry-After`` when to come back. A websocket counts once, when it connects, and is refused before it is accepted.
    The application finds the ``ThrottleResult`` in ``scope["state"]["throttle"]`` (``request.state.throttle`` in
    Starlette). What happens while the store is away is decided by the throttle's ``on_error``.

    Put a CORS middleware outside of this one. A refusal then has its header fields, and the preflight requests that it
    answers are not counted; let it expose ``RateLimit``, ``RateLimit-Policy`` and ``Retry-After``.

    The functions below take the scope and may be ``async``.

    Args:
        app: The application.
        throttle: The throttle.
        key: A function that returns what is limited, or ``None`` for a request that is not limited. By default the
            address of the client, as ``ClientAddress`` gives it.
        trusted_proxies: For the default key: the addresses and networks whose ``X-Forwarded-For`` is believed.
        rate: A function that returns the rate for a request, such as ``"100/min"``, or ``None`` for that of the
            throttle. Requests with different rates do not share their hits.
        cost: A function that returns how many hits a request counts as.
        exclude: Paths that are not limited, such as ``"/health"``; with a ``*`` at the end, all that begin so.
        body: The body of a refusal: ``"plain"`` text, ``"json"`` with ``detail`` and ``retry_after``, ``"problem"``
            details (RFC 9457) of the type ``quota-exceeded``, or a function of the scope and the ``ThrottleResult``
            that returns an ASGI application, such as a response of Starlette. The header fields are added to it.

    Raises:
        TypeError: An argument is not what it must be, or there are both a key and proxies.
        ValueError: A proxy is no address or network, or ``body`` is unknown.
    """

    __module__ = "reinhardt_backends.asgi"  # where users import it from

    def __init__(
        self,
        app: App,
        throttle: Throttle,
        key: Callable[[Scope], Key | Awaitable[Key]] | None = None,
        *,
        trusted_proxies: Iterable[str | Address | Network] = (),
        rate: Callable[[Scope], str | Rate | Awaitable[str | Rate | None] | None] | None = None,
        cost: Callable[[Scope], int | Awaitable[int]] | None = None,
        exclude: Iterable[str] = (),
        body: RefusalBody | Callable[[Scope, ThrottleResult], App] = "plain",
    ) -> None:
        if not isinstance(throttle, Throttle):
            raise TypeError(f"ThrottleMiddleware takes a Throttle, not {type(throttle).__name__}")
        for name, function in (("key", key), ("rate", rate), ("cost", cost)):
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be a function of the scope, not {type(function).__name__}")
        address = ClientAddress(trusted_proxies)
        if key is not None and trusted_proxies:
            raise TypeError("trusted_proxies is for the default key; call a ClientAddress in one of your own")
        if not callable(body) and body not in get_args(RefusalBody):
            raise ValueError(f"body must be 'plain', 'json', 'problem' or a function, not {body!r}")
        self.app = app
        self._throttle = throttle
        self._key = address if key is None else key
        self._rate = rate
        self._cost = cost
        self._paths, self._prefixes = _check_paths(exclude)
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        key = await _awaited(self._key(scope)) if serves(scope) and not self._excludes(scope) else None
        if key is None:
            await self.app(scope, receive, send)
            return
        result = await self._hit(scope, key)
        scope.setdefault("state", {})["throttle"] = result
        fields = _fields(result)

        async def send_with_fields(message: Message) -> None:
            await send(with_fields(message, fields) if message["type"] in RESPONSES else message)

        app = self.app if result.allowed else self._refusal(scope, result)
        await app(scope, receive, send_with_fields)

    def _excludes(self, scope: Scope) -> bool:
        path = scope.get("path", "")
        return path in self._paths or path.startswith(self._prefixes)

    async def _hit(self, scope: Scope, key: str) -> ThrottleResult:
        rate = None if self._rate is None else await _awaited(self._rate(scope))
        throttle = self._throttle if rate is None else self._throttle._with_rates(rate)
        return await throttle.hit(key, 1 if self._cost is None else await _awaited(self._cost(scope)))

    def _refusal(self, scope: Scope, result: ThrottleResult) -> App:
        if not callable(self._body):
            return plain_response(429, *_BODIES[self._body](result), _TEXT)
        # A response of a framework does not look whether the server can send it to a websocket.
        return self._body(scope, result) if can_respond(scope) else plain_response(429, *_plain(result), _TEXT)


def _plain(_: ThrottleResult) -> tuple[str, bytes]:
    return "text/plain; charset=utf-8", f"{_TEXT}\n".encode()


def _json(result: ThrottleResult) -> tuple[str, bytes]:
    seconds = int(result.headers()["Retry-After"])
    return "application/json", json.dumps({"detail": _TEXT, "retry_after": seconds}).encode()


def _problem(result: ThrottleResult) -> tuple[str, bytes]:
    violated = [str(quota.rate) for quota in result.quotas if quota.retry_after > 0]
    details: dict[str, Any] = {
        "type": _PROBLEM,
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "violated-policies": violated,
    }
    return "application/problem+json", json.dumps(details).encode()


_BODIES: Final = {"plain": _plain, "json": _json, "problem": _problem}


async def _awaited(value: T | Awaitable[T]) -> T:
    return cast("T", await value if inspect.isawaitable(value) else value)


def _check_paths(exclude: Iterable[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the paths to exclude, and the prefixes of such paths."""
    if isinstance(exclude, str | bytes):
        raise TypeError("exclude must be an iterable of paths, not a single one")
    paths = [*exclude]
    for path in paths:
        if not isinstance(path, str):
            raise TypeError(f"a path must be a str, not {type(path).__name__}")
        if not path.startswith(("/", "*")):
            raise ValueError(f"a path must begin with a slash: {path[:100]!r}")
    prefixes = tuple(path[:-1] for path in paths if path.endswith("*"))
    return frozenset(path for path in paths if not path.endswith("*")), prefixes


def _fields(result: ThrottleResult) -> list[Field]:
    return [(name.lower().encode(), value.encode()) for name, value in result.headers().items()]
