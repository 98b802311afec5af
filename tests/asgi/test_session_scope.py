"""``scope["session"]``: what an application assigns to it, and what middlewares further outside see of it."""

from __future__ import annotations

import enum
from collections import UserDict
from typing import Any

import pytest
from pydantic import BaseModel

from reinhardt_backends import MemoryBackend, SessionStore, asgi
from reinhardt_backends.asgi import SessionMiddleware, WebSession

from .driving import call, http

pytestmark = pytest.mark.anyio


class _EmptyEnum(enum.Enum):
    """Litestar's ``Empty``."""

    EMPTY = 0


class Account(BaseModel):
    a: int = 0


@pytest.fixture
def store() -> SessionStore[Any]:
    return SessionStore(MemoryBackend(), dict[str, Any], ttl=60)


async def respond(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def cookie_of(store: SessionStore[Any]) -> str:
    """The cookie of a new session with some data and a user."""
    return f"session={(await store.create({'a': 1, 'b': 2}, user='ada')).id}"


def assigning(value: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"] = value
        await respond(send)

    return app


@pytest.mark.parametrize("value", [{}, None, _EmptyEnum.EMPTY, UserDict()], ids=repr)
async def test_an_empty_assignment_logs_out(store: SessionStore[Any], value: Any) -> None:
    cookie = await cookie_of(store)
    answer = await call(SessionMiddleware(assigning(value), store), http([("cookie", cookie)]))
    assert answer.cookie == ""
    assert await store.load(cookie.partition("=")[2]) is None
    assert await store.sessions_of("ada") == []


async def test_a_session_that_is_deleted_from_the_scope_logs_out(store: SessionStore[Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope["session"]
        await respond(send)

    cookie = await cookie_of(store)
    answer = await call(SessionMiddleware(app, store), http([("cookie", cookie)]))
    assert answer.cookie == ""
    assert await store.load(cookie.partition("=")[2]) is None


@pytest.mark.parametrize("value", [{"a": 5, "c": [1]}, UserDict(a=5, c=[1])], ids=repr)
async def test_an_assigned_mapping_replaces_the_data(store: SessionStore[Any], value: Any) -> None:
    cookie = await cookie_of(store)
    answer = await call(SessionMiddleware(assigning(value), store), http([("cookie", cookie)]))
    assert answer.cookie is None
    loaded = await store.load(cookie.partition("=")[2])
    assert loaded is not None
    assert (loaded.data, loaded.user) == ({"a": 5, "c": [1]}, "ada")


async def test_an_assigned_model_replaces_the_data(store: SessionStore[Any]) -> None:
    answer = await call(SessionMiddleware(assigning(Account(a=7)), store), http())
    assert answer.cookie
    loaded = await store.load(answer.cookie.partition("=")[2])
    assert loaded is not None
    assert loaded.data == {"a": 7}


@pytest.mark.parametrize("value", [5, "text", [1], True])
async def test_anything_else_is_an_error(store: SessionStore[Any], value: Any) -> None:
    cookie = await cookie_of(store)
    with pytest.raises(TypeError, match="must be a mapping"):
        await call(SessionMiddleware(assigning(value), store), http([("cookie", cookie)]))
    assert await store.load(cookie.partition("=")[2]) is not None


async def test_an_assignment_after_the_response_has_begun_is_an_error(store: SessionStore[Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send)
        scope["session"] = {}

    with pytest.raises(RuntimeError, match="after the response had begun"):
        await call(SessionMiddleware(app, store), http([("cookie", await cookie_of(store))]))


async def test_what_is_outside_sees_the_session(store: SessionStore[Any]) -> None:
    """Error handlers and tracing use the scope that they passed on."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["a"] = 5
        raise ZeroDivisionError

    scope = http([("cookie", await cookie_of(store))])
    with pytest.raises(ZeroDivisionError):
        await call(SessionMiddleware(app, store), scope)
    assert isinstance(scope["session"], WebSession)
    assert (scope["session"].user, scope["session"]["a"]) == ("ada", 5)


async def test_two_middlewares_keep_their_sessions_apart(store: SessionStore[Any]) -> None:
    inner = SessionStore(MemoryBackend(), dict[str, Any], ttl=60)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["inner"] = 1
        await respond(send)

    outer = SessionMiddleware(SessionMiddleware(app, inner, cookie="inner"), store)
    cookie = await cookie_of(store)
    answer = await call(outer, http([("cookie", cookie)]))
    assert answer.cookie is not None
    assert answer.cookie.startswith("inner=")
    loaded = await store.load(cookie.partition("=")[2])
    assert loaded is not None
    assert loaded.data == {"a": 1, "b": 2}


async def test_litestar_sets_and_clears_the_session(store: SessionStore[Any]) -> None:
    litestar = pytest.importorskip("litestar", reason="litestar is not installed")
    from litestar.middleware import DefineMiddleware

    async def set_it(request: Any) -> None:
        request.set_session({"c": 3})

    async def clear_it(request: Any) -> None:
        request.clear_session()

    set_it.__annotations__["request"] = clear_it.__annotations__["request"] = litestar.Request
    app = litestar.Litestar(
        [litestar.get("/set")(set_it), litestar.get("/clear")(clear_it)],
        middleware=[DefineMiddleware(SessionMiddleware, store=store)],
        logging_config=None,
        openapi_config=None,
    )
    cookie = await cookie_of(store)
    scope = {"query_string": b"", "root_path": "", "scheme": "http", "server": ("test", 80), "http_version": "1.1"}
    await call(app, {**http([("cookie", cookie)], **scope), "path": "/set"})
    loaded = await store.load(cookie.partition("=")[2])
    assert loaded is not None
    assert loaded.data == {"c": 3}
    answer = await call(app, {**http([("cookie", cookie)], **scope), "path": "/clear"})
    assert answer.cookie == ""
    assert await store.load(cookie.partition("=")[2]) is None


async def test_the_public_names_say_where_they_are_imported_from() -> None:
    classes = [getattr(asgi, name) for name in asgi.__all__ if isinstance(getattr(asgi, name), type)]
    assert {value.__module__ for value in classes} == {"reinhardt_backends.asgi"}
