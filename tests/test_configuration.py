"""Backends from configuration: urls of every kind, options of every scheme, schemes of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import AnyUrl, RedisDsn

from reinhardt_backends import Backend, MemoryBackend, RedisBackend, SyncBackend, register_scheme
from reinhardt_backends._backend import _schemes

SETTINGS: dict[str, Any] = {"maxsize": 3, "policy": "fifo", "timeout": 0.5, "prefix": "app:", "max_connections": 7}


@pytest.fixture(autouse=True)
def schemes() -> Iterator[None]:
    before = dict(_schemes._registered)
    yield
    _schemes._registered.clear()
    _schemes._registered.update(before)


def test_one_configuration_serves_every_scheme() -> None:
    """An option that only another scheme takes is ignored."""
    memory = Backend.from_url("memory://", **SETTINGS)
    face = SyncBackend(memory)
    face.set_many({f"k{number}": number for number in range(9)})
    assert face.stats().entries == 3
    redis: Any = Backend.from_url("redis://localhost:1", **SETTINGS)
    assert redis._client._node.options.timeout == 0.5
    assert redis._client._node.options.max_connections == 7
    assert "prefix='app:'" in repr(redis)


@pytest.mark.parametrize("url", ["memory://", "redis://localhost"])
def test_an_option_that_no_scheme_knows_is_an_error_that_lists_them(url: str) -> None:
    with pytest.raises(TypeError, match=r"unknown option maxsiez; there are .*maxsize.*timeout"):
        Backend.from_url(url, maxsiez=3)


def test_urls_of_pydantic() -> None:
    """RedisDsn is what its text is, for from_url and for the class."""
    dsn = RedisDsn("redis://user:p%40ss@example.com:7000/3")
    for backend in (Backend.from_url(dsn), RedisBackend(dsn), RedisBackend.from_url(dsn)):
        options = backend._client._node.options  # type: ignore[attr-defined]
        assert (options.host, options.port, options.db, options.username) == ("example.com", 7000, 3, "user")
        assert options.password.reveal() == "p@ss"
    assert isinstance(Backend.from_url(AnyUrl("memory://?maxsize=2")), MemoryBackend)


def test_a_class_refuses_urls_of_another_one() -> None:
    class Special(MemoryBackend):
        pass

    with pytest.raises(ValueError, match=r"RedisBackend.from_url takes redis://, rediss://, .*not memory://"):
        RedisBackend.from_url("memory://")
    with pytest.raises(ValueError, match=r"MemoryBackend.from_url takes memory://, not redis://"):
        MemoryBackend.from_url("redis://:s3cret@localhost")
    assert type(RedisBackend.from_url("redis://localhost")) is RedisBackend
    assert type(Special.from_url("memory://?maxsize=1")) is Special


def test_a_scheme_of_ones_own() -> None:
    """A factory gets the url and the options that it takes."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def make(url: str, *, table: str = "t") -> Backend:
        calls.append((url, {"table": table}))
        return MemoryBackend()

    register_scheme("table", make)
    assert isinstance(Backend.from_url("table://here", table="x", timeout=1), MemoryBackend)
    assert calls == [("table://here", {"table": "x"})]
    # Its options are known to the other schemes, too.
    Backend.from_url("memory://", table="x")
    with pytest.raises(ValueError, match=r"memory://, redis://.*table://"):
        Backend.from_url("tables://here")


def test_a_factory_may_take_any_option_and_must_make_a_backend() -> None:
    class Mine(MemoryBackend):
        def __init__(self, url: str, **options: Any) -> None:
            super().__init__(maxsize=options["size"])

        @classmethod
        def _from_url(cls, url: str, **options: Any) -> Any:
            return cls(url, **options)

    register_scheme("mine", Mine)
    assert type(Mine.from_url("mine://", size=2)) is Mine
    register_scheme("mine", lambda url: {})
    with pytest.raises(TypeError, match="made no Backend, but a dict"):
        Backend.from_url("mine://")


@pytest.mark.parametrize(
    ("name", "factory", "error"),
    [
        ("redis", MemoryBackend, ValueError), ("", MemoryBackend, ValueError), ("My", MemoryBackend, ValueError),
        ("a b", MemoryBackend, ValueError), (b"mine", MemoryBackend, TypeError), ("mine", "factory", TypeError),
    ],
)  # fmt: skip
def test_what_cannot_be_registered(name: Any, factory: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        register_scheme(name, factory)
