"""A Django project in one file: the cache, the sessions and the rate limits of views are on one backend.

``pip install "reinhardt-backends[django]"``, and then ``python examples/django_app.py`` serves it at
http://127.0.0.1:8000. ``--url redis://localhost:6379`` keeps everything on a Redis server.
"""

from __future__ import annotations

import argparse
import time
from wsgiref.simple_server import WSGIRequestHandler, make_server

from django.conf import settings
from django.core.cache import cache
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from reinhardt_backends.django import rate_limit


def configure(url: str) -> None:
    settings.configure(
        SECRET_KEY="only for this example",  # noqa: S106 - it protects nothing
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
        # Django's sessions in the cache: their data is JSON, too.
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        CACHES={"default": {"BACKEND": "reinhardt_backends.django.DjangoCache", "LOCATION": url, "TIMEOUT": 60}},
    )


def weather(request: HttpRequest, city: str) -> JsonResponse:
    # Computed once a minute for each city.
    made = cache.get_or_set(f"weather:{city}", time.time)
    return JsonResponse({"city": city, "made": made})


def count(request: HttpRequest) -> JsonResponse:
    request.session["count"] = request.session.get("count", 0) + 1
    return JsonResponse({"count": request.session["count"]})


@rate_limit("3/min")
def press(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"pressed": True})


@rate_limit("3/min", by=lambda request: request.headers.get("X-User"))
async def press_async(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"pressed": True})


urlpatterns = [
    path("weather/<str:city>", weather),
    path("count", count),
    path("press", press),
    path("press-async", press_async),
]


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A cache, sessions and rate limits in Django.")
    parser.add_argument("--url", default="memory://", help="where the keys are kept (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="where to listen (default: %(default)s)")
    options = parser.parse_args()
    configure(options.url)
    with make_server("127.0.0.1", options.port, get_wsgi_application(), handler_class=Quiet) as server:
        server.serve_forever()
