"""``with_timeout`` and ``wait_until_ready`` over users' backends, which are cancelled at the deadline."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from reinhardt_backends import (
    Backend,
    BackendClosedError,
    BackendConnectionError,
    BackendTimeoutError,
    MemoryBackend,
    OutcomeUnknownError,
    SyncBackend,
    Throttle,
    UnsupportedOperationError,
)
from reinhardt_backends._blocking import drive
from reinhardt_backends.testing._runner import AsyncClothes

SHORT = 0.03
LONG = 30


class Slow(MemoryBackend):
    """A user's subclass that waits before each call, as if for a server."""

    def __init__(self, pause: float = LONG) -> None:
        super().__init__()
        self.pause = pause
        self.cancelled = 0

    async def wait(self) -> None:
        try:
            await anyio.sleep(self.pause)
        except BaseException:
            self.cancelled += 1
            raise

    def _runs_steps(self) -> bool:
        return False

    async def scan(self, prefix: str = "") -> AsyncIterator[str]:  # type: ignore[override]
        async for key in super().scan(prefix):
            yield key
            await self.wait()


def _slowed(name: str) -> Any:
    async def verb(self: Slow, *args: Any, **kwargs: Any) -> Any:
        await self.wait()
        return await getattr(MemoryBackend, name)(self, *args, **kwargs)

    return verb


WRITES: dict[str, tuple[Any, ...]] = {
    "set": ("k", 1),
    "delete": ("k",),
    "increment": ("n",),
    "clear": (),
    "add": ("k", 1),
    "replace": ("k", 1),
    "pop": ("k",),
    "touch": ("k", 1),
    "set_many": ({"k": 1},),
    "delete_many": (["k"],),
    "compare_and_set": ("k", 1, 2),
    "compare_and_delete": ("k", 1),
}
READS: dict[str, tuple[Any, ...]] = {
    "get": ("k",),
    "exists": ("k",),
    "ttl": ("k",),
    "get_many": (["k"],),
    "ping": (),
}
for _name in {**WRITES, **READS}:
    setattr(Slow, _name, _slowed(_name))


class Refusing(MemoryBackend):
    """A store that cannot be reached at first."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self.times = times
        self.asked = 0

    async def ping(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.asked += 1
        if self.asked <= self.times:
            raise BackendConnectionError("refused")


class RefusingBlocking(Refusing):
    never_suspends = True

    async def ping(self) -> None:
        self.asked += 1
        if self.asked <= self.times:
            raise BackendConnectionError("refused")


@pytest.fixture(params=["asyncio", "trio", "blocking", "blocking over trio"])
def on(request: pytest.FixtureRequest) -> Any:
    """Runs a test of a backend's verbs in an event loop, or through the blocking face."""

    def run(test: Any, backend: Backend) -> None:
        if request.param in ("asyncio", "trio"):
            anyio.run(test, backend, backend=request.param)
        else:
            face = SyncBackend(backend, runtime="trio" if "trio" in request.param else "asyncio")
            drive(test(AsyncClothes(face)))

    return run


@pytest.mark.parametrize("verb", READS)
def test_a_read_times_out(on: Any, verb: str) -> None:
    async def test(verbs: Any) -> None:
        began = time.monotonic()
        with pytest.raises(BackendTimeoutError, match=f"{verb} was cancelled after 0.03 s"):
            await getattr(verbs.with_timeout(SHORT), verb)(*READS[verb])
        assert time.monotonic() - began < LONG

    backend = Slow()
    on(test, backend)
    assert backend.cancelled == 1


@pytest.mark.parametrize("verb", WRITES)
def test_the_outcome_of_a_write_is_unknown(on: Any, verb: str) -> None:
    async def test(verbs: Any) -> None:
        with pytest.raises(OutcomeUnknownError, match=f"{verb} was cancelled after 0.03 s") as caught:
            await getattr(verbs.with_timeout(SHORT), verb)(*WRITES[verb])
        assert isinstance(caught.value.__cause__, BackendTimeoutError)

    on(test, Slow())


def test_a_get_that_renews_is_a_write(on: Any) -> None:
    async def test(verbs: Any) -> None:
        with pytest.raises(OutcomeUnknownError):
            await verbs.with_timeout(SHORT).get("k", renew=1)

    on(test, Slow())


def test_every_verb_passes_a_deadline_that_is_long_enough(on: Any) -> None:
    async def test(verbs: Any) -> None:
        view = verbs.with_timeout(LONG)
        for verb, arguments in {**WRITES, **READS}.items():
            await getattr(view, verb)(*arguments)

    on(test, Slow(0))


def test_the_view_made_last_sets_the_deadline(on: Any) -> None:
    async def test(verbs: Any) -> None:
        for view in (
            verbs.with_timeout(LONG).with_timeout(SHORT),
            verbs.with_timeout(LONG).namespace("a").with_timeout(SHORT),
            verbs.namespace("a").with_timeout(LONG).with_timeout(SHORT).namespace("b"),
        ):
            with pytest.raises(BackendTimeoutError):
                await view.get("k")

    on(test, Slow())


