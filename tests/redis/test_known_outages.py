"""An outage becomes known once; afterwards calls fail at once, and soon after it ends they succeed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("redis")
from reinhardt_backends import BackendConnectionError, OutcomeUnknownError, RedisBackend, ResponseError, SyncBackend
from reinhardt_backends._redis._health import Outage

from ..servers import Server, free_port
from .fault_proxy import Fault, FaultProxy, faulty
from .runtimes import Runtime, on_every_runtime, timed

TIMEOUT = 0.4
#: A known outage costs a call at most this.
AT_ONCE = 0.05
#: A probe lasts at most this, or the deadline of its call.
PROBE = 0.4


@contextlib.contextmanager
def _down(kind: str, server: Server, proxy: FaultProxy) -> Iterator[None]:
    """The server hangs, or cannot be reached, for the length of the block."""
    if kind == "stopped":
        os.kill(server.pid, signal.SIGSTOP)
    elif kind == "swallowed":
        proxy.strike(Fault.SWALLOW)
    else:
        server.stop(kill=True)
    try:
        yield
    finally:
        if kind == "stopped":
            os.kill(server.pid, signal.SIGCONT)
        elif kind == "swallowed":
            proxy.heal()
        else:
            server.start()


@pytest.mark.parametrize("kind", ["stopped", "swallowed", "refused"])
@on_every_runtime
async def test_calls_fail_at_once_in_a_known_outage_and_succeed_a_second_after_it(
    at: Runtime, own_server: Server, kind: str
) -> None:
    with faulty(own_server.port) as proxy:
        backend = at.open(proxy.url if kind != "refused" else own_server.url, timeout=TIMEOUT)
        await backend.set("k", "value")
        with _down(kind, own_server, proxy):
            took, outcome = await timed(backend.get("k", str))
            assert isinstance(outcome, BackendConnectionError)
            assert took < TIMEOUT * 1.1 + at.slack
            # The outage is known now, or as soon as a call has waited for one full timeout without a connection.
            await timed(backend.get("k", str))
            known = time.monotonic()
            calls = []
            while time.monotonic() < known + 1.2:
                calls.append(await timed(backend.increment("n")))
                await at.sleep(0.01)
            for _, outcome in calls:
                assert isinstance(outcome, BackendConnectionError), outcome
                assert not isinstance(outcome, OutcomeUnknownError)
            slow = [took for took, _ in calls if took > AT_ONCE + at.slack]
            assert len(slow) <= 2
            assert all(took < PROBE * 1.1 + at.slack for took in slow)
            assert len(calls) > 20
            if kind != "refused":
                assert len([moment for moment in proxy.accepted if moment > known]) <= 2
                commands = set(re.findall(rb"\r\n([A-Z]+)\r\n", proxy.requests_since(known)))
                assert commands <= {b"HELLO", b"CLIENT", b"SETINFO", b"PING"}
        await at.sleep(1.0)
        assert await backend.increment("n") == 1


@on_every_runtime
async def test_callers_at_once_share_what_is_known_and_one_probe(at: Runtime, own_server: Server) -> None:
    with faulty(own_server.port) as proxy:
        backend = at.open(proxy.url, timeout=TIMEOUT)
        await backend.set("k", "value")
        with _down("swallowed", own_server, proxy):
            calls = [lambda: timed(backend.get("k", str))] * 10
            for took, outcome in await at.together(*calls):
                assert isinstance(outcome, BackendConnectionError)
                assert took < TIMEOUT * 1.1 + at.slack
            await timed(backend.get("k", str))
            known = time.monotonic()
            results = await at.together(*calls)
            assert sum(took > AT_ONCE + at.slack for took, _ in results) <= 1
            assert len([moment for moment in proxy.accepted if moment > known]) <= 1
        await at.sleep(1.0)
        # Whoever begins beside the probe may fail on a busy machine, where the probe takes longer than they wait.
        assert await backend.get("k", str) == "value"
        patient = backend.with_timeout(5.0)
        results = await at.together(*[lambda: timed(patient.get("k", str))] * 10)
        assert [outcome for _, outcome in results] == ["value"] * 10


@on_every_runtime
async def test_other_threads_and_loops_know_the_outage_and_its_end(at: Runtime, own_server: Server) -> None:
    with faulty(own_server.port) as proxy:
        shared = RedisBackend(proxy.url, timeout=TIMEOUT)
        backend = at.verbs(shared)
        await backend.set("k", "value")
        with _down("swallowed", own_server, proxy):
            await timed(backend.get("k", str))
            await timed(backend.get("k", str))
            seen: list[tuple[float, Any]] = []

            def elsewhere() -> None:
                began = time.monotonic()
                try:
                    outcome: Any = SyncBackend(shared).get("k", str)
                except Exception as error:
                    outcome = error
                seen.append((time.monotonic() - began, outcome))

            for _ in range(3):
                _in_thread(elsewhere)
            assert all(isinstance(outcome, BackendConnectionError) for _, outcome in seen)
            assert sum(took > AT_ONCE + at.slack for took, _ in seen) <= 1
        await at.sleep(1.0)
        assert await backend.get("k", str) == "value"
        _in_thread(elsewhere)
        _, outcome = seen[-1]
        assert outcome == "value"


def _in_thread(function: Any) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


@on_every_runtime
async def test_a_shorter_deadline_ends_its_own_call_only(at: Runtime, own_server: Server) -> None:
    """A pause shorter than the timeout of the backend loses no patient call, even if other callers give up."""
    backend = at.open(own_server.url, timeout=5.0)
    await backend.set("k", "value")
    hasty = backend.with_timeout(0.1)
    patient = [lambda: timed(backend.set("k", "newer")), lambda: timed(backend.increment("n"))]
    impatient = [lambda: timed(hasty.get("k", str)), lambda: timed(hasty.increment("m"))]
    for calls in ([*patient, *impatient], [*impatient, *patient]):
        os.kill(own_server.pid, signal.SIGSTOP)
        waker = threading.Timer(0.6, lambda: os.kill(own_server.pid, signal.SIGCONT))
        waker.start()
        results = await at.together(*calls)
        waker.join()
        mine, theirs = (results[:2], results[2:]) if calls[0] is patient[0] else (results[2:], results[:2])
        for took, outcome in mine:
            assert not isinstance(outcome, Exception), outcome
            assert took > 0.2
        for took, outcome in theirs:
            assert isinstance(outcome, (BackendConnectionError, OutcomeUnknownError))
            assert took < 0.1 * 1.1 + at.slack
        assert (await timed(hasty.get("k", str)))[1] == "newer"


@on_every_runtime
async def test_a_replica_is_known_as_one_after_a_full_timeout(at: Runtime, own_server: Server) -> None:
    backend = at.open(own_server.url, timeout=TIMEOUT)
    await backend.set("k", "value")
    own_server.command("REPLICAOF", "127.0.0.1", str(free_port()))
    took, outcome = await timed(backend.set("k", "newer"))
    assert isinstance(outcome, (ResponseError, BackendConnectionError))
    assert took < TIMEOUT * 1.1 + at.slack
    await timed(backend.set("k", "newer"))
    known = time.monotonic()
    calls = []
    while time.monotonic() < known + 1.2:
        calls.append(await timed(backend.set("k", "newer")))
        await at.sleep(0.01)
    assert all(isinstance(outcome, (ResponseError, BackendConnectionError)) for _, outcome in calls)
    assert sum(took > AT_ONCE + at.slack for took, _ in calls) <= 2
    own_server.command("REPLICAOF", "NO", "ONE")
    await at.sleep(1.0)
    assert await backend.set("k", "newest") is None
    assert await backend.get("k", str) == "newest"


@on_every_runtime
async def test_failed_attempts_to_connect_are_no_outage_while_another_connection_is_served(
    at: Runtime, own_server: Server
) -> None:
    """Small values have a connection that works. Large ones need another, which callers in a hurry do not get."""
    with faulty(own_server.port) as proxy:
        # Longer than a busy machine stalls: then nothing is heard either.
        timeout = 3 * TIMEOUT
        backend = at.open(proxy.url, timeout=timeout)
        hasty = backend.with_timeout(0.03)
        await backend.set("k", "value")
        proxy.strike(Fault.NEW_SILENT)
        ended = time.monotonic() + 2 * timeout

        async def served() -> None:
            while time.monotonic() < ended:
                assert await backend.get("k", str) == "value"
                await at.sleep(0.005)

        async def in_a_hurry() -> None:
            while at.name != "blocking" and time.monotonic() < ended:
                _, outcome = await timed(hasty.set("large", b"x" * 300_000))
                assert isinstance(outcome, BackendConnectionError)

        assert await at.together(served, in_a_hurry, in_a_hurry) == [None, None, None]


def test_a_call_that_waited_before_a_recovery_begins_no_outage() -> None:
    """It may fail after another call has found that the server answers."""
    outage = Outage(0.5, "here", "has not answered", lambda: None)
    began = time.monotonic() - 1
    assert outage.trouble(began)
    outage.over()
    assert not outage.trouble(began)
    assert not outage.known


def test_the_silence_of_one_old_connection_is_no_outage() -> None:
    """Only that path may be dead. It takes an attempt to connect, or another connection, to know more."""
    outage = Outage(0.5, "here", "has not answered", lambda: None)
    began = time.monotonic() - 1
    assert not outage.trouble(began, tried=False)
    assert outage.trouble(began)
