"""What the tests of ``Cache`` share."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import anyio
import anyio.lowlevel
from pydantic import BaseModel

from .places import Place

LEASING = ("memory", "namespace", "redis", "comparing")


ALL = (*LEASING, "six")


ON_FAKE_TIME = ("memory", "namespace", "comparing", "six")


WAIT = 20.0


class User(BaseModel):
    id: int
    born: datetime | None = None


class Counted:
    """What computes a value, and counts how often it does; async or plain, as the runtime wants it."""

    def __init__(self, place: Place, value: Callable[[int], Any] = lambda count: count, pause: float = 0.0) -> None:
        self.calls = 0
        self.value = value
        self.pause = pause
        self.factory: Callable[[], Any] = self.plain if place.runtime == "sync" else self.later

    def plain(self) -> Any:
        self.calls += 1
        if self.pause:
            time.sleep(self.pause)
        return self.value(self.calls)

    async def later(self) -> Any:
        self.calls += 1
        await anyio.sleep(self.pause)
        return self.value(self.calls)


def decorated(place: Place, cache: Any, function: Callable[..., Any], **options: Any) -> Any:
    """Decorate a plain function; on asynchronous runtimes, an async one that calls it."""
    if place.runtime == "sync":
        kept = cache._face.cached(**options)(function)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return kept(*args, **kwargs)

        async def invalidate(*args: Any, **kwargs: Any) -> None:
            kept.invalidate(*args, **kwargs)

        call.key, call.invalidate = kept.key, invalidate  # type: ignore[attr-defined]
        return call

    async def later(*args: Any, **kwargs: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        return function(*args, **kwargs)

    later.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    later.__annotations__ = function.__annotations__
    return cache.cached(**options)(later)


def verbs_of(place: Place) -> Any:
    """The verbs of the backend that the component is over, namespace included."""
    return place.verbs.namespace("ns") if place.kind == "namespace" else place.verbs


class Counter:
    """Computes 1, 2, 3, ... asynchronously."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        return self.calls
