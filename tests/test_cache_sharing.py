"""What callers of ``Cache`` that share one computation see of each other."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import anyio
import anyio.lowlevel
import pytest

from reinhardt_backends import Backend, Cache, MemoryBackend, SyncCache
from reinhardt_backends._cache._exceptions import fresh_copy
from reinhardt_backends.testing import FakeClock

from .caching import LEASING, WAIT, Counted
from .places import Comparing, Place, SixVerbs, everywhere

RUNTIMES = ["asyncio", "trio"]
KINDS = pytest.mark.parametrize("kind", [lambda store: store, Comparing, SixVerbs], ids=["memory", "comparing", "six"])


# Joining.


@everywhere(*LEASING)
async def test_who_asks_after_an_invalidation_elsewhere_does_not_join(place: Place) -> None:
    """Another process, which this one knows nothing of, invalidates the key or a tag in the middle of a computation."""
    if place.runtime == "sync":
        return
    for options in ({}, {"tags": ["t"]}, {"stale": 60}):
        for how in ("key", "tag") if "tags" in options else ("key",):
            cache, elsewhere = place.make(Cache, ttl=60), place.make(Cache, ttl=60)
            started, gate = anyio.Event(), anyio.Event()
            got: list[str] = []

            async def before(started: anyio.Event = started, gate: anyio.Event = gate) -> str:
                started.set()
                await gate.wait()
                return "before"

            async def after() -> str:
                return "after"

            async def ask(factory: Any, got: list[str] = got, cache: Any = cache, options: Any = options) -> None:
                got.append(await cache.get_or_set("k", factory, str, **options))

            get = cache.cached(key=f"{list(options)}{how}", type=str)(after)
            async with anyio.create_task_group() as group:
                group.start_soon(ask, before)
                await started.wait()
                group.start_soon(ask, after)
                await anyio.sleep(0.05)
                await (elsewhere.invalidate("k") if how == "key" else elsewhere.invalidate_tag("t"))
                with anyio.fail_after(WAIT):
                    await ask(after)
                    assert got == ["after"]
                    assert await get() == "after"
                gate.set()
            assert sorted(got) == ["after", "before", "before"]
            assert await cache.get_or_set("k", before, str, **options) == "after"
            await cache.invalidate("k")


def test_a_computation_that_found_a_value_elsewhere_hands_out_no_older_one() -> None:
    """Who joins a computation that waits for another process looks itself once that has stored its value."""

    class Slow(Comparing):
        """Answers the first look at a key with what was there some time ago."""

        gate: anyio.Event | None = None

        async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
            value = await super().get(key, *args, **kwargs)
            if self.gate is not None and ":value:" in key:
                gate, self.gate = self.gate, None
                await gate.wait()
            return value

    async def main() -> None:
        store = MemoryBackend()
        backend = Slow(store)
        cache, elsewhere = Cache(backend, ttl=60), Cache(store, ttl=60)
        got: list[int] = []

        async def ask(value: int) -> None:
            async def compute() -> int:
                return value

            got.append(await cache.get_or_set("k", compute, int))

        async def one() -> int:
            return 1

        await store.set("cache:value:k", b"L" + bytes(16))
        async with anyio.create_task_group() as group:
            group.start_soon(ask, 7)
            await anyio.sleep(0.05)
            backend.gate = gate = anyio.Event()
            await store.delete("cache:value:k")
            await elsewhere.get_or_set("k", one, int)
            await anyio.sleep(0.3)
            assert backend.gate is None
            await elsewhere.invalidate("k")
            group.start_soon(ask, 2)
            await anyio.sleep(0.01)
            gate.set()
        assert sorted(got) == [1, 2]

    anyio.run(main)


@KINDS
def test_who_has_another_tag_does_not_join(kind: Callable[[MemoryBackend], Backend]) -> None:
    """The tag may have been invalidated in the middle of a computation that does not have it."""

    async def main() -> None:
        cache = Cache(kind(MemoryBackend()), ttl=60)
        started, gate = anyio.Event(), anyio.Event()

        async def before() -> str:
            started.set()
            await gate.wait()
            return "before"

        async def after() -> str:
            return "after"

        async with anyio.create_task_group() as group:
            group.start_soon(partial(cache.get_or_set, "k", before, str, tags=["a"]))
            await started.wait()
            await cache.invalidate_tag("b")
            with anyio.move_on_after(0.05):
                assert await cache.get_or_set("k", after, str, tags=["b"]) == "after"
            gate.set()
        assert await cache.get_or_set("k", after, str, tags=["b"]) == "after"

    anyio.run(main)


# Errors.


class Picky(Exception):
    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(f"code {code}")
        self.code, self.hint = code, hint


class Uncopyable(Exception):
    def __new__(cls, *, code: int) -> Self:
        return super().__new__(cls)

    def __init__(self, *, code: int) -> None:
        super().__init__()


def chained() -> Exception:
    try:
        try:
            raise LookupError("cause")
        except LookupError as cause:
            raise RuntimeError("outer") from cause
    except RuntimeError as error:
        error.add_note("a note")
        return error


ERRORS: list[Callable[[], Exception]] = [
    lambda: LookupError("no such thing"),
    lambda: Picky(5, hint="x"),
    lambda: OSError(2, "No such file", "name"),
    lambda: FileNotFoundError(2, "No such file", "a", None, "b"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    lambda: ImportError("no", name="module", path="path"),
    lambda: KeyError(("a", 1)),
    lambda: ExceptionGroup("two", [ValueError(1), KeyError("k")]),
    lambda: SyntaxError("bad", ("file", 1, 2, "text")),
    lambda: StopIteration(5),
    lambda: TimeoutError(),
    chained,
]


@pytest.mark.parametrize("make", ERRORS, ids=lambda make: type(make()).__name__)
def test_a_copy_of_an_exception(make: Callable[[], Exception]) -> None:
    error = make()
    copies = [fresh_copy(error) for _ in range(2)]
    assert len({id(one) for one in (error, *copies)}) == 3
    for one in copies:
        assert (type(one), one.args, str(one), repr(one)) == (type(error), error.args, str(error), repr(error))
        assert vars(one) == vars(error)
        assert (one.__cause__, one.__context__, one.__suppress_context__) == (
            error.__cause__,
            error.__context__,
            error.__suppress_context__,
        )
        for name in ("errno", "strerror", "filename", "filename2", "name", "path", "reason", "lineno", "exceptions"):
            assert getattr(one, name, None) == getattr(error, name, None)


def test_an_exception_that_cannot_be_copied_is_raised_itself() -> None:
    error = Uncopyable(code=1)
    assert fresh_copy(error) is error


def depth(error: BaseException) -> int:
    traceback, found = error.__traceback__, 0
    while traceback is not None:
        traceback, found = traceback.tb_next, found + 1
    return found


@pytest.mark.parametrize(
    "make", [ERRORS[0], ERRORS[1], lambda: Uncopyable(code=1)], ids=["plain", "picky", "uncopyable"]
)
def test_each_of_many_waiters_gets_an_error_of_few_frames(make: Callable[[], Exception]) -> None:
    async def main() -> None:
        cache = Cache(MemoryBackend(), ttl=60)
        errors: list[Exception] = []
        depths: list[int] = []

        async def fail() -> int:
            await anyio.sleep(0.01)
            raise make()

        async def ask() -> None:
            try:
                await cache.get_or_set("k", fail)
            except Exception as error:
                errors.append(error)
                depths.append(depth(error))

        async with anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(ask)
        assert len(errors) == 1000
        assert max(depths) < 20
        if not isinstance(errors[0], Uncopyable):
            assert len({id(error) for error in errors}) == 1000
            assert {(type(error), str(error)) for error in errors} == {(type(make()), str(make()))}

    anyio.run(main)


# Values that need others.


def test_the_search_for_a_wait_without_end_is_linear() -> None:
    """Values that need many others, level by level, are computed in no time."""
    levels = 60

    async def main() -> None:
        cache = Cache(MemoryBackend(), ttl=60)
        calls: list[int] = []

        @cache.cached(key="level:{n}", type=int)
        async def level(n: int) -> int:
            calls.append(n)
            await anyio.lowlevel.checkpoint()
            if n == levels:
                return 1
            got: list[int] = []

            async def need() -> None:
                got.append(await level(n + 1))

            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(need)
            return sum(got) % 1000

        began = time.process_time()
        await level(0)
        assert len(calls) == levels + 1
        assert time.process_time() - began < 5

    anyio.run(main)


def test_two_caches_that_wait_for_each_other() -> None:
    """An error, not a wait without an end: what a value needs may be in another cache."""

    async def main() -> None:
        one, other = Cache(MemoryBackend(), ttl=60), Cache(MemoryBackend(), ttl=60)
        both = anyio.Event()
        inside: list[int] = []
        errors: list[BaseException] = []

        async def need(cache: Cache) -> int:
            inside.append(1)
            if len(inside) == 2:
                both.set()
            await both.wait()
            return await cache.get_or_set("k", partial(need, one), int)

        async def ask(cache: Cache, needed: Cache) -> None:
            try:
                await cache.get_or_set("k", partial(need, needed), int)
            except RuntimeError as error:
                errors.append(error)

        with anyio.fail_after(WAIT):
            async with anyio.create_task_group() as group:
                group.start_soon(ask, one, other)
                group.start_soon(ask, other, one)
        assert len(errors) == 2
        assert "asks for the same value" in str(errors[0])

    anyio.run(main)


# Stale values after an error.


@everywhere("memory", "comparing", "six")
async def test_a_stale_value_is_served_if_computing_fails(place: Place) -> None:
    """By choice: of the cache, or of a call or function against the cache."""

    def fail(_: int) -> Any:
        raise LookupError

    for default in (False, True):
        cache = place.make(Cache, ttl=10, stale_on_error=default)
        counted, failing = Counted(place), Counted(place, fail)
        key = str(default)
        get = partial(cache.get_or_set, key, stale=30)
        # Nothing to serve yet.
        with pytest.raises(LookupError):
            await get(failing.factory, stale_on_error=True)
        assert await get(counted.factory) == 1
        place.clock.advance(10)
        for choice in (None, True, False):
            serves = default if choice is None else choice
            if serves:
                assert [await get(failing.factory, stale_on_error=choice) for _ in range(2)] == [1, 1]
            else:
                with pytest.raises(LookupError):
                    await get(failing.factory, stale_on_error=choice)
        # Without ``stale=`` there is no stale value to serve.
        with pytest.raises(LookupError):
            await cache.get_or_set(key, failing.factory, stale_on_error=True)
        assert failing.calls >= 4
        assert await get(counted.factory) == 2
        place.clock.advance(40)
        with pytest.raises(LookupError):
            await get(failing.factory, stale_on_error=True)
    assert [key for key in await place.contents() if "value" in key] == []


def test_the_decorator_serves_a_stale_value_if_the_function_fails() -> None:
    clock = FakeClock()
    cache = SyncCache(MemoryBackend(clock=clock), ttl=10)
    calls: list[int] = []

    @cache.cached(key="k", stale=30, stale_on_error=True)
    def get() -> int:
        calls.append(1)
        if len(calls) > 1:
            raise LookupError
        return 1

    assert get() == 1
    clock.advance(15)
    assert [get(), get()] == [1, 1]
    assert len(calls) == 3


# Signal handlers and finalizers.


def test_a_call_in_the_middle_of_a_call_of_the_same_thread() -> None:
    """As a signal handler or finalizer makes it, at any step: it neither waits without an end nor shares."""
    steps: list[str] = []

    class Interrupted(MemoryBackend):
        never_suspends = True
        handler: Callable[[], None] | None = None

        def interrupt(self, verb: str) -> None:
            handler, self.handler = self.handler, None
            if handler is not None:
                steps.append(verb)
                handler()

    def verb(name: str) -> Any:
        async def call(self: Interrupted, *args: Any, **kwargs: Any) -> Any:
            self.interrupt(f"before {name}")
            result = await getattr(MemoryBackend, name)(self, *args, **kwargs)
            self.interrupt(f"after {name}")
            return result

        return call

    names = ("get", "get_many", "set", "add", "compare_and_set", "compare_and_delete")
    for name in names:
        setattr(Interrupted, name, verb(name))

    for options in ({}, {"tags": ["t"]}, {"stale": 5}):
        for skipped in range(20):
            backend = Interrupted()
            cache = SyncCache(backend, ttl=60)
            inner: list[int] = []

            def arm(
                left: int, backend: Any = backend, cache: Any = cache, inner: Any = inner, o: Any = options
            ) -> None:
                def handler() -> None:
                    if left:
                        arm(left - 1)
                    else:
                        inner.append(cache.get_or_set("k", lambda: 7, int, **o))

                backend.handler = handler

            arm(skipped)
            assert cache.get_or_set("k", lambda: 5, int, **options) in (5, 7)
            assert inner in ([], [5], [7])
            backend.handler = None
            assert cache.get_or_set("k", lambda: 9, int, **options) in (5, 7)
            assert cache._target._engine.flights._table == {}
    assert len(set(steps)) > 6


def test_signal_handlers_that_call_cached_functions() -> None:
    """In the middle of hits, misses, computations and invalidations of the same cache."""
    import signal

    if not hasattr(signal, "setitimer"):
        pytest.skip("this platform has no interval timers")
    cache = SyncCache(MemoryBackend(), ttl=60)
    handled: list[int] = []
    refused: list[str] = []

    @cache.cached(key="{n}", tags=["t"])
    def load(n: int) -> int:
        return n

    @cache.cached(key="plain:{n}")
    def plain(n: int) -> int:
        return n

    depth = [0]

    def handler(*_: Any) -> None:
        # On a slow machine, handlers strike in the middle of handlers; somewhere that has to end.
        if depth[0] < 3:
            depth[0] += 1
            call_all()
            depth[0] -= 1

    def call_all() -> None:
        for get in (load, plain):
            for n in range(3):
                try:
                    handled.append(get(n))
                except RuntimeError as error:
                    # It struck in the middle of computing that very value.
                    refused.append(str(error))
        cache.invalidate_tag("t")

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            for n in range(3):
                assert (load(n), plain(n)) == (n, n)
                plain.invalidate(n)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(handled) > 100
    assert all("asks for the same value" in text for text in refused)


# Memory.


def test_nothing_is_kept_of_a_computation() -> None:
    """Neither of one that succeeds nor of one that fails, without the collector's help."""

    class Big:
        pass

    async def main() -> None:
        import weakref

        cache = Cache(MemoryBackend(), ttl=60)
        seen: list[Any] = []

        async def compute() -> int:
            big = Big()
            seen.append(weakref.ref(big))
            return 1

        async def fail() -> int:
            big = Big()
            seen.append(weakref.ref(big))
            raise LookupError

        gc.collect()
        gc.disable()
        try:
            await cache.get_or_set("k", compute)
            with pytest.raises(LookupError):
                await cache.get_or_set("k2", fail)
            with pytest.raises(LookupError):
                await Cache(MemoryBackend(), ttl=60, finish=5).get_or_set("k2", fail)
            assert [one() for one in seen] == [None] * 3
        finally:
            gc.enable()

    anyio.run(main)
