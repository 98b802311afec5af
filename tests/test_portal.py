"""What runs the coroutines of a blocking face: driven in the calling thread, or as strands in the portal."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import threading
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.lowlevel
import pytest

from reinhardt_backends._blocking import drive, drive_each
from reinhardt_backends._blocking._portal import Portal, portal
from reinhardt_backends._blocking._portal_backend import PortalRunner

PATIENCE = 60
PREAMBLE = """
import os, signal, sys, threading
import anyio
from reinhardt_backends._blocking._portal_backend import PortalRunner

def say(*words):
    print(*words, flush=True)
"""


@pytest.fixture(params=["asyncio", "trio"])
def runtime(request: pytest.FixtureRequest) -> Any:
    if request.param == "trio":
        pytest.importorskip("trio")
    return request.param


@pytest.fixture
def ported(runtime: Any) -> PortalRunner:
    return PortalRunner(runtime)


def start(script: str, *arguments: str, options: tuple[str, ...] = ("-X", "dev", "-W", "error")) -> Any:
    """Start a script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, *options, "-c", PREAMBLE + textwrap.dedent(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


def output_of(process: Any) -> list[str]:
    """Wait for a process that must end well and silently, and return the lines that it printed."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    lines: list[str] = out.splitlines()
    return lines


async def waits() -> int:
    await anyio.lowlevel.checkpoint()
    return 5


async def does_not_wait() -> int:
    return 5


class Nobody(BaseException):
    """Not an ``Exception``, as ``SystemExit`` is not."""


# drive


def test_drive_returns_what_the_coroutine_returns() -> None:
    assert drive(does_not_wait()) == 5


def test_drive_lets_exceptions_through() -> None:
    async def fail() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError) as caught:
        drive(fail())
    assert [entry.name for entry in traceback.extract_tb(caught.value.__traceback__)][-1] == "fail"


def test_a_coroutine_that_suspends_where_it_must_not_is_closed_and_named() -> None:
    closed = []

    class Pause:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def lazy() -> None:
        try:
            await Pause()
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match=r"lazy suspended where no event loop runs it.*never_suspends"):
        drive(lazy())
    assert closed == [True]


def test_an_error_while_such_a_coroutine_is_closed_is_the_cause() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            raise KeyError("while closing")

    with pytest.raises(RuntimeError, match="stubborn suspended") as caught:
        drive(stubborn())
    assert isinstance(caught.value.__cause__, KeyError)


def test_suspending_where_it_must_not_is_an_error_inside_a_running_loop_too() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="sleep suspended"):
            drive(asyncio.sleep(10))

    asyncio.run(main())


def test_a_driven_iteration_is_closed_when_it_is_left() -> None:
    closed = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(5):
                yield number
        finally:
            closed.append(True)

    assert list(drive_each(numbers())) == [0, 1, 2, 3, 4]
    assert closed == [True]
    for number in drive_each(numbers()):
        if number == 2:
            break
    gc.collect()
    assert closed == [True, True]


def test_a_driven_iteration_that_suspends_says_so() -> None:
    class Lazy:
        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> int:
            return await asyncio.sleep(0, 1)

    with pytest.raises(RuntimeError, match="__anext__ suspended"):
        next(drive_each(Lazy()))


# Calls


def test_a_call_runs_in_the_portal_and_returns_its_result(ported: PortalRunner) -> None:
    async def where() -> int:
        await waits()
        return threading.get_ident()

    ident = ported.call(where)
    assert ident != threading.get_ident()
    assert ident == ported.call(where)
    assert len([t for t in threading.enumerate() if t.name == f"reinhardt_backends {ported.runtime} portal"]) == 1


def test_what_makes_the_coroutine_is_called_in_the_portal(ported: PortalRunner) -> None:
    def make() -> Any:
        idents.append(threading.get_ident())
        return waits()

    idents: list[int] = []
    ported.call(make)
    assert idents != [threading.get_ident()]


def test_exceptions_keep_their_type_and_traceback(ported: PortalRunner) -> None:
    error = KeyError("k")

    async def fail() -> None:
        await waits()
        raise error

    with pytest.raises(KeyError) as caught:
        ported.call(fail)
    assert caught.value is error
    assert [entry.name for entry in traceback.extract_tb(error.__traceback__)][-1] == "fail"


def test_an_error_of_a_call_is_not_kept_alive(ported: PortalRunner) -> None:
    class Witness(Exception):
        def __del__(self) -> None:
            gone.set()

    gone = threading.Event()

    async def fail() -> None:
        raise Witness

    gc.disable()
    try:
        with pytest.raises(Witness) as caught:
            ported.call(fail)
        del caught
        assert gone.wait(PATIENCE)
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, Nobody])
def test_no_exception_of_one_call_ends_the_portal(ported: PortalRunner, kind: Any) -> None:
    error = kind("k")

    async def fail() -> None:
        raise error

    thread = ported.call(current_ident)
    with pytest.raises(kind) as caught:
        ported.call(fail)
    assert caught.value is error
    assert ported.call(current_ident) == thread


async def current_ident() -> int:
    return threading.get_ident()


def test_a_call_sees_the_context_variables_of_its_caller(ported: PortalRunner) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("the caller's")

    async def read() -> str:
        await waits()
        seen = variable.get()
        variable.set("the call's")
        return seen

    assert ported.call(read) == "the caller's"
    assert variable.get() == "the caller's"


def test_fifty_threads_call_at_once(ported: PortalRunner) -> None:
    here = 0
    all_here = portal_event(ported)
    results: list[int] = []

    async def meet() -> int:
        nonlocal here
        here += 1
        if here == 50:
            all_here.set()
        with anyio.fail_after(PATIENCE):
            await all_here.wait()
        return here

    threads = [threading.Thread(target=lambda: results.append(ported.call(meet))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [50] * 50


def portal_event(ported: PortalRunner) -> Any:
    async def make() -> anyio.Event:
        return anyio.Event()

    return ported.call(make)


@pytest.mark.anyio
async def test_it_works_inside_a_running_loop(ported: PortalRunner) -> None:
    async def sleep() -> int:
        # Asks for the running library, which is not always that of the caller.
        await anyio.sleep(0.001)
        async with anyio.create_task_group() as group:
            group.start_soon(waits)
        return await waits()

    assert ported.call(sleep) == 5
    assert list(ported.iterate(count_to(3))) == [0, 1, 2]
    with ported.hold(grouped) as value:
        assert value == "value"
    # The caller's own loop is none the worse for it.
    with anyio.fail_after(PATIENCE):
        assert await waits() == 5


def count_to(end: int) -> Callable[[], AsyncIterator[int]]:
    async def count() -> AsyncIterator[int]:
        for number in range(end):
            await anyio.lowlevel.checkpoint()
            yield number

    return count


@asynccontextmanager
async def grouped() -> AsyncIterator[str]:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        yield "value"
        group.cancel_scope.cancel()


def test_a_call_from_the_portal_to_itself_is_an_error_and_not_a_deadlock(ported: PortalRunner) -> None:
    async def nested() -> Any:
        return ported.call(waits)

    with pytest.raises(RuntimeError, match="in its own worker thread"):
        ported.call(nested)
    assert not portal(ported.runtime).strands


def test_a_thread_that_the_portal_waits_for_may_call_it(ported: PortalRunner) -> None:
    async def threaded() -> int:
        return await anyio.to_thread.run_sync(lambda: ported.call(waits))

    assert ported.call(threaded) == 5


def test_one_portal_may_call_the_other() -> None:
    pytest.importorskip("trio")

    async def nested() -> int:
        return PortalRunner("trio").call(waits)

    assert PortalRunner("asyncio").call(nested) == 5


def test_a_stopped_loop_leaves_no_caller_waiting_and_is_started_again() -> None:
    ported = PortalRunner("asyncio")
    waiting = threading.Event()
    ended: list[BaseException] = []

    async def wait() -> None:
        waiting.set()
        await anyio.sleep_forever()

    def bystander() -> None:
        try:
            ported.call(wait)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=bystander)
    thread.start()
    assert waiting.wait(PATIENCE)
    stopped = stop_portal(ported)
    thread.join(PATIENCE)
    assert len(ended) == 1
    assert not stopped.strands
    assert ported.call(waits) == 5


def test_an_iteration_in_a_loop_that_was_stopped_says_so() -> None:
    ported = PortalRunner("asyncio")
    numbers, left = ported.iterate(count_to(3)), ported.iterate(count_to(3))
    assert next(numbers) == next(left) == 0
    stop_portal(ported)
    del left
    with pytest.raises(RuntimeError, match="was stopped"):
        next(numbers)


def stop_portal(ported: PortalRunner) -> Portal:
    async def stop() -> None:
        asyncio.get_running_loop().stop()

    stopped = portal(ported.runtime)
    (thread,) = [thread for thread in threading.enumerate() if thread.ident == ported.call(current_ident)]
    ported.call(stop)
    thread.join(PATIENCE)
    assert stopped.dead
    return stopped


def test_without_trio_its_portal_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio", None)
    with pytest.raises(ImportError, match=r"pip install 'reinhardt-backends\[trio\]'"):
        PortalRunner("trio")


# Iterations


class Diary:
    """An asynchronous iterator with a cancel scope held from step to step, which notes in which task it is."""

    def __init__(self, end: int = 5) -> None:
        self.tasks: set[int] = set()
        self.made = 0
        self.closed = threading.Event()
        self._end = end

    async def __call__(self) -> AsyncIterator[int]:
        try:
            with anyio.CancelScope():
                for number in range(self._end):
                    self.note()
                    await anyio.lowlevel.checkpoint()
                    self.made += 1
                    yield number
        finally:
            self.note()
            self.closed.set()

    def note(self) -> None:
        self.tasks.add(anyio.get_current_task().id)


def test_an_iteration_runs_in_one_task_up_to_its_end(ported: PortalRunner) -> None:
    diary = Diary()
    numbers = ported.iterate(diary)
    assert list(numbers) == [0, 1, 2, 3, 4]
    assert list(numbers) == []
    assert len(diary.tasks) == 1
    assert diary.closed.is_set()


def test_an_iteration_does_not_read_ahead(ported: PortalRunner) -> None:
    diary = Diary()
    numbers = ported.iterate(diary)
    assert diary.made == 0
    assert [next(numbers), next(numbers)] == [0, 1]
    ported.call(waits)
    assert diary.made == 2
    numbers.close()  # type: ignore[attr-defined]


def test_closing_an_iteration_closes_it_in_its_task_before_it_returns(ported: PortalRunner) -> None:
    diary = Diary()
    with closing(ported.iterate(diary)) as numbers:  # type: ignore[type-var]
        assert next(numbers) == 0
    assert diary.closed.is_set()
    assert len(diary.tasks) == 1
    with pytest.raises(StopIteration):
        next(numbers)
    numbers.close()  # type: ignore[attr-defined]


def test_an_iteration_that_is_left_is_closed_in_its_task(ported: PortalRunner) -> None:
    diary = Diary()
    for number in ported.iterate(diary):
        if number == 1:
            break
    assert diary.closed.wait(PATIENCE)
    assert (len(diary.tasks), diary.made) == (1, 2)


def test_an_iteration_that_is_never_begun_is_closed_when_it_is_collected(ported: PortalRunner) -> None:
    closed = threading.Event()

    class Numbers:
        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> int:
            return 1

        async def aclose(self) -> None:
            closed.set()

    ported.iterate(Numbers)
    assert closed.wait(PATIENCE)


def test_an_iteration_may_be_collected_in_the_portals_own_thread(ported: PortalRunner) -> None:
    diary = Diary()
    numbers = [ported.iterate(diary)]
    next(numbers[0])

    async def drop() -> None:
        numbers.clear()

    ported.call(drop)
    assert diary.closed.wait(PATIENCE)


def test_a_task_group_may_be_held_from_step_to_step(ported: PortalRunner) -> None:
    class Fed:
        """Numbers from a task that lives as long as the iteration."""

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> int:
            if not hasattr(self, "_group"):
                self._send, self._receive = anyio.create_memory_object_stream[int](0)
                self._group = anyio.create_task_group()
                await self._group.__aenter__()
                self._group.start_soon(self._feed)
            return await self._receive.receive()

        async def _feed(self) -> None:
            number = 0
            while True:
                await self._send.send(number)
                number += 1

        async def aclose(self) -> None:
            self._group.cancel_scope.cancel()
            await self._group.__aexit__(None, None, None)
            self._send.close()
            self._receive.close()
            closed.set()

    closed = threading.Event()
    numbers = ported.iterate(Fed)
    assert [next(numbers) for _ in range(3)] == [0, 1, 2]
    del numbers
    assert closed.wait(PATIENCE)


def test_errors_of_an_iteration_come_where_they_belong(ported: PortalRunner) -> None:
    def not_to_be() -> Any:
        raise KeyError("when it is made")

    async def ill() -> AsyncIterator[int]:
        try:
            yield 1
            raise KeyError("on the second step")
        finally:
            await waits()

    async def ill_at_the_end() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise KeyError("when it is closed")

    with pytest.raises(KeyError, match="when it is made"):
        ported.iterate(not_to_be)
    numbers = ported.iterate(ill)
    assert next(numbers) == 1
    with pytest.raises(KeyError, match="on the second step"):
        next(numbers)
    assert list(numbers) == []
    numbers = ported.iterate(ill_at_the_end)
    assert next(numbers) == 1
    with pytest.raises(KeyError, match="when it is closed"):
        numbers.close()  # type: ignore[attr-defined]
    numbers.close()  # type: ignore[attr-defined]


def test_two_threads_cannot_step_at_once(ported: PortalRunner) -> None:
    async def slow() -> AsyncIterator[int]:
        stepping.set()
        await may_go_on.wait()
        yield 1

    stepping, may_go_on = threading.Event(), portal_event(ported)
    numbers = ported.iterate(slow)
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.extend(numbers))
    thread.start()
    assert stepping.wait(PATIENCE)
    with pytest.raises(ValueError, match="already executing"):
        next(numbers)

    async def go_on() -> None:
        may_go_on.set()

    ported.call(go_on)
    thread.join(PATIENCE)
    assert results == [1]


# Context managers


class Room:
    """A context manager that keeps a task group open, and notes in which tasks it is entered and left."""

    def __init__(self, child: Callable[[], Any] = anyio.sleep_forever, *, suppress: bool = False) -> None:
        self.tasks: list[int] = []
        self.seen: BaseException | None = None
        self._child = child
        self._suppress = suppress

    async def __aenter__(self) -> Self:
        self.tasks.append(anyio.get_current_task().id)
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._child)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        self.tasks.append(anyio.get_current_task().id)
        self.seen = exc
        if exc is None or not isinstance(exc, anyio.get_cancelled_exc_class()):
            self._group.cancel_scope.cancel()
            await self._group.__aexit__(None, None, None)
            return self._suppress
        return bool(await self._group.__aexit__(exc_type, exc, tb))


def test_a_context_manager_is_entered_and_left_in_one_task(ported: PortalRunner) -> None:
    room = Room()
    with ported.hold(lambda: room) as value:
        assert value is room
        assert ported.call(waits) == 5
        with ported.hold(Room):
            pass
    assert len(room.tasks) == 2
    assert len(set(room.tasks)) == 1


@pytest.mark.parametrize("kind", [KeyError, StopIteration, KeyboardInterrupt, asyncio.CancelledError])
def test_it_sees_the_exception_of_the_block_which_comes_out_as_it_was(ported: PortalRunner, kind: Any) -> None:
    error: BaseException = kind("k")
    room = Room()
    with pytest.raises(kind) as caught, ported.hold(lambda: room):
        raise error
    assert caught.value is room.seen is error
    assert error.__context__ is None
    assert [entry.name for entry in traceback.extract_tb(error.__traceback__)] == [
        "test_it_sees_the_exception_of_the_block_which_comes_out_as_it_was"
    ]


def test_it_may_suppress_the_exception(ported: PortalRunner) -> None:
    room = Room(suppress=True)
    with ported.hold(lambda: room):
        raise KeyError
    assert isinstance(room.seen, KeyError)


def test_its_own_errors_come_out(ported: PortalRunner) -> None:
    class Ill(Room):
        def __init__(self, *, entering: bool) -> None:
            super().__init__()
            self._entering = entering

        async def __aenter__(self) -> Self:
            if self._entering:
                raise ValueError("entering")
            return self

        async def __aexit__(self, *_: object) -> bool:
            raise ValueError("leaving")

    with pytest.raises(ValueError, match="entering"), ported.hold(lambda: Ill(entering=True)):
        raise AssertionError("not reached")
    with pytest.raises(ValueError, match="leaving") as caught, ported.hold(lambda: Ill(entering=False)):
        raise KeyError
    assert isinstance(caught.value.__context__, KeyError)


def test_a_child_task_that_fails_meanwhile_is_heard_of_when_the_block_ends(ported: PortalRunner) -> None:
    async def fail() -> None:
        failed.set()
        raise KeyError("child")

    failed = threading.Event()
    with pytest.raises(BaseExceptionGroup) as caught, ported.hold(lambda: Room(fail)):
        assert failed.wait(PATIENCE)
        # The portal is alive, and so is the block.
        assert ported.call(waits) == 5
    assert caught.group_contains(KeyError, match="child")


def test_a_block_may_be_left_by_another_thread(ported: PortalRunner) -> None:
    room = Room()
    held = ported.hold(lambda: room)
    held.__enter__()
    thread = threading.Thread(target=lambda: held.__exit__(None, None, None))
    thread.start()
    thread.join(PATIENCE)
    assert len(set(room.tasks)) == 1
    assert len(room.tasks) == 2


# Interrupts

INTERRUPTED = """
ported = PortalRunner(sys.argv[1])
what = ""

async def call():
    try:
        say("waiting")
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.05)
        say("ended")

