"""Every fault on every runtime, with callers of every kind: what each call may do, and what the server may hold.

One incident serves twelve cells, {asyncio, uvloop, trio, blocking} x {patient, impatient, cancelled}: each has a
backend of its own and a few callers that count, write and read while the fault strikes, lasts and heals. The tests then
look at what was recorded.

A caller owns its keys and writes rising numbers, so what the server holds at the end tells which writes were applied
twice, lost, or overtaken.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

pytest.importorskip("redis")
from reinhardt_backends import BackendError, OutcomeUnknownError, RedisBackend, SyncBackend

from ..servers import available, running
from .driving import drive
from .fault_proxy import Fault, FaultProxy, faulty

# Where an interrupt strikes in a finalizer, Python drops it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

TIMEOUT = 0.4
IMPATIENCE = 0.06
FAULT_LASTS = 1.0
HEALED_WITHIN = 1.0
CALLERS = 3
#: Seconds between two rounds of calls of one caller.
PAUSE = 0.06
#: Seconds between two looks at whether a loop, or the machine, stalls.
WATCH_EVERY = 0.02

RUNTIMES = ("asyncio", "uvloop", "trio", "blocking")
MANNERS = ("patient", "impatient", "cancelled")
FAULTS = ("stopped server", *(fault.value for fault in Fault if fault not in {Fault.THIN_UPLINK, Fault.NEW_SILENT}))


@dataclass
class Call:
    """One call that has ended."""

    verb: str
    began: float
    took: float
    error: BaseException | None
    #: Seconds until the caller gave up; the backend's timeout for callers that do not.
    patience: float


@dataclass
class Caller:
    """What one caller knows about its keys."""

    name: str
    counted: list[int] = field(default_factory=list)
    maybe_counted: int = 0
    written: int = 0
    acknowledged: int = 0
    unknown: set[int] = field(default_factory=set)
    misread: list[str] = field(default_factory=list)


class GaveUp(Exception):
    """The caller stopped waiting: nothing is known about the outcome."""


class Cell:
    """The callers of one kind on one runtime, with a backend of their own."""

    def __init__(self, runtime: str, manner: str, url: str) -> None:
        self.runtime = runtime
        self.manner = manner
        self.backend = RedisBackend(url, prefix=f"{runtime}-{manner}:", timeout=TIMEOUT, max_connections=CALLERS)
        self.face = SyncBackend(self.backend)
        self.hasty = self.face.with_timeout(IMPATIENCE)
        self.callers = [Caller(f"{runtime}-{manner}-{number}") for number in range(CALLERS)]
        self.calls: list[Call] = []
        self.checks: list[Call] = []
        #: The longest that this cell's loop, or the machine, kept a caller waiting that was ready to run.
        self.stall = 0.0
        self.failure: BaseException | None = None
        self.ready = threading.Event()
        # Until the incident says when: it may fail.
        self.stop_at = time.monotonic() + 40.0
        self.healed_at = 0.0

    def __repr__(self) -> str:
        return f"{self.runtime}, {self.manner}"

    # Asynchronous callers.

    async def run_async(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch_the_loop)
            async with anyio.create_task_group() as callers:
                await self.backend.wait_until_ready(10)
                self.ready.set()
                for caller in self.callers:
                    callers.start_soon(self._live, caller)
            group.cancel_scope.cancel()
        await self.backend.aclose()

    async def _watch_the_loop(self) -> None:
        while True:
            began = time.monotonic()
            await anyio.sleep(WATCH_EVERY)
            self.stall = max(self.stall, time.monotonic() - began - WATCH_EVERY)

    async def _live(self, caller: Caller) -> None:
        while time.monotonic() < self.stop_at:
            for verb in ("count", "write", "read"):
                await self._perform(caller, verb, self._give_up_async)
            await anyio.sleep(PAUSE)
        await anyio.sleep(max(0.0, self.healed_at + HEALED_WITHIN - time.monotonic()))
        for verb in ("count", "write", "read"):
            while not await self._perform(caller, verb, self._wait_async, checking=True):
                await anyio.sleep(0.01)

    async def _wait_async(self, verb: str, key: str, value: int) -> tuple[float, Any]:
        return TIMEOUT, await self._call(self.backend, verb, key, value)

    async def _give_up_async(self, verb: str, key: str, value: int) -> tuple[float, Any]:
        if self.manner == "patient":
            return await self._wait_async(verb, key, value)
        if self.manner == "impatient":
            with anyio.move_on_after(IMPATIENCE):
                return IMPATIENCE, await self._call(self.backend, verb, key, value)
            raise GaveUp(IMPATIENCE)
        delay = random.uniform(0, 0.03)
        if self.runtime == "trio":
            return delay, await self._cancel_on_trio(delay, verb, key, value)
        task = asyncio.ensure_future(self._call(self.backend, verb, key, value))
        await asyncio.wait([task], timeout=delay)
        task.cancel()
        try:
            return delay, await task
        except asyncio.CancelledError:
            raise GaveUp(delay) from None

    async def _cancel_on_trio(self, delay: float, verb: str, key: str, value: int) -> Any:
        result: list[Any] = []

        async def call() -> None:
            try:
                result.append(await self._call(self.backend, verb, key, value))
            except BackendError as error:
                result.append(error)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await anyio.sleep(delay)
            group.cancel_scope.cancel()
        if not result:
            raise GaveUp(delay)
        if isinstance(result[0], BackendError):
            raise result[0]
        return result[0]

    @staticmethod
    def _call(backend: Any, verb: str, key: str, value: int) -> Any:
        if verb == "count":
            return backend.increment(f"{key}:n")
        if verb == "write":
            return backend.set(f"{key}:v", f"{key} {value}")
        return backend.get(f"{key}:v", str)

    # Blocking callers.

    def run_blocking(self) -> None:
        stop_watching = threading.Event()

        def watch() -> None:
            while not stop_watching.is_set():
                began = time.monotonic()
                time.sleep(WATCH_EVERY)
                self.stall = max(self.stall, time.monotonic() - began - WATCH_EVERY)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        self.face.wait_until_ready(10)
        self.ready.set()
        # Exceptions from signal handlers reach the main thread only.
        threads = [threading.Thread(target=self._live_blocking, args=(caller,)) for caller in self.callers[1:]]
        for thread in threads:
            thread.start()
        self._live_blocking(self.callers[0])
        for thread in threads:
            thread.join()
        stop_watching.set()
        watcher.join()
        self.face.close()

    def _live_blocking(self, caller: Caller) -> None:
        while time.monotonic() < self.stop_at:
            for verb in ("count", "write", "read"):
                drive(self._perform(caller, verb, self._give_up_blocking))
            time.sleep(PAUSE)
        time.sleep(max(0.0, self.healed_at + HEALED_WITHIN - time.monotonic()))
        for verb in ("count", "write", "read"):
            while not drive(self._perform(caller, verb, self._wait_blocking, checking=True)):
                time.sleep(0.01)

    async def _wait_blocking(self, verb: str, key: str, value: int) -> tuple[float, Any]:
        return TIMEOUT, self._call(self.face, verb, key, value)

    async def _give_up_blocking(self, verb: str, key: str, value: int) -> tuple[float, Any]:
        if self.manner == "impatient":
            return IMPATIENCE, self._call(self.hasty, verb, key, value)
        if self.manner == "cancelled" and threading.current_thread() is threading.main_thread():
            delay = random.uniform(0.001, 0.03)
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                try:
                    return delay, self._call(self.face, verb, key, value)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except _Interrupt:
                pass
            # Without the context: its frames may hold a coroutine that was made and not started, and Python says so
            # when it is freed.
            raise GaveUp(delay)
        return await self._wait_blocking(verb, key, value)

    # Both.

    async def _perform(
        self,
        caller: Caller,
        verb: str,
        call: Callable[[str, str, int], Awaitable[tuple[float, Any]]],
        *,
        checking: bool = False,
    ) -> bool:
        """Make one call and record it. Return whether it is done: a check is repeated until it succeeds."""
        caller.written += verb == "write"
        # What a read may find is what was there when it began.
        known, unknown = caller.acknowledged, set(caller.unknown)
        began = time.monotonic()
        patience = {"patient": TIMEOUT, "impatient": IMPATIENCE, "cancelled": 0.03}[self.manner]
        patience = TIMEOUT if checking or self._cannot_give_up() else patience
        error: BaseException | None = None
        try:
            patience, result = await call(verb, caller.name, caller.written)
        except GaveUp as given_up:
            error, patience = given_up, given_up.args[0]
        except Exception as raised:
            error = raised
        took = time.monotonic() - began
        (self.checks if checking else self.calls).append(Call(verb, began, took, error, patience))
        in_doubt = isinstance(error, (GaveUp, OutcomeUnknownError))
        if verb == "count" and error is None:
            caller.counted.append(result)
        elif verb == "count":
            caller.maybe_counted += in_doubt
        elif verb == "write" and error is None:
            caller.acknowledged = caller.written
        elif verb == "write" and in_doubt:
            caller.unknown.add(caller.written)
        elif verb == "read" and error is None:
            self._judge_read(caller, result, known, unknown)
        # A minute would be a failure of its own.
        return error is None or not checking or time.monotonic() > self.healed_at + 10.0

    def slack(self) -> float:
        """Seconds that the machine may have kept a caller waiting: close to nothing if it is idle."""
        return 0.05 + 4 * self.stall

    def _cannot_give_up(self) -> bool:
        blocking = self.runtime == "blocking" and self.manner == "cancelled"
        return blocking and threading.current_thread() is not threading.main_thread()

    @staticmethod
    def _judge_read(caller: Caller, text: str | None, known: int, unknown: set[int]) -> None:
        name, number = (caller.name, "0") if text is None else text.rsplit(" ", 1)
        # A write of unknown outcome may be applied at any time; an acknowledged one is never undone by an older one
        # that was acknowledged too.
        if name != caller.name or int(number) not in {known, *unknown}:
            caller.misread.append(f"{text!r} after {known} was acknowledged")


class _Interrupt(Exception):
    """Raised by a signal handler in the middle of a blocking call."""


def _interrupt(*_: object) -> None:
    raise _Interrupt


def _run(cell: Cell) -> None:
    try:
        if cell.runtime == "blocking":
            cell.run_blocking()
        else:
            backend = "trio" if cell.runtime == "trio" else "asyncio"
            options = {} if cell.runtime == "trio" else {"use_uvloop": cell.runtime == "uvloop"}
            anyio.run(cell.run_async, backend=backend, backend_options=options)
    except BaseException as error:
        cell.failure = error
    finally:
        cell.ready.set()


class Incident:
    """One fault, and what became of all callers."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.cells: dict[tuple[str, str], Cell] = {}
        self.began = self.healed = 0.0
        self.values: dict[str, str | None] = {}
        self.counts: dict[str, int] = {}
        with running(None) as server, faulty(server.port) as proxy:
            self._happen(server, proxy)
            with SyncBackend(RedisBackend(server.url, prefix="")) as observer:
                for cell in self.cells.values():
                    prefix = f"{cell.runtime}-{cell.manner}:"
                    for caller in cell.callers:
                        self.values[caller.name] = observer.get(f"{prefix}{caller.name}:v", str)
                        self.counts[caller.name] = observer.get(f"{prefix}{caller.name}:n", int, default=0)

    def _happen(self, server: Any, proxy: FaultProxy) -> None:
        for runtime, manner in itertools.product(RUNTIMES, MANNERS):
            self.cells[runtime, manner] = Cell(runtime, manner, proxy.url)
        main = self.cells["blocking", "cancelled"]
        threads = [threading.Thread(target=_run, args=(cell,)) for cell in self.cells.values() if cell is not main]
        threads.append(threading.Thread(target=self._strike_and_heal, args=(server, proxy)))
        for thread in threads:
            thread.start()
        before = signal.signal(signal.SIGALRM, _interrupt)
        try:
            _run(main)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a call did not end"
        # One thread that hogs the interpreter holds up all others, the proxy included.
        longest = max(cell.stall for cell in self.cells.values())
        for cell in self.cells.values():
            cell.stall = longest

    def _strike_and_heal(self, server: Any, proxy: FaultProxy) -> None:
        for cell in self.cells.values():
            cell.ready.wait(30)
        time.sleep(0.1)
        self.began = time.monotonic()
        if self.fault == "stopped server":
            os.kill(server.pid, signal.SIGSTOP)
        else:
            proxy.strike(Fault(self.fault))
        time.sleep(FAULT_LASTS)
        if self.fault == "stopped server":
            os.kill(server.pid, signal.SIGCONT)
        else:
            proxy.heal()
        self.healed = time.monotonic()
        for cell in self.cells.values():
            cell.healed_at = self.healed
            cell.stop_at = self.healed + HEALED_WITHIN - 0.2


