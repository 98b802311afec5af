"""``BackendStore`` as Litestar uses a store: what its documentation asks of one, and the example."""

from __future__ import annotations

import itertools
import string
from datetime import timedelta

import httpx
import pytest

from reinhardt_backends import Backend, BackendClosedError, DeserializationError, MemoryBackend, RedisBackend
from reinhardt_backends.litestar import BackendStore
from reinhardt_backends.testing import FakeClock

from ..asgi.serving import serving
from ..servers import Server

pytestmark = pytest.mark.anyio
_prefixes = itertools.count()


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "memory":
        return MemoryBackend()
    server: Server = request.getfixturevalue("server")
    return RedisBackend(server.url, prefix=f"litestar{next(_prefixes)}:")


@pytest.fixture
def anyio_backend() -> str:
    """Litestar's stores run on asyncio and trio alike, as the conformance suite shows of what is below them."""
    return "asyncio"


async def test_bytes_and_text_are_stored_as_bytes(backend: Backend) -> None:
    async with backend:
        store = BackendStore(backend)
        assert await store.get("k") is None
        for value in (b"", b"bytes", b"\x00\xff", "täxt", bytearray(b"array")):
            await store.set("k", value)
            assert await store.get("k") == (value.encode() if isinstance(value, str) else value)
            assert await store.get("k", renew_for=10) == await store.get("k")
        assert await backend.get("litestar:k") == b"array"
        await backend.set("litestar:k", "text")
        with pytest.raises(DeserializationError):
            await store.get("k")


async def test_any_text_is_a_key(backend: Backend) -> None:
    async with backend:
        store = BackendStore(backend)
        keys = [*string.punctuation, "é", "e\u0301", "ß", "..", "a/b", ""]
        for key in keys:
            await store.set(key, key)
        for key in keys:
            assert await store.get(key) == key.encode()


async def test_delete_and_exists(backend: Backend) -> None:
    async with backend:
        store = BackendStore(backend)
        await store.delete("k")
        await store.set("k", b"1")
        assert await store.exists("k") is True
        await store.delete("k")
        assert await store.exists("k") is False


async def test_expires_in(backend: Backend) -> None:
    async with backend:
        store = BackendStore(backend)
        assert await store.expires_in("k") is None
        await store.set("k", b"1")
        assert await store.expires_in("k") == -1
        for expires_in in (100, timedelta(seconds=100)):
            await store.set("k", b"1", expires_in)
            assert await store.expires_in("k") in {99, 100}
        for expires_in in (0, -1, timedelta(0)):
            await store.set("k", b"1")
            await store.set("k", b"1", expires_in)
            assert await store.exists("k") is False


async def test_renew_for_moves_an_expiry_and_gives_none(backend: Backend) -> None:
    async with backend:
        store = BackendStore(backend)
        await store.set("k", b"1", 10)
        for renew_for in (500, timedelta(seconds=500)):
            assert await store.get("k", renew_for=renew_for) == b"1"
            assert (await store.expires_in("k") or 0) > 400
        await store.set("k", b"1")
        assert await store.get("k", renew_for=500) == b"1"
        assert await store.expires_in("k") == -1


async def test_a_renewed_value_expires_later() -> None:
    clock = FakeClock()
    store = BackendStore(MemoryBackend(clock=clock))
    await store.set("k", b"1", 1)
    await store.get("k", renew_for=10)
    clock.advance(5)
    assert await store.get("k") == b"1"
    clock.advance(5)
    assert await store.get("k") is None


async def test_namespaces(backend: Backend) -> None:
    """delete_all reaches the namespaces below, and nothing beside or above."""
    async with backend:
        root = BackendStore(backend)
        child = root.with_namespace("child")
        grandchild = child.with_namespace("below")
        sibling = root.with_namespace("child*")
        stores = [root, child, grandchild, sibling]
        assert [store.namespace for store in stores[:3]] == ["litestar", "litestar:child", "litestar:child:below"]
        await backend.set("other", 1)
        for number, store in enumerate(stores):
            await store.set("k", str(number))
        assert [await store.get("k") for store in stores] == [b"0", b"1", b"2", b"3"]
        await child.delete_all()
        assert [await store.get("k") for store in stores] == [b"0", None, None, b"3"]
        await root.delete_all()
        assert [await store.get("k") for store in stores] == [None] * 4
        assert await backend.get("other") == 1


async def test_the_backend_is_closed_on_request_only() -> None:
    backend = MemoryBackend()
    async with BackendStore(backend):
        pass
    await backend.ping()
    async with BackendStore(backend, close=True).with_namespace("child"):
        pass
    await backend.ping()
    async with BackendStore(backend, close=True):
        pass
    with pytest.raises(BackendClosedError):
        await backend.ping()


def test_the_example() -> None:
    with serving("examples/litestar_app.py", "--port") as address, httpx.Client(base_url=address, verify=False) as http:
        assert [http.post("/count").json()["count"] for _ in range(3)] == [1, 2, 3]
        assert http.get("/weather/Oslo").json() == http.get("/weather/Oslo").json()
        assert http.get("/weather/Lima").json() != http.get("/weather/Oslo").json()
        assert [http.get("/press").status_code for _ in range(4)] == [200, 200, 200, 429]
