"""The connections to a server can be retired together: calls in flight end normally, new calls connect again."""

from __future__ import annotations

import threading
import time

import anyio
import pytest

pytest.importorskip("redis")

from ..servers import Server
from .driving import ONCE, READ, client_for, drive, in_thread, links


def test_retired_connections_end_their_calls_and_take_no_more(server: Server) -> None:
    client = client_for(server.url, client_name=f"retiring{time.monotonic_ns()}")
    health = client._node.health
    in_flight = threading.Event()

    def calls() -> None:
        async def main() -> None:
            first = await client.call(READ, "CLIENT", "ID")
            async with anyio.create_task_group() as group:

                async def blocked() -> None:
                    assert await client.call(ONCE, "BLPOP", "nothing here", "0.3") is None

                group.start_soon(blocked)
                await anyio.sleep(0.05)
                in_flight.set()
                await anyio.sleep(0.1)
                # The other thread has retired all connections, also that of this loop.
                assert await client.call(READ, "CLIENT", "ID") != first

        anyio.run(main)

    blocking = client.blocking()
    with in_thread(calls):
        before = drive(blocking.call(READ, "CLIENT", "ID"))
        assert in_flight.wait(5)
        health.retire_links()
        after = drive(blocking.call(READ, "CLIENT", "ID"))
        assert after != before
        assert drive(blocking.call(READ, "CLIENT", "ID")) == after
    pool = client._node.pool
    assert pool is not None
    assert len(pool._idle) == len(pool._places) == 1
    drive(client.aclose())


@pytest.mark.anyio
@pytest.mark.parametrize("first", ["cancel", "retire"])
async def test_a_retired_connection_is_closed_if_only_cancelled_calls_are_in_flight(server: Server, first: str) -> None:
    """Otherwise no task is left to read their replies and close it."""
    client = client_for(server.url)
    await client.call(READ, "PING")
    (link,) = links(client)
    async with anyio.create_task_group() as group:
        group.start_soon(client.call, ONCE, "BLPOP", "nothing here", "0.5")
        await anyio.sleep(0.05)
        if first == "retire":
            link.retire()
            assert link.failure is None
        group.cancel_scope.cancel()
    if first == "cancel":
        link.retire()
    assert link.failure is not None
    await client.aclose()
