"""Rate limits, sessions and caching in FastAPI: in the process through httpx, and the example under uvicorn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import anyio
import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Response, WebSocket

from reinhardt_backends import Backend, Cache, MemoryBackend, SessionStore, ThrottleResult
from reinhardt_backends.asgi import SessionMiddleware
from reinhardt_backends.fastapi import CurrentBackend, CurrentSession, rate_limit
from reinhardt_backends.testing import FakeClock

from ..asgi.serving import serving
from ..servers import Server


def user(x_user: Annotated[str | None, Header()] = None) -> str | None:
    return x_user


def create_app(backend: Backend | None) -> FastAPI:  # noqa: C901 - many routes, no branches
    app = FastAPI()
    app.state.backend = backend

    @app.get("/a", dependencies=[Depends(rate_limit("2/min"))])
    async def a() -> str:
        return "a"

    @app.get("/b", dependencies=[Depends(rate_limit("2/min"))])
    def b() -> str:
        return "b"

    @app.post("/a", dependencies=[Depends(rate_limit("2/min"))])
    async def post_a() -> str:
        return "posted"

    @app.get("/item/{number}", dependencies=[Depends(rate_limit("2/min"))])
    async def item(number: int) -> int:
        return number

    @app.get("/user", dependencies=[Depends(rate_limit("2/min", by=user))])
    async def of_user() -> str:
        return "user"

    shared = rate_limit("2/min", name="shared")

    @app.get("/shared/1", dependencies=[Depends(shared)])
    async def shared_1() -> int:
        return 1

    @app.get("/shared/2", dependencies=[Depends(rate_limit("2/min", name="shared"))])
    async def shared_2() -> int:
        return 2

    @app.get("/own-response")
    async def own(result: Annotated[ThrottleResult, Depends(rate_limit("2/min"))]) -> Response:
        return Response("own", headers=result.headers())

    @app.get("/burst", dependencies=[Depends(rate_limit("1/min", "3/h"))])
    async def burst(backend: CurrentBackend) -> bool:
        return backend is app.state.backend

    @app.websocket("/ws", dependencies=[Depends(rate_limit("1/min"))])
    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    for prefix in ("/v1", "/v2"):
        router = APIRouter(prefix="/r", dependencies=[Depends(rate_limit("2/min"))])

        @router.get("/{number}")
        async def routed(number: int) -> int:
            return number

        app.include_router(router, prefix=prefix)

        @router.get("/of/{number}")
        async def of_tenant(number: int, tenant: str) -> int:
            return number

        app.include_router(router, prefix=prefix + "/{tenant}")
    return app


class Client:
    """Sends requests to an application in the process."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def get(self, path: str, method: str = "GET", address: str = "203.0.113.7", **headers: str) -> httpx.Response:
        async def request() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})

        return anyio.run(request)

    def statuses(self, path: str, count: int, **more: str) -> list[int]:
        return [self.get(path, **more).status_code for _ in range(count)]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client(clock: FakeClock) -> Client:
    return Client(create_app(MemoryBackend(clock=clock)))


def test_a_refusal_is_an_error_of_fastapi_with_the_header_fields(client: Client, clock: FakeClock) -> None:
    first, _, third = (client.get("/a") for _ in range(3))
    assert (first.status_code, first.json()) == (200, "a")
    assert first.headers["ratelimit-policy"] == '"2/min";q=2;w=60'
    assert first.headers["ratelimit"] == '"2/min";r=1;t=60'
    assert "retry-after" not in first.headers
    assert (third.status_code, third.json()) == (429, {"detail": "Too Many Requests"})
    assert third.headers["ratelimit"] == '"2/min";r=0;t=60'
    assert third.headers["retry-after"] == "60"
    clock.advance(60)
    assert client.get("/a").status_code == 200


def test_each_route_and_each_client_has_hits_of_its_own(client: Client) -> None:
    assert client.statuses("/a", 3) == [200, 200, 429]
    assert client.statuses("/b", 3) == [200, 200, 429]
    assert client.statuses("/a", 3, method="POST") == [200, 200, 429]
    assert client.statuses("/a", 3, address="203.0.113.8") == [200, 200, 429]


def test_what_a_client_puts_into_the_path_gives_it_no_other_route(client: Client) -> None:
    assert [client.get(f"/item/{number}").status_code for number in range(3)] == [200, 200, 429]
    assert [client.get(f"/v1/{name}/r/of/1?tenant=x").status_code for name in "abc"] == [200, 200, 429]


def test_a_router_that_is_included_under_two_prefixes_has_routes_under_both(client: Client) -> None:
    assert [client.get(f"/v1/r/{number}").status_code for number in range(3)] == [200, 200, 429]
    assert [client.get(f"/v2/r/{number}").status_code for number in range(3)] == [200, 200, 429]


def test_a_limit_by_a_dependency(client: Client) -> None:
    assert client.statuses("/user", 3, x_user="ada") == [200, 200, 429]
    assert client.statuses("/user", 3, x_user="bob") == [200, 200, 429]
    assert client.statuses("/user", 4) == [200] * 4
    assert "ratelimit" not in client.get("/user").headers


