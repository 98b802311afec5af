"""``ThrottleMiddleware``: a throttle in front of an application."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from .._throttle._result import ThrottleResult
from .._throttle._throttle import Throttle
from ._client import Address, ClientAddress, Network
from ._messages import RESPONSES, App, Field, Message, Receive, Scope, Send, refuse, serves, with_fields

Key: TypeAlias = str | None
"""What is limited; ``None`` for a request that is not."""


class ThrottleMiddleware:
    """Lets clients in as often as a throttle allows, and answers them 429 otherwise.

    Every response tells in ``RateLimit-Policy`` and ``RateLimit`` how much is left, and a refusal in ``Retry-After``
    when to come back. A websocket counts once, when it connects, and is refused before it is accepted. What happens
    while the store is away is for the throttle's ``on_error`` to say.

    Args:
        app: The application.
        throttle: The throttle.
        key: What is limited: a function of the scope, plain or ``async``, that returns the key, or ``None`` for a
            request that is not limited. By default the address of the client, as ``ClientAddress`` gives it.
        trusted_proxies: For the default key: the addresses and networks whose ``X-Forwarded-For`` is believed.

    Raises:
        TypeError: An argument is not what it must be, or there are both a key and proxies.
        ValueError: A proxy is no address or network.
    """

    def __init__(
        self,
        app: App,
        throttle: Throttle,
        key: Callable[[Scope], Key | Awaitable[Key]] | None = None,
        *,
        trusted_proxies: Iterable[str | Address | Network] = (),
    ) -> None:
        if not isinstance(throttle, Throttle):
            raise TypeError(f"ThrottleMiddleware takes a Throttle, not {type(throttle).__name__}")
        if key is not None and not callable(key):
            raise TypeError(f"key must be a function of the scope, not {type(key).__name__}")
        address = ClientAddress(trusted_proxies)
        if key is not None and trusted_proxies:
            raise TypeError("trusted_proxies is for the default key; call a ClientAddress in one of your own")
        self.app = app
        self._throttle = throttle
        self._key = address if key is None else key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        key = self._key(scope) if serves(scope) else None
        if inspect.isawaitable(key):
            key = await key
        if key is None:
            await self.app(scope, receive, send)
            return
        result = await self._throttle.hit(key)
        fields = _fields(result)
        if not result.allowed:
            await refuse(scope, receive, send, 429, "Too Many Requests", fields)
            return

        async def tell(message: Message) -> None:
            await send(with_fields(message, fields) if message["type"] in RESPONSES else message)

        await self.app(scope, receive, tell)


def _fields(result: ThrottleResult) -> list[Field]:
    return [(name.lower().encode(), value.encode()) for name, value in result.headers().items()]
