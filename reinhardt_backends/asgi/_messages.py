"""The messages of ASGI, and the few things that middlewares do with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Field: TypeAlias = tuple[bytes, bytes]

RESPONSES: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
"""The messages that start a response and can carry header fields."""


def serves(scope: Scope) -> bool:
    """Whether a scope belongs to a request or a websocket, and not to the server's lifespan."""
    return scope["type"] in {"http", "websocket"}


def can_respond(scope: Scope) -> bool:
    """Whether the server can send a response; to a websocket only some servers can."""
    return scope["type"] == "http" or "websocket.http.response" in (scope.get("extensions") or {})


def fields_of(scope: Scope, name: bytes) -> list[bytes]:
    """Return the values of a header field of a request, in the order in which they came."""
    return [bytes(value) for field, value in scope.get("headers", ()) if bytes(field).lower() == name]


def with_fields(message: Message, more: Iterable[Field]) -> Message:
    """Return the start of a response with more header fields. Those that the application has set stay."""
    return {**message, "headers": [*(message.get("headers") or ()), *more]}


def has_field(message: Message, name: bytes) -> bool:
    """Whether the start of a response has a header field."""
    return any(bytes(field).lower() == name for field, _ in message.get("headers") or ())


def plain_response(status: int, content_type: str, body: bytes, text: str) -> App:
    """Return an application that gives one response, to a request or to a websocket before it is accepted.

    Where the server cannot send a response to a websocket, it closes it, which servers turn into a plain 403.

    Args:
        status: The status code.
        content_type: The type of the body.
        body: The body.
        text: The reason for closing a websocket.
    """

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        kind = "http"
        if scope["type"] == "websocket":
            if (await receive())["type"] != "websocket.connect":
                return
            if not can_respond(scope):
                # 1013: try again later.
                await send({"type": "websocket.close", "code": 1013, "reason": text})
                return
            kind = "websocket.http"
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": f"{kind}.response.start", "status": status, "headers": headers})
        await send({"type": f"{kind}.response.body", "body": b"" if scope.get("method") == "HEAD" else body})

    return respond
