"""The base class: what six verbs give an author, namespaces, and building from configuration."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from reinhardt_backends import (
    KEEP_TTL,
    Backend,
    BackendClosedError,
    DeserializationError,
    MemoryBackend,
    RedisBackend,
    SerializationError,
    UnsupportedOperationError,
    check_count,
    check_key,
    check_keys,
    check_ttl,
    decode,
    encode,
)
from reinhardt_backends._blocking import drive

SIX = {"set", "get", "delete", "exists", "increment", "clear"}


class Six(Backend):
    """Six verbs over a dict of bytes, with the public helpers; no expiry, and no ``super().__init__()``."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.calls: list[str] = []

    async def set(self, key: str, value: Any, ttl: Any = None) -> None:
        self.calls.append("set")
        self.data[check_key(key)] = encode(value)

    async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: Any = None) -> Any:
        check_ttl(renew)
        self.calls.append("get")
        data = self.data.get(check_key(key))
        return default if data is None else decode(data, type, key=key)

    async def delete(self, key: str) -> bool:
        return self.data.pop(check_key(key), None) is not None

    async def exists(self, key: str) -> bool:
        return check_key(key) in self.data

    async def increment(self, key: str, ttl: Any = None, *, by: int = 1) -> int:
        value = (await self.get(key, int) or 0) + check_count(by)
        await self.set(key, value, check_ttl(ttl))
        return value

    async def clear(self) -> None:
        self.data.clear()


class Scanning(Six):
    """A seventh verb, which makes a namespace clear."""

    async def _keys(self, prefix: str) -> AsyncIterator[str]:
        for key in list(self.data):
            if key.startswith(prefix):
                yield key

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return self._keys(prefix)


def test_six_verbs_are_abstract() -> None:
    """A subclass must write the first six, and no more."""
    assert Backend.__abstractmethods__ == SIX
    for verb in SIX:
        incomplete = type("Incomplete", (Six,), {verb: getattr(Backend, verb)})
        with pytest.raises(TypeError, match=verb):
            incomplete()
    Six()


def test_what_is_composed_of_six_verbs() -> None:
    """get_many, set_many, delete_many, namespace, ping, aclose and async with work."""

    async def use() -> None:
        async with Six() as backend:
            await backend.set_many({"a": 1, "b": None})
            assert await backend.get_many(["b", "a", "c", "b"]) == {"b": None, "a": 1}
            assert await backend.get_many(["a"], int) == {"a": 1}
            assert await backend.delete_many(["a", "c", "a"]) == 1
            inner = backend.namespace("n").namespace("m")
            assert await inner.increment("k", by=2) == 2
            assert await backend.get("n:m:k") == 2
            await inner.set_many({"x": b"raw"}, 5)
            assert await inner.get_many(["x", "y"]) == {"x": b"raw"}
            await inner.ping()
            await backend.ping()
        await backend.aclose()

    drive(use())


def test_what_six_verbs_do_not_give() -> None:
    """The other verbs raise UnsupportedOperationError, with the verb and the class in message and attributes."""
    backend = Six()
    calls = {
        "add": lambda: drive(backend.add("k", 1)),
        "replace": lambda: drive(backend.replace("k", 1)),
        "pop": lambda: drive(backend.pop("k")),
        "ttl": lambda: drive(backend.ttl("k")),
        "touch": lambda: drive(backend.touch("k", 1)),
        "compare_and_set": lambda: drive(backend.compare_and_set("k", 1, 2)),
        "compare_and_delete": lambda: drive(backend.compare_and_delete("k", 1)),
        "scan": lambda: backend.scan(),
        "clear": lambda: drive(backend.namespace("n").clear()),
    }
    for verb, call in calls.items():
        with pytest.raises(UnsupportedOperationError, match=rf"Six.*{verb}") as caught:
            call()
        assert (caught.value.verb, caught.value.class_name) == (verb, "Six")
    assert backend.data == {}


def test_scan_is_all_that_clear_of_a_namespace_needs() -> None:
    """With scan, a namespace of a user's backend clears its own keys, thousands too, and no other."""
    backend = Scanning()
    drive(backend.set_many({f"n:{number}": number for number in range(2500)}))
    drive(backend.set_many({"n": 1, "nn:1": 2, "n:m:k": 3}))
    drive(backend.namespace("n").namespace("m").clear())
    assert len(backend.data) == 2502
    drive(backend.namespace("n").clear())
    assert set(backend.data) == {"n", "nn:1"}


