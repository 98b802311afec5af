"""A session that cannot be used: its id was given up a moment ago, or the store is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reinhardt_backends import (
    BackendConnectionError,
    BackendError,
    MemoryBackend,
    RedisBackend,
    SessionConflictError,
    SessionStore,
)
from reinhardt_backends.asgi import WebSession
from reinhardt_backends.testing import FakeClock

from ..servers import free_port
from .test_session_middleware import Client

pytestmark = pytest.mark.anyio

CHANGES: dict[str, Callable[[WebSession], Any]] = {
    "set": lambda session: session.update(a=1),
    "rotate": lambda session: session.rotate(user="eve"),
    "clear": lambda session: session.clear(),
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client(clock: FakeClock) -> Client:
    return Client(SessionStore(MemoryBackend(clock=clock), dict[str, Any], ttl=600))


async def with_old_id(client: Client) -> Client:
    """A request that was sent before a login and arrives after it."""
    await client.visit(lambda session: session.update(basket=1))
    late = Client(client.store)
    late.cookie = client.cookie
    await client.visit(lambda session: session.rotate(user="ada"))
    return late


async def test_a_late_request_with_the_id_from_before_the_login_does_not_log_out(client: Client) -> None:
    late = await with_old_id(client)
    seen: list[Any] = []
    answer = await late.visit(lambda session: seen.append((dict(session), session.user, session.available)))
    assert (answer.status, answer.all("set-cookie"), seen) == (200, [], [({}, None, False)])
    assert (await client.data(), await client.user()) == ({"basket": 1}, "ada")


@pytest.mark.parametrize("change", CHANGES)
async def test_a_late_request_cannot_write(client: Client, change: str) -> None:
    late = await with_old_id(client)
    with pytest.raises(SessionConflictError, match="gave up this session id") as caught:
        await late.visit(CHANGES[change])
    assert late.id not in str(caught.value)
    assert (await client.data(), await client.user()) == ({"basket": 1}, "ada")


async def test_a_late_request_with_the_id_from_before_a_logout_does_not_touch_the_login_after_it(
    client: Client, clock: FakeClock
) -> None:
    await client.visit(lambda session: session.rotate(user="ada"))
    late = Client(client.store)
    late.cookie = old = client.cookie
    await client.visit(lambda session: session.clear())
    await client.visit(lambda session: session.rotate(user="bob"))
    answer = await late.visit(lambda session: (len(session), session.user))
    assert (answer.status, answer.all("set-cookie")) == (200, [])
    for change in CHANGES.values():
        with pytest.raises(SessionConflictError, match="gave up this session id"):
            await late.visit(change)
    assert await client.user() == "bob"
    # A minute later no request from before can be under way: a browser that still sends the id has kept it by mistake.
    clock.advance(60)
    late.cookie = old
    assert (await late.visit()).cookie == ""
    assert await client.user() == "bob"


async def test_an_id_whose_session_has_ended_is_deleted_from_the_browser(client: Client, clock: FakeClock) -> None:
    await client.visit(lambda session: session.rotate(user="ada"))
    await client.store.revoke_user("ada")
    ended, client.cookie = client.cookie, client.cookie
    answer = await client.visit()
    assert (answer.cookie, answer["cache-control"]) == ("", "no-store")
    # A session that begins with this request is set in its place.
    client.cookie = ended
    answer = await client.visit(lambda session: session.update(a=1))
    assert answer.cookie not in {None, "", ended}

    # One that has expired.
    clock.advance(600)
    assert (await client.visit()).cookie == ""

    # An id that the store has never issued.
    client.cookie = f"session={'A' * 64}"
    assert (await client.visit()).cookie == ""


async def test_after_a_minute_an_old_id_is_deleted(client: Client, clock: FakeClock) -> None:
    late = await with_old_id(client)
    clock.advance(59.9)
    assert (await late.visit()).cookie is None
    clock.advance(0.1)
    assert (await late.visit()).cookie == ""


async def test_beside_a_living_id_a_dead_one_does_no_harm(client: Client) -> None:
    await client.visit(lambda session: session.update(a=1))
    client.cookie = f"session={'A' * 64}; {client.cookie}"
    answer = await client.visit()
    assert answer.cookie is None
    assert await client.data() == {"a": 1}


@pytest.fixture
def away() -> Client:
    """A client of a server that is not there."""
    backend = RedisBackend(f"redis://127.0.0.1:{free_port()}", timeout=0.2)
    client = Client(SessionStore(backend, dict[str, Any], ttl=60), on_error="anonymous")
    client.cookie = f"session={'A' * 64}"
    return client


async def test_while_the_store_is_away_requests_may_be_anonymous(
    away: Client, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    answer = await away.visit(lambda session: seen.append((dict(session), session.user, session.available)))
    assert (answer.status, answer.all("set-cookie"), seen) == (200, [], [({}, None, False)])
    (record,) = [one for one in caplog.records if one.name == "reinhardt_backends.session"]
    assert record.getMessage() == "the store is away (BackendConnectionError): requests have anonymous sessions"


@pytest.mark.parametrize("change", CHANGES)
async def test_an_anonymous_session_raises_the_store_s_error_when_it_is_changed(away: Client, change: str) -> None:
    with pytest.raises(BackendConnectionError):
        await away.visit(CHANGES[change])


async def test_by_default_the_store_s_error_is_raised(away: Client) -> None:
    client = Client(away.store)
    client.cookie = away.cookie
    with pytest.raises(BackendConnectionError):
        await client.visit()


async def test_a_change_that_cannot_be_stored_is_an_error_in_any_case() -> None:
    class Fading(MemoryBackend):
        async def compare_and_set(self, *args: Any, **kwargs: Any) -> bool:
            raise BackendConnectionError("away")

    client = Client(SessionStore(Fading(), dict[str, Any], ttl=60), on_error="anonymous")
    await client.visit(lambda session: session.update(a=1))
    assert (await client.data()) == {"a": 1}
    with pytest.raises(BackendConnectionError):
        await client.visit(lambda session: session.update(a=2))


async def test_an_error_that_says_nothing_about_the_store_s_health_is_raised() -> None:
    class Broken(MemoryBackend):
        async def get_many(self, *args: Any, **kwargs: Any) -> Any:
            raise BackendError("a defect")

    client = Client(SessionStore(Broken(), dict[str, Any], ttl=60), on_error="anonymous")
    client.cookie = f"session={'A' * 64}"
    with pytest.raises(BackendError, match="a defect"):
        await client.visit()


async def test_a_session_is_available_by_default(client: Client) -> None:
    seen: list[Any] = []
    await client.visit(lambda session: seen.append(session.available))
    await client.visit(lambda session: session.update(a=1))
    await client.visit(lambda session: seen.append((session.available, session.handle is not None)))
    assert seen == [True, (True, True)]


async def test_remember_me(client: Client, clock: FakeClock) -> None:
    await client.visit(lambda session: session.rotate(user="ada", ttl=10_000))
    clock.advance(9_999)
    assert await client.user() == "ada"
    with pytest.raises(ValueError, match="a ttl must be"):
        await client.visit(lambda session: session.rotate(ttl=0))


async def test_a_request_ends_all_other_sessions_of_its_user(client: Client) -> None:
    phone = Client(client.store)
    for one in (client, phone):
        await one.visit(lambda session: session.rotate(user="ada"))
    await client.visit(client.store.revoke_others)
    assert (await client.user(), await phone.user()) == ("ada", None)
