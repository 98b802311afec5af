"""A Flask application whose sessions and cache are in one backend, with a rate limit of its own.

``pip install "reinhardt-backends[flask,flask-caching]"``, and then ``python examples/flask_app.py`` serves it at
http://127.0.0.1:8000. ``--url redis://localhost:6379`` keeps everything on a Redis server.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, make_server

from flask import Flask, request, session
from flask_caching import Cache

from reinhardt_backends import Backend, SyncSessionStore, SyncThrottle
from reinhardt_backends.flask import BackendSession, BackendSessionInterface


def create_app(url: str = "memory://") -> Flask:
    backend = Backend.from_url(url)
    throttle = SyncThrottle(backend, "3/min")
    app = Flask(__name__)
    app.session_interface = BackendSessionInterface(SyncSessionStore(backend, dict[str, Any], ttl=3600))
    cache = Cache(app, config={"CACHE_TYPE": "reinhardt_backends.flask_caching.BackendCache", "CACHE_BACKEND": backend})

    @app.post("/count")
    def count() -> dict[str, Any]:
        session["count"] = session.get("count", 0) + 1
        return {"count": session["count"], "user": cast("BackendSession", session).user}

    @app.post("/login/<name>")
    def login(name: str) -> dict[str, str]:
        # A new id: one that was known before the login must not open the session of the user.
        cast("BackendSession", session).rotate(user=name)
        return {"user": name}

    @app.post("/logout")
    def logout() -> dict[str, str]:
        session.clear()
        return {}

    @app.get("/weather/<city>")
    @cache.cached(timeout=60)
    def weather(city: str) -> dict[str, Any]:
        return {"city": city, "made": time.time()}

    @app.get("/press")
    def press() -> tuple[dict[str, bool], int, dict[str, str]]:
        result = throttle.hit(request.remote_addr or "unknown")
        return {"pressed": result.allowed}, 200 if result else 429, result.headers()

    return app


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Sessions, a cache and a rate limit in Flask.")
    parser.add_argument("--url", default="memory://", help="where the keys are kept (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="where to listen (default: %(default)s)")
    options = parser.parse_args()
    with make_server("127.0.0.1", options.port, create_app(options.url), handler_class=Quiet) as server:
        server.serve_forever()
