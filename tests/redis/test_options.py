"""URLs, keyword options and configured clients become one set of options, and no secret shows."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("redis")
import redis
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st
from redis.credentials import UsernamePasswordCredentialProvider

from reinhardt_backends import BackendConnectionError
from reinhardt_backends._redis._addresses import reach
from reinhardt_backends._redis._options import Options, _read_url
from reinhardt_backends._types import Secret

from .driving import frames_text

PASSWORD = "pa ss@wörd/:%41"


def _password(options: Options) -> str | None:
    return options.password.reveal() if isinstance(options.password, Secret) else options.password


def test_defaults() -> None:
    options = Options.from_url("redis://")
    assert (options.host, options.port, options.db, options.path) == ("localhost", 6379, 0, None)
    assert (options.timeout, options.connect_timeout, options.protocol) == (5.0, 5.0, 2)
    assert (options.username, options.password, options.ssl_context, options.client_name) == (None, None, None, None)


def test_every_part_of_a_url_is_read() -> None:
    url = f"redis://us%65r:{quote(PASSWORD, safe='')}@example.org:6380/7?client_name=me&protocol=3"
    options = Options.from_url(url + "&socket_timeout=1.5&socket_connect_timeout=2&max_connections=9")
    assert (options.host, options.port, options.db) == ("example.org", 6380, 7)
    assert (options.username, _password(options)) == ("user", PASSWORD)
    assert (options.client_name, options.protocol, options.max_connections) == ("me", 3, 9)
    assert (options.timeout, options.connect_timeout) == (1.5, 2.0)


@pytest.mark.parametrize(
    ("url", "host", "port", "db", "location"),
    [
        ("redis://[::1]:7000/2", "::1", 7000, 2, "[::1]:7000"),
        ("redis://host", "host", 6379, 0, "host:6379"),
        ("redis://host/", "host", 6379, 0, "host:6379"),
        ("redis://host?db=5", "host", 6379, 5, "host:6379"),
        ("redis://:x@host/3", "host", 6379, 3, "host:6379"),
    ],
)
def test_addresses(url: str, host: str, port: int, db: int, location: str) -> None:
    options = Options.from_url(url)
    assert (options.host, options.port, options.db, options.location) == (host, port, db, location)


@given(
    scheme=st.sampled_from(["redis", "rediss"]),
    user=st.sampled_from(["", ":secret@", "ada:s_cr-t.9@", "a.b:c@"]),
    host=st.from_regex(r"[a-z0-9.-]{0,12}", fullmatch=True),
    port=st.sampled_from(["", ":6380", ":1", ":65535", ":65536", ":0"]),
    db=st.from_regex(r"(/[0-9]{0,9})?", fullmatch=True),
)
def test_a_plain_url_is_read_as_redis_py_reads_it(scheme: str, user: str, host: str, port: str, db: str) -> None:
    url = f"{scheme}://{user}{host}{port}{db}"
    names = ("host", "port", "db", "username", "password")
    try:
        theirs = redis.ConnectionPool.from_url(url).connection_kwargs
    except ValueError:
        with pytest.raises(ValueError, match="url"):
            Options.from_url(url)
        return
    given = {name: theirs[name] for name in names if theirs.get(name) is not None}
    settings, tls, trouble = _read_url(url)
    assert (trouble, tls) == (None, scheme == "rediss")
    assert {name: getattr(value, "reveal", lambda value=value: value)() for name, value in settings.items()} == given


def test_unix_urls() -> None:
    options = Options.from_url("unix://user:secret@/run/my%20server.sock?db=4")
    assert (options.path, options.db, options.username) == ("/run/my server.sock", 4, "user")
    assert options.location == "/run/my server.sock"


def test_the_url_wins_over_keywords_and_keywords_over_defaults() -> None:
    options = Options.from_url("redis://host/3?timeout=9", db=1, timeout=2.0, connect_timeout=3.0)
    assert (options.db, options.timeout, options.connect_timeout) == (3, 9.0, 3.0)


def test_what_only_redis_py_knows_is_read_and_ignored() -> None:
    Options.from_url("redis://?decode_responses=True&health_check_interval=30&retry_on_timeout=yes&encoding=utf-8")


@pytest.mark.parametrize("name", ["no_such_option", "prefx", "credential_provider", "ssl_context", "connection_class"])
def test_unknown_query_options_are_value_errors(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Options.from_url(f"redis://host?{name}=1")


def test_unknown_keywords_are_type_errors() -> None:
    with pytest.raises(TypeError, match="no_such_option"):
        Options.from_url("redis://", no_such_option=1)


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "host:6379",
        "",
        "unix://",
        "redis://host:port",
        "redis://host/name",
        "redis://host/1/2",
        "redis://host/1?db=x",
        "redis://:12/34@host",
        "redis://host?protocol=4",
        "redis://host?protocol=x",
        "redis://host?socket_timeout=soon",
        "redis://host?timeout=0",
        "redis://host?db=-1",
        "redis://host?client_name=two%20words",
        "redis://host?ssl_cert_reqs=none",
        "rediss://host?ssl_cert_reqs=perhaps",
        "rediss://host?ssl_ca_certs=/no/such/file",
        "rediss://host?ssl_validate_ocsp=yes",
    ],
)
def test_bad_urls_are_value_errors(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Options.from_url(url)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeout": 0}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"timeout": True}, TypeError),
        ({"connect_timeout": -1}, ValueError),
        ({"protocol": 4}, ValueError),
        ({"port": 0}, ValueError),
        ({"db": "x"}, TypeError),
        ({"client_name": "a b"}, ValueError),
        ({"ssl_context": True}, TypeError),
        ({"credential_provider": object()}, TypeError),
        ({"credential_provider": UsernamePasswordCredentialProvider("a", "b"), "password": "x"}, ValueError),
        ({"password": b"x"}, TypeError),
        ({"max_connections": 0}, ValueError),
    ],
)
def test_bad_values_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Options.from_url("redis://", **options)


def test_a_url_must_be_text() -> None:
    with pytest.raises(TypeError, match="bytes"):
        Options.from_url(b"redis://")  # type: ignore[arg-type]


def test_tls_is_verified_by_default() -> None:
    context = Options.from_url("rediss://host").ssl_context
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_verification_can_be_switched_off_as_in_redis_py() -> None:
    context = Options.from_url("rediss://host?ssl_cert_reqs=none").ssl_context
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE
    context = Options.from_url("rediss://host?ssl_check_hostname=False").ssl_context
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.check_hostname


def test_a_context_of_ones_own_is_used() -> None:
    context = ssl.create_default_context()
    assert Options.from_url("rediss://host", ssl_context=context).ssl_context is context


@pytest.mark.parametrize("spelling", [PASSWORD, quote(PASSWORD, safe="")])
@pytest.mark.parametrize(
    "call",
    [
        lambda url, password: Options.from_url(url + "?no_such=1"),
        lambda url, password: Options.from_url(url, no_such=1),
        lambda url, password: Options.from_url(url + "?protocol=9"),
        lambda url, password: Options.from_url(url.replace(":6379", ":none")),
        lambda url, password: Options.from_url(url.replace("redis:", "http:")),
        lambda url, password: Options.from_url("redis://?ssl_cert_reqs=none", password=password),
        lambda url, password: Options.from_url("redis://", password=password, timeout=0),
        lambda url, password: Options.from_url("redis://", password=password, no_such=1),
        lambda url, password: Options(password=password, timeout=0),
        lambda url, password: Options.from_client(redis.Redis(password=password, redis_connect_func=lambda _: None)),
    ],
)
def test_no_error_shows_the_password(call: Any, spelling: str) -> None:
    url = f"redis://user:{quote(PASSWORD, safe='')}@host:6379/0"
    with pytest.raises((TypeError, ValueError)) as caught:
        call(url, PASSWORD)
    trace = caught.value.__traceback__
    assert trace is not None
    # The test's own frame may show it.
    shown = frames_text(caught.value)
    assert spelling not in shown
    assert PASSWORD not in shown


def test_no_repr_shows_the_password() -> None:
    options = Options.from_url(f"redis://user:{quote(PASSWORD, safe='')}@host")
    assert PASSWORD not in repr(options)
    assert PASSWORD not in repr(vars(options))
    assert PASSWORD not in str(options.password)
    assert quote(PASSWORD, safe="") not in options.location


@pytest.mark.parametrize("module", [redis, redis.asyncio])
def test_a_configured_client_is_taken_over(module: Any) -> None:
    client = module.Redis(
        host="example.org",
        port=7000,
        db=3,
        username="user",
        password=PASSWORD,
        socket_timeout=2,
        socket_connect_timeout=1,
        client_name="me",
        decode_responses=True,
        protocol=3,
    )
    options = Options.from_client(client)
    assert (options.host, options.port, options.db) == ("example.org", 7000, 3)
    assert (options.username, _password(options), options.client_name) == ("user", PASSWORD, "me")
    assert (options.timeout, options.connect_timeout, options.protocol) == (2, 1, 3)
    assert options.ssl_context is None


@pytest.mark.parametrize("module", [redis, redis.asyncio])
def test_a_client_over_tls_or_a_unix_socket_is_taken_over(module: Any) -> None:
    options = Options.from_client(module.Redis(host="h", ssl=True, ssl_check_hostname=False))
    assert options.ssl_context is not None
    assert options.ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert not options.ssl_context.check_hostname
    options = Options.from_client(module.Redis(host="h", ssl=True, ssl_cert_reqs="none"))
    assert options.ssl_context is not None
    assert options.ssl_context.verify_mode is ssl.CERT_NONE
    options = Options.from_client(module.Redis(unix_socket_path="/run/s"))
    assert options.path == "/run/s"
    options = Options.from_client(module.Redis.from_url("redis://h:1/2"))
    assert (options.host, options.port, options.db) == ("h", 1, 2)


def test_a_credential_provider_is_taken_over() -> None:
    provider = UsernamePasswordCredentialProvider("user", PASSWORD)
    assert Options.from_client(redis.Redis(credential_provider=provider)).credential_provider is provider


@pytest.mark.parametrize("client", [None, object(), "redis://"])
def test_what_is_no_client_is_a_type_error(client: Any) -> None:
    with pytest.raises(TypeError):
        Options.from_client(client)


def test_a_client_of_sentinels_is_refused() -> None:
    from redis.sentinel import Sentinel

    with pytest.raises(TypeError, match="sentinel"):
        Options.from_client(Sentinel([("localhost", 1)]).master_for("x"))


def test_an_address_of_ipv6_is_in_brackets_in_every_message() -> None:
    def fails(address: tuple[str, int]) -> tuple[str, int]:
        raise OSError

    assert Options.from_url("redis://[::1]:7000").location == "[::1]:7000"
    with pytest.raises(BackendConnectionError, match=r"does not map \[::1\]:7000"):
        reach(fails, ("::1", 7000))
