"""How one test runs on every runtime.

A test of the suite is one ``async def`` that takes a store. ``promise`` turns it into a plain test function: on
asyncio, uvloop and trio it runs the coroutine in a fresh event loop; for the blocking face it hands the coroutine a
``SyncBackend`` in async clothes, whose verbs never suspend, and drives it with no event loop at all.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, ClassVar, Final, Self, TypeVar, cast

import anyio
import pytest

from .._backend import Backend
from .._blocking import drive
from .._sync._backend import SyncBackend

T = TypeVar("T")
Test = Callable[[Any, Backend], Awaitable[None]]

RUNTIMES: Final = ("asyncio", "uvloop", "trio", "sync")
SIX_VERBS: Final = frozenset({"set", "get", "delete", "exists", "increment", "clear"})
FURTHER_VERBS: Final = frozenset(
    {
        "add", "replace", "pop", "ttl", "touch", "compare_and_set", "compare_and_delete", "scan", "aclose",
        "increment_existing", "get_and_renew", "set_json", "get_json", "time",
    }
)  # fmt: skip
"""What a backend may leave out. ``"aclose"`` stands for refusing every verb once it is closed."""


def promise(*needs: str) -> Callable[[Test], Callable[..., None]]:
    """Make a test function of a coroutine function.

    Args:
        *needs: Verbs beyond the first six that the test uses. Where the backend does not provide them, there is no
            such test.
    """

    def decorate(test: Test) -> Callable[..., None]:
        def run(self: ConformanceRunner, backend: Backend, runtime: str) -> None:
            self.run(test, backend, runtime)

        run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
        run.__module__ = test.__module__
        run.needs = frozenset(needs)  # type: ignore[attr-defined]
        return run

    return decorate


class ConformanceRunner:
    """Runs the tests; the hooks that an author overrides are documented on ``BackendConformance``."""

    provides: ClassVar[frozenset[str]] = FURTHER_VERBS
    tick: ClassVar[float] = 0.02
    _runtime = "sync"

    _withheld: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        """Take away the tests of verbs that are not provided. What pytest does not collect, it need not skip."""
        super().__init_subclass__()
        tests = {name: test for name in dir(cls) if hasattr(test := getattr(cls, name), "needs")}
        tests.update({name: test for name, test in cls._withheld.items() if getattr(cls, name) is None})
        cls._withheld = {name: test for name, test in tests.items() if not test.needs <= cls.provides}
        for name, test in tests.items():
            setattr(cls, name, None if name in cls._withheld else test)

    @pytest.fixture(params=RUNTIMES)
    def runtime(self, request: pytest.FixtureRequest) -> str:
        """Where a test runs."""
        runtime: str = request.param
        if runtime in ("uvloop", "trio") and importlib.util.find_spec(runtime) is None:
            pytest.skip(f"{runtime} is not installed")
        return runtime

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        raise NotImplementedError("override the fixture 'backend': return a backend of yours with no keys in it")

    async def advance(self, seconds: float) -> None:
        if self._runtime == "sync":
            time.sleep(seconds)
        else:
            await anyio.sleep(seconds)

    def run(self, test: Test, backend: Backend, runtime: str) -> None:
        """Run one test on one runtime, and close the backend after it."""
        self._runtime = runtime

        async def entered(store: Backend) -> None:
            async with store as opened:
                await test(self, opened)

        if runtime == "sync":
            drive(entered(cast("Backend", AsyncClothes(SyncBackend(backend)))))
        elif runtime == "uvloop":
            anyio.run(entered, backend, backend_options={"use_uvloop": True})
        else:
            anyio.run(entered, backend, backend=runtime)

    async def in_time(self, seconds: float, steps: Callable[[], Awaitable[None]]) -> None:
        """Take steps that a short expiry must not overtake; again, if a busy machine took too long over them."""
        for _ in range(20):
            began = time.monotonic()
            try:
                await steps()
            except AssertionError:
                if time.monotonic() - began < seconds:
                    raise
            else:
                if time.monotonic() - began < seconds:
                    return
        raise AssertionError(f"the machine needs more than {seconds} s for a few verbs")

    async def at_once(self, count: int, call: Callable[[], Awaitable[T]]) -> list[T]:
        """Call ``call`` many times at once, from tasks or, over the blocking face, from threads."""
        results: list[T] = []

        async def one() -> None:
            results.append(await call())

        if self._runtime == "sync":
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


class AsyncClothes:
    """A ``SyncBackend`` whose verbs are coroutines that never suspend, so that one test fits both faces."""

    def __init__(self, face: SyncBackend) -> None:
        self._face = face

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._face, name)

        async def verb(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return verb

    def namespace(self, name: str) -> AsyncClothes:
        return AsyncClothes(self._face.namespace(name))

    def with_timeout(self, seconds: float) -> AsyncClothes:
        return AsyncClothes(self._face.with_timeout(seconds))

    async def scan(self, prefix: str = "") -> AsyncIterator[str]:
        for key in self._face.scan(prefix):
            yield key

    async def aclose(self) -> None:
        self._face.close()

    async def __aenter__(self) -> Self:
        self._face.__enter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._face.__exit__(exc_type, exc, traceback)
