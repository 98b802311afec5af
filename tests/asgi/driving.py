"""A client that speaks ASGI to an application, with no server in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

App = Callable[[Any, Any, Any], Awaitable[None]]
EXTENSION = {"websocket.http.response": {}}


class Answer:
    """What an application sent."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    @property
    def start(self) -> dict[str, Any]:
        return self.messages[0]

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.messages]

    @property
    def status(self) -> int:
        return int(self.start["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    def all(self, name: str) -> list[str]:
        """Every value of a header field."""
        return [value.decode() for field, value in self.start.get("headers", ()) if field.decode() == name]

    def __getitem__(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    @property
    def cookie(self) -> str | None:
        """The cookie that is set, as a client would send it back; empty if it is deleted."""
        fields = self.all("set-cookie")
        if not fields:
            return None
        (field,) = fields
        pair = field.partition(";")[0]
        return "" if "Max-Age=0" in field else pair


def http(
    headers: Sequence[tuple[str, str | bytes]] = (),
    *,
    client: tuple[str, int] | None = ("203.0.113.7", 5),
    method: str = "GET",
    **more: Any,
) -> dict[str, Any]:
    """The scope of a request."""
    raw = [(name.encode(), value if isinstance(value, bytes) else value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "method": method, "path": "/", "headers": raw, "client": client, **more}


def websocket(headers: Sequence[tuple[str, str]] = (), **more: Any) -> dict[str, Any]:
    """The scope of a websocket."""
    return {**http(headers), "type": "websocket", **more}


async def call(app: App, scope: dict[str, Any], *received: dict[str, Any]) -> Answer:
    """Serve one connection, and return what was sent."""
    answer = Answer()
    first = {"type": "websocket.connect"} if scope["type"] == "websocket" else {"type": "http.request"}
    events = iter(received or (first,))

    async def receive() -> dict[str, Any]:
        return next(events, {"type": f"{scope['type']}.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        answer.messages.append(message)

    await app(scope, receive, send)
    return answer


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """An application that greets, over HTTP and websockets."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-mine", b"1")]})
    await send({"type": "http.response.body", "body": b"hello"})
