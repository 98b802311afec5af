"""Urls and redis-py clients that name a service and its Sentinels."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

pytest.importorskip("redis")
import redis
import redis.asyncio

from reinhardt_backends import Backend, RedisBackend
from reinhardt_backends._redis._options import Options
from reinhardt_backends._redis._urls import options_from_client, options_from_url
from reinhardt_backends._types import Secret

from .driving import frames_text


def revealed(secret: Any) -> Any:
    return secret.reveal() if isinstance(secret, Secret) else secret


def sentinels(options: Options) -> list[tuple[str, int]]:
    assert options.sentinels is not None
    return [(one.host, one.port) for one in options.sentinels.each]


def test_a_url_names_sentinels_service_and_database() -> None:
    options = options_from_url(
        "redis+sentinel://us%40er:p%2Fss@one:1,two,[::1]:3,[fe80::1],one:1/my%20service/7"
        "?client_name=me&socket_timeout=2&sentinel_username=watch&sentinel_password=w%26rd",
    )
    assert sentinels(options) == [("one", 1), ("two", 26379), ("::1", 3), ("fe80::1", 26379)]
    assert options.sentinels is not None
    assert options.sentinels.service == "my service"
    assert (options.db, options.username, revealed(options.password)) == (7, "us@er", "p/ss")
    assert (options.client_name, options.timeout) == ("me", 2.0)
    first = options.sentinels.each[0]
    assert (first.db, first.username, revealed(first.password)) == (0, "watch", "w&rd")
    assert (first.client_name, first.ssl_context) == ("me", None)
    assert options.location == "service 'my service'"


def test_credentials_of_the_servers_are_not_sent_to_sentinels() -> None:
    options = options_from_url("redis+sentinel://user:secret@one/main")
    assert options.db == 0
    assert options.sentinels is not None
    assert options.sentinels.each[0].username is options.sentinels.each[0].password is None


def test_sentinels_have_the_tls_of_the_servers_or_their_own() -> None:
    own, other = ssl.create_default_context(), ssl.create_default_context()

    def contexts(url: str, **given: Any) -> tuple[Any, Any]:
        options = options_from_url(url, **given)
        assert options.sentinels is not None
        return options.ssl_context, options.sentinels.each[0].ssl_context

    both = contexts("rediss+sentinel://one/main")
    assert both[0] is both[1] is not None
    assert contexts("rediss+sentinel://one/main", ssl_context=own) == (own, own)
    assert contexts("rediss+sentinel://one/main", ssl_context=own, sentinel_ssl_context=other) == (own, other)
    assert contexts("rediss+sentinel://one/main", ssl_context=own, sentinel_ssl_context=False) == (own, None)
    assert contexts("redis+sentinel://one/main", sentinel_ssl_context=other) == (None, other)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis+sentinel://s3cr3t@[::1:26379/main", "[address]:port"),
        ("redis+sentinel://s3cr3t@::1/main", "[address]:port"),
        ("redis+sentinel://s3cr3t@/main", "host:port"),
        ("redis+sentinel:///main", "host:port"),
        ("redis+sentinel://one,,two/main", "host:port"),
        ("redis+sentinel://one:port/main", "host:port"),
        ("redis+sentinel://one:0/main", "from 1 to 65535"),
        ("redis+sentinel://one:65536/main", "from 1 to 65535"),
        ("redis+sentinel://u:s3cr3t@one", "names no service"),
        ("redis+sentinel://u:s3cr3t@one/", "names no service"),
        ("redis+sentinel://u:s3cr3t@one//0", "names no service"),
        ("redis+sentinel://u:s3cr3t@one/main/x", "not a number"),
        ("redis+sentinel://u:s3cr3t@one/main/-1", "not a number"),
        ("redis+sentinel://u:s3cr3t@one/main/0/1", "not a number"),
        ("redis+sentinel://u:s3cr3t@one/main/99999999999", "db must be"),
        ("redis+sentinel://one/main?sentinel_color=s3cr3t", "sentinel_color"),
    ],
)
def test_malformed_urls_are_value_errors_that_show_no_secret(url: str, text: str) -> None:
    for way in (RedisBackend, Backend.from_url):
        with pytest.raises(ValueError, match=r".") as refused:
            way(url)
        assert text in str(refused.value)
        assert "s3cr3t" not in frames_text(refused.value)


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"sentinel_username": 1}, TypeError, "sentinel_username"),
        ({"sentinel_password": b"s3cr3t"}, TypeError, "sentinel_password"),
        ({"sentinel_password": "s3cr3t\ud800"}, ValueError, "sentinel_password"),
        ({"sentinel_ssl_context": "x"}, TypeError, "sentinel_ssl_context"),
        ({"sentinel_ssl_context": True}, TypeError, "sentinel_ssl_context"),
    ],
)
def test_bad_options_of_sentinels_are_named(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name) as refused:
        RedisBackend("redis+sentinel://one/main", **options)
    assert "s3cr3t" not in frames_text(refused.value)


@pytest.mark.parametrize("name", ["sentinel_username", "sentinel_password", "sentinel_ssl_context"])
def test_options_of_sentinels_need_their_url(name: str) -> None:
    given: Any = {name: ssl.create_default_context() if name.endswith("context") else "s3cr3t"}
    with pytest.raises(ValueError, match=rf"{name} needs a redis\+sentinel"):
        RedisBackend("redis://localhost", **given)


def test_a_backend_shows_the_service_and_no_secret() -> None:
    backend = Backend.from_url("redis+sentinel://user:s3cr3t@one/main/2?sentinel_password=s3cr3t&prefix=a:")
    assert repr(backend) == "<RedisBackend service 'main' prefix='a:'>"
    assert "s3cr3t" not in repr(options_from_url("redis+sentinel://user:s3cr3t@one/main?sentinel_password=s3cr3t"))


@pytest.mark.parametrize("package", [redis, redis.asyncio])
def test_a_client_of_master_for_is_taken_over(package: Any) -> None:
    manager = package.sentinel.Sentinel(
        [("one", 1), ("two", 2)], sentinel_kwargs={"username": "watch", "password": "word", "socket_timeout": 1}
    )
    client = manager.master_for("main", username="user", password="secret", db=3, ssl=True, ssl_cert_reqs="none")
    options = options_from_client(client)
    assert sentinels(options) == [("one", 1), ("two", 2)]
    assert options.sentinels is not None
    assert (options.sentinels.service, options.db) == ("main", 3)
    assert (options.username, revealed(options.password)) == ("user", "secret")
    first = options.sentinels.each[0]
    assert (first.username, revealed(first.password), first.ssl_context) == ("watch", "word", None)
    assert options.ssl_context is not None
    assert options.ssl_context.verify_mode is ssl.CERT_NONE
    assert repr(RedisBackend.from_client(client)) == "<RedisBackend service 'main' prefix='reinhardt:'>"


@pytest.mark.parametrize("package", [redis, redis.asyncio])
def test_a_client_of_replicas_is_refused(package: Any) -> None:
    manager = package.sentinel.Sentinel([("one", 1)])
    with pytest.raises(ValueError, match="replicas"):
        RedisBackend.from_client(manager.slave_for("main"))