def test_plural_verbs_check_before_they_write() -> None:
    """A bad key, ttl or mapping is found before anything was written or read."""
    backend = Six()
    for pairs, ttl in (
        ({"a": 1, 2: 2}, None),
        ({"a": 1, "\ud800": 2}, None),
        ({"a": 1}, 0),
        ({"a": 1}, "1"),
        ([("a", 1)], None),
    ):
        with pytest.raises((TypeError, ValueError)):
            drive(backend.set_many(pairs, ttl))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        drive(backend.get_many(["a", 1]))  # type: ignore[list-item]
    with pytest.raises(TypeError):
        drive(backend.delete_many("a"))
    assert backend.calls == []


def test_a_composed_set_many_stores_nothing_of_what_holds_a_bad_value() -> None:
    """The values are checked before the first is written."""
    backend = Six()
    with pytest.raises(SerializationError):
        drive(backend.set_many({"good": 1, "bad": math.nan}))
    assert backend.data == {}


def test_namespaces_pass_arguments_on() -> None:
    """A verb of a namespace is that verb of its parent, with the key prefixed and all else as it was."""
    seen: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    class Recording(Six):
        def __getattribute__(self, name: str) -> Any:
            if name.startswith("_") or name in ("namespace", "data", "calls"):
                return super().__getattribute__(name)

            async def record(*args: Any, **kwargs: Any) -> Any:
                seen.append((name, args, kwargs))

            return record

    view = Recording().namespace("n")
    for name, args in (
        ("delete", ("k",)),
        ("exists", ("k",)),
        ("ttl", ("k",)),
        ("touch", ("k", 5)),
        ("add", ("k", 1, 5)),
        ("replace", ("k", 1, KEEP_TTL)),
    ):
        drive(getattr(view, name)(*args))
        assert seen.pop() == (name, ("n:k", *args[1:]), {})
    drive(view.set("k", [1], 5))
    assert seen.pop() == ("set", ("n:k", [1], 5), {})
    drive(view.get("k", int, default=7, renew=5))
    name, args, kwargs = seen.pop()
    assert (name, args[0], kwargs["default"], kwargs["renew"]) == ("get", "n:k", 7, 5)
    drive(view.increment("k", 5, by=3))
    assert seen.pop() == ("increment", ("n:k", 5), {"by": 3})
    drive(view.compare_and_set("k", 1, 2, KEEP_TTL))
    assert seen.pop() == ("compare_and_set", ("n:k", 1, 2, KEEP_TTL), {})


def test_the_key_of_an_error_is_the_whole_key() -> None:
    """Reading a misfit through a namespace names the key as it is stored."""
    backend = MemoryBackend()
    drive(backend.set("n:k", "text"))
    with pytest.raises(DeserializationError) as caught:
        drive(backend.namespace("n").get("k", int))
    assert caught.value.key == "n:k"


def test_verbs_are_documented_and_signatures_agree() -> None:
    """Every verb has documentation, which subclasses inherit, and MemoryBackend takes what Backend takes."""
    for name, verb in inspect.getmembers(Backend):
        if name.startswith("_") or not callable(verb):
            continue
        assert inspect.getdoc(verb), name
        ours = getattr(MemoryBackend, name)
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(verb).parameters), name
        assert inspect.getdoc(ours) == inspect.getdoc(verb), name


def test_a_view_of_a_view_that_is_closed() -> None:
    """A view that is closed gives no new views, and those it gave before go on."""
    backend = MemoryBackend()
    outer = backend.namespace("a")
    inner = outer.namespace("b")
    drive(outer.aclose())
    drive(outer.aclose())
    with pytest.raises(BackendClosedError):
        outer.namespace("c")
    with pytest.raises(BackendClosedError):
        outer.scan()
    drive(inner.set("k", 1))
    assert drive(backend.get("a:b:k")) == 1


# Building from configuration.


def test_from_url_builds_a_memory_backend() -> None:
    """memory:// takes the bounds as its query, and keyword arguments beside them."""
    plain = Backend.from_url("memory://")
    assert type(plain) is MemoryBackend
    drive(plain.set_many({f"k{number}": number for number in range(100)}))
    assert len(plain) == 100
    for backend in (
        Backend.from_url("memory://?maxsize=3&policy=fifo"), Backend.from_url("memory://?policy=fifo", maxsize=3),
        Backend.from_url("MEMORY://?maxsize=3"),
    ):  # fmt: skip
        assert isinstance(backend, MemoryBackend)
        drive(backend.set_many({f"k{number}": number for number in range(100)}))
        assert len(backend) == 3
    small: Any = Backend.from_url("memory://?maxbytes=10", clock=lambda: 1.0)
    drive(small.set("k", 1, 5))
    assert drive(small.ttl("k")) == 5