@pytest.fixture(scope="module")
def incidents() -> dict[str, Incident]:
    return {}


# Each fault strikes once: its tests share a worker.
@pytest.fixture(params=[pytest.param(fault, marks=pytest.mark.xdist_group(f"fault {fault}")) for fault in FAULTS])
def incident(request: pytest.FixtureRequest, incidents: dict[str, Incident]) -> Incident:
    """What happened under one fault; each happens once."""
    if not available():
        pytest.skip("no server binary found")
    fault = request.param
    if fault not in incidents:
        incidents[fault] = Incident(fault)
    return incidents[fault]


@pytest.fixture
def cells(incident: Incident) -> list[Cell]:
    """All callers under one fault. They run at the same time, so that a test of each would say no more."""
    for cell in incident.cells.values():
        if cell.failure is not None:
            raise AssertionError(f"{cell}: the callers did not finish") from cell.failure
    return list(incident.cells.values())


def _in_time(cell: Cell, call: Call) -> bool:
    """Within the deadline and 10%, and what the machine took from all callers."""
    return call.took <= call.patience * 1.1 + cell.slack()


def test_each_call_ends_in_time_with_an_answer_or_a_typed_error(cells: list[Cell]) -> None:
    for cell in cells:
        assert len(cell.calls) > 10, cell
        late = [call for call in cell.calls if not _in_time(cell, call)]
        if cell.runtime == "blocking" and cell.manner == "cancelled" and len(late) == 1:
            # Python drops an exception that strikes in a finalizer. The call then ends by its own deadline.
            late = [call for call in late if call.took > TIMEOUT * 1.1 + cell.slack()]
        assert not late, f"{cell}: {len(late)} of {len(cell.calls)} late; stalled for {cell.stall:.3f}"
        untyped = [call for call in cell.calls if call.error and not isinstance(call.error, (BackendError, GaveUp))]
        assert not untyped, cell
        wrong = [call for call in cell.calls if call.verb == "read" and isinstance(call.error, OutcomeUnknownError)]
        assert not wrong, cell


