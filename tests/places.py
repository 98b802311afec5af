"""Where the tests of components run: every kind of backend, on every runtime and through the blocking faces.

    @everywhere
    async def test_something(place):
        throttle = place.make(Throttle, "2/s")
        assert await throttle.allow("k")

Through a blocking face the same test drives the generated class, in async clothes, with no event loop at all.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import reinhardt_backends._sync._components as faces
from reinhardt_backends import Backend, MemoryBackend, RedisBackend
from reinhardt_backends._blocking import drive
from reinhardt_backends.testing import FakeClock
from reinhardt_backends.testing._runner import AsyncClothes

from .servers import Server

RUNTIMES = ("asyncio", "uvloop", "trio", "sync")

#: Fixtures for more than one Redis server.
TOPOLOGIES = ("sentinels", "cluster")
_numbers = itertools.count()


class SixVerbs(Backend):
    """A user's backend: the six verbs over memory, each of which suspends."""

    def __init__(self, store: MemoryBackend) -> None:
        self.store = store

    async def set(self, key: str, value: Any, ttl: Any = None) -> None:
        await anyio.lowlevel.checkpoint()
        await self.store.set(key, value, ttl)

    async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: Any = None) -> Any:
        await anyio.lowlevel.checkpoint()
        return await self.store.get(key, type, default=default, renew=renew)

    async def delete(self, key: str) -> bool:
        await anyio.lowlevel.checkpoint()
        return await self.store.delete(key)

    async def exists(self, key: str) -> bool:
        await anyio.lowlevel.checkpoint()
        return await self.store.exists(key)

    async def increment(self, key: str, ttl: Any = None, *, by: int = 1) -> int:
        await anyio.lowlevel.checkpoint()
        return await self.store.increment(key, ttl, by=by)

    async def clear(self) -> None:
        await anyio.lowlevel.checkpoint()
        await self.store.clear()


class Comparing(SixVerbs):
    """A user's backend that also provides what optimistic writes need."""

    async def add(self, key: str, value: Any, ttl: Any = None) -> bool:
        await anyio.lowlevel.checkpoint()
        return await self.store.add(key, value, ttl)

    async def compare_and_set(self, key: str, expected: Any, value: Any, ttl: Any = None) -> bool:
        await anyio.lowlevel.checkpoint()
        return await self.store.compare_and_set(key, expected, value, ttl)

    async def compare_and_delete(self, key: str, expected: Any) -> bool:
        await anyio.lowlevel.checkpoint()
        return await self.store.compare_and_delete(key, expected)


class Telling(Comparing):
    """A user's backend that also tells how long a key lives."""

    async def ttl(self, key: str) -> float | None:
        await anyio.lowlevel.checkpoint()
        return await self.store.ttl(key)


class Place:
    """A backend with no keys in it, on one runtime.

    Attributes:
        kind: Which backend it is.
        backend: The backend.
        store: The backend of ours that it keeps its keys in.
        verbs: The verbs of that, on this runtime.
        clock: Its clock, for all but ``redis``.
        server: The server, for ``redis``; of several servers one that takes writes.
    """

    def __init__(self, kind: str, runtime: str, server: Server | None = None, url: str | None = None) -> None:
        self.kind = kind
        self.runtime = runtime
        self.server = server
        self.clock = FakeClock()
        self.store: Backend = MemoryBackend(clock=self.clock)
        if kind == "redis":
            assert server is not None
            self.store = RedisBackend(url or server.url, prefix=f"{os.getpid()}-{next(_numbers)}:")
        kinds: dict[str, Callable[[Any], Backend]] = {"six": SixVerbs, "comparing": Comparing, "telling": Telling}
        self.backend = kinds[kind](self.store) if kind in kinds else self.store
        if kind == "namespace":
            self.backend = self.store.namespace("ns")
        self.verbs: Any = AsyncClothes(faces.SyncBackend(self.store)) if runtime == "sync" else self.store

    def make(self, component: type[Any], *args: Any, backend: Any = None, **kwargs: Any) -> Any:
        """Make a component over the backend; through a blocking face, its generated twin."""
        over = self.backend if backend is None else backend
        if self.runtime != "sync":
            return component(over, *args, **kwargs)
        return _Clothes(getattr(faces, f"Sync{component.__name__}")(over, *args, **kwargs))

    async def contents(self) -> dict[str, Any]:
        """Every key and its value."""
        return {key: await self.verbs.get(key) async for key in self.verbs.scan()}

    def run(self, test: Callable[..., Awaitable[None]]) -> None:
        async def whole() -> None:
            try:
                await test(self)
            finally:
                await self.verbs.aclose()

        if self.runtime == "sync":
            drive(whole())
        elif self.runtime == "uvloop":
            anyio.run(whole, backend_options={"use_uvloop": True})
        else:
            anyio.run(whole, backend=self.runtime)

    async def at_once(self, count: int, call: Callable[[], Awaitable[Any]]) -> list[Any]:
        """Call many times at once, from tasks or, over a blocking face, from threads."""
        results: list[Any] = []

        async def one() -> None:
            results.append(await call())

        if self.runtime == "sync":
            threads = [threading.Thread(target=lambda: drive(one())) for _ in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:
            async with anyio.create_task_group() as group:
                for _ in range(count):
                    group.start_soon(one)
        assert len(results) == count
        return results


class _Clothes(AsyncClothes):
    """A generated class in async clothes; its attributes stay what they are."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._face, name)
        return super().__getattr__(name) if callable(found) else found

    async def __aenter__(self) -> Any:
        self._face.__enter__()
        return self


def everywhere(*kinds: str) -> Callable[[Callable[[Place], Awaitable[None]]], Callable[..., None]]:
    """Make a test of a coroutine function, for these kinds of backend and every runtime."""

    def decorate(test: Callable[[Place], Awaitable[None]]) -> Callable[..., None]:
        @pytest.mark.parametrize(("kind", "runtime"), list(_places(kinds)))
        def run(kind: str, runtime: str, request: pytest.FixtureRequest) -> None:
            if runtime in ("uvloop", "trio") and importlib.util.find_spec(runtime) is None:
                pytest.skip(f"{runtime} is not installed")
            if kind in TOPOLOGIES:
                topology = request.getfixturevalue(kind)
                # A cluster takes commands as a server does.
                server = topology.primary() if kind == "sentinels" else topology
                Place("redis", runtime, server, topology.url).run(test)
                return
            server = request.getfixturevalue("server") if kind == "redis" else None
            Place(kind, runtime, server).run(test)

        run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
        run.__module__ = test.__module__
        return run

    return decorate


def _places(kinds: tuple[str, ...]) -> Iterator[Any]:
    for kind, runtime in itertools.product(kinds, RUNTIMES):
        # Without input or output uvloop runs the same tasks as asyncio. It meets the backends of ours all the same.
        is_same = runtime == "uvloop" and kind not in ("memory", "redis")
        yield pytest.param(kind, runtime, id=f"{kind}-{runtime}", marks=[pytest.mark.long] if is_same else [])
    # What runs on one server runs on several: in short on two runtimes.
    if "redis" in kinds:
        for topology, runtime in itertools.product(TOPOLOGIES, RUNTIMES):
            marks = [pytest.mark.xdist_group(topology)]
            if runtime not in ("asyncio", "sync"):
                marks.append(pytest.mark.long)
            yield pytest.param(topology, runtime, id=f"{topology}-{runtime}", marks=marks)
