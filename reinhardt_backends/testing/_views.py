"""Views of a backend with a deadline of their own, and waiting for the store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from .._backend import Backend
from .._errors import BackendClosedError
from ._runner import ConformanceRunner, promise


class Views(ConformanceRunner):
    """``with_timeout`` and ``wait_until_ready``."""

    @promise()
    async def test_a_view_with_a_timeout_has_the_same_store(self, store: Backend) -> None:
        """What one writes, the other reads."""
        view = store.with_timeout(60)
        await view.set("k", [1], 1000)
        assert await store.get("k", list[int]) == [1]
        assert await store.increment("n") == 1
        assert await view.increment("n", by=2) == 3
        assert await view.get_many(["k", "n", "missing"]) == {"k": [1], "n": 3}
        assert await view.delete("k")
        assert not await store.exists("k")

    @promise()
    async def test_timeouts_and_namespaces_compose_in_any_order(self, store: Backend) -> None:
        """A view of a view has the prefix of both."""
        views = [
            store.namespace("a").with_timeout(60).namespace("b"),
            store.with_timeout(60).namespace("a").with_timeout(30).namespace("b"),
            store.with_timeout(60).with_timeout(30).namespace("a").namespace("b").with_timeout(60),
        ]
        for number, view in enumerate(views):
            await view.set("k", number)
            assert await store.get("a:b:k", int) == number
            assert [await other.get("k", int) for other in views] == [number] * len(views)

    @promise("scan")
    async def test_a_view_with_a_timeout_scans_and_clears(self, store: Backend) -> None:
        """Its keys are those of what it is a view of."""
        await store.set_many({"a:k": 1, "b:k": 1})
        assert {key async for key in store.with_timeout(60).scan()} == {"a:k", "b:k"}
        assert {key async for key in store.with_timeout(60).namespace("a").scan()} == {"k"}
        await store.namespace("a").with_timeout(60).clear()
        assert {key async for key in store.scan()} == {"b:k"}
        await store.with_timeout(60).clear()
        assert {key async for key in store.scan()} == set()

    @promise()
    async def test_closing_a_view_with_a_timeout_closes_only_the_view(self, store: Backend) -> None:
        """Neither what it is a view of, nor other views of that."""
        view, other = store.with_timeout(60), store.with_timeout(60)
        async with view:
            await view.set("k", 1)
        with pytest.raises(BackendClosedError):
            await view.get("k")
        assert await other.get("k") == await store.get("k") == 1

    @promise()
    async def test_a_timeout_is_a_number_of_seconds(self, store: Backend) -> None:
        """Finite, and more than 0."""
        bad: list[tuple[type[Exception], Any]] = [
            *((TypeError, seconds) for seconds in (None, "1", True, timedelta(seconds=1))),
            *((ValueError, seconds) for seconds in (0, -1, float("nan"), float("inf"))),
        ]
        for error, seconds in bad:
            with pytest.raises(error):
                store.with_timeout(seconds)
            with pytest.raises(error):
                await store.wait_until_ready(seconds)

    @promise()
    async def test_waiting_until_the_store_is_ready(self, store: Backend) -> None:
        """It returns if the store answers; through views, too."""
        for view in (store, store.namespace("a"), store.with_timeout(60), store.namespace("a").with_timeout(60)):
            await view.wait_until_ready(60)
