"""A server that pauses writes, as a primary does during a planned failover, is not a dead path."""

from __future__ import annotations

import pytest

pytest.importorskip("redis")

from ..servers import Server
from .runtimes import Runtime, on_every_runtime

TIMEOUT = 0.6
#: A connection is silent after half of the timeout of its backend. The calls of a view may wait for longer.
PAUSE = 2 * TIMEOUT


@on_every_runtime
async def test_a_write_waits_while_the_server_pauses_writes(at: Runtime, own_server: Server) -> None:
    backend = at.open(own_server.url, timeout=TIMEOUT)
    patient = backend.with_timeout(10)
    assert await patient.increment("n") == 1
    own_server.command("CLIENT", "PAUSE", f"{PAUSE * 1000:.0f}", "WRITE")
    assert await patient.increment("n") == 2
