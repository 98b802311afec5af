"""What sessions cost a server: bounded commands and bytes for each call, however many sessions a user has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from reinhardt_backends import RedisBackend, SessionStore
from reinhardt_backends.asgi import SessionMiddleware

from .asgi.driving import call, http
from .server_stats import Work, reset_stats, work
from .servers import Server

ANYTHING = dict[str, Any]
TOLERANCE = 1.5
"""How much more a call may cost with many sessions than with one. Samples of the index are random."""


async def together(count: int, function: Callable[[], Awaitable[object]]) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(function)


def assert_bounded(few: Work, many: Work, growth: int) -> None:
    """With ``growth`` times as many sessions or calls, the server works so many times as much and hardly more."""
    assert many.commands <= growth * few.commands * TOLERANCE
    assert many.received <= growth * few.received * TOLERANCE
    assert many.sent <= growth * few.sent * TOLERANCE


def test_many_logins_of_one_user_at_once_cost_as_many_times_one_login(own_server: Server) -> None:
    async def cost(logins: int) -> Work:
        async with RedisBackend(own_server.url, prefix=f"{logins}:") as backend:
            store = SessionStore(backend, ANYTHING, ttl=60)
            await together(40, lambda: store.create({}, user="bob"))  # a crowded index, and known scripts
            reset_stats(own_server)
            await together(logins, lambda: store.create({}, user="bob"))
            done = work(own_server)
            assert len(await store.sessions_of("bob")) == 40 + logins
            return done

    few, many = anyio.run(cost, 40), anyio.run(cost, 400)
    assert many.commands <= 400 * 12
    assert many.received + many.sent <= 400 * 3_000
    assert_bounded(few, many, 10)


def test_many_logins_at_once_under_a_cap(own_server: Server) -> None:
    async def cost(logins: int) -> Work:
        async with RedisBackend(own_server.url, prefix=f"{logins}:") as backend:
            store = SessionStore(backend, ANYTHING, ttl=60, max_per_user=5)
            await together(40, lambda: store.create({}, user="bob"))
            reset_stats(own_server)
            await together(logins, lambda: store.create({}, user="bob"))
            done = work(own_server)
            assert len(await store.sessions_of("bob")) == 5
            assert len([key async for key in backend.scan("session:id:")]) == 5
            return done

    few, many = anyio.run(cost, 40), anyio.run(cost, 400)
    assert many.commands <= 400 * 16
    assert_bounded(few, many, 10)


def test_a_load_and_a_write_cost_the_same_beside_many_sessions_of_the_user(own_server: Server) -> None:
    async def cost(others: int) -> Work:
        async with RedisBackend(own_server.url, prefix=f"{others}:") as backend:
            store = SessionStore(backend, ANYTHING, ttl=60, absolute_ttl=600)
            session = await store.create({}, user="bob")
            await together(others, lambda: store.create({}, user="bob"))

            async def visit() -> None:
                loaded = await store.load(session.id)
                assert loaded is not None
                await store.save(loaded)

            await visit()
            reset_stats(own_server)
            for _ in range(20):
                await visit()
            await store.rotate(session := await store.load(session.id) or session)
            return work(own_server)

    one, many = anyio.run(cost, 1), anyio.run(cost, 500)
    assert many.commands <= one.commands
    assert many.received + many.sent <= (one.received + one.sent) * 1.05


def test_many_requests_that_write_one_session_cost_as_many_times_one(own_server: Server) -> None:
    async def cost(requests: int) -> Work:
        async with RedisBackend(own_server.url, prefix=f"{requests}:") as backend:
            store = SessionStore(backend, ANYTHING, ttl=60)
            session = await store.create({"begun": True}, user="bob")
            arrived, numbers = 0, iter(range(requests))
            all_there = anyio.Event()

            async def app(scope: Any, receive: Any, send: Any) -> None:
                nonlocal arrived
                scope["session"][f"n{next(numbers)}"] = 1
                arrived += 1
                if arrived == requests:
                    all_there.set()
                await all_there.wait()
                await send({"type": "http.response.start", "status": 200, "headers": []})

            middleware = SessionMiddleware(app, store)
            reset_stats(own_server)
            await together(requests, lambda: call(middleware, http([("cookie", f"session={session.id}")])))
            done = work(own_server)
            loaded = await store.load(session.id)
            assert loaded is not None
            assert len(loaded.data) == 1 + requests
            return done

    few, many = anyio.run(cost, 20), anyio.run(cost, 200)
    # On a busy machine the requests spread out, and each that comes late may overtake one whose turn it is. If every
    # request failed for every other, as without turns, there would be twenty times as many.
    assert many.commands <= 10 * few.commands * 4
