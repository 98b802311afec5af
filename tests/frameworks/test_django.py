"""``DjangoCache`` as Django uses it, rate limits of views, and the example."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from datetime import date
from typing import Any

import anyio
import django
import httpx
import pytest
from django.conf import settings
from django.core.cache import CacheKeyWarning
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.utils.decorators import method_decorator
from django.views import View

from reinhardt_backends import Backend, BackendConnectionError, CounterError, MemoryBackend, SerializationError
from reinhardt_backends._blocking import drive
from reinhardt_backends.django import DjangoCache, rate_limit
from reinhardt_backends.testing import FailingBackend, FakeClock

from ..asgi.serving import serving
from ..asgi.test_session_secrets import variables
from ..servers import Server

if not settings.configured:
    settings.configure(SECRET_KEY="s1", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
    django.setup()

urlpatterns: list[Any] = []
_prefixes = itertools.count()


class Blocking:
    """A cache by its blocking methods."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cache, name)


class Asynchronous(Blocking):
    """A cache by its asynchronous methods."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.cache, f"a{name}")

        def call(*args: Any, **kwargs: Any) -> Any:
            async def awaited() -> Any:
                return await method(*args, **kwargs)

            return anyio.run(awaited)

        return call


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return f"memory://?maxsize={1000 + next(_prefixes)}"
    server: Server = request.getfixturevalue("server")
    return f"{server.url}?prefix=django{next(_prefixes)}:"


@pytest.fixture(params=[Blocking, Asynchronous])
def cache(request: pytest.FixtureRequest, url: str) -> Any:
    return request.param(DjangoCache(url, {"TIMEOUT": 1000}))


def made(backend: Backend, **params: Any) -> DjangoCache:
    return DjangoCache(backend, params)


def test_values_come_back(cache: Any) -> None:
    assert cache.get("k") is None
    assert cache.get("k", "default") == "default"
    values = ("text", 1, True, None, 1.5, [1, [2]], {"a": {"b": None}}, b"raw", "ä")
    for value in values:
        cache.set("k", value)
        found = cache.get("k", "default")
        assert (found, type(found)) == (value, type(value))
        assert cache.has_key("k") is True
    assert cache.delete("k") is True
    assert cache.delete("k") is False
    assert cache.has_key("k") is False


def test_timeouts(cache: Any) -> None:
    """The default, none at all, and what is 0 or less expires at once."""
    store = cache.cache._blocking
    cache.set("default", 1)
    assert 990 < store.ttl(":1:default") <= 1000
    cache.set("forever", 1, None)
    assert store.ttl(":1:forever") == float("inf")
    for timeout in (0, -1):
        cache.set("gone", 1)
        cache.set("gone", 1, timeout)
        assert not cache.has_key("gone")
        assert cache.add("gone", 1, timeout) is True
        assert not cache.has_key("gone")
        cache.set("gone", 1)
        assert cache.add("gone", 2, timeout) is False
        assert cache.touch("gone", timeout) is True
        assert not cache.has_key("gone")
        cache.set("gone", 1)
        assert cache.set_many({"gone": 1}, timeout) == []
        assert not cache.has_key("gone")


def test_add_and_touch(cache: Any) -> None:
    assert cache.add("k", 1) is True
    assert cache.add("k", 2) is False
    assert cache.get("k") == 1
    assert cache.touch("k", 50) is True
    assert 40 < cache.cache._blocking.ttl(":1:k") <= 50
    assert cache.touch("k", None) is True
    assert cache.cache._blocking.ttl(":1:k") == float("inf")
    assert cache.touch("missing") is False


def test_counters(cache: Any) -> None:
    for call in (cache.incr, cache.decr):
        with pytest.raises(ValueError, match="not found"):
            call("n")
    cache.set("n", 41, 500)
    assert cache.incr("n") == 42
    assert cache.incr("n", 10) == 52
    assert cache.decr("n", 12) == 40
    assert 490 < cache.cache._blocking.ttl(":1:n") <= 500
    cache.set("n", "text")
    with pytest.raises(CounterError):
        cache.incr("n")


def test_many(cache: Any) -> None:
    assert cache.set_many({"a": 1, "b": None, "c": [3]}, 100) == []
    assert cache.get_many(iter(["c", "a", "missing", "b"])) == {"c": [3], "a": 1, "b": None}
    assert cache.delete_many(iter(["a", "b", "missing"])) is None
    assert cache.get_many(["a", "b", "c"]) == {"c": [3]}


def test_get_or_set(cache: Any) -> None:
    assert cache.get_or_set("k", lambda: 1) == 1
    assert cache.get_or_set("k", lambda: 2) == 1
    assert cache.get_or_set("other", None) is None


def test_versions(cache: Any) -> None:
    cache.set("k", 1)
    cache.set("k", 2, version=2)
    assert (cache.get("k"), cache.get("k", version=2)) == (1, 2)
    assert cache.incr_version("k", version=2) == 3
    assert (cache.get("k", version=2), cache.get("k", version=3)) == (None, 2)
    with pytest.raises(ValueError, match="not found"):
        cache.incr_version("missing")


def test_clear_leaves_what_is_not_of_the_cache(url: str) -> None:
    cache = DjangoCache(url, {})
    other = DjangoCache(url, {"KEY_PREFIX": "p", "OPTIONS": {"NAMESPACE": "other"}})
    cache.set("k", 1)
    other.set("k", 2)
    cache.clear()
    assert cache.get("k") is None
    assert other.get("k") == 2


def test_key_prefix_version_and_key_function() -> None:
    backend = MemoryBackend()
    made(backend, KEY_PREFIX="site", VERSION=7).set("k", [1])
    assert drive(backend.get("django:site:7:k")) == [1]
    made(backend, KEY_FUNCTION=lambda key, prefix, version: f"own {key}".replace(" ", "-")).set("k", 1)
    assert drive(backend.get("django:own-k")) == 1
    with pytest.warns(CacheKeyWarning):
        made(backend).get("with space")


def test_caches_of_one_url_share_a_backend_that_close_leaves_open() -> None:
    one, two = DjangoCache("memory://?maxsize=999", {}), DjangoCache("memory://?maxsize=999", {})
    one.set("k", 1)
    one.close()
    anyio.run(one.aclose)
    assert two.get("k") == one.get("k") == 1
    assert DjangoCache("memory://?maxsize=998", {}).get("k") is None


def test_json_refuses_what_would_come_back_as_something_else() -> None:
    cache = made(MemoryBackend())
    for value in ((1, 2), {1: "a"}, date(2024, 1, 1), {1}, object()):
        with pytest.raises(SerializationError):
            cache.set("k", value)
        with pytest.raises(SerializationError):
            cache.set_many({"k": value})
    assert cache.get("k") is None


def test_signed_pickles() -> None:
    backend = MemoryBackend()
    options = {"SERIALIZER": "signed-pickle"}
    cache = made(backend, OPTIONS=options)
    for value in ((1, 2), {1: "a"}, date(2024, 1, 1), {1}, b"raw", 1.5, HttpResponse("page")):
        cache.set("k", value)
        found = cache.get("k")
        assert found.content == b"page" if isinstance(value, HttpResponse) else found == value
    cache.set("n", 1)
    assert cache.incr("n") == 2
    assert drive(backend.get("django::1:n", int)) == 2

    cache.set("k", (1, 2))
    stored = drive(backend.get("django::1:k", bytes))
    assert stored is not None
    with override_settings(SECRET_KEY="s2"):
        assert cache.get("k", "default") == "default"
        assert cache.get_many(["k"]) == {}
        with override_settings(SECRET_KEY_FALLBACKS=["s0", "s1"]):
            assert cache.get("k") == (1, 2)
    # A value that is moved to another key, or that another party has written, is not unpickled.
    drive(backend.set("django::1:other", stored))
    drive(backend.set("django::1:foreign", b"x" * 32 + pickle.dumps("foreign")))
    drive(backend.set("django::1:short", b""))
    assert cache.get_many(["other", "foreign", "short"]) == {}
    assert made(backend).get("foreign", "default") == b"x" * 32 + pickle.dumps("foreign")


class Unreadable:
    """Can be pickled, and fails to be unpickled."""

    def __init__(self) -> None:
        self.part = 1

    def __setstate__(self, state: Any) -> None:
        raise ZeroDivisionError


def test_no_frame_shows_the_secret_key_if_unpickling_fails() -> None:
    cache = made(MemoryBackend(), OPTIONS={"SERIALIZER": "signed-pickle"})
    with override_settings(SECRET_KEY="not-to-be-shown"):
        cache.set("k", Unreadable())
        with pytest.raises(ZeroDivisionError) as caught:
            cache.get("k")
    assert "not-to-be-shown" not in variables(caught.value)


def test_settings_that_are_not_valid() -> None:
    with pytest.raises(ImproperlyConfigured):
        made(MemoryBackend(), OPTIONS={"SERIALIZER": "pickle"})
    with pytest.raises(TypeError):
        DjangoCache("memory://", {"OPTIONS": {"unknown": 1}})
    assert DjangoCache("memory://", {"OPTIONS": {"MAX_ENTRIES": 5, "CULL_FREQUENCY": 2}}).get("k") is None


def test_errors_of_the_store_are_not_hidden() -> None:
    failing = FailingBackend(MemoryBackend())
    failing.fail()
    with pytest.raises(BackendConnectionError):
        made(failing).get("k")


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    clock = FakeClock()
    location = MemoryBackend(clock=clock)
    backend = "reinhardt_backends.django.DjangoCache"
    with override_settings(CACHES={"default": {"BACKEND": backend, "LOCATION": location}}):
        yield clock


def statuses(view: Any, count: int = 3, **meta: str) -> list[int]:
    return [view(RequestFactory().get("/", **meta)).status_code for _ in range(count)]


def empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def test_a_limited_view(clock: FakeClock) -> None:
    view = rate_limit("2/min")(empty)
    responses = [view(RequestFactory().get("/")) for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 200, 429]
    assert responses[0].headers["RateLimit"] == '"2/min";r=1;t=60'
    assert responses[2].headers["Retry-After"] == "60"
    assert statuses(view, REMOTE_ADDR="203.0.113.9") == [200, 200, 429]
    clock.advance(60)
    assert statuses(view) == [200, 200, 429]


def test_an_asynchronous_view(clock: FakeClock) -> None:
    @rate_limit("2/min")
    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    async def run() -> list[int]:
        return [(await view(RequestFactory().get("/"))).status_code for _ in range(3)]

    assert anyio.run(run) == [200, 200, 429]


def test_each_view_has_hits_of_its_own_or_shares_them_by_name(clock: FakeClock) -> None:
    def other(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    limit = rate_limit("2/min")
    assert statuses(limit(empty)) == [200, 200, 429]
    assert statuses(limit(other)) == [200, 200, 429]
    assert statuses(rate_limit("2/min", name="n")(empty), 2) == [200, 200]
    assert statuses(rate_limit("2/min", name="n")(other), 1) == [429]


def test_a_limit_by_user_and_behind_a_proxy(clock: FakeClock) -> None:
    by_user = rate_limit("1/min", by=lambda request: request.headers.get("X-User"))(empty)
    assert statuses(by_user, 2, HTTP_X_USER="ada") == [200, 429]
    assert statuses(by_user, 2, HTTP_X_USER="bob") == [200, 429]
    assert statuses(by_user, 3) == [200, 200, 200]
    proxied = rate_limit("1/min", trusted_proxies=("127.0.0.1",))(empty)
    assert statuses(proxied, 2, HTTP_X_FORWARDED_FOR="203.0.113.1") == [200, 429]
    assert statuses(proxied, 2, HTTP_X_FORWARDED_FOR="203.0.113.2") == [200, 429]


def test_a_class_based_view(clock: FakeClock) -> None:
    @method_decorator(rate_limit("2/min"), name="get")
    class Page(View):
        def get(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse()

    assert statuses(Page.as_view()) == [200, 200, 429]


def test_a_limit_that_is_not_valid(clock: FakeClock) -> None:
    with pytest.raises(ValueError, match="rate"):
        rate_limit("often")
    with pytest.raises(TypeError, match="trusted_proxies"):
        rate_limit("1/min", by=lambda _: 1, trusted_proxies=("10.0.0.1",))
    dummy = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    with override_settings(CACHES=dummy), pytest.raises(ImproperlyConfigured, match="DjangoCache"):
        rate_limit("1/min")(empty)(RequestFactory().get("/"))


def test_the_example() -> None:
    with serving("examples/django_app.py", "--port") as address, httpx.Client(base_url=address, verify=False) as http:
        assert http.get("/weather/Oslo").json() == http.get("/weather/Oslo").json()
        assert [http.get("/count").json()["count"] for _ in range(3)] == [1, 2, 3]
        assert [http.get("/press").status_code for _ in range(4)] == [200, 200, 200, 429]
        ada = [http.get("/press-async", headers={"X-User": "ada"}).status_code for _ in range(4)]
        assert ada == [200, 200, 200, 429]
        assert http.get("/press-async").status_code == 200
