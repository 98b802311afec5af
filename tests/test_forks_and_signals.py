"""Forks while threads work, and signal handlers that call in the middle of anything.

Each test runs a script of its own, which must end in time: a deadlock shows as a script that does not, with the stacks
of its threads.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from .servers import Server

PATIENCE = 120
KINDS = ["memory", "bounded", "user's", "redis"]

PREAMBLE = """
import faulthandler, os, random, signal, sys, threading, time, warnings
faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
import anyio.lowlevel
from pydantic import BaseModel
from reinhardt_backends import *

class Point(BaseModel):
    x: int
    y: float = 0.5

class Own(MemoryBackend):
    async def get(self, *args, **kwargs):
        await anyio.lowlevel.checkpoint()
        return await super().get(*args, **kwargs)

kind, url = sys.argv[1], sys.argv[2]
make = {
    "memory": MemoryBackend,
    "bounded": lambda: MemoryBackend(maxsize=50, policy="lfu"),
    "user's": Own,
    "redis": lambda: RedisBackend(url, prefix=f"forks:{os.getpid()}:"),
}[kind]
backend = make()
face = SyncBackend(backend)
view = face.namespace("view").with_timeout(20)
throttle = SyncThrottle(face, "1000000/min")
cache = SyncCache(face, ttl=60)
sessions = SyncSessionStore(face, Point, ttl=60, evictable=True)

@cache.cached(key="square:{number}", ttl=0.001)
def square(number: int) -> int:
    return number * number

def make_type(name):
    return type(f"P{name}", (Point,), {"__annotations__": {f"f{name}": int}})

# Before 3.12, functools.cached_property, which pydantic uses to make models and readers, has a lock of its own that a
# child may inherit locked. So there threads read types that are known already.
KNOWN = [make_type(number) for number in range(20)] if sys.version_info < (3, 12) else []

def read_typed(name, number):
    type = KNOWN[number % 20] if KNOWN else make_type(f"{name}x{number}")
    field = next(field for field in type.model_fields if field.startswith("f"))
    face.set(f"typed:{name}", {"x": 1, "y": 1.0, field: 1})
    assert getattr(face.get(f"typed:{name}", type), field) == 1

def verbs(on, key):
    on.set(key, Point(x=1), 60)
    on.get(key, Point)
    on.get(key, Point, renew=60)
    on.get_many([key, "missing"])
    on.set_many({key: {"x": 1}}, 60)
    on.increment(f"n:{key}", 60)
    on.add(key, 1)
    on.replace(key, 2)
    on.touch(key, 60)
    on.ttl(key)
    on.exists(key)
    on.compare_and_set(key, 2, 3)
    on.compare_and_delete(key, 4)
    on.pop(key, int)
    on.delete(key)
    on.delete_many([key])
    list(on.scan("nothing"))
    on.ping()

def components(key):
    assert throttle.allow(key)
    throttle.hit(key)
    throttle.peek(key)
    number = sum(key.encode())
    assert square(number) == number * number
    cache.get_or_set(key, lambda: 1, int)
    cache.invalidate(key)
    session = sessions.create(Point(x=1), user=None)
    sessions.load(session.id)
    sessions.revoke(session)
    lock = SyncLock(face, f"l{key}", ttl=60, evictable=True)
    if lock.acquire(timeout=0):
        lock.release()

def everything(key):
    verbs(face, key)
    verbs(view, key)
    components(key)
"""

FORKS = """
ending = False

def work(name):
    number = 0
    while not ending:
        number += 1
        everything(f"{name}:{number % 7}")
        read_typed(name, number)

everything("main")
for number in range(20):
    read_typed("main", number)
threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in range(3)]
for thread in threads:
    thread.start()
failed = 0
for number in range(8):
    time.sleep(random.uniform(0.0, 0.01))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGUSR1))
            signal.alarm(60)
            everything(f"child:{number}")
            read_typed("child", number)
            face.close()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if status:
        print("child", number, os.waitstatus_to_exitcode(status), flush=True)
    failed += os.waitstatus_to_exitcode(status) != 0
ending = True
for thread in threads:
    thread.join(60)
print("failed:", failed)
"""

SIGNALS = """
handled = depth = 0
errors = []

def handle(*_):
    global handled, depth
    if depth >= 2:
        return
    depth += 1
    try:
        everything(f"k{depth}")
        other = SyncBackend(make())
        other.set("other", 1)
        other.close()
        handled += 1
    except Exception as error:
        errors.append(repr(error))
    finally:
        depth -= 1

everything("k")
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
while handled < 60 and not errors:
    everything("k")
signal.setitimer(signal.ITIMER_REAL, 0)
print(sorted(set(errors))[:3])
"""

CLOSING = """
from reinhardt_backends import BackendClosedError

def handle(*_):
    face.close()

signal.signal(signal.SIGALRM, handle)
closed = 0
for number in range(20):
    face = SyncBackend(make())
    view = face.namespace("view")
    throttle = SyncThrottle(face, "1000000/min")
    cache = SyncCache(face, ttl=60)
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0005, 0.01))
    try:
        while True:
            verbs(face, "k")
            verbs(view, "k")
            throttle.allow("k")
            cache.get_or_set("k", lambda: 1, int)
    except (BackendClosedError, OutcomeUnknownError):
        closed += 1
print("closed:", closed)
"""


def run(script: str, kind: str, url: str) -> list[str]:
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PREAMBLE) + script, kind, url],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-6000:]
    return process.stdout.splitlines()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    if kind != "redis":
        return ""
    server: Server = request.getfixturevalue("server")
    return server.url


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_children_of_a_busy_process_work(kind: str, url: str) -> None:
    assert run(FORKS, kind, url) == ["failed: 0"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer of signals")
def test_a_signal_handler_may_call_everything_in_the_middle_of_anything(kind: str, url: str) -> None:
    assert run(SIGNALS, kind, url) == ["[]"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer of signals")
def test_a_signal_handler_may_close_in_the_middle_of_anything(kind: str, url: str) -> None:
    assert run(CLOSING, kind, url) == ["closed: 20"]
