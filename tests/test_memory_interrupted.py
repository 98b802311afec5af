"""A memory backend whose calls end anywhere: exceptions that signal handlers raise in the middle of a verb.

CPython runs signal handlers at the start of a function, after a call, and at a backward jump. The tests raise an
exception, or use the backend, at each of these places, one after another.
"""

from __future__ import annotations

import dis
import itertools
import linecache
import math
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import cache, partial
from types import CodeType, FrameType
from typing import Any

import pytest

from reinhardt_backends import KEEP_TTL, MemoryBackend
from reinhardt_backends._backend._atomic import KeyStep, Step
from reinhardt_backends._component import drive
from reinhardt_backends._memory._bounded import UNKNOWN
from reinhardt_backends.testing import FakeClock

OPTIONS: dict[str, dict[str, Any]] = {
    "unbounded": {},
    "lru": {"maxsize": 6, "maxbytes": 100},
    "fifo": {"maxsize": 6, "policy": "fifo"},
    "lfu": {"maxsize": 6, "maxbytes": 100, "policy": "lfu"},
}
COUNT = Step("count", "", lambda now, found, args: (0, ((0 if found[0] is None else found[0][0] + 1, args[0]),) * 2))
COUNT_ONE = KeyStep("count", "", (), lambda now, stored, left: (0, (stored or 0) + 1, 3))
COUNT_ONE_STILL = KeyStep("count", "", (), lambda now, stored, left: (0, (stored or 0) + 1, None))

WRITES: dict[str, Callable[[MemoryBackend], Awaitable[Any]]] = {
    "set a new key": lambda backend: backend.set("new", "x" * 60, 30),
    "set a key without expiry": lambda backend: backend.set("new", "x" * 60),
    "set with a later expiry": lambda backend: backend.set("s", "y" * 70, 9000),
    "set with a sooner expiry": lambda backend: backend.set("s", "y" * 70, 3),
    "set and keep the expiry": lambda backend: backend.set("s", [1, 2, 3], KEEP_TTL),
    "get": lambda backend: backend.get("s", str),
    "get renewing": lambda backend: backend.get("s", str, renew=2),
    "delete": lambda backend: backend.delete("s"),
    "increment": lambda backend: backend.increment("n", 60),
    "increment a new key": lambda backend: backend.increment("new", 60),
    "add": lambda backend: backend.add("new", "x" * 60, 30),
    "replace": lambda backend: backend.replace("s", "y" * 70, 3),
    "pop": lambda backend: backend.pop("s", str),
    "touch": lambda backend: backend.touch("s", 3),
    "set_many": lambda backend: backend.set_many({"a": 1, "s": 2}, 3),
    "delete_many": lambda backend: backend.delete_many(["s", "n"]),
    "compare_and_set": lambda backend: backend.compare_and_set("s", "v", "y" * 70, 3),
    "compare_and_delete": lambda backend: backend.compare_and_delete("s", "v"),
    "clear": lambda backend: backend.clear(),
    "clear a namespace": lambda backend: backend.namespace("k").clear(),
    "a step over one key": lambda backend: backend._run_key_step(COUNT_ONE, "n"),
    "a step over one key that keeps its expiry": lambda backend: backend._run_key_step(COUNT_ONE_STILL, "n"),
    "a step over two keys": lambda backend: backend._run_step(COUNT, ("n", "new"), (math.inf,)),
}


class Interrupted(BaseException):
    """What a signal handler raises."""


def prepared(options: dict[str, Any]) -> tuple[MemoryBackend, FakeClock]:
    """Return a backend that is full, with keys that have expired and one whose expiry was moved."""
    clock = FakeClock()
    backend = MemoryBackend(clock=clock, **options)
    for number in range(2):
        drive(backend.set(f"k:{number}", "value", 1))
    drive(backend.set("k:moved", 1, 1))
    drive(backend.touch("k:moved", 500))
    drive(backend.set("s", "v", 600))
    drive(backend.increment("n", 600))
    clock.advance(2)
    return backend, clock


@cache
def places_in(code: CodeType) -> set[int]:
    """Return the offsets of the instructions before which a signal handler may run."""
    bytecode: Any = dis.Bytecode(code)
    handlers = bytecode.exception_entries

    def handler_at(offset: int) -> int | None:
        return next((entry.target for entry in handlers if entry.start <= offset < entry.end), None)

    found: set[int] = set()
    call: int | None = None
    for instruction in dis.get_instructions(code):
        # An exception after a call is handled where the call is, so only an instruction with the same handler will do.
        if call is not None and handler_at(call) == handler_at(instruction.offset):
            found.add(instruction.offset)
        call = instruction.offset if instruction.opname.startswith("CALL") else None
        if "JUMP_BACKWARD" in instruction.opname:
            found.add(instruction.argval)
    return found


