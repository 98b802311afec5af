"""A Litestar application whose sessions, cached responses and rate limits are in one backend.

``pip install "reinhardt-backends[litestar]" uvicorn``, and then ``python examples/litestar_app.py`` serves it at
http://127.0.0.1:8000/schema. ``--url redis://localhost:6379`` keeps everything on a Redis server.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from litestar import Litestar, Request, get, post
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.stores.registry import StoreRegistry

from reinhardt_backends import Backend
from reinhardt_backends.litestar import BackendStore

limit = RateLimitConfig(rate_limit=("minute", 3))


@post("/count")
async def count(request: Request[Any, Any, Any]) -> dict[str, int]:
    number = request.session.get("count", 0) + 1
    request.session["count"] = number
    return {"count": number}


@get("/weather/{city:str}", cache=60)
async def weather(city: str) -> dict[str, Any]:
    return {"city": city, "made": time.time()}


@get("/press", middleware=[limit.middleware])
async def press() -> dict[str, bool]:
    return {"pressed": True}


def create_app(url: str = "memory://") -> Litestar:
    root = BackendStore(Backend.from_url(url), close=True)
    return Litestar(
        [count, weather, press],
        # Each part of Litestar asks for a store by its name, and gets a namespace.
        stores=StoreRegistry(default_factory=root.with_namespace),
        lifespan=[lambda app: root],
        # The example speaks plain http. Set `secure` wherever there is https.
        middleware=[ServerSideSessionConfig(renew_on_access=True).middleware],
    )


if __name__ == "__main__":
    import uvicorn

    parser = argparse.ArgumentParser(description="Sessions, cached responses and rate limits in Litestar.")
    parser.add_argument("--url", default="memory://", help="where the keys are kept (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="where to listen (default: %(default)s)")
    options = parser.parse_args()
    uvicorn.run(create_app(options.url), host="127.0.0.1", port=options.port, log_level="warning")