async def each():
    yield 0
    await call()

class Door:
    async def __aenter__(self):
        if what == "enter":
            await call()
    async def __aexit__(self, *_):
        if what == "leave":
            await call()

async def fine():
    await anyio.sleep(0)
    return "fine"

for what in sys.argv[2:]:
    try:
        if what == "call":
            ported.call(call)
        elif what == "iterate":
            for _ in ported.iterate(each):
                pass
        elif what == "loop":
            async def main():
                ported.call(call)
            anyio.run(main, backend="trio")
        else:
            with ported.hold(Door):
                pass
    except KeyboardInterrupt:
        say("interrupted")
    say(what, ported.call(fine))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
def test_ctrl_c_cancels_what_runs_and_waits_for_its_end(runtime: str) -> None:
    loops = ["loop"] if importlib.util.find_spec("trio") is not None else []
    calls = ["call", "iterate", "enter", "leave", *loops]
    process = start(INTERRUPTED, runtime, *calls)
    for what in calls:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert [process.stdout.readline() for _ in range(3)] == ["ended\n", "interrupted\n", f"{what} fine\n"]
    assert output_of(process) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
def test_a_second_ctrl_c_does_not_wait_for_a_call_that_does_not_end(runtime: str) -> None:
    process = start(
        """
        async def canary():
            try:
                await anyio.sleep_forever()
            finally:
                say("cancelled")

        async def deaf():
            async with anyio.create_task_group() as group:
                group.start_soon(canary)
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0)
                    say("waiting")
                    await anyio.sleep_forever()

        try:
            PortalRunner(sys.argv[1]).call(deaf)
        except KeyboardInterrupt:
            say("interrupted")
        """,
        runtime,
    )
    for line in ("waiting\n", "cancelled\n"):
        assert process.stdout.readline() == line
        process.send_signal(signal.SIGINT)
    assert output_of(process) == ["interrupted"]


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
def test_ctrl_c_reaches_a_caller_whose_wait_it_does_not_interrupt(runtime: str) -> None:
    """As when it arrives just before the wait begins. Here another thread takes it, so that this holds every time."""
    process = start(
        """
        async def deaf():
            signal.raise_signal(signal.SIGINT)
            await anyio.sleep_forever()

        try:
            PortalRunner(sys.argv[1]).call(deaf)
        except KeyboardInterrupt:
            say("interrupted")
        """,
        runtime,
    )
    assert output_of(process) == ["interrupted"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer of signals")
def test_interrupts_at_any_moment_leave_no_call_running_and_no_caller_waiting(runtime: str) -> None:
    process = start(
        """
        import random

        class Interrupt(BaseException):
            pass

        def interrupt(*_):
            raise Interrupt

        begun = ended = interrupted = 0

        async def call():
            global begun, ended
            begun += 1
            try:
                await anyio.sleep(0.0002)
            finally:
                ended += 1

        signal.signal(signal.SIGALRM, interrupt)
        random.seed(1)
        ported = PortalRunner(sys.argv[1])
        ported.call(call)
        for _ in range(300):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.001))
                    ported.call(call)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                interrupted += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        ported.call(call)
        say(begun == ended, interrupted > 0, threading.active_count())
        """,
        runtime,
    )
    assert output_of(process) == ["True True 2"]


# Processes


def test_a_signal_handler_may_call_while_the_same_thread_starts_the_portal(runtime: str) -> None:
    process = start(
        """
        runner = PortalRunner(sys.argv[1])

        async def fine():
            await anyio.sleep(0)
            return "fine"

        start = threading.Thread.start

        def interrupted(thread):
            threading.Thread.start = start
            # As a signal handler does that runs at this point.
            say("handler:", runner.call(fine))
            start(thread)

        threading.Thread.start = interrupted
        say("call:", runner.call(fine))
        say("again:", runner.call(fine))
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join(0.5)
        say(threading.active_count())
        """,
        runtime,
    )
    assert output_of(process) == ["handler: fine", "call: fine", "again: fine", "2"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_process_gets_a_portal_of_its_own(runtime: str) -> None:
    process = start(
        """
        ported = PortalRunner(sys.argv[1])

        async def where():
            await anyio.sleep(0)
            return os.getpid()

        async def each():
            yield 1
            yield 2

        class Door:
            async def __aenter__(self):
                pass
            async def __aexit__(self, *_):
                say("left in the parent:", os.getpid() == parent)

        parent = os.getpid()
        assert ported.call(where) == parent
        numbers = ported.iterate(each)
        assert next(numbers) == 1
        door = ported.hold(Door)
        door.__enter__()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                assert ported.call(where) == os.getpid() != parent
                assert list(ported.iterate(each)) == [1, 2]
                try:
                    next(numbers)
                except RuntimeError as error:
                    assert "before a fork" in str(error), error
                    code = 0
                del numbers
                door.__exit__(None, None, None)
            except BaseException:
                import traceback
                traceback.print_exc()
                code = 1
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        say("child", os.waitstatus_to_exitcode(status))
        assert ported.call(where) == parent
        say(next(numbers))
        door.__exit__(None, None, None)
        """,
        runtime,
        options=("-W", "error", "-W", "ignore:This process:DeprecationWarning"),
    )
    assert output_of(process) == ["child 0", "2", "left in the parent: True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_process_is_not_hurt_by_a_lock_that_was_held() -> None:
    process = start(
        """
        from reinhardt_backends._blocking import _portal

        async def call():
            return 5

        _portal._lock.acquire()
        child = os.fork()
        if child == 0:
            os._exit(PortalRunner("asyncio").call(call))
        _, status = os.waitpid(child, 0)
        say(os.waitstatus_to_exitcode(status))
        """
    )
    assert output_of(process) == ["5"]


def test_the_interpreter_ends_silently_with_anything_open(runtime: str) -> None:
    process = start(
        """
        import atexit
        ported = PortalRunner(sys.argv[1])

        async def each():
            with anyio.CancelScope():
                yield 1
                yield 2

        class Door:
            async def __aenter__(self):
                self.group = anyio.create_task_group()
                await self.group.__aenter__()
                self.group.start_soon(anyio.sleep_forever)
            async def __aexit__(self, *_):
                say("not reached")

        async def late():
            await anyio.sleep(0)
            return "still served"

        def waiting():
            ported.call(anyio.sleep_forever)

        numbers = ported.iterate(each)
        next(numbers)
        door = ported.hold(Door)
        door.__enter__()
        threading.Thread(target=waiting, daemon=True).start()
        atexit.register(lambda: say(ported.call(late)))
        """,
        runtime,
    )
    assert output_of(process) == ["still served"]


def test_a_call_leaves_no_warning_of_something_unclosed(ported: PortalRunner) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ported.call(waits)
        list(ported.iterate(Diary()))
        with ported.hold(Room):
            pass
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
