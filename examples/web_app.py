"""A web application whose sessions, cache and throttle share one backend, with a page that shows what they do.

``python examples/web_app.py`` serves it at http://127.0.0.1:8000 under uvicorn, with the keys in memory. With
``--trio`` it runs on trio, under hypercorn; with ``--url redis://localhost:6379`` the keys are on a Redis server, and
any number of processes may serve the same sessions. It needs ``pip install starlette uvicorn``, and for trio ``pip
install starlette 'hypercorn[trio]'``.

The page itself is ``web_app.html``; pressing "Play" there does everything once.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from reinhardt_backends import Backend, BackendError, Cache, SessionConflictError, SessionStore, Throttle
from reinhardt_backends.asgi import ClientAddress, SessionMiddleware, ThrottleMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request

PAGE = Path(__file__).with_suffix(".html")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
    )
}
WEATHER = {"Oslo": (-3, "snow"), "Lima": (19, "mist"), "Cairo": (31, "sun")}
MOST_KEYS = 30


class Forecast(BaseModel):
    city: str
    degrees: int
    sky: str
    made: float


class Login(BaseModel):
    name: str = Field(min_length=1, max_length=20, pattern=r"^[\w .-]+$")


async def compute(city: str) -> Forecast:
    await anyio.sleep(1.2)  # stands for a slow computation
    degrees, sky = WEATHER[city]
    return Forecast(city=city, degrees=degrees, sky=sky, made=time.time())


class Shop:
    """The three components, and the requests of the page."""

    def __init__(self, url: str, runtime: str) -> None:
        self.kind, self.runtime = url.partition(":")[0], runtime
        self.backend = Backend.from_url(url)
        self.store = self.backend.namespace("web-app")
        self.sessions = SessionStore(self.store, dict[str, Any], ttl=600, absolute_ttl=86_400)
        self.throttle = Throttle(self.store, "5/10s")
        self.address = ClientAddress()
        self.forecast = Cache(self.store, ttl=15).cached(key="forecast:{city}")(compute)

    async def page(self, request: Request) -> Response:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=HEADERS)

    async def state(self, request: Request) -> Response:
        session = request.scope["session"]
        # The keys of other visitors hold their names and addresses, so they are only counted.
        names = filter(None, (session.handle, session.user, self.address(request.scope)))
        own = tuple(f":{name}" for name in names)
        every = {key async for key in self.store.scan()}
        keys = sorted(key for key in every if key.startswith("cache:") or key.endswith(own))
        left = [(key, await self.store.ttl(key)) for key in keys[:MOST_KEYS]]
        return JSONResponse(
            {
                "store": self.kind,
                "runtime": self.runtime,
                "user": session.user,
                "count": session.get("count", 0),
                "devices": 0 if session.user is None else len(await self.sessions.sessions_of(session.user)),
                "keys": [{"key": key, "left": seconds} for key, seconds in left if seconds is not None],
                "others": len(every) - len(keys),
            }
        )

    async def count(self, request: Request) -> Response:
        session = request.session
        session["count"] = session.get("count", 0) + 1
        return JSONResponse({"count": session["count"]})

    async def login(self, request: Request) -> Response:
        try:
            name = Login.model_validate_json(await request.body()).name
        except ValidationError:
            return JSONResponse({"error": "A name has 1 to 20 letters, digits or spaces."}, status_code=400)
        # A new id: one that was known before the login must not open the session of the user.
        request.scope["session"].rotate(user=name)
        return Response(status_code=204)

    async def logout(self, request: Request) -> Response:
        session = request.scope["session"]
        if "everywhere" in request.query_params and session.user is not None:
            await self.sessions.revoke_user(session.user)
        session.clear()
        return Response(status_code=204)

    async def ask(self, request: Request) -> Response:
        city = request.path_params["city"]
        if city not in WEATHER:
            return JSONResponse({"error": "There is no forecast for that."}, status_code=404)
        began, start = time.time(), time.perf_counter()
        found = await self.forecast(city)
        took = (time.perf_counter() - start) * 1000
        answer = {"milliseconds": round(took, 2 if took < 10 else None), "cached": found.made < began}
        return JSONResponse({**found.model_dump(), **answer})

    async def forget(self, request: Request) -> Response:
        await self.forecast.invalidate(request.path_params["city"])
        return Response(status_code=204)

    async def press(self, request: Request) -> Response:
        return Response(status_code=204)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncGenerator[None]:
        async with self.backend:
            yield


async def refused(request: Request, error: Exception) -> Response:
    if isinstance(error, SessionConflictError):
        return JSONResponse({"error": "You have just logged in or out. Please try again."}, status_code=409)
    return JSONResponse({"error": "The store does not answer. Please try again."}, status_code=503)


def create_app(url: str = "memory://", runtime: str = "asyncio") -> Starlette:
    shop = Shop(url, runtime)
    throttled = [Middleware(ThrottleMiddleware, throttle=shop.throttle)]
    return Starlette(
        routes=[
            Route("/", shop.page),
            Route("/state", shop.state),
            Route("/count", shop.count, methods=["POST"]),
            Route("/login", shop.login, methods=["POST"]),
            Route("/logout", shop.logout, methods=["POST"]),
            Route("/forecast/{city}", shop.ask),
            Route("/forecast/{city}", shop.forget, methods=["DELETE"]),
            # One route is throttled here. A throttle for all of them goes where the sessions are.
            Route("/press", shop.press, methods=["POST"], middleware=throttled),
        ],
        # The example speaks plain http. Leave `secure` out wherever there is https.
        middleware=[Middleware(SessionMiddleware, store=shop.sessions, secure=False)],
        exception_handlers={BackendError: refused},
        lifespan=shop.lifespan,
    )


def serve_on_asyncio(url: str, port: int) -> None:
    import uvicorn

    # The throttle reads X-Forwarded-For itself, and only from proxies that it trusts.
    uvicorn.run(create_app(url, "asyncio"), host="127.0.0.1", port=port, log_level="warning", proxy_headers=False)


def serve_on_trio(url: str, port: int) -> None:
    import signal

    import hypercorn.config
    import hypercorn.trio
    import trio

    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.loglevel = "WARNING"

    async def told_to_stop() -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                return

    async def main() -> None:
        app: Any = create_app(url, "trio")
        await hypercorn.trio.serve(app, config, shutdown_trigger=told_to_stop)

    trio.run(main)


def start() -> None:
    parser = argparse.ArgumentParser(description="Sessions, a cache and a throttle on one backend, in a browser.")
    parser.add_argument("--url", default="memory://", help="where the keys are kept (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="where to listen (default: %(default)s)")
    parser.add_argument("--trio", action="store_true", help="run on trio, under hypercorn")
    arguments = parser.parse_args()
    print(f"http://127.0.0.1:{arguments.port}  (Ctrl+C ends it)", flush=True)
    try:
        (serve_on_trio if arguments.trio else serve_on_asyncio)(arguments.url, arguments.port)
    except KeyboardInterrupt:
        pass
    except (BackendError, ImportError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    start()
