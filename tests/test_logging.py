"""What is logged, and that a program that configures no logging sees none of it."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from typing import Any

import pytest

pytest.importorskip("redis")
from reinhardt_backends import BackendConnectionError, OutcomeUnknownError, RedisBackend, SyncBackend
from reinhardt_backends._backend import WARNING, LimitedRecord, write_record
from reinhardt_backends._redis import _health, _retry

from .redis.fault_proxy import Fault, faulty
from .servers import Server

TIMEOUT = 0.3


@pytest.fixture(autouse=True)
def no_record_is_due_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test has just logged holds back no record of this one."""
    for record in (_health._RECONNECTED, _retry._UNKNOWN):
        monkeypatch.setattr(record, "_due", 0.0)


def records(caplog: pytest.LogCaptureFixture, child: str) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == f"reinhardt_backends.{child}"]


def test_an_outage_begins_and_ends_once_each(own_server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """With how long it lasted and how many calls failed."""
    caplog.set_level(logging.DEBUG, "reinhardt_backends")
    with SyncBackend(RedisBackend(own_server.url, timeout=TIMEOUT)) as face:
        face.set("s3cret-key", "s3cret")
        own_server.stop(kill=True)
        failed = 0
        while len(records(caplog, "redis")) < 1 or failed < 10:
            with pytest.raises(BackendConnectionError):
                face.get("s3cret-key")
            failed += 1
        own_server.start()
        while True:
            try:
                face.get("s3cret-key")
                break
            except BackendConnectionError:
                failed += 1
    place = f"127.0.0.1:{own_server.port}"
    begun, ended, reconnected = records(caplog, "redis")
    assert begun.startswith(f"outage: {place} has not answered for 0.")
    assert ended.startswith(f"the outage of {place} is over: it has not answered for ")
    assert ended.endswith(f"and {failed} calls failed")
    assert reconnected.startswith(f"reconnected to {place}")
    assert [one.levelname for one in caplog.records] == ["WARNING", "WARNING", "INFO"]
    assert "s3cret" not in caplog.text


def test_reconnects_and_unknown_outcomes(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """At most one record a second of each kind."""
    caplog.set_level(logging.INFO, "reinhardt_backends")
    with faulty(server.port) as proxy, SyncBackend(RedisBackend(proxy.url, timeout=TIMEOUT)) as face:
        for _ in range(3):
            face.get("k")
            proxy.reset()
        face.get("k")
        proxy.strike(Fault.SILENT_PATH)
        with pytest.raises(OutcomeUnknownError):
            face.increment("k")
    place = f"127.0.0.1:{proxy.port}"
    first, *_, last = records(caplog, "redis")
    assert first.startswith(f"reconnected to {place}")
    assert last.startswith(f"{place} has not answered a write, which may have been applied")
    assert len(records(caplog, "redis")) < 5


def test_a_limited_record_says_how_many_were_left_out(caplog: pytest.LogCaptureFixture) -> None:
    record = LimitedRecord("cache", WARNING, "%s happened")
    callers = [threading.Thread(target=record.write, args=("it",)) for _ in range(20)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert records(caplog, "cache") == ["it happened"]
    record._due = 0.0
    record.write("it")
    assert records(caplog, "cache")[1:] == ["it happened (and 19 more since the last record)"]


def test_a_handler_may_use_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that writes a record of the same kind waits for nothing."""
    record = LimitedRecord("lock", WARNING, "lost")

    class Handler(logging.Handler):
        def emit(self, one: Any) -> None:
            record.write()

    logger = logging.getLogger("reinhardt_backends.lock")
    handler = Handler()
    logger.addHandler(handler)
    try:
        record.write()
    finally:
        logger.removeHandler(handler)
    assert records(caplog, "lock") == ["lost"]


def test_it_is_silent_unless_configured() -> None:
    code = """
from reinhardt_backends._backend import write_record
write_record("redis", 40, "nobody asked for this")
import logging
logging.basicConfig()
write_record("redis", 30, "asked for")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "WARNING:reinhardt_backends.redis:asked for\n"


def test_logging_is_not_loaded_before_the_first_record() -> None:
    code = """
import sys, reinhardt_backends
reinhardt_backends.SyncBackend(reinhardt_backends.MemoryBackend()).get("k")
print("logging" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_record_without_arguments(caplog: pytest.LogCaptureFixture) -> None:
    write_record(None, WARNING, "100%")
    assert [one.name for one in caplog.records] == ["reinhardt_backends"]