def test_routes_with_one_name_share_their_hits(client: Client) -> None:
    assert [client.get(f"/shared/{number}").status_code for number in (1, 2, 1, 2)] == [200, 200, 429, 429]


def test_a_route_with_a_response_of_its_own_can_pass_the_fields_on(client: Client) -> None:
    assert client.get("/own-response").headers["ratelimit"] == '"2/min";r=1;t=60'


def test_several_rates(client: Client) -> None:
    first, second = client.get("/burst"), client.get("/burst")
    assert first.json() is True
    assert first.headers["ratelimit"] == '"1/min";r=0;t=60, "3/h";r=2;t=3600'
    assert second.status_code == 429


def test_a_websocket_over_the_limit_is_closed() -> None:
    app = create_app(MemoryBackend())
    scope = {
        "type": "websocket", "path": "/ws", "headers": [], "query_string": b"", "client": ("203.0.113.7", 1),
        "server": ("test", 80), "scheme": "ws", "root_path": "", "subprotocols": [], "asgi": {"version": "3.0"},
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    for _ in range(2):
        anyio.run(app, dict(scope), receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close", "websocket.close"]
    assert sent[-1]["code"] == 1013


def test_what_is_missing_is_a_clear_error(client: Client) -> None:
    with pytest.raises(RuntimeError, match=r"app\.state\.backend must be a Backend"):
        Client(create_app(None)).get("/a")
    with pytest.raises(ValueError, match="rate"):
        rate_limit("often")
    with pytest.raises(TypeError, match="trusted_proxies"):
        rate_limit("1/min", by=user, trusted_proxies=["10.0.0.1"])
    app = FastAPI()

    @app.get("/")
    async def root(session: CurrentSession) -> None: ...

    with pytest.raises(RuntimeError, match="SessionMiddleware"):
        Client(app).get("/")


def test_a_backend_of_its_own_and_the_address_behind_a_proxy() -> None:
    app = FastAPI()
    limit = rate_limit("1/min", backend=MemoryBackend(), trusted_proxies=["203.0.113.0/24"])

    @app.get("/", dependencies=[Depends(limit)])
    async def root() -> None: ...

    client = Client(app)
    assert [client.get("/", x_forwarded_for=address).status_code for address in ("1.1.1.1", "2.2.2.2", "1.1.1.1")] == [
        200,
        200,
        429,
    ]


def test_the_limit_can_be_overridden_in_tests(client: Client) -> None:
    app = create_app(MemoryBackend())
    limit = rate_limit("1/min")

    @app.get("/once", dependencies=[Depends(limit)])
    async def once() -> None: ...

    app.dependency_overrides[limit] = lambda: None
    assert Client(app).statuses("/once", 3) == [200, 200, 200]


def test_the_session_as_a_dependency() -> None:
    app = FastAPI()
    store = SessionStore(MemoryBackend(), dict[str, Any], ttl=60)
    app.add_middleware(SessionMiddleware, store=store, secure=False)

    @app.get("/")
    async def root(session: CurrentSession) -> int:
        session["count"] = session.get("count", 0) + 1
        return int(session["count"])

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            assert [(await client.get("/")).json() for _ in range(3)] == [1, 2, 3]

    anyio.run(run)


def test_a_cached_route_keeps_its_signature() -> None:
    app = FastAPI()
    cache = Cache(MemoryBackend(), ttl=60)
    calls: list[int] = []

    @app.get("/square/{number}")
    @cache.cached(key="square:{number}")
    async def square(number: int, offset: int = 0) -> dict[str, int]:
        """Square a number."""
        calls.append(number)
        return {"square": number * number + offset}

    client = Client(app)
    assert [client.get("/square/3").json() for _ in range(3)] == [{"square": 9}] * 3
    assert calls == [3]
    assert client.get("/square/three").status_code == 422
    operation = app.openapi()["paths"]["/square/{number}"]["get"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["number", "offset"]
    assert operation["description"] == "Square a number."


@pytest.fixture(params=["memory", "redis"])
def served(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    url = "memory://"
    if request.param == "redis":
        server: Server = request.getfixturevalue("server")
        url = f"{server.url}?prefix=fastapi-example:"
    with (
        serving("examples/fastapi_app.py", "--url", url, "--port") as address,
        httpx.Client(base_url=address, verify=False) as http,
    ):
        yield http


def test_the_example_under_uvicorn(served: httpx.Client) -> None:
    assert [served.post("/login/ada").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert [served.post("/count").json().get("count") for _ in range(6)] == [1, 2, 3, 4, 5, None]
    assert served.get("/weather/Oslo").json() == served.get("/weather/Oslo").json()
    assert served.get("/weather/Lima").json() != served.get("/weather/Oslo").json()
    assert served.get("/prices").json() == served.get("/prices").json()
    assert served.get("/openapi.json").status_code == 200
