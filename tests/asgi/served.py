"""An application without a framework, behind both middlewares, for a real server to serve.

    python -m tests.asgi.served uvicorn redis://localhost:6379 8000

``/hit`` and every websocket are throttled; ``/set?key`` writes into the session, and everything shows what is in it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from reinhardt_backends import Backend, SessionStore, Throttle
from reinhardt_backends.asgi import SessionMiddleware, ThrottleMiddleware


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    session = scope["session"]
    if scope["path"] == "/set":
        session[scope["query_string"].decode()] = 1
    if scope["path"] == "/login":
        session.rotate(user="ada")
    if scope["path"] == "/logout":
        session.clear()
    text = json.dumps({"user": session.user, **session})
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": text})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": text.encode()})


def limited(scope: Any) -> str | None:
    return scope["type"] if scope["type"] == "websocket" or scope["path"] == "/hit" else None


def create_app(url: str) -> Any:
    backend = Backend.from_url(url)
    sessions = SessionMiddleware(application, SessionStore(backend, dict[str, Any], ttl=60), secure=False)
    return ThrottleMiddleware(sessions, Throttle(backend, "3/h"), key=limited)


def main(server: str, url: str, port: str) -> None:
    app = create_app(url)
    if server == "uvicorn":
        import uvicorn

        uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")
        return
    import hypercorn.config
    import hypercorn.trio
    import trio

    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.loglevel = "WARNING"
    trio.run(hypercorn.trio.serve, app, config)


if __name__ == "__main__":
    main(*sys.argv[1:])
