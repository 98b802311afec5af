"""A FastAPI application: rate limits for each route and each user, a session, and a cached route, on one backend.

``pip install "reinhardt-backends[fastapi]" uvicorn``, and then ``python examples/fastapi_app.py`` serves it at
http://127.0.0.1:8000/docs. ``--url redis://localhost:6379`` keeps everything on a Redis server.
"""

import argparse
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import Depends, FastAPI

from reinhardt_backends import Backend, Cache, SessionStore
from reinhardt_backends.asgi import SessionMiddleware
from reinhardt_backends.fastapi import CurrentSession, rate_limit


def current_user(session: CurrentSession) -> str | None:
    return session.user


def create_app(url: str = "memory://") -> FastAPI:
    backend = Backend.from_url(url)
    cache = Cache(backend, ttl=60)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with backend:
            yield

    app = FastAPI(lifespan=lifespan)
    app.state.backend = backend
    # The example speaks plain http. Leave `secure` out wherever there is https.
    store = SessionStore(backend, dict[str, Any], ttl=3600)
    app.add_middleware(SessionMiddleware, store=store, secure=False)

    # Each client may log in 3 times a minute; hits of other routes do not count.
    @app.post("/login/{name}", dependencies=[Depends(rate_limit("3/min"))])
    async def login(name: str, session: CurrentSession) -> dict[str, str]:
        session.rotate(user=name)
        return {"user": name}

    # Each user may count 5 times a minute, from wherever they do.
    @app.post("/count", dependencies=[Depends(rate_limit("5/min", by=current_user))])
    async def count(session: CurrentSession) -> dict[str, Any]:
        session["count"] = session.get("count", 0) + 1
        return {"user": session.user, "count": session["count"]}

    # Computed once for each city, by whichever process is asked first.
    @app.get("/weather/{city}")
    @cache.cached(key="weather:{city}")
    async def weather(city: str) -> dict[str, Any]:
        return {"city": city, "made": time.time()}

    # A dependency can be cached, too.
    @cache.cached(key="prices:{currency}")
    async def prices(currency: str = "EUR") -> dict[str, float]:
        return {"tea": 2.5, "cake": 4.0, "made": time.time()}

    @app.get("/prices")
    async def show(found: Annotated[dict[str, float], Depends(prices)]) -> dict[str, float]:
        return found

    return app


if __name__ == "__main__":
    import uvicorn

    parser = argparse.ArgumentParser(description="Rate limits, a session and cached routes in FastAPI.")
    parser.add_argument("--url", default="memory://", help="where the keys are kept (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="where to listen (default: %(default)s)")
    options = parser.parse_args()
    uvicorn.run(create_app(options.url), host="127.0.0.1", port=options.port, log_level="warning")
