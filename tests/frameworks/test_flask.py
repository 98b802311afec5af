"""Flask's sessions in a store, a cache for Flask-Caching, and the example."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from flask import Flask, session
from flask_caching import Cache

from reinhardt_backends import (
    Backend,
    BackendConnectionError,
    MemoryBackend,
    RedisBackend,
    SerializationError,
    SyncBackend,
    SyncSessionStore,
)
from reinhardt_backends.flask import BackendSessionInterface
from reinhardt_backends.flask_caching import BackendCache

from ..asgi.serving import serving
from ..asgi.test_session_secrets import Failing, variables
from ..servers import Server

_prefixes = itertools.count()


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        yield MemoryBackend()
        return
    server: Server = request.getfixturevalue("server")
    backend = RedisBackend(server.url, prefix=f"flask{next(_prefixes)}:")
    yield backend
    SyncBackend(backend).close()


class Site:
    """An application that does to its session what a test says, and its store."""

    def __init__(self, backend: Backend, **config: Any) -> None:
        self.store = SyncSessionStore(backend, dict[str, Any], ttl=60)
        self.app = Flask("site")
        self.app.config.update(config)
        self.app.session_interface = BackendSessionInterface(self.store)
        self.acts: list[Any] = []
        self.app.add_url_rule("/", view_func=self._view)
        self.client = self.app.test_client()

    def _view(self) -> dict[str, Any]:
        act = self.acts.pop()
        if act is not None:
            act(session)
        return dict(session)

    def get(self, act: Any = None, client: Any = None) -> Any:
        self.acts.append(act)
        return (client or self.client).get("/")

    @property
    def id(self) -> str | None:
        cookie = self.client.get_cookie("session")
        return None if cookie is None else cookie.value


def test_a_session_is_stored_and_loaded(backend: Backend) -> None:
    site = Site(backend)
    nothing = site.get()
    assert "Set-Cookie" not in nothing.headers
    first = site.get(lambda session: session.update(a=1, b={"c": []}))
    assert "HttpOnly" in first.headers["Set-Cookie"]
    assert first.headers["Vary"] == "Cookie"
    assert first.headers["Cache-Control"] == "no-store"
    second = site.get(lambda session: session["b"]["c"].append(2))
    assert "Set-Cookie" not in second.headers
    assert site.get().json == {"a": 1, "b": {"c": [2]}}


def test_a_value_that_python_finds_equal_is_a_change_too() -> None:
    site = Site(MemoryBackend())
    site.get(lambda session: session.update(seen=1, list=[0]))
    site.get(lambda session: session.update(seen=True))
    assert site.get().json["seen"] is True
    site.get(lambda session: session["list"].__setitem__(0, False))
    assert site.get().json == {"seen": True, "list": [False]}
    assert site.get().json["list"][0] is False


def test_an_id_that_was_not_issued_is_no_session(backend: Backend) -> None:
    site = Site(backend)
    for value in ("x", "A" * 64, "ä" * 100):
        site.client.set_cookie("session", value)
        response = site.get(lambda session: session.update(a=1))
        assert site.id is not None
        assert site.id != value
        assert response.json == {"a": 1}
        site.client.delete_cookie("session")


def test_a_login_changes_the_id_and_a_logout_ends_the_session(backend: Backend) -> None:
    site = Site(backend)
    site.get(lambda session: session.update(a=1))
    before = site.id
    site.get(lambda session: session.rotate(user="ada"))
    assert site.id != before
    assert site.get().json == {"a": 1}
    loaded = site.store.load(str(site.id))
    assert loaded is not None
    assert loaded.user == "ada"
    assert site.store.load(str(before)) is None
    after = site.id
    site.get(lambda session: session.clear())
    assert site.id is None
    assert site.store.load(str(after)) is None


def test_data_after_a_logout_begins_a_new_session(backend: Backend) -> None:
    site = Site(backend)
    site.get(lambda session: session.rotate(user="ada"))
    before = site.id
    site.get(lambda session: (session.clear(), session.update(flash="bye")))
    assert site.id not in {None, before}
    assert site.store.load(str(before)) is None
    loaded = site.store.load(str(site.id))
    assert loaded is not None
    assert (loaded.user, loaded.data) == (None, {"flash": "bye"})


def test_an_ended_session_is_deleted_from_the_browser_and_a_rotated_id_is_not(backend: Backend) -> None:
    site = Site(backend)
    site.get(lambda session: session.update(a=1))
    old = str(site.id)
    site.get(lambda session: session.rotate())
    new = str(site.id)
    site.client.set_cookie("session", old)
    assert "Set-Cookie" not in site.get().headers
    site.store.revoke(new)
    site.client.set_cookie("session", new)
    site.get()
    assert site.id is None


@pytest.mark.parametrize(
    ("verb", "act"),
    [
        ("get_many", None),
        ("compare_and_set", lambda session: session.update(a=2)),
        ("compare_and_set", lambda session: session.rotate(user="ada")),
        ("delete", lambda session: session.clear()),
        ("set_cookie", lambda session: session.rotate(user="ada")),
    ],
)
def test_no_frame_shows_the_id_of_a_session(verb: str, act: Any) -> None:
    backend = Failing()
    site = Site(backend, TESTING=True)
    site.get(lambda session: session.update(a=1))
    before = site.id
    if verb == "set_cookie":
        site.app.config["SESSION_COOKIE_SAMESITE"] = "wrong"
    backend.fails = verb
    with pytest.raises((BackendConnectionError, ValueError)) as caught:
        site.get(act)
    backend.fails = ""
    # A new id begins as the old one does.
    assert before is not None
    assert before[:21] not in variables(caught.value)


def test_requests_at_the_same_time_do_not_undo_each_other(backend: Backend) -> None:
    site = Site(backend)
    site.get(lambda session: session.update(a=1, b=1, c=1))

    def slow(session: Any) -> None:
        other = site.app.test_client()
        other.set_cookie("session", str(site.id))
        site.get(lambda session: (session.update(b=2, new=1), session.pop("c")), other)
        session["a"] = 2

    site.get(slow)
    assert site.get().json == {"a": 2, "b": 2, "new": 1}


def test_a_request_that_was_under_way_does_not_bring_a_session_back(backend: Backend) -> None:
    site = Site(backend)
    site.get(lambda session: session.update(a=1))
    before = str(site.id)

    def ended(session: Any) -> None:
        site.store.revoke(before)
        session["a"] = 2

    site.get(ended)
    assert site.store.load(before) is None


def test_the_cookie_follows_the_settings_of_flask() -> None:
    site = Site(
        MemoryBackend(),
        SESSION_COOKIE_NAME="__Host-sid",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=timedelta(days=3),
    )

    def act(session: Any) -> None:
        session.permanent = True

    cookie = site.get(act).headers["Set-Cookie"]
    assert cookie.startswith("__Host-sid=")
    for part in ("Secure", "SameSite=Strict", "Expires=", "HttpOnly", "Path=/"):
        assert part in cookie


def test_the_methods_of_a_cache(backend: Backend) -> None:
    cache = BackendCache(backend, default_timeout=100)
    store = SyncBackend(backend).namespace("flask")
    assert cache.get("k") is None
    for value in ("text", 1, True, 1.5, [1], {"a": None}, b"raw"):
        assert cache.set("k", value) is True
        assert cache.get("k") == value
    assert 90 < (store.ttl("k") or 0) <= 100
    assert cache.set("k", 1, timeout=0) is True
    assert store.ttl("k") == float("inf")
    assert cache.set("k", 1, timeout=timedelta(seconds=50)) is True
    assert 40 < (store.ttl("k") or 0) <= 50
    assert cache.set("k", 1, timeout=-1) is True
    assert cache.has("k") is False
    assert (cache.add("k", 1), cache.add("k", 2), cache.get("k")) == (True, False, 1)
    assert cache.set_many({"a": 1, "b": 2}) == ["a", "b"]
    assert cache.get_many("b", "missing", "a") == [2, None, 1]
    assert cache.get_dict("b", "missing") == {"b": 2, "missing": None}
    assert cache.delete_many("a", "missing") == ["a"]
    assert (cache.delete("b"), cache.delete("b")) == (True, False)
    assert (cache.inc("n"), cache.inc("n", 4), cache.dec("n", 2)) == (1, 5, 3)
    with pytest.raises(SerializationError):
        cache.set("k", date(2024, 1, 1))
    with pytest.raises(SerializationError):
        cache.add("other", (1, 2))
    SyncBackend(backend).set("beside", 1)
    assert cache.clear() is True
    assert cache.get("k") is None
    assert SyncBackend(backend).get("beside") == 1


@pytest.mark.parametrize("location", [MemoryBackend(), "memory://"])
def test_a_cache_of_flask_caching(location: Any) -> None:
    app = Flask("site")
    config = {"CACHE_TYPE": "reinhardt_backends.flask_caching.BackendCache", "CACHE_BACKEND": location}
    cache = Cache(app, config=config)
    calls = []

    @cache.memoize(60)
    def square(number: int) -> int:
        calls.append(number)
        return number * number

    with app.app_context():
        assert [square(3), square(3), square(4)] == [9, 9, 16]
        assert calls == [3, 4]
        cache.delete_memoized(square, 3)
        assert square(3) == 9
    assert calls == [3, 4, 3]


def test_a_cache_needs_a_backend() -> None:
    with pytest.raises(TypeError, match="CACHE_BACKEND"):
        Cache(Flask("site"), config={"CACHE_TYPE": "reinhardt_backends.flask_caching.BackendCache"})


def test_the_example() -> None:
    with serving("examples/flask_app.py", "--port") as address, httpx.Client(base_url=address, verify=False) as http:
        assert [http.post("/count").json()["count"] for _ in range(3)] == [1, 2, 3]
        http.post("/login/ada")
        assert http.post("/count").json() == {"count": 4, "user": "ada"}
        http.post("/logout")
        assert http.post("/count").json() == {"count": 1, "user": None}
        assert http.get("/weather/Oslo").json() == http.get("/weather/Oslo").json()
        assert [http.get("/press").status_code for _ in range(4)] == [200, 200, 200, 429]