def test_the_fault_was_felt(incident: Incident) -> None:
    """Guards the other tests: a fault that nothing noticed would show nothing."""
    for cell in incident.cells.values():
        during = [one for one in cell.calls if one.began < incident.healed and one.began + one.took > incident.began]
        if cell.manner == "patient" and incident.fault != Fault.RESET.value:
            assert any(one.took > 0.03 or one.error for one in during), cell.runtime


def test_callers_are_served_within_a_second_of_healing(cells: list[Cell]) -> None:
    """Checks may fail until one has succeeded; none that begins after that.

    One call a second probes. If the machine is so slow that a probe ends with the short deadline of its caller, the
    second begins again.
    """
    for cell in cells:
        succeeded = [call for call in cell.checks if call.error is None]
        assert len(succeeded) == 3 * CALLERS, cell
        ended = [call.began + call.took for call in [*cell.calls, *cell.checks] if call.error is None]
        first = min(moment for moment in ended if moment > cell.healed_at)
        cut_short = [
            call.began
            for call in cell.calls
            if call.error is not None and call.began > cell.healed_at and call.took > call.patience * 0.9
        ]
        served_by = max([cell.healed_at, *cut_short]) + HEALED_WITHIN + 0.1 + cell.slack()
        assert first < served_by, cell
        # Before the checks, hasty calls that all run into their short deadlines may begin another outage.
        checked = min(call.began + call.took for call in succeeded)
        assert checked < served_by + HEALED_WITHIN, cell
        assert [call for call in cell.checks if call.error and call.began > checked] == [], cell


