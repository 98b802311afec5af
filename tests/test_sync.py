"""``SyncBackend``: the same verbs for code that does not await."""

from __future__ import annotations

import contextlib
import inspect
import os
import subprocess
import sys
import threading
import traceback
import typing
import weakref
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import anyio
import anyio.lowlevel
import pytest

from reinhardt_backends import (
    Backend,
    BackendClosedError,
    DeserializationError,
    MemoryBackend,
    SyncBackend,
    UnsupportedOperationError,
)

PATIENCE = 30
RENAMED = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
VERBS = sorted(name for name in dir(Backend) if callable(getattr(Backend, name)) and not name.startswith("_"))


class Suspending(Backend):
    """A user's backend that really suspends, over memory. It notes in which threads and tasks it runs."""

    def __init__(self) -> None:
        self.store = MemoryBackend()
        self.threads: set[int] = set()
        self.tasks: list[int] = []
        self.renewed: list[Any] = []
        self.scan_closed = threading.Event()
        self.closed = 0

    async def _here(self) -> None:
        self.threads.add(threading.get_ident())
        await anyio.lowlevel.checkpoint()

    def _note(self) -> None:
        self.tasks.append(anyio.get_current_task().id)

    async def set(self, key: str, value: Any, ttl: Any = None) -> None:
        await self._here()
        await self.store.set(key, value, ttl)

    async def get(self, key: str, type: Any = Any, *, default: Any = None, **renew: Any) -> Any:
        await self._here()
        self.renewed.append(renew)
        return await self.store.get(key, type, default=default, **renew)

    async def delete(self, key: str) -> bool:
        await self._here()
        return await self.store.delete(key)

    async def exists(self, key: str) -> bool:
        await self._here()
        return await self.store.exists(key)

    async def increment(self, key: str, ttl: Any = None, *, by: int = 1) -> int:
        await self._here()
        return await self.store.increment(key, ttl, by=by)

    async def clear(self) -> None:
        await self._here()
        await self.store.clear()

    async def scan(self, prefix: str = "") -> AsyncIterator[str]:
        try:
            with anyio.CancelScope():
                async for key in self.store.scan(prefix):
                    await self._here()
                    self._note()
                    yield key
        finally:
            self._note()
            self.scan_closed.set()

    async def __aenter__(self) -> Self:
        self._note()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(anyio.sleep_forever)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._note()
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(None, None, None)
        await self.aclose()

    async def aclose(self) -> None:
        self.closed += 1
        await self.store.aclose()


class NeverSuspending(Suspending):
    """A user's backend that says so."""

    never_suspends: ClassVar[bool] = True

    async def _here(self) -> None:
        self.threads.add(threading.get_ident())

    async def scan(self, prefix: str = "") -> AsyncIterator[str]:
        async for key in self.store.scan(prefix):
            yield key

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


@pytest.fixture(params=["asyncio", "trio"])
def runtime(request: pytest.FixtureRequest) -> Any:
    if request.param == "trio":
        pytest.importorskip("trio")
    return request.param


@pytest.fixture
def suspending() -> Suspending:
    return Suspending()


@pytest.fixture
def face(suspending: Suspending, runtime: Any) -> SyncBackend:
    return SyncBackend(suspending, runtime=runtime)


# What it looks like


def on_face(verb: str) -> Any:
    return inspect.getattr_static(SyncBackend, RENAMED.get(verb, verb))


def plain(function: Any) -> Any:
    return function.__func__ if isinstance(function, classmethod) else function


def shape(function: Any) -> list[tuple[str, Any, Any, str]]:
    """Return names, kinds, defaults and annotations of a signature as a face has them."""
    signature = inspect.signature(function)
    parameters = [(p.name, p.kind, p.default, str(p.annotation)) for p in signature.parameters.values()]
    return [*parameters, ("return", None, None, str(signature.return_annotation))]


