"""No password shows: not in a message, a cause, or a variable of a frame of ours that a traceback may print."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import anyio
import pytest

pytest.importorskip("redis")
from reinhardt_backends import (
    AuthenticationError,
    Backend,
    BackendConnectionError,
    RedisBackend,
    SyncBackend,
)

from ..servers import Server, free_port
from .driving import frames_text
from .peers import listening
from .runtimes import Runtime, on_every_runtime, timed

PASSWORD = "s3cr:t@pa/ss"
SPELLINGS = (PASSWORD, quote(PASSWORD, safe=""))


def _connect(url: str, **options: Any) -> Any:
    return anyio.run(lambda: RedisBackend.connect(url, **options))


MAKERS: dict[str, Callable[..., Any]] = {
    "RedisBackend": RedisBackend,
    "RedisBackend.connect": _connect,
    "Backend.from_url": Backend.from_url,
    "SyncBackend.from_url": SyncBackend.from_url,
}


def _shown(error: BaseException) -> str:
    """What a traceback shows of the library; the frames of the tests do not count."""
    return frames_text(error)


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    ("address", "options", "error"),
    [
        ("redis://user:{}@localhost?no_such=1", {}, ValueError),
        ("redis://user:{}@localhost:none", {}, ValueError),
        ("redis://user:{}@localhost", {"no_such": 1}, TypeError),
        ("redis://user:{}@localhost", {"timeout": 0}, ValueError),
        ("redis:user:{}@localhost", {}, ValueError),
        ("unheard-of://user:{}@localhost", {}, ValueError),
        ("redis://localhost", {"password": PASSWORD, "timeout": "never"}, TypeError),
        ("redis://localhost", {"password": PASSWORD, "no_such": 1}, TypeError),
        ("redis://localhost", {"password": PASSWORD + "\ud800"}, ValueError),
        ("redis://localhost", {"username": "user\ud800", "password": PASSWORD}, ValueError),
        ("redis://:" + PASSWORD.replace("/", "").replace("@", "") + "\ud800@localhost", {}, ValueError),
    ],
)
def test_no_error_of_making_a_backend_shows_the_password(
    maker: Any, address: str, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as refused:
        maker(address.format(SPELLINGS[1]), **options)
    shown = _shown(refused.value)
    for spelling in (*SPELLINGS, "s3cr"):
        assert spelling not in shown


def test_a_server_that_cannot_be_reached_shows_no_url() -> None:
    with pytest.raises(BackendConnectionError) as refused:
        _connect(f"redis://user:{SPELLINGS[1]}@127.0.0.1:{free_port()}", timeout=0.5)
    assert "s3cr" not in _shown(refused.value)


def test_without_redis_py_the_error_shows_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import reinhardt_backends._redis._urls

    monkeypatch.delattr(reinhardt_backends._redis, "_urls")
    monkeypatch.delitem(sys.modules, "reinhardt_backends._redis._urls")
    monkeypatch.delitem(sys.modules, "reinhardt_backends._redis._options")
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.connection", None)
    with pytest.raises(ImportError) as missing:
        Backend.from_url(f"redis://user:{SPELLINGS[1]}@localhost", password=PASSWORD)
    assert "s3cr" not in _shown(missing.value)


@pytest.mark.parametrize("given", [(PASSWORD + "\ud800",), ("user\ud800", PASSWORD), None, (), ("user", PASSWORD, "x")])
@on_every_runtime
async def test_credentials_without_a_utf8_form_are_an_authentication_error(
    at: Runtime, server: Server, given: Any
) -> None:
    class Provider:
        def get_credentials(self) -> Any:
            return given

    backend = at.open(server.url, credential_provider=Provider(), timeout=1)
    _, outcome = await timed(backend.get("k"))
    assert isinstance(outcome, AuthenticationError)
    assert "s3cr" not in _shown(outcome)


@pytest.mark.parametrize("protocol", [2, 3])
@on_every_runtime
async def test_a_peer_that_sends_back_what_it_gets_is_not_a_server(at: Runtime, protocol: int) -> None:
    """An echo is an array of words, as the answer to HELLO is; it must not count as one, nor show the password."""

    def echo(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            connection.sendall(data)

    with listening(echo) as peer:
        backend = at.open(peer.url, username="user", password=PASSWORD, protocol=protocol, timeout=0.5)
        _, outcome = await timed(backend.get("k"))
        assert isinstance(outcome, BackendConnectionError)
        assert "s3cr" not in _shown(outcome)


@on_every_runtime
async def test_a_refusal_beside_an_echo_shows_no_password(at: Runtime) -> None:
    def echo(connection: socket.socket) -> None:
        data = connection.recv(65536)
        connection.sendall(data + b"-ERR " + data.replace(b"\r\n", b"_") + b"\r\n" + data)
        connection.recv(65536)

    with listening(echo) as peer:
        url = peer.url.replace("/0", "/1")
        backend = at.open(url, username="user", password=PASSWORD, client_name="name", timeout=0.5)
        _, outcome = await timed(backend.get("k"))
        assert isinstance(outcome, Exception)
        assert "s3cr" not in _shown(outcome)
