"""``BackendKeyValue`` as an ``AsyncKeyValue``: what py-key-value asks of a store, and the example."""

from __future__ import annotations

import itertools
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from key_value.aio.errors import InvalidTTLError, SerializationError
from key_value.aio.protocols.key_value import (
    AsyncDestroyCollectionProtocol,
    AsyncDestroyStoreProtocol,
    AsyncEnumerateKeysProtocol,
    AsyncKeyValueProtocol,
)

from reinhardt_backends import Backend, DeserializationError, MemoryBackend, RedisBackend
from reinhardt_backends.keyvalue import BackendKeyValue
from reinhardt_backends.testing import FakeClock

from ..asgi.serving import ROOT
from ..servers import Server

pytestmark = pytest.mark.anyio
_prefixes = itertools.count()


@pytest.fixture
def anyio_backend() -> str:
    """The conformance suite runs what is below on every runtime."""
    return "asyncio"


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "memory":
        return MemoryBackend()
    server: Server = request.getfixturevalue("server")
    return RedisBackend(server.url, prefix=f"kv{next(_prefixes)}:")


def test_it_has_the_protocols() -> None:
    store = BackendKeyValue(MemoryBackend())
    for protocol in (
        AsyncKeyValueProtocol,
        AsyncEnumerateKeysProtocol,
        AsyncDestroyCollectionProtocol,
        AsyncDestroyStoreProtocol,
    ):
        assert isinstance(store, protocol)


async def test_values_come_back(backend: Backend) -> None:
    async with backend:
        store = BackendKeyValue(backend)
        assert await store.get("k") is None
        for value in ({}, {"a": [1, 2.5, None, True]}, {"a": {"ä": "é"}}, {"big": "x" * 100_000}):
            await store.put("k", value)
            assert await store.get("k") == value
        await store.put("k", {"a": (1, 2)})
        assert await store.get("k") == {"a": [1, 2]}
        assert await backend.get("keyvalue:default_collection:k") == {"a": [1, 2]}
        assert [await store.delete("k"), await store.delete("k")] == [True, False]


async def test_many(backend: Backend) -> None:
    async with backend:
        store = BackendKeyValue(backend)
        await store.put_many(["a", "b"], ({"n": 1}, {"n": 2}), collection="c", ttl=100)
        assert await store.get_many(["b", "missing", "a", "b"], collection="c") == [{"n": 2}, None, {"n": 1}, {"n": 2}]
        (_, left), missing = await store.ttl_many(["a", "missing"], collection="c")
        assert left is not None
        assert 90 < left <= 100
        assert missing == (None, None)
        assert await store.delete_many(["a", "b", "missing"], collection="c") == 2
        with pytest.raises(ValueError, match="zip"):
            await store.put_many(["a", "b"], [{}])


async def test_collections_are_apart_whatever_they_are_called(backend: Backend) -> None:
    async with backend:
        store = BackendKeyValue(backend)
        places = [("a", "b:c"), ("a:b", "c"), ("a%3Ab", "c"), ("a*", "c"), ("é", "c"), ("x" * 1000, "c")]
        for number, (collection, key) in enumerate(places):
            await store.put(key, {"n": number}, collection=collection)
        for number, (collection, key) in enumerate(places):
            assert await store.get(key, collection=collection) == {"n": number}
            assert await store.keys(collection) == [key]
        assert await store.destroy_collection("a") is True
        assert [await store.get(key, collection=collection) for collection, key in places[:2]] == [None, {"n": 1}]
        await backend.set("beside", 1)
        assert await store.destroy() is True
        assert await store.keys("a:b") == []
        assert await backend.get("beside") == 1


async def test_keys_are_limited() -> None:
    store = BackendKeyValue(MemoryBackend(), default_collection="mine")
    await store.put_many(["c", "a", "b"], [{}, {}, {}])
    assert await store.keys() == await store.keys("mine") == ["a", "b", "c"]
    assert await store.keys(limit=2) == ["a", "b"]


async def test_a_ttl() -> None:
    clock = FakeClock()
    store = BackendKeyValue(MemoryBackend(clock=clock))
    await store.put("k", {"a": 1}, ttl=10)
    assert await store.ttl("k") == ({"a": 1}, 10)
    clock.advance(10)
    assert await store.get("k") is None
    assert await store.ttl("k") == (None, None)
    await store.put("k", {"a": 1})
    assert await store.ttl("k") == ({"a": 1}, None)
    wrong: list[Any] = [0, -1, float("nan"), float("inf"), True, "10"]
    for ttl in wrong:
        with pytest.raises(InvalidTTLError):
            await store.put("k", {}, ttl=ttl)
    assert await store.get("k") == {"a": 1}


async def test_what_is_not_json_is_refused() -> None:
    backend = MemoryBackend()
    store = BackendKeyValue(backend)
    for value in ({"a": datetime.now(UTC)}, {"a": b"raw"}, {"a": float("nan")}, {"a": {1, 2}}, {"a": 10**5000}):
        with pytest.raises(SerializationError):
            await store.put("k", value)
        with pytest.raises(SerializationError):
            await store.put_many(["k"], [value])
    assert await store.get("k") is None
    await backend.set("keyvalue:default_collection:k", [1])
    with pytest.raises(DeserializationError):
        await store.get("k")


def test_the_example() -> None:
    command = [sys.executable, "-W", "error", "examples/keyvalue_app.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "{'scopes': ['read']}, for 3600 s more",
        "keys: ['ada']",
        "after destroy: None",
    ]