def blocking(shape: list[tuple[str, Any, Any, str]]) -> list[tuple[str, Any, Any, str]]:
    renamed = {"AsyncIterator[str]": "Iterator[str]", "Backend": "SyncBackend"}
    return [(*rest, renamed.get(annotation, annotation)) for *rest, annotation in shape]


@pytest.mark.parametrize("verb", [*VERBS, "__aenter__", "__aexit__"])
def test_signatures_overloads_and_documentation_are_those_of_the_backend(verb: str) -> None:
    theirs, ours = plain(inspect.getattr_static(Backend, verb)), plain(on_face(verb))
    assert not inspect.iscoroutinefunction(ours)
    assert shape(ours) == blocking(shape(theirs))
    assert ours.__doc__ == theirs.__doc__ is not None
    overloads = [shape(overload) for overload in typing.get_overloads(ours)]
    assert overloads == [blocking(shape(overload)) for overload in typing.get_overloads(theirs)]
    assert len(overloads) == {"get": 7, "pop": 7, "get_and_renew": 7, "get_many": 4}.get(verb, 0)


def test_it_has_the_verbs_and_nothing_else() -> None:
    public = {name for name in dir(SyncBackend) if not name.startswith("_")}
    assert public == {RENAMED.get(verb, verb) for verb in VERBS} | {"backend"}


@pytest.mark.parametrize("verb", VERBS)
def test_over_memory_too_signatures_and_documentation_are_those_of_the_backend(verb: str) -> None:
    ours = getattr(SyncBackend(MemoryBackend()), RENAMED.get(verb, verb))
    assert blocking(shape(plain(inspect.getattr_static(Backend, verb))))[1:] == shape(ours)
    assert inspect.getdoc(ours) == inspect.getdoc(getattr(Backend, verb))


def test_its_own_signature_and_representation() -> None:
    assert str(inspect.signature(SyncBackend)) == "(backend: 'Backend', *, runtime: 'Runtime' = 'asyncio') -> 'None'"
    backend = MemoryBackend()
    assert repr(SyncBackend(backend)) == f"<SyncBackend over {backend!r}>"
    assert SyncBackend(backend).backend is backend


def test_it_takes_a_backend_and_nothing_else() -> None:
    face = SyncBackend(MemoryBackend())
    with pytest.raises(TypeError, match="is a blocking backend already"):
        SyncBackend(SyncBackend(Suspending()))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is a blocking backend already"):
        SyncBackend(face)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="an instance of Backend, not dict"):
        SyncBackend({})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="an instance of Backend, not MemoryBackend"):
        SyncBackend(MemoryBackend)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'asyncio' or 'trio', not 'curio'"):
        SyncBackend(MemoryBackend(), runtime="curio")  # type: ignore[arg-type]


def test_from_url_builds_the_backend_behind_it() -> None:
    with SyncBackend.from_url("memory://?maxsize=2") as face:
        assert isinstance(face.backend, MemoryBackend)
        for key in "abc":
            face.set(key, key)
        assert len(face.backend) == 2
    with pytest.raises(ValueError, match="begins with one of"):
        SyncBackend.from_url("http://localhost")


# Over memory


def every_verb(face: SyncBackend) -> None:
    face.set("k", {"a": 1}, 60)
    assert face.get("k") == {"a": 1}
    assert face.get("k", dict[str, int], renew=60) == {"a": 1}
    assert face.get("missing", int, default=3) == 3
    assert face.exists("k")
    assert face.increment("n", 60, by=4) == 4
    assert face.get_many(["k", "n", "missing"]) == {"k": {"a": 1}, "n": 4}
    face.set_many({"x": 1, "y": 2}, 60)
    assert face.delete_many(["x", "y", "z"]) == 2
    assert face.delete("n")
    view = face.namespace("ns")
    assert isinstance(view, SyncBackend)
    view.set("k", "in the view")
    assert face.get("ns:k", str) == "in the view"
    assert sorted(face.scan()) == ["k", "ns:k"]
    assert list(view.scan()) == ["k"]
    face.ping()
    with pytest.raises(DeserializationError):
        face.get("k", int)
    with pytest.raises(TypeError):
        face.set(1, "a key must be a str")  # type: ignore[arg-type]
    face.clear()
    assert list(face.scan()) == []


