"""Sentinels and servers that ask for passwords, with TLS where the server has it, and redis-py's clients of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("redis")
pytest.importorskip("trustme")
import redis
import redis.asyncio

from reinhardt_backends import AuthenticationError, Backend, BackendConnectionError, RedisBackend, SyncBackend

from ..servers import available
from ..topologies import Sentinels, running_sentinels
from .driving import frames_text
from .runtimes import Runtime, on_every_runtime, timed
from .test_tls import Authority

SERVERS = "s3cr:t-of/servers"
WATCHERS = "s3cr:t-of/watchers"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secured(authority: Authority) -> Iterator[Sentinels]:
    """Servers and Sentinels with TLS and different passwords."""
    if "redis-server" not in available():
        pytest.skip("no server with TLS")
    tls = {
        "port": "0",
        "tls-port": "{port}",
        "tls-cert-file": authority.certificate_file,
        "tls-key-file": authority.key_file,
        "tls-ca-cert-file": authority.ca_file,
        "tls-auth-clients": "no",
        "tls-replication": "yes",
    }
    args = [word for name, value in tls.items() for word in (f"--{name}", value)]
    with running_sentinels(
        *args,
        name="redis-server",
        replicas=1,
        sentinels=1,
        password=SERVERS,
        sentinel_password=WATCHERS,
        sentinel_lines=[f"{name} {value}" for name, value in tls.items()],
    ) as group:
        yield group


def _options(authority: Authority, **others: Any) -> dict[str, Any]:
    right = {"password": SERVERS, "sentinel_password": WATCHERS}
    return {**right, "ssl_context": authority.client_context(), "timeout": 20.0, **others}


def _tls(group: Sentinels) -> str:
    return group.url.replace("redis+", "rediss+")


@on_every_runtime
async def test_passwords_and_tls_of_servers_and_sentinels(
    at: Runtime, secured: Sentinels, authority: Authority
) -> None:
    backend = at.open(_tls(secured), **_options(authority))
    await backend.set("k", at.name)
    assert await backend.get("k") == at.name


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"sentinel_password": "s3cr3t"}, "no Sentinel says where service 'main' is"),
        ({"sentinel_password": None}, "no Sentinel says where service 'main' is"),
        ({"password": "s3cr3t"}, "127.0.0.1"),
        ({"password": None}, "127.0.0.1"),
    ],
)
@on_every_runtime
async def test_wrong_passwords_are_authentication_errors_that_show_none(
    at: Runtime,
    secured: Sentinels,
    authority: Authority,
    wrong: dict[str, Any],
    text: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    backend = at.open(_tls(secured), **_options(authority, **wrong))
    took, error = await timed(backend.increment("n"))
    assert type(error) is AuthenticationError
    assert text in str(error)
    assert took < 10
    shown = frames_text(error) + caplog.text + repr(backend)
    for secret in ("s3cr3t", "s3cr:t", "watchers", "servers"):
        assert secret not in shown


def test_sentinels_without_the_tls_that_they_want(secured: Sentinels, authority: Authority) -> None:
    face = SyncBackend(RedisBackend(_tls(secured), **_options(authority, sentinel_ssl_context=False)))
    with pytest.raises(BackendConnectionError, match="no Sentinel says where"):
        face.get("k")
    face.close()
    # The servers' context is not the Sentinels': each is used where it belongs.
    strict = _options(authority, sentinel_ssl_context=authority.client_context())
    face = SyncBackend(Backend.from_url(_tls(secured), **strict))
    face.ping()
    face.close()


@pytest.mark.parametrize("package", [redis, redis.asyncio])
def test_a_client_of_redis_py_is_taken_over(package: Any, secured: Sentinels, authority: Authority) -> None:
    tls = {"ssl": True, "ssl_ca_certs": authority.ca_file}
    manager = package.sentinel.Sentinel(
        [("127.0.0.1", one.port) for one in secured.watchers],
        sentinel_kwargs={"password": WATCHERS, **tls},
    )
    client = manager.master_for(secured.service, password=SERVERS, **tls)
    face = SyncBackend(RedisBackend.from_client(client, prefix="taken:"))
    face.set("k", 1)
    assert face.get("k", int) == 1
    face.close()
