"""The middlewares under real servers: uvicorn on asyncio, and hypercorn on trio."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ..servers import Server
from .serving import serving

SERVERS = ("uvicorn", "hypercorn")


@pytest.fixture(params=[(server, store) for server in SERVERS for store in ("memory", "redis")], ids=" on ".join)
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    server, store = request.param
    url = "memory://" if store == "memory" else _url(request)
    with serving("-m", "tests.asgi.served", server, url) as address:
        yield address


def _url(request: pytest.FixtureRequest) -> str:
    redis: Server = request.getfixturevalue("server")
    redis.command("FLUSHALL")
    return redis.url


def test_requests_and_websockets_of_a_client(address: str) -> None:
    with httpx.Client(base_url=address, verify=False) as client:
        # Sessions.
        assert client.get("/").json() == {"user": None}
        assert client.cookies.get("session") is None
        client.get("/set?lamp")
        before = client.cookies["session"]
        client.get("/login")
        assert client.cookies["session"] != before
        assert client.get("/").json() == {"user": "ada", "lamp": 1}
        assert httpx.get(f"{address}/", cookies={"session": before}, verify=False).json() == {"user": None}

        # A websocket reads them, and sets the cookie while it is accepted.
        mine = {"Cookie": f"session={client.cookies['session']}"}
        with connect(f"ws{address[4:]}/", additional_headers=mine) as socket:
            assert json.loads(socket.recv()) == {"user": "ada", "lamp": 1}
            assert '"3/h";r=2' in socket.response.headers["ratelimit"]
        with connect(f"ws{address[4:]}/set?kettle") as socket:
            cookie = socket.response.headers["set-cookie"].partition(";")[0]
        with connect(f"ws{address[4:]}/", additional_headers={"Cookie": cookie}) as socket:
            assert json.loads(socket.recv()) == {"user": None, "kettle": 1}

        # The fourth is one too many.
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws{address[4:]}/")
        assert refused.value.response.status_code == 429
        assert int(refused.value.response.headers["retry-after"]) > 3500

        answers = [client.get("/hit") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0"]
        assert answers[-1].headers["retry-after"] == answers[-1].headers["ratelimit"].partition("t=")[2]
        refusal = client.head("/hit")
        assert (refusal.status_code, refusal.content) == (429, b"")

        # What no client should send, and the end.
        for cookie in (
            "session=garbage",
            "session=" + "A" * 64,
            "session=\xff\xfe",
            ";;;=;",
            "session=" + "A" * 10_000,
        ):
            assert httpx.get(address, headers={"Cookie": cookie.encode("latin-1")}, verify=False).json() == {
                "user": None
            }
        huge = _status_of_huge_cookie(address)
        assert huge in {200, 400, 431}
        client.get("/logout")
        assert client.cookies.get("session") is None


def _status_of_huge_cookie(address: str) -> int:
    """A server may have had enough before it has read all of it, and hang up."""
    try:
        return httpx.get(address, headers={"Cookie": "session=" + "A" * 1_000_000}, verify=False).status_code
    except (httpx.RemoteProtocolError, httpx.WriteError, httpx.ReadError):
        return 400


def test_two_servers_on_two_runtimes_share_sessions_and_limits(request: pytest.FixtureRequest) -> None:
    url = _url(request)
    with (
        serving("-m", "tests.asgi.served", "uvicorn", url) as one,
        serving("-m", "tests.asgi.served", "hypercorn", url) as other,
        httpx.Client(verify=False) as client,
    ):
        client.get(f"{one}/set?lamp")
        assert client.get(f"{other}/").json() == {"user": None, "lamp": 1}
        client.get(f"{other}/login")
        assert client.get(f"{one}/").json() == {"user": "ada", "lamp": 1}
        statuses = [client.get(f"{place}/hit").status_code for place in (one, other, one, other)]
        assert statuses == [200, 200, 200, 429]