def test_a_later_view_may_have_more_time(on: Any) -> None:
    async def test(verbs: Any) -> None:
        assert await verbs.with_timeout(SHORT).with_timeout(LONG).get("k") is None
        assert await verbs.with_timeout(SHORT).namespace("a").with_timeout(LONG).get("k") is None

    on(test, Slow(3 * SHORT))


def test_scan_has_the_deadline_for_each_step(on: Any) -> None:
    async def test(verbs: Any) -> None:
        patient = verbs.with_timeout(LONG)
        assert sorted([key async for key in patient.scan()]) == ["a:k", "b:k", "c:k"]
        keys = []
        with pytest.raises(BackendTimeoutError, match="scan was cancelled"):
            async for key in verbs.with_timeout(SHORT).scan():
                keys.append(key)
        assert len(keys) == 1

    backend = Slow(3 * SHORT)
    for key in ("a:k", "b:k", "c:k"):
        backend._set(key, 1)
    on(test, backend)


def test_a_call_that_raises_raises_what_it_raised(on: Any) -> None:
    async def test(verbs: Any) -> None:
        with pytest.raises(UnsupportedOperationError, match="SixVerbs does not provide ttl") as caught:
            await verbs.with_timeout(LONG).ttl("k")
        assert caught.value.verb == "ttl"

    class SixVerbs(Backend):
        async def set(self, key: str, value: Any, ttl: Any = None) -> None: ...
        async def get(self, key: str, type: Any = Any, **options: Any) -> Any: ...
        async def delete(self, key: str) -> Any: ...
        async def exists(self, key: str) -> Any: ...
        async def increment(self, key: str, ttl: Any = None, *, by: int = 1) -> Any: ...
        async def clear(self) -> None: ...

    on(test, SixVerbs())


def test_six_verbs_can_be_cleared_through_a_view(on: Any) -> None:
    async def test(verbs: Any) -> None:
        await verbs.with_timeout(LONG).clear()
        assert cleared

    cleared = []

    class NoScan(Slow):
        scan = Backend.scan  # type: ignore[assignment]

        async def clear(self) -> None:
            await self.wait()
            cleared.append(True)

    on(test, NoScan(0))


def test_over_memory_nothing_changes() -> None:
    backend = MemoryBackend()
    view = backend.with_timeout(1e-9)
    drive(view.set("k", 1))
    assert drive(view.get("k", int)) == 1
    assert drive(backend.namespace("a").with_timeout(1e-9).exists("k")) is False


@pytest.mark.anyio
async def test_a_component_on_a_view_gives_up_at_its_deadline() -> None:
    throttle = Throttle(Slow().with_timeout(SHORT), "1/min", on_error="deny")
    with anyio.fail_after(LONG / 2):
        assert not await throttle.allow("k")


def test_closing_a_view_closes_only_the_view(on: Any) -> None:
    async def test(verbs: Any) -> None:
        view = verbs.with_timeout(LONG)
        await view.aclose()
        for call in (view.get("k"), view.set("k", 1), view.ping(), view.wait_until_ready(LONG)):
            with pytest.raises(BackendClosedError, match="this view of the backend is closed"):
                await call
        with pytest.raises(BackendClosedError):
            view.with_timeout(LONG)
        assert await verbs.get("k") is None

    on(test, Slow(0))


def test_a_view_shows_what_it_is() -> None:
    assert repr(Slow().namespace("a").with_timeout(0.5)).startswith("<namespace 'a:' of <<Slow at 0x")
    assert repr(Slow().with_timeout(0.5)).endswith("with a timeout of 0.5 s>>")


# wait_until_ready


@pytest.mark.parametrize("kind", [Refusing, RefusingBlocking])
def test_it_asks_until_the_store_answers(on: Any, kind: type[Refusing]) -> None:
    async def test(verbs: Any) -> None:
        await verbs.namespace("a").wait_until_ready(LONG)

    backend = kind(2)
    on(test, backend)
    assert backend.asked == 3


@pytest.mark.parametrize("kind", [Refusing, RefusingBlocking])
def test_it_gives_up_in_time_with_the_last_failure_as_cause(on: Any, kind: type[Refusing]) -> None:
    async def test(verbs: Any) -> None:
        with pytest.raises(BackendTimeoutError, match=r"not ready within 0\.1 s") as caught:
            await verbs.wait_until_ready(0.1)
        assert isinstance(caught.value.__cause__, BackendConnectionError)

    on(test, kind(float("inf")))


def test_a_ping_that_hangs_is_cancelled(on: Any) -> None:
    async def test(verbs: Any) -> None:
        for view in (verbs, verbs.with_timeout(LONG)):
            with pytest.raises(BackendTimeoutError, match=r"not ready within 0\.03 s"):
                await view.wait_until_ready(SHORT)

    on(test, Slow())


def test_a_closed_backend_is_never_ready(on: Any) -> None:
    async def test(verbs: Any) -> None:
        await verbs.aclose()
        with pytest.raises(BackendClosedError):
            await verbs.wait_until_ready(LONG)

    on(test, Slow(0))