def run_interrupted(verb: Any, place: int, act: Callable[[], object], *, lines: bool) -> bool:
    """Drive a coroutine and ``act`` at the n-th place of it. Return whether there was one.

    Of a place that is passed again and again, as in a loop, only the first two times count.
    """
    passed: dict[tuple[CodeType, int], int] = {}
    places = 0
    done = False

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal places, done
        code = frame.f_code
        if event == "opcode":
            if frame.f_lasti not in places_in(code):
                return trace
        elif event == "call":
            frame.f_trace_opcodes = True
        elif event == "line" and lines and "_memory" in code.co_filename:
            # On these lines the lock is about to be released, and no handler runs right before.
            line = linecache.getline(code.co_filename, frame.f_lineno).strip()
            if line.startswith(("lock.release()", "with ", "break")):
                return trace
        else:
            return trace
        passed[code, frame.f_lasti] = times = passed.get((code, frame.f_lasti), 0) + 1
        if times <= 2 and not done:
            places += 1
            if places > place:
                done = True
                sys.settrace(None)
                act()
        return None if done else trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        drive(verb)
    except Interrupted:
        pass
    finally:
        sys.settrace(before)
        verb.close()
    return done


def check(backend: MemoryBackend, clock: FakeClock, options: dict[str, Any]) -> None:
    """The lock is free, every key is filed, the bounds hold and are accounted for, and every verb works."""
    assert not backend._lock._is_owned(), "the lock is held"  # type: ignore[attr-defined]  # of the C class too
    check_state(backend, options)
    for number in range(7):
        drive(backend.set(f"more:{number}", "value", 5))
        drive(backend.get("more:0"))
    check_state(backend, options)
    assert drive(backend.increment("count", 5)) == 1
    assert drive(backend.add("other", "value", 5))
    assert drive(backend.compare_and_set("other", "value", "changed", 5))
    assert drive(backend.pop("other", str)) == "changed"
    clock.advance(10_000)
    for _ in range(2):
        drive(backend.set("one", 1))
    ends = {key: item[1] for key, item in backend._data.items() if item[1] != math.inf}
    assert ends == {}, "expired keys were not swept"
    check_state(backend, options)
    drive(backend.clear())
    assert len(backend) == 0


def check_state(backend: MemoryBackend, options: dict[str, Any]) -> None:
    ring, data, bounds = backend._ring, backend._data, backend._bounds
    for key, (_, expiry, slot) in list(data.items()):
        if expiry != math.inf:
            slots = [ring.slots[slot], ring._taken, *ring._passed]
            assert any(key in keys for keys in slots), f"{key} is not filed"
    if bounds is None:
        return
    size = sum(len(key) + (len(str(item[0])) + 2 * isinstance(item[0], str)) for key, item in data.items()
               if not isinstance(item[0], bytes))  # fmt: skip
    size += sum(len(key) + len(item[0]) for key, item in data.items() if isinstance(item[0], bytes))
    assert len(data) <= options.get("maxsize", math.inf)
    assert size <= options.get("maxbytes", math.inf)
    assert not bounds.weighs or bounds.bytes in (size, UNKNOWN), "the bytes are not those of the items"


def places(first: int, every: int, *, long: bool) -> Iterator[int]:
    """Where a call is interrupted: everywhere with ``--long``, otherwise each combination begins at another place."""
    return itertools.count() if long else itertools.count(first % every, every)


def interrupt() -> None:
    raise Interrupted


# An inner coroutine that an exception keeps from starting is never awaited.
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("name", OPTIONS)
def test_an_exception_anywhere_leaves_a_sound_backend(write: str, name: str, long: bool) -> None:
    """Wherever an exception ends a call, locks, bounds and expiry are in order, and every verb works."""
    first = list(WRITES).index(write) + list(OPTIONS).index(name)
    for place in places(first, 5, long=long):
        backend, clock = prepared(OPTIONS[name])
        got_there = run_interrupted(WRITES[write](backend), place, interrupt, lines=True)
        try:
            check(backend, clock, OPTIONS[name])
        except AssertionError as error:
            raise AssertionError(f"after an exception at place {place}") from error
        if not got_there:
            break
    assert place > 20


def write_and_delete(backend: MemoryBackend) -> None:
    for key in ("s", "n", "new"):
        drive(backend.set(key, 1, 30))
        drive(backend.delete(key))


def move_and_sweep(backend: MemoryBackend) -> None:
    for key in ("s", "n", "new"):
        drive(backend.touch(key, 600))
        drive(backend.touch(key, 3))
    backend.cleanup_expired()
    len(backend)


def clear(backend: MemoryBackend) -> None:
    drive(backend.clear())


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(("name", "number"), [("unbounded", 0), ("lru", 1), ("lfu", 2)])
@pytest.mark.parametrize(("handler", "turn"), [(write_and_delete, 0), (move_and_sweep, 1), (clear, 2)])
def test_a_call_in_the_middle_of_a_call(
    write: str, name: str, number: int, handler: Callable[[MemoryBackend], None], turn: int, long: bool
) -> None:
    """Wherever a signal handler uses the backend, neither call raises, and both leave it in order."""
    for place in places(list(WRITES).index(write) + number + 3 * turn, 8, long=long):
        backend, clock = prepared(OPTIONS[name])
        verb = WRITES[write](backend)
        got_there = run_interrupted(verb, place, partial(handler, backend), lines=False)
        try:
            check(backend, clock, OPTIONS[name])
        except AssertionError as error:
            raise AssertionError(f"after a call at place {place}") from error
        if not got_there:
            break
    assert place >= 8
