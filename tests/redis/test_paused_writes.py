"""A server that pauses writes, as a primary does during a planned failover, is not a dead path."""

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest

pytest.importorskip("redis")

from reinhardt_backends import RedisBackend
from reinhardt_backends._redis import _source

from ..servers import Server
from ..topologies import Cluster
from .incrementing import run_during
from .runtimes import Runtime, on_every_runtime

TIMEOUT = 0.6
#: A connection is silent after half of the timeout of its backend. The calls of a view may wait for longer.
PAUSE = 2 * TIMEOUT
COUNTS = {"asyncio": 8, "trio": 8, "blocking": 8}


@on_every_runtime
async def test_a_write_waits_while_the_server_pauses_writes(at: Runtime, own_server: Server) -> None:
    backend = at.open(own_server.url, timeout=TIMEOUT)
    patient = backend.with_timeout(10)
    assert await patient.increment("n") == 1
    own_server.command("CLIENT", "PAUSE", f"{PAUSE * 1000:.0f}", "WRITE")
    assert await patient.increment("n") == 2


@pytest.mark.anyio
async def test_a_cancelled_call_leaves_no_connection_that_only_asked(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = anyio.Event()

    async def never(*_: Any) -> bool:
        asked.set()
        await anyio.sleep_forever()
        return True

    monkeypatch.setattr(_source, "is_held", never)
    async with RedisBackend(own_server.url, timeout=TIMEOUT, client_name="asker") as backend:
        await backend.increment("n")
        own_server.command("CLIENT", "PAUSE", "5000", "WRITE")
        async with anyio.create_task_group() as group:
            group.start_soon(backend.with_timeout(10).increment, "n")
            await asked.wait()
            assert _named(own_server) == 2
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            while _named(own_server) > 1:
                await anyio.sleep(0.01)


def _named(server: Server) -> int:
    return server.command("CLIENT", "LIST").count(b"name=asker")


@pytest.mark.xdist_group("cluster")
def test_writes_that_a_replaced_primary_holds_back_are_redirected(cluster: Cluster) -> None:
    """The callers doubt the old primary while it still holds their writes, although its replica has taken over."""

    def incident() -> None:
        for node in cluster.primaries():
            node.ask("CLIENT", "PAUSE", 1200, "WRITE")
            heirs[node] = cluster.replicas(node)[0]
        time.sleep(0.9)
        for heir in heirs.values():
            cluster.fail_over(heir)
        time.sleep(0.3)

    heirs: dict[object, Any] = {}
    for one in run_during(incident, cluster.url, counts=COUNTS, before=0.1, after=0.2):
        assert not sum(one.unknown), (one.runtime, sum(one.unknown))
        assert not one.failed
        assert not one.read_errors
        assert (one.lost, one.surplus) == (0, 0)
