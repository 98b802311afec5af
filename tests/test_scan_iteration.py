"""The iterator of a scan that comes in pages: left, continued, and unknown to the event loop."""

from __future__ import annotations

import gc
import sys
from typing import Any

import anyio.lowlevel
import pytest

from reinhardt_backends._backend import PagedKeys

pytestmark = pytest.mark.anyio


class Counted(PagedKeys):
    """Three pages of three keys."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.failing = False

    async def next_page(self) -> list[str]:
        if self.failing:
            raise RuntimeError("no page")
        await anyio.lowlevel.checkpoint()
        self.asked += 1
        return [f"{self.asked}{letter}" for letter in "abc"] if self.asked <= 3 else []

    def leave_out(self, prefix: str) -> None:
        raise NotImplementedError


async def test_a_loop_that_was_left_can_be_continued() -> None:
    keys = Counted()
    async for key in keys:
        if key == "2a":
            break
    assert await anext(keys) == "2b"
    assert [key async for key in keys] == ["2c", "3a", "3b", "3c"]
    assert [key async for key in keys] == []
    with pytest.raises(StopAsyncIteration):
        await anext(keys)


async def test_a_loop_that_was_left_is_nothing_to_the_event_loop() -> None:
    """Trio warns of async generators that are collected before their end."""
    seen: list[Any] = []
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(seen.append, seen.append)
    try:
        async for _ in Counted():
            break
        gc.collect()
        assert sys.get_asyncgen_hooks() == (seen.append, seen.append)
    finally:
        sys.set_asyncgen_hooks(*hooks)
    assert seen == []


async def test_a_scan_that_was_closed_is_over() -> None:
    keys = Counted()
    assert await anext(keys) == "1a"
    await keys.aclose()
    assert [key async for key in keys] == []
    assert keys.asked == 1


async def test_a_page_that_fails_can_be_asked_for_again() -> None:
    """After an error the iteration is not over: that would look like a complete scan."""
    keys = Counted()
    keys.failing = True
    with pytest.raises(RuntimeError, match="no page"):
        await anext(keys)
    keys.failing = False
    assert len([key async for key in keys]) == 9
