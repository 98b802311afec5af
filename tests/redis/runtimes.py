"""One test on several runtimes and through the blocking face, over backends that it opens itself.

@on_every_runtime
async def test_something(at: Runtime, server: Server) -> None:
    backend = at.open(server.url, timeout=0.4)
    assert await backend.increment("n") == 1
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from reinhardt_backends import RedisBackend, SyncBackend
from reinhardt_backends.testing._runner import AsyncClothes

from .driving import drive

NAMES = ("asyncio", "uvloop", "trio", "blocking")


class Runtime:
    """Where a test runs, and what differs there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._opened: list[Any] = []
        self._stall = 0.0
        self._ended = threading.Event()

    @property
    def slack(self) -> float:
        """Seconds that the machine may have added to any call: more, if it was seen to stall during the test."""
        return 0.1 + 3 * self._stall

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(0.005):
            now = time.monotonic()
            self._stall = max(self._stall, now - began - 0.005)
            began = now

    def open(self, url: str, **options: Any) -> Any:
        """The verbs of a new backend, which is closed at the end of the test."""
        return self.verbs(RedisBackend(url, **options))

    def verbs(self, backend: RedisBackend) -> Any:
        """The verbs of a backend on this runtime."""
        verbs = AsyncClothes(SyncBackend(backend)) if self.name == "blocking" else backend
        self._opened.append(verbs)
        return verbs

    async def sleep(self, seconds: float) -> None:
        if self.name == "blocking":
            time.sleep(seconds)
        else:
            await anyio.sleep(seconds)

    async def together(self, *calls: Callable[[], Awaitable[Any]]) -> list[Any]:
        """Run calls at once, from tasks or threads: what each returned, or raised."""
        results: list[Any] = [None] * len(calls)

        async def one(number: int) -> None:
            try:
                results[number] = await calls[number]()
            except Exception as error:
                results[number] = error

        if self.name == "blocking":
            threads = [threading.Thread(target=lambda n=n: drive(one(n))) for n in range(len(calls))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive(), "a call did not end"
        else:
            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    for number in range(len(calls)):
                        group.start_soon(one, number)
        return results

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            try:
                await test()
            finally:
                for verbs in self._opened:
                    await verbs.aclose()

        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        try:
            self._run(whole)
        finally:
            self._ended.set()
            watch.join()

    def _run(self, whole: Callable[[], Awaitable[None]]) -> None:
        if self.name == "blocking":
            drive(whole())
        elif self.name == "trio":
            anyio.run(whole, backend="trio")
        else:
            anyio.run(whole, backend_options={"use_uvloop": self.name == "uvloop"})


Test = Callable[..., Awaitable[None]]


def on_every_runtime(test: Test) -> Callable[..., None]:
    """Make a test of a coroutine function; its first argument is the ``Runtime``, the others are fixtures."""
    return on(*NAMES)(test)


def on(*names: str) -> Callable[[Test], Callable[..., None]]:
    """Do the same on some runtimes: those between which the code under test differs."""
    return lambda test: _on(names, test)


def _on(names: tuple[str, ...], test: Test) -> Callable[..., None]:
    others = list(inspect.signature(test, eval_str=False).parameters.values())[1:]

    @pytest.mark.parametrize("runtime", names)
    def run(runtime: str, **fixtures: Any) -> None:
        at = Runtime(runtime)
        at.run(lambda: test(at, **fixtures))

    run.__name__, run.__qualname__, run.__doc__, run.__module__ = (
        test.__name__,
        test.__qualname__,
        test.__doc__,
        test.__module__,
    )
    own = inspect.Parameter("runtime", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([own, *others])  # type: ignore[attr-defined]  # pytest reads the fixtures here
    run.pytestmark = [*getattr(run, "pytestmark", []), *getattr(test, "pytestmark", [])]  # type: ignore[attr-defined]
    return run


async def timed(call: Awaitable[Any]) -> tuple[float, Any]:
    """How long a call took, and what it returned or raised."""
    began = time.monotonic()
    try:
        outcome = await call
    except Exception as error:
        outcome = error
    return time.monotonic() - began, outcome
