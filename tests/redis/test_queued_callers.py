"""Thousands of callers that wait for room on a connection cost no more each than a few."""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import Any

import anyio
import pytest

pytest.importorskip("redis")


from reinhardt_backends._redis import _link

from .driving import OURS, READ, client_for, links
from .peers import greet, listening

pytestmark = pytest.mark.anyio


async def work_to_cancel(queued: int) -> int:
    """Cancel so many callers that wait for room. Return how many of our functions and generators ran."""
    calls = 0

    def count(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            calls += 1

    released = threading.Event()

    def silent(connection: Any) -> None:
        greet(connection)
        released.wait(60)

    with listening(silent) as peer:
        client = client_for(peer.url, timeout=60)
        async with anyio.create_task_group() as group:
            for number in range(_link.MAX_SLOTS + queued):
                group.start_soon(client.call, READ, "ECHO", number)
            await anyio.wait_all_tasks_blocked()
            while not links(client) or not links(client)[0]._queued:
                await anyio.sleep(0.01)
                await anyio.wait_all_tasks_blocked()
            assert len(links(client)[0]._queued) == queued
            group.cancel_scope.cancel()
            sys.setprofile(count)
        sys.setprofile(None)
        await client.aclose()
        released.set()
    return calls


async def test_cancelling_callers_that_wait_for_room_takes_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_link, "MAX_SLOTS", 20)
    few, many = await work_to_cancel(300), await work_to_cancel(1200)
    assert few > 300
    assert many < 6 * few
