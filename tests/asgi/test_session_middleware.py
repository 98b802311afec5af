"""``SessionMiddleware``: what it stores, for which client, and what a client can send."""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel, TypeAdapter

from reinhardt_backends import Backend, MemoryBackend, RedisBackend, SerializationError, SessionStore
from reinhardt_backends._blocking import drive
from reinhardt_backends.asgi import SessionMiddleware, WebSession
from reinhardt_backends.asgi._turns import PATIENCE, Turns
from reinhardt_backends.testing import FakeClock

from ..servers import free_port
from .driving import EXTENSION, Answer, call, http, websocket

pytestmark = pytest.mark.anyio

Handler = Callable[[WebSession], Any]


def application(handler: Handler) -> Any:
    """An application that lets a function see the session, and then responds."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found = handler(scope["session"])
        if inspect.isawaitable(found):
            await found
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app


class Client:
    """A browser with a cookie jar for one cookie."""

    def __init__(self, store: SessionStore[Any], **options: Any) -> None:
        self.store = store
        self.options = options
        self.cookie: str | None = None

    async def visit(self, handler: Handler = lambda _: None) -> Answer:
        answer = await call(SessionMiddleware(application(handler), self.store, **self.options), self.scope())
        if answer.cookie is not None:
            self.cookie = answer.cookie or None
        return answer

    def scope(self) -> dict[str, Any]:
        return http([("cookie", self.cookie)] if self.cookie else ())

    async def data(self) -> dict[str, Any]:
        """What the next request sees."""
        seen: dict[str, Any] = {}
        await self.visit(seen.update)
        return seen

    async def user(self) -> str | None:
        seen: list[str | None] = []
        await self.visit(lambda session: seen.append(session.user))
        return seen[0]

    @property
    def id(self) -> str:
        assert self.cookie is not None
        return self.cookie.partition("=")[2]


@pytest.fixture
def store(backend: Backend) -> SessionStore[Any]:
    return SessionStore(backend, dict[str, Any], ttl=60)


@pytest.fixture
def client(store: SessionStore[Any]) -> Client:
    return Client(store)


async def keys(backend: Backend) -> list[str]:
    return [key async for key in backend.scan()]


async def test_what_is_set_is_there_on_the_next_request(client: Client) -> None:
    await client.visit(lambda session: session.update(theme="dark", basket=["lamp"]))
    assert await client.data() == {"theme": "dark", "basket": ["lamp"]}


async def test_nothing_is_stored_for_a_visitor_without_data(client: Client, backend: Backend) -> None:
    answer = await client.visit(lambda session: session.get("theme"))
    assert answer.cookie is None
    await client.visit(lambda session: session.rotate())
    assert await keys(backend) == []


async def test_the_cookie_is_safe_by_default(client: Client) -> None:
    answer = await client.visit(lambda session: session.update(a=1))
    assert re.fullmatch(
        r"session=[A-Za-z0-9_-]{64}; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=34560000", answer["set-cookie"]
    )
    assert answer["cache-control"] == "no-store"


async def test_the_cookie_has_the_attributes_asked_for(store: SessionStore[Any]) -> None:
    options = {"cookie": "sid", "path": "/app", "domain": "example.org", "secure": False, "same_site": "strict"}
    client = Client(store, **options, max_age=None)
    answer = await client.visit(lambda session: session.update(a=1))
    assert answer["set-cookie"].endswith("; Path=/app; Domain=example.org; HttpOnly; SameSite=Strict")
    assert await client.data() == {"a": 1}
    answer = await client.visit(lambda session: session.clear())
    assert answer["set-cookie"] == "sid=; Path=/app; Domain=example.org; HttpOnly; SameSite=Strict; Max-Age=0"


async def test_the_cookie_can_be_bound_to_its_host_and_to_the_embedding_site(store: SessionStore[Any]) -> None:
    client = Client(store, cookie="__Host-sid", partitioned=True, same_site="none")
    answer = await client.visit(lambda session: session.update(a=1))
    assert re.match(
        r"__Host-sid=[\w-]{64}; Path=/; HttpOnly; SameSite=None; Secure; Partitioned;", answer["set-cookie"]
    )
    assert await client.data() == {"a": 1}
    answer = await client.visit(lambda session: session.clear())
    assert "Secure; Partitioned; Max-Age=0" in answer["set-cookie"]


@pytest.mark.parametrize(("max_age", "shown"), [(90, 90), (timedelta(minutes=2), 120), (0.5, 1), (10**6, 3600)])
async def test_the_cookie_lasts_no_longer_than_the_session_can(backend: Backend, max_age: Any, shown: int) -> None:
    store = SessionStore(backend, dict[str, Any], ttl=60, absolute_ttl=3600)
    answer = await Client(store, max_age=max_age).visit(lambda session: session.update(a=1))
    assert answer["set-cookie"].endswith(f"; Max-Age={shown}")


async def test_the_cookie_is_set_once(client: Client) -> None:
    """Not again with each response, so that a late one cannot put an old id in the place of a new one."""
    await client.visit(lambda session: session.update(a=1))
    answer = await client.visit(lambda session: session.update(a=2))
    assert answer.all("set-cookie") == []
    assert await client.data() == {"a": 2}


async def test_what_is_changed_in_place_is_stored(client: Client) -> None:
    await client.visit(lambda session: session.update(basket=["lamp"], theme="dark"))
    await client.visit(lambda session: session["basket"].append("kettle"))
    await client.visit(lambda session: session.pop("theme"))
    assert await client.data() == {"basket": ["lamp", "kettle"]}


async def test_reading_writes_nothing(client: Client, backend: Backend) -> None:
    await client.visit(lambda session: session.update(n=1, t=True, f=1.5, deep={"b": [1], "a": None}))
    (key,) = await keys(backend)
    before = await backend.get(key)
    await client.data()
    assert await backend.get(key) == before
    await client.visit(lambda session: session.update(n=True))
    assert (await client.data())["n"] is True


async def test_a_visit_renews_the_session() -> None:
    clock = FakeClock()
    client = Client(SessionStore(MemoryBackend(clock=clock), dict[str, Any], ttl=60))
    await client.visit(lambda session: session.update(a=1))
    for _ in range(5):
        clock.advance(59)
        assert await client.data() == {"a": 1}
    clock.advance(60)
    assert await client.data() == {}


async def test_an_id_that_the_store_did_not_issue_is_never_adopted(client: Client) -> None:
    client.cookie = f"session={'A' * 64}"
    await client.visit(lambda session: session.update(a=1))
    assert client.id != "A" * 64
    assert await client.store.load("A" * 64) is None
    assert await client.data() == {"a": 1}


async def test_login_gives_a_new_id_and_kills_the_old_one(client: Client) -> None:
    await client.visit(lambda session: session.update(basket=1))
    thief = Client(client.store)
    thief.cookie = client.cookie
    answer = await client.visit(lambda session: session.rotate(user="ada"))
    assert answer.cookie == client.cookie != thief.cookie
    assert (await client.data(), await client.user()) == ({"basket": 1}, "ada")
    assert (await thief.data(), await thief.user()) == ({}, None)
    assert [info.user for info in await client.store.sessions_of("ada")] == ["ada"]


async def test_a_new_id_alone_keeps_data_and_user(client: Client) -> None:
    await client.visit(lambda session: session.rotate(user="ada"))
    old = client.id
    await client.visit(lambda session: session.rotate())
    assert (client.id != old, await client.user(), await client.store.load(old)) == (True, "ada", None)
    await client.visit(lambda session: session.rotate(user=None))
    assert await client.user() is None


async def test_a_visitor_without_a_session_can_log_in(client: Client) -> None:
    await client.visit(lambda session: session.rotate(user="ada"))
    assert await client.user() == "ada"


async def test_logout_revokes_the_session_and_deletes_the_cookie(client: Client, backend: Backend) -> None:
    await client.visit(lambda session: session.update(a=1))
    old = client.id
    answer = await client.visit(lambda session: session.clear())
    assert answer["set-cookie"] == "session=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
    assert await client.store.load(old) is None
    assert [key.rpartition(":")[0] for key in await keys(backend)] == ["session:rotated"]


async def test_clearing_forgets_a_login_of_the_same_request(client: Client, backend: Backend) -> None:
    def change_of_mind(session: WebSession) -> None:
        session.rotate(user="ada")
        session.clear()
        assert session.user is None

    await client.visit(change_of_mind)
    assert await keys(backend) == []
    await client.visit(lambda session: session.update(a=1))
    await client.visit(lambda session: (change_of_mind(session), session.update(b=2)))
    assert (await client.data(), await client.user()) == ({"b": 2}, None)


async def test_what_is_set_after_clearing_belongs_to_a_new_session(client: Client) -> None:
    await client.visit(lambda session: session.update(a=1, b=2))
    old = client.id

    def start_over(session: WebSession) -> None:
        session.clear()
        session["a"] = 1
        session.rotate(user="bob")

    await client.visit(start_over)
    assert (await client.data(), await client.user()) == ({"a": 1}, "bob")
    assert await client.store.load(old) is None


async def test_revoking_elsewhere_logs_out(client: Client) -> None:
    await client.visit(lambda session: session.rotate(user="ada"))
    await client.store.revoke_user("ada")
    assert await client.user() is None


class Doors:
    """Lets a test hold one request in the middle while another one runs."""

    def __init__(self) -> None:
        self.entered = anyio.Event()
        self.open = anyio.Event()

    def holding(self, handler: Handler) -> Handler:
        async def held(session: WebSession) -> None:
            handler(session)
            self.entered.set()
            await self.open.wait()

        return held


async def overlap(client: Client, early: Handler, late: Handler) -> tuple[Answer, Answer]:
    """Begin a request, serve another one meanwhile, then finish the first. Both have the same cookie."""
    doors = Doors()
    answers: list[Answer] = []
    other = Client(client.store)
    other.cookie = client.cookie

    async def first() -> None:
        answers.append(await other.visit(doors.holding(early)))

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await doors.entered.wait()
        second = await client.visit(late)
        doors.open.set()
    return answers[0], second


async def test_requests_at_the_same_time_do_not_undo_each_other(client: Client) -> None:
    await client.visit(lambda session: session.update(kept=0, gone=0, basket=[1]))

    def early(session: WebSession) -> None:
        session["early"] = 1
        session["basket"].append(2)
        del session["gone"]

    await overlap(client, early, lambda session: session.update(late=1, kept=5))
    assert await client.data() == {"kept": 5, "basket": [1, 2], "early": 1, "late": 1}


async def test_many_requests_at_the_same_time_all_leave_their_mark(client: Client) -> None:
    await client.visit(lambda session: session.update(begun=True))

    async def one(number: int) -> None:
        async def slowly(session: WebSession) -> None:
            session[f"n{number}"] = number
            await anyio.lowlevel.checkpoint()

        other = Client(client.store)
        other.cookie = client.cookie
        await other.visit(slowly)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(one, number)
    assert await client.data() == {"begun": True} | {f"n{number}": number for number in range(20)}


async def test_requests_of_several_processes_all_leave_their_mark(client: Client) -> None:
    """Each middleware stands for a process: turns are taken inside of one, and between them there is backoff."""
    await client.visit(lambda session: session.update(begun=True))
    arrived = 0
    all_there = anyio.Event()

    async def one(middleware: Callable[[Handler], Any], number: int) -> None:
        async def write(session: WebSession) -> None:
            nonlocal arrived
            session[f"n{number}"] = number
            arrived += 1
            if arrived == 40:
                all_there.set()
            await all_there.wait()

        await call(middleware(write), client.scope())

    async with anyio.create_task_group() as group:
        for process in range(4):
            shared = SessionMiddleware(application(lambda _: None), client.store)

            def middleware(handler: Handler, shared: SessionMiddleware = shared) -> Any:
                mine = copy.copy(shared)
                mine.app = application(handler)
                return mine

            for number in range(10):
                group.start_soon(one, middleware, process * 10 + number)
    assert await client.data() == {"begun": True} | {f"n{number}": number for number in range(40)}


async def test_a_turn_that_is_held_for_long_holds_up_no_request() -> None:
    turns = Turns()
    order: list[str] = []

    async def hold(name: str, seconds: float) -> None:
        async with turns.take("handle"):
            order.append(name)
            await anyio.sleep(seconds)

    async with anyio.create_task_group() as group:
        group.start_soon(hold, "stuck", 600)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(PATIENCE * 10):
            await hold("impatient", 0)
        group.cancel_scope.cancel()
    assert order == ["stuck", "impatient"]
    assert turns._turns == {}


async def test_of_the_same_key_the_last_one_counts(client: Client) -> None:
    await client.visit(lambda session: session.update(a=0))
    await overlap(client, lambda session: session.update(a="early"), lambda session: session.update(a="late"))
    assert await client.data() == {"a": "early"}


async def test_a_login_keeps_what_another_request_has_stored_meanwhile(client: Client) -> None:
    await client.visit(lambda session: session.update(a=0))
    login, _ = await overlap(client, lambda session: session.rotate(user="ada"), lambda session: session.update(b=1))
    client.cookie = login.cookie
    assert (await client.data(), await client.user()) == ({"a": 0, "b": 1}, "ada")


async def test_a_request_from_before_a_login_does_not_log_out_and_leaves_nothing(client: Client) -> None:
    await client.visit(lambda session: session.update(a=0))
    early, _ = await overlap(client, lambda session: session.update(b=1), lambda session: session.rotate(user="ada"))
    assert (early.status, early.cookie) == (200, None)
    assert (await client.data(), await client.user()) == ({"a": 0}, "ada")


async def test_a_request_from_before_a_logout_does_not_bring_the_session_back(client: Client, backend: Backend) -> None:
    await client.visit(lambda session: session.rotate(user="ada"))
    cookie = client.cookie
    early, _ = await overlap(client, lambda session: session.update(b=1), lambda session: session.clear())
    assert (early.status, early.cookie) == (200, None)
    client.cookie = cookie
    assert (await client.data(), await client.user()) == ({}, None)


async def test_a_new_id_from_before_a_logout_does_not_bring_the_session_back(client: Client) -> None:
    await client.visit(lambda session: session.rotate(user="ada"))
    early, _ = await overlap(client, lambda session: session.rotate(), lambda session: session.clear())
    assert early.cookie is None


async def test_of_two_logins_at_the_same_time_both_hold(client: Client) -> None:
    """Whichever response comes last, the client is logged in and has its data."""
    await client.visit(lambda session: session.update(basket=1))
    answers = await overlap(client, lambda s: s.rotate(user="ada"), lambda s: s.rotate(user="ada"))
    assert answers[0].cookie != answers[1].cookie
    for answer in answers:
        client.cookie = answer.cookie
        assert (await client.data(), await client.user()) == ({"basket": 1}, "ada")


async def test_a_login_from_before_a_logout_begins_with_its_own_data(client: Client) -> None:
    def login(session: WebSession) -> None:
        session["mine"] = 1
        session.rotate(user="bob")

    await client.visit(lambda session: session.update(secret=1))
    early, _ = await overlap(client, login, lambda session: session.clear())
    client.cookie = early.cookie
    assert (await client.data(), await client.user()) == ({"mine": 1}, "bob")


async def test_emptying_a_session_does_not_undo_what_another_request_adds(client: Client) -> None:
    await client.visit(lambda session: session.update(flash="hello"))
    await overlap(client, lambda session: session.pop("flash"), lambda session: session.update(b=1))
    assert await client.data() == {"b": 1}


GARBAGE = [
    b"",
    b"session",
    b"session=",
    b"session=garbage",
    b"session=\xff\xfe\x00",
    b"session=" + b"A" * 1_000_000,
    b"session=A; " * 100_000,
    b"xsession=" * 100_000,
    b";" * 1_000_000,
    b" " * 1_000_000,
    b"; " * 500_000 + b"session",
    b'session="' + b"A" * 64 + b'"',
    b"session=../../etc/passwd",
    b"session=" + b"%00" * 22,
]


@pytest.mark.parametrize("cookie", GARBAGE, ids=range(len(GARBAGE)))
async def test_a_garbage_cookie_is_no_session(client: Client, cookie: bytes) -> None:
    seen: list[dict[str, Any]] = []
    app = SessionMiddleware(application(lambda session: seen.append(dict(session))), client.store)
    with anyio.fail_after(5):
        answer = await call(app, http([("cookie", cookie)]))
    assert (answer.status, answer.cookie, seen) == (200, None, [{}])


@given(st.lists(st.binary(max_size=100), max_size=4))
@example([b"session=" + b"\x80" * 64])
def test_no_cookie_at_all_upsets_it(cookies: list[bytes]) -> None:
    store = SessionStore(MemoryBackend(), dict[str, Any], ttl=60)
    app = SessionMiddleware(application(lambda session: session.update(a=1)), store)
    assert drive(call(app, http([("cookie", cookie) for cookie in cookies]))).status == 200


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "a=b; {}; c=d",
        "a=b;{}",
        " \t{} ;x",
        "xsession=1; {}",
        "session=junk; {}",
        "a=session=; {}",
        "session; session=; {}",
        'q="a; {}',
    ],
)
async def test_the_cookie_is_found_among_others(client: Client, form: str) -> None:
    await client.visit(lambda session: session.update(a=1))
    assert client.cookie is not None
    client.cookie = form.replace("{}", client.cookie)
    assert await client.data() == {"a": 1}


async def test_the_cookie_is_found_in_several_fields(client: Client) -> None:
    """HTTP/2 may send one field for each cookie."""
    await client.visit(lambda session: session.update(a=1))
    seen: dict[str, Any] = {}
    scope = http([("cookie", "a=b"), ("cookie", client.cookie or "")])
    await call(SessionMiddleware(application(seen.update), client.store), scope)
    assert seen == {"a": 1}


@pytest.mark.parametrize("name", ["xsession", "session2", "Session", "a; xsession"])
async def test_a_cookie_of_another_name_is_not_it(client: Client, name: str) -> None:
    await client.visit(lambda session: session.update(a=1))
    client.cookie = f"{name}={client.id}"
    assert await client.data() == {}


async def test_a_cookie_that_is_no_id_costs_no_call_of_the_store() -> None:
    """The server is not even there."""
    async with RedisBackend(f"redis://127.0.0.1:{free_port()}", timeout=1) as away:
        client = Client(SessionStore(away, dict[str, Any], ttl=60))
        client.cookie = "session=garbage"
        assert (await client.visit()).status == 200


async def test_a_response_that_depends_on_the_session_says_so(client: Client) -> None:
    assert (await client.visit(lambda session: session.get("a")))["vary"] == "Cookie"
    assert (await client.visit(lambda session: session.user and None))["vary"] == "Cookie"
    assert (await client.visit()).all("vary") == []


async def test_a_cache_control_of_the_application_stays(client: Client) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["a"] = 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Cache-Control", b"private")]})

    answer = await call(SessionMiddleware(app, client.store), http())
    assert [value for name, value in answer.start["headers"] if name.lower() == b"cache-control"] == [b"private"]


async def test_if_the_application_fails_nothing_is_stored(client: Client, backend: Backend) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["a"] = 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await call(SessionMiddleware(app, client.store), http())
    assert await keys(backend) == []


async def test_what_cannot_be_stored_is_an_error_and_the_application_may_still_respond(client: Client) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"].update(good=1, bad=math.nan)
        with pytest.raises(SerializationError):
            await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.start", "status": 500})

    answer = await call(SessionMiddleware(app, client.store), http())
    assert (answer.kinds, answer.status, answer.cookie) == (["http.response.start"], 500, None)


async def test_a_change_that_comes_too_late_is_an_error(client: Client) -> None:
    errors: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = scope["session"]
        session["a"] = 1
        await send({"type": "http.response.start", "status": 200})
        for change in (
            lambda: session.update(b=1),
            lambda: session.pop("a"),
            session.clear,
            lambda: session.rotate(user="ada"),
        ):
            with pytest.raises(RuntimeError, match="the response has begun") as caught:
                change()
            errors.append(str(caught.value))
        assert dict(session) == {"a": 1}
        await send({"type": "http.response.body", "body": b""})

    await call(SessionMiddleware(app, client.store), http())
    assert len(errors) == 4


async def test_a_websocket_reads_the_session_and_may_change_it_until_it_is_accepted(client: Client) -> None:
    await client.visit(lambda session: session.update(a=1))
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.update(scope["session"])
        scope["session"]["b"] = 2
        scope["session"].rotate(user="ada")
        await send({"type": "websocket.accept", "headers": [(b"x-mine", b"1")]})

    answer = await call(SessionMiddleware(app, client.store), websocket([("cookie", client.cookie or "")]))
    assert (seen, answer.kinds, answer["x-mine"]) == ({"a": 1}, ["websocket.accept"], "1")
    assert answer.all("vary") == []
    client.cookie = answer.cookie
    assert (await client.data(), await client.user()) == ({"a": 1, "b": 2}, "ada")


async def test_a_websocket_that_is_refused_by_a_response_can_set_the_cookie(client: Client) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["tries"] = 1
        await send({"type": "websocket.http.response.start", "status": 403})
        await send({"type": "websocket.http.response.body", "body": b""})

    answer = await call(SessionMiddleware(app, client.store), websocket(extensions=EXTENSION))
    client.cookie = answer.cookie
    assert await client.data() == {"tries": 1}


async def test_a_websocket_that_is_closed_at_once_stores_nothing(client: Client, backend: Backend) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["a"] = 1
        await send({"type": "websocket.close", "code": 1000})
        with pytest.raises(RuntimeError, match="the response has begun"):
            scope["session"]["b"] = 1

    answer = await call(SessionMiddleware(app, client.store), websocket())
    assert (answer.kinds, await keys(backend)) == (["websocket.close"], [])


async def test_lifespan_passes_through_untouched(client: Client) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    scope = {"type": "lifespan"}
    await SessionMiddleware(app, client.store)(scope, 1, 2)  # type: ignore[arg-type]
    assert seen == [(scope, 1, 2)]


class Visit(BaseModel):
    theme: str = "light"
    seen: list[int] = []


async def test_a_store_of_a_model_shows_its_fields_and_checks_them(backend: Backend) -> None:
    client = Client(SessionStore(backend, Visit, ttl=60))
    await client.visit(lambda session: session.update(seen=[1]))
    await client.visit(lambda session: session["seen"].append(2))
    assert (await client.data())["seen"] == [1, 2]
    loaded = await client.store.load(client.id)
    assert loaded is not None
    assert loaded.data == Visit(seen=[1, 2])
    with pytest.raises(SerializationError, match="Visit"):
        await client.visit(lambda session: session.update(seen="all"))


class Account(BaseModel):
    name: str


@pytest.mark.parametrize("data_type", [list[int], str, Account, RootModel[list[int]], int | None])
async def test_a_store_whose_data_is_no_object_or_cannot_be_empty_is_refused(data_type: Any) -> None:
    store: SessionStore[Any] = SessionStore(MemoryBackend(), data_type, ttl=60)
    with pytest.raises(TypeError, match="a JSON object that may be empty"):
        SessionMiddleware(application(lambda _: None), store)


@pytest.mark.parametrize("data_type", [dict, dict[str, int], Any, Visit, TypeAdapter(Visit)])
async def test_a_store_whose_data_may_be_an_empty_object_is_taken(data_type: Any) -> None:
    SessionMiddleware(application(lambda _: None), SessionStore(MemoryBackend(), data_type, ttl=60))


async def test_data_that_would_come_back_as_another_type_is_refused_at_the_first_write(
    client: Client, backend: Backend
) -> None:
    with pytest.raises(SerializationError, match="of type datetime that would come back as a str"):
        await client.visit(lambda session: session.update(at=datetime.now(UTC)))
    assert await keys(backend) == []


async def test_no_repr_shows_an_id_or_data(client: Client) -> None:
    shown: list[str] = []
    await client.visit(lambda session: (session.update(word="swordfish"), shown.append(repr(session)))[1])
    await client.visit(lambda session: shown.append(repr(session) + repr(dict(session) and session)))
    assert client.id not in "".join(shown)
    assert "swordfish" not in "".join(shown)


async def test_names_are_text(client: Client) -> None:
    for name in (1, None, b"a"):
        with pytest.raises(TypeError):
            await client.visit(lambda session, name=name: session.update({name: 1}))  # type: ignore[misc,dict-item]
    with pytest.raises(TypeError):
        await client.visit(lambda session: session.rotate(user=5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"cookie": ""}, ValueError),
        ({"cookie": "a;b"}, ValueError),
        ({"cookie": "a b"}, ValueError),
        ({"cookie": 5}, TypeError),
        ({"path": "no-slash"}, ValueError),
        ({"path": "/;x"}, ValueError),
        ({"path": "/\r\nx: y"}, ValueError),
        ({"domain": "a;b"}, ValueError),
        ({"same_site": "Lax"}, ValueError),
        ({"same_site": "none", "secure": False}, ValueError),
        ({"cookie": "__Host-s", "secure": False}, ValueError),
        ({"cookie": "__Host-s", "path": "/a"}, ValueError),
        ({"cookie": "__Host-s", "domain": "example.org"}, ValueError),
        ({"partitioned": True, "secure": False}, ValueError),
        ({"on_error": "ignore"}, ValueError),
        ({"max_age": 0}, ValueError),
        ({"max_age": "1h"}, TypeError),
    ],
)
async def test_options_are_checked(options: dict[str, Any], error: type[Exception]) -> None:
    store = SessionStore(MemoryBackend(), dict[str, Any], ttl=60)
    with pytest.raises(error):
        SessionMiddleware(application(lambda _: None), store, **options)
    SessionMiddleware(application(lambda _: None), store, cookie="__Host-s")


async def test_what_is_no_store_is_a_type_error() -> None:
    with contextlib.suppress(TypeError):
        SessionMiddleware(application(lambda _: None), MemoryBackend())  # type: ignore[arg-type]
        pytest.fail("no error")
