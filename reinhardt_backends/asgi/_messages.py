"""What ASGI passes around, and the few things that middlewares do to it."""

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
"""The messages that begin a response, and can carry header fields."""


def serves(scope: Scope) -> bool:
    """Whether a scope is that of a client, who may be answered."""
    return scope["type"] in {"http", "websocket"}


def fields_of(scope: Scope, name: bytes) -> list[bytes]:
    """Return the values of a header field of a request, in the order in which they came."""
    return [bytes(value) for field, value in scope.get("headers", ()) if bytes(field).lower() == name]


def with_fields(message: Message, more: Iterable[Field]) -> Message:
    """Return the beginning of a response with more header fields. What the application has set stays."""
    return {**message, "headers": [*(message.get("headers") or ()), *more]}


def has_field(message: Message, name: bytes) -> bool:
    """Whether the beginning of a response has a header field."""
    return any(bytes(field).lower() == name for field, _ in message.get("headers") or ())


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, text: str, more: Iterable[Field]) -> None:
    """Answer a client in place of the application.

    A websocket is refused before it is accepted: by a response like that to any request where the server can send one,
    and otherwise by a close, which servers turn into a plain 403.
    """
    kind = "http"
    if scope["type"] == "websocket":
        if (await receive())["type"] != "websocket.connect":
            return
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            # 1013: try again later.
            await send({"type": "websocket.close", "code": 1013, "reason": text})
            return
        kind = "websocket.http"
    body = f"{text}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *more,
    ]
    await send({"type": f"{kind}.response.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": b"" if scope.get("method") == "HEAD" else body})