def test_nothing_is_counted_twice_and_nothing_that_was_acknowledged_is_lost(
    cells: list[Cell], incident: Incident
) -> None:
    for caller in (caller for cell in cells for caller in cell.callers):
        assert len(set(caller.counted)) == len(caller.counted), caller.name
        count = incident.counts[caller.name]
        assert len(caller.counted) <= count <= len(caller.counted) + caller.maybe_counted, caller.name


def test_no_resent_write_lands_after_a_newer_acknowledged_one(cells: list[Cell], incident: Incident) -> None:
    for caller in (caller for cell in cells for caller in cell.callers):
        assert not caller.misread
        value = incident.values[caller.name]
        name, number = (value or f"{caller.name} 0").rsplit(" ", 1)
        assert name == caller.name
        # Only a write of unknown outcome, which is never resent, may land late.
        assert int(number) in {caller.acknowledged, *caller.unknown}, caller.name


@pytest.mark.xdist_group(f"fault {Fault.SLOW.value}")
def test_a_slow_server_costs_patient_callers_nothing_but_time(incidents: dict[str, Incident]) -> None:
    slow = incidents.get(Fault.SLOW.value) or incidents.setdefault(Fault.SLOW.value, Incident(Fault.SLOW.value))
    for (_, manner), cell in slow.cells.items():
        if manner == "patient" and cell.slack() < TIMEOUT / 2:
            assert not [call for call in cell.calls if isinstance(call.error, BackendError)]
