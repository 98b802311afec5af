"""Views of a Redis backend with a deadline of their own, and waiting for a server that starts late."""

from __future__ import annotations

import threading
import time

import anyio
import pytest

from reinhardt_backends import BackendTimeoutError, OutcomeUnknownError, RedisBackend, SyncBackend

from ..servers import Server
from .peers import holding, listening
from .runtimes import Runtime, on_every_runtime


@on_every_runtime
async def test_a_view_uses_the_connections_of_its_backend(at: Runtime, own_server: Server) -> None:
    verbs = at.open(own_server.url, client_name="counted")
    for number in range(5):
        view = verbs.with_timeout(2 + number)
        await view.set("k", number)
        assert await verbs.get("k", int) == number
        await view.aclose()
    assert own_server.command("CLIENT", "LIST").count(b"name=counted") == 1


@on_every_runtime
async def test_calls_of_a_view_end_at_its_deadline(at: Runtime) -> None:
    released = threading.Event()
    with listening(holding(released)) as peer:
        verbs = at.open(peer.url, timeout=30)
        for view in (verbs.with_timeout(0.2), verbs.with_timeout(20).namespace("a").with_timeout(0.2)):
            began = time.monotonic()
            with pytest.raises((BackendTimeoutError, OutcomeUnknownError)):
                await view.get("k")
            assert time.monotonic() - began < 5
        with pytest.raises(BackendTimeoutError, match=r"not ready within 0\.2 s"):
            await verbs.wait_until_ready(0.2)
        released.set()


@on_every_runtime
async def test_waiting_for_a_server_that_starts_late(at: Runtime, own_server: Server) -> None:
    verbs = at.open(own_server.url)
    own_server.stop()
    starting = threading.Timer(0.5, own_server.start)
    starting.start()
    await verbs.wait_until_ready(30)
    assert await verbs.with_timeout(5).increment("n") == 1
    starting.join()


def test_a_view_of_a_blocking_face_has_no_thread(server: Server) -> None:
    before = threading.active_count()
    with SyncBackend(RedisBackend(server.url, prefix="view:")) as face:
        view = face.namespace("a").with_timeout(2)
        view.set("k", 1)
        assert list(face.with_timeout(1).scan()) == ["a:k"]
        face.with_timeout(1).clear()
        assert view.get("k") is None
    assert threading.active_count() == before


@pytest.mark.anyio
async def test_a_subclass_that_waits_for_something_else_ends_at_the_deadline_too(server: Server) -> None:
    class Slow(RedisBackend):
        async def exists(self, key: str) -> bool:
            await anyio.sleep_forever()
            return False

    async with Slow(server.url, prefix="slow:") as backend:
        with pytest.raises(BackendTimeoutError):
            await backend.with_timeout(0.05).exists("k")
        assert await backend.with_timeout(5).get("k") is None