@pytest.mark.parametrize(
    "url",
    [
        "", "memory", "memory:", "nonsense://x", "memory://host", "memory:///path", "memory://?nonsense=1",
        "memory://?maxsize=", "memory://?maxsize=-1", "memory://?maxsize=0", "memory://?maxsize=1.5", "memory://?maxsize=x",
        "memory://?policy=mru", "memory://?maxsize=1&maxsize=2", "memory://#f", "http://localhost", "://", "redis",
        "redis:localhost", "memory://user:s3cret@",
    ],
)  # fmt: skip
def test_from_url_refuses(url: str) -> None:
    """What is not a url of a backend, or has an option that there is not, is a ValueError."""
    with pytest.raises(ValueError, match=r".") as caught:
        Backend.from_url(url)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in str(caught.value.__cause__)


def test_from_url_checks_types() -> None:
    """The url is text; unknown keyword arguments are refused; an option is not given twice."""
    for url in (None, b"memory://", 1):
        with pytest.raises(TypeError):
            Backend.from_url(url)  # type: ignore[arg-type]
    with pytest.raises((TypeError, ValueError)):
        Backend.from_url("memory://", nonsense=1)
    with pytest.raises(ValueError, match="maxsize"):
        Backend.from_url("memory://?maxsize=1", maxsize=2)


def test_from_url_of_redis() -> None:
    """The schemes of Redis give a RedisBackend, which connects to nothing yet."""
    if "redis" not in sys.modules:
        pytest.importorskip("redis")
    for url in ("redis://localhost:1/0", "rediss://localhost:1", "unix:///nowhere"):
        assert type(Backend.from_url(url)) is RedisBackend


# The helpers for authors.


def test_check_key() -> None:
    """check_key gives the key as an exact str."""

    class Sub(str):
        pass

    for key in ("", "k", "é", "\x00", "k" * 10_000):
        assert check_key(key) == key
        assert type(check_key(Sub(key))) is str
    assert check_keys(["b", "a", "b"]) == ["b", "a"]
    assert check_keys(iter(())) == []
    for wrong in (1, b"k", None, ["k"]):
        with pytest.raises(TypeError):
            check_key(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        check_keys("k")
    with pytest.raises(TypeError):
        check_keys(1)  # type: ignore[arg-type]
    for key in ("\ud800", "k\udfff"):
        with pytest.raises(ValueError, match="surrogate") as caught:
            check_key(key)
        assert caught.value.__context__ is None


def test_check_ttl() -> None:
    """check_ttl gives whole milliseconds, rounded up, exact where the number meant is whole."""
    assert check_ttl(None) is None
    assert [check_ttl(ttl) for ttl in (1, 0.5, 0.001, 0.0001, 5e-324, 10**11)] == [1000, 500, 1, 1, 1, 10**14]
    assert [check_ttl(number / 1000) for number in range(1, 5000)] == list(range(1, 5000))
    assert [check_ttl(number / 1000) for number in range(10**9, 10**9 + 500)] == list(range(10**9, 10**9 + 500))
    assert check_ttl(1.0001) == 1001
    for wrong in (math.nan, math.inf, 0, -1, 10**11 + 1):
        with pytest.raises(ValueError, match="ttl"):
            check_ttl(wrong)
    for wrong in (True, "1", [], KEEP_TTL):
        with pytest.raises(TypeError):
            check_ttl(wrong)  # type: ignore[arg-type]


def test_check_count() -> None:
    """check_count gives an exact int of 64 bits."""
    assert [check_count(by) for by in (0, -(2**63), 2**63 - 1)] == [0, -(2**63), 2**63 - 1]
    for wrong in (2**63, -(2**63) - 1):
        with pytest.raises(ValueError, match="by"):
            check_count(wrong)
    for wrong in (True, 1.0, "1", None):
        with pytest.raises(TypeError):
            check_count(wrong)  # type: ignore[arg-type]


def test_keep_ttl_shows_its_name() -> None:
    """KEEP_TTL prints as what one writes, and stays one object."""
    import copy
    import pickle

    assert repr(KEEP_TTL) == "KEEP_TTL"
    assert copy.deepcopy(KEEP_TTL) is pickle.loads(pickle.dumps(KEEP_TTL)) is KEEP_TTL