def atomic_verbs(face: SyncBackend) -> None:
    assert face.add("k", 1, 60)
    assert face.replace("k", 2, 60)
    assert 59 < (face.ttl("k") or 0) <= 60
    assert face.touch("k", None)
    assert face.compare_and_set("k", 2, 3)
    assert not face.compare_and_delete("k", 2)
    assert face.pop("k", int) == 3


def test_over_memory_every_verb_works() -> None:
    backend = MemoryBackend()
    with SyncBackend(backend) as face:
        every_verb(face)
        atomic_verbs(face)
        every_verb(face.namespace("outer"))
        atomic_verbs(face.namespace("outer"))
    with pytest.raises(BackendClosedError):
        face.get("k")
    with pytest.raises(BackendClosedError):
        backend._get("k")
    face.close()


def test_over_memory_there_is_no_thread_and_no_loop() -> None:
    script = (
        "import sys, threading\n"
        "from reinhardt_backends import MemoryBackend, SyncBackend\n"
        "with SyncBackend(MemoryBackend()) as face:\n"
        "    face.set('k', 1, 60)\n"
        "    assert face.get('k', int) == 1\n"
        "    assert list(face.namespace('ns').scan()) == []\n"
        "assert threading.active_count() == 1\n"
        "loaded = {'asyncio', 'anyio.from_thread', 'trio', 'ssl', 'redis'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_over_memory_verbs_run_in_the_calling_thread() -> None:
    def clock() -> float:
        threads.add(threading.get_ident())
        return 0.0

    threads: set[int] = set()
    before = threading.active_count()
    face = SyncBackend(MemoryBackend(clock=clock))
    every_verb(face)
    every_verb(face.namespace("ns"))
    assert threads == {threading.get_ident()}
    assert threading.active_count() == before


def test_over_memory_no_coroutine_is_driven() -> None:
    class NoCoroutines:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was run through a coroutine")

    face = SyncBackend(MemoryBackend())
    face._target = NoCoroutines()  # type: ignore[assignment]
    face.set("k", 1)
    assert face.get("k", int) == 1
    assert list(face.scan()) == ["k"]
    atomic_verbs(face.__class__(MemoryBackend()))
    face.ping()
    face.clear()
    face.close()


def test_a_class_derived_from_it_works_and_is_itself() -> None:
    class Users(SyncBackend):
        def __init__(self, backend: Backend, prefix: str) -> None:
            super().__init__(backend)
            self.prefix = prefix

        def get(self, key: str, type: Any = Any, **options: Any) -> Any:
            return super().get(self.prefix + key, type, **options)

    for backend in (MemoryBackend(), Suspending()):
        with Users(backend, "user:") as users:
            assert type(users) is Users
            users.set("user:1", "Ada")
            assert users.get("1", str) == "Ada"
            assert users.get("2", default="nobody") == "nobody"


def test_what_makes_one_face_makes_another() -> None:
    memory = SyncBackend(MemoryBackend())
    for face in (
        type(memory)(MemoryBackend()),
        type(memory)(Suspending()),
        type(SyncBackend(Suspending()))(MemoryBackend()),
    ):
        face.set("k", 1)
        assert face.get("k", int) == 1


def test_a_face_of_memory_is_a_sync_backend_that_can_be_referred_to_weakly() -> None:
    face = SyncBackend(MemoryBackend())
    assert isinstance(face, SyncBackend)
    assert weakref.ref(face)() is face
    with pytest.raises(AttributeError):
        face.typo = 1  # type: ignore[attr-defined]


# Over a class that never suspends


def test_a_class_that_never_suspends_runs_in_the_calling_thread() -> None:
    backend = NeverSuspending()
    before = threading.active_count()
    with SyncBackend(backend) as face:
        every_verb_of_six(face)
        every_verb_of_six(face.namespace("ns"))
    assert backend.threads == {threading.get_ident()}
    assert threading.active_count() <= before
    assert backend.closed == 1


def every_verb_of_six(face: SyncBackend) -> None:
    face.set("k", [1], 60)
    assert face.get("k", list[int]) == [1]
    assert face.get("missing", default=3) == 3
    assert face.exists("k")
    assert face.increment("n", 60, by=2) == 2
    assert face.get_many(["k", "n"]) == {"k": [1], "n": 2}
    face.set_many({"x": 1})
    assert face.delete("x")
    assert face.delete_many(["k", "n"]) == 2
    with pytest.raises(UnsupportedOperationError) as caught:
        face.add("k", 1)
    assert caught.value.verb == "add"
    face.clear()
    assert list(face.scan()) == []


def test_a_class_that_declares_no_suspension_and_suspends_is_an_error() -> None:
    class Pause:
        def __await__(self) -> Generator[None, None, None]:
            yield

    class Liar(Suspending):
        never_suspends = True

        async def _here(self) -> None:
            await Pause()

    with pytest.raises(RuntimeError, match=r"get suspended where no event loop runs it"):
        SyncBackend(Liar()).get("k")


def test_what_a_class_says_does_not_hold_for_its_subclasses() -> None:
    class Derived(NeverSuspending):
        pass

    backend = Derived()
    SyncBackend(backend).exists("k")
    assert threading.get_ident() not in backend.threads


def test_closing_a_view_closes_the_view_only(runtime: Any) -> None:
    for backend in (MemoryBackend(), NeverSuspending(), Suspending()):
        face = SyncBackend(backend, runtime=runtime)
        view = face.namespace("ns")
        with view:
            view.set("k", 1)
        for _ in range(2):
            with pytest.raises(BackendClosedError):
                view.get("k")
        assert face.get("ns:k") == 1
        face.close()
        with pytest.raises(BackendClosedError):
            face.get("k")


def test_a_twin_is_what_runs_and_what_is_closed() -> None:
    class Twinned(Suspending):
        def __init__(self) -> None:
            super().__init__()
            self.twin = NeverSuspending()

        def _blocking_twin(self) -> Backend | None:
            return self.twin

    backend = Twinned()
    with SyncBackend(backend) as face:
        assert face.backend is backend
        face.set("k", 1)
        view = face.namespace("ns")
        view.set("k", 2)
        view.close()
        with pytest.raises(BackendClosedError):
            view.get("k")
        assert face.get_many(["k", "ns:k"]) == {"k": 1, "ns:k": 2}
    assert (backend.twin.closed, backend.closed) == (1, 0)
    assert backend.threads == set()
    assert backend.twin.threads == {threading.get_ident()}


# Over a class that suspends


def test_a_class_that_suspends_runs_in_the_shared_worker_thread(face: SyncBackend, suspending: Suspending) -> None:
    with face:
        every_verb_of_six(face)
        every_verb(face)
        every_verb_of_six_in_a_view(face)
    assert len(suspending.threads) == 1
    assert threading.get_ident() not in suspending.threads
    assert suspending.closed == 1
    with pytest.raises(BackendClosedError):
        face.get("k")


def every_verb_of_six_in_a_view(face: SyncBackend) -> None:
    view = face.namespace("ns")
    view.set("k", 1)
    assert view.get("k", int) == 1
    assert list(view.scan()) == ["k"]
    view.clear()
    assert not view.exists("k")


def test_views_of_it_run_on_the_same_runtime(face: SyncBackend, suspending: Suspending) -> None:
    face.exists("k")
    face.namespace("ns").namespace("inner").exists("k")
    assert len(suspending.threads) == 1


def test_exceptions_come_with_their_type_and_traceback(face: SyncBackend) -> None:
    face.set("k", "not an int")
    with pytest.raises(DeserializationError) as caught:
        face.get("k", int)
    assert caught.value.key == "k"
    frames = [(Path(entry.filename).name, entry.name) for entry in traceback.extract_tb(caught.value.__traceback__)]
    assert ("test_sync.py", "get") in frames


def test_a_get_that_does_not_renew_does_not_ask_the_backend_to(face: SyncBackend, suspending: Suspending) -> None:
    face.get("k")
    face.get("k", int, renew=5)
    assert suspending.renewed == [{}, {"renew": 5}]


def test_from_fifty_threads_it_counts_right(face: SyncBackend, suspending: Suspending) -> None:
    def count() -> None:
        for _ in range(10):
            face.increment("n")

    threads = [threading.Thread(target=count) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert face.get("n", int) == 500
    assert len(suspending.threads) == 1


@pytest.mark.anyio
async def test_it_works_inside_a_running_loop(face: SyncBackend, suspending: Suspending) -> None:
    with face:
        every_verb_of_six(face)
        await anyio.lowlevel.checkpoint()
        every_verb(face)
    assert suspending.tasks[0] == suspending.tasks[-1]


def test_the_block_is_entered_and_left_in_one_task(face: SyncBackend, suspending: Suspending) -> None:
    with pytest.raises(KeyError) as caught, face as entered:
        assert entered is face
        face.set("k", 1)
        raise KeyError("k")
    assert caught.value.args == ("k",)
    first, second = suspending.tasks
    assert first == second


def test_blocks_nest(runtime: Any) -> None:
    class Plain(Suspending):
        async def __aenter__(self) -> Self:
            await anyio.lowlevel.checkpoint()
            log.append("entered")
            return self

        async def __aexit__(self, *_: object) -> None:
            await anyio.lowlevel.checkpoint()
            log.append("left")

    log: list[str] = []
    face = SyncBackend(Plain(), runtime=runtime)
    with face, face:
        face.set("k", 1)
    assert log == ["entered", "entered", "left", "left"]
    with contextlib.ExitStack() as stack:
        stack.push(face)
    assert log[4:] == ["left"]


@pytest.mark.parametrize("kind", [Suspending, NeverSuspending])
def test_a_class_may_suppress_an_exception_where_it_may_asynchronously(runtime: Any, kind: type[Suspending]) -> None:
    class Quiet(kind):  # type: ignore[misc, valid-type]
        never_suspends = kind.never_suspends

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> Any:
            return True

    with SyncBackend(Quiet(), runtime=runtime):
        raise KeyError


def test_a_scan_runs_in_one_task_and_is_closed_when_it_is_left(face: SyncBackend, suspending: Suspending) -> None:
    face.set_many(dict.fromkeys("abcde", 1))
    assert sorted(face.scan()) == list("abcde")
    assert len(set(suspending.tasks)) == 1
    suspending.tasks.clear()
    suspending.scan_closed.clear()
    for _ in face.scan():
        break
    assert suspending.scan_closed.wait(PATIENCE)
    assert len(suspending.tasks) == 2
    assert len(set(suspending.tasks)) == 1


def test_a_scan_that_is_not_there_says_so_at_once(runtime: Any) -> None:
    class NoScan(Suspending):
        scan = Backend.scan

    for backend in (NoScan(), NoScan().namespace("ns")):
        with pytest.raises(UnsupportedOperationError):
            SyncBackend(backend, runtime=runtime).scan()


def test_a_scan_checks_its_prefix_at_once() -> None:
    for face in (SyncBackend(MemoryBackend()), SyncBackend(MemoryBackend()).namespace("ns")):
        with pytest.raises(TypeError):
            face.scan(5)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_after_a_fork_the_face_works_in_parent_and_child(face: SyncBackend) -> None:
    face.set("k", 1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if face.increment("k") == 2 and face.namespace("ns").get("k") is None else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert face.get("k", int) == 1


def test_types_are_what_type_checkers_think() -> None:
    face = SyncBackend(MemoryBackend())
    face.set("k", 5)
    number: int | None = face.get("k", int)
    keys: Iterator[str] = face.scan()
    assert (number, list(keys)) == (5, ["k"])
