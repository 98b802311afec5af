"""A connection that will never answer again is given up in time, and what was sent on it does no harm afterwards.

Every test goes through a proxy that injects the fault. The connection that a test breaks stays broken; new ones work.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

pytest.importorskip("redis")
from reinhardt_backends import OutcomeUnknownError

from ..servers import Server
from .fault_proxy import Fault, FaultProxy, faulty
from .runtimes import Runtime, on_every_runtime, timed

TIMEOUT = 0.4
#: A server that hears nothing for this long is asked on a second connection.
SILENCE = 1.0
#: What a busy machine may add.
SLACK = 0.6


@pytest.fixture
def proxy(server: Server) -> Any:
    with faulty(server.port) as proxy:
        yield proxy


@pytest.mark.parametrize("fault", [Fault.SILENT_PATH, Fault.HALF, Fault.CORRUPT], ids=lambda fault: fault.value)
@on_every_runtime
async def test_a_connection_that_broke_for_good_is_given_up_within_one_timeout(
    at: Runtime, proxy: FaultProxy, fault: Fault
) -> None:
    backend = at.open(proxy.url, timeout=TIMEOUT, prefix=f"{at.name}:")
    await backend.set("k", "value")
    proxy.strike(fault)
    if fault is not Fault.SILENT_PATH:
        took, _ = await timed(backend.get("k", str))
        assert took < TIMEOUT + SLACK
        proxy.heal()
    took, outcome = await timed(backend.get("k", str))
    assert took < TIMEOUT + SLACK
    assert outcome == "value"


@on_every_runtime
async def test_callers_that_never_wait_that_long_find_a_new_connection_too(at: Runtime, proxy: FaultProxy) -> None:
    """Each gives up long before the timeout of the backend, so that all slots are dropped ones."""
    backend = at.open(proxy.url, timeout=TIMEOUT, prefix=f"{at.name}:")
    await backend.set("k", "value")
    hasty = backend.with_timeout(0.05)
    proxy.strike(Fault.SILENT_PATH)
    began = time.monotonic()
    outcome: Any = None
    while outcome != "value" and time.monotonic() < began + 5:
        _, outcome = await timed(hasty.get("k", str))
        await at.sleep(0.01)
    assert time.monotonic() - began < TIMEOUT + SLACK


@on_every_runtime
async def test_a_read_on_a_path_that_died_is_sent_again_on_a_new_connection(at: Runtime, proxy: FaultProxy) -> None:
    backend = at.open(proxy.url, timeout=8.0, prefix=f"{at.name}:")
    await backend.set("k", "value")
    proxy.strike(Fault.SILENT_PATH)
    took, outcome = await timed(backend.get("k", str))
    assert outcome == "value"
    assert took < SILENCE + 1.0 + SLACK
    assert "reset" in proxy.endings


@on_every_runtime
async def test_a_write_on_a_path_that_died_never_lands_after_a_newer_one(at: Runtime, proxy: FaultProxy) -> None:
    """The first copy is held on its way. It is sent again, after the server has ended the old connection."""
    backend = at.open(proxy.url, timeout=8.0, prefix=f"{at.name}:")
    await backend.set("k", 0)
    proxy.strike(Fault.HOLD)
    took, outcome = await timed(backend.set("k", 1))
    assert outcome is None
    assert took < SILENCE + 1.0 + SLACK
    await backend.set("k", 2)
    proxy.heal()
    await at.sleep(0.1)
    assert await backend.get("k", int) == 2


@on_every_runtime
async def test_a_write_whose_old_connection_cannot_be_killed_has_an_unknown_outcome(
    at: Runtime, own_server: Server
) -> None:
    own_server.command("ACL", "SETUSER", "mortal", "on", ">password", "~*", "+@all", "-client|kill")
    with faulty(own_server.port) as proxy:
        backend = at.open(proxy.url, timeout=4.0, username="mortal", password="password")
        await backend.set("k", 0)
        proxy.strike(Fault.HOLD)
        took, outcome = await timed(backend.set("k", 1))
        assert isinstance(outcome, OutcomeUnknownError)
        assert took < 4.0 * 1.1 + SLACK
        assert proxy.sent.count(b"SET\r\n") == 2


@on_every_runtime
async def test_what_may_not_be_sent_twice_is_not(at: Runtime, proxy: FaultProxy) -> None:
    backend = at.open(proxy.url, timeout=4.0, prefix=f"{at.name}:")
    await backend.delete("n")
    proxy.strike(Fault.HOLD)
    took, outcome = await timed(backend.increment("n"))
    assert isinstance(outcome, OutcomeUnknownError)
    assert took < 4.0 * 1.1 + SLACK
    proxy.heal()
    await at.sleep(0.1)
    assert await backend.get("n", int, default=0) <= 1
    assert proxy.sent.count(b"INCRBY\r\n") == 1


@on_every_runtime
async def test_a_large_value_on_a_thin_uplink_is_not_silence(at: Runtime, proxy: FaultProxy) -> None:
    """The server says nothing for seconds, while our bytes are accepted all the time."""
    backend = at.open(proxy.url, timeout=20.0, prefix=f"{at.name}:")
    await backend.set("k", b"")
    proxy.strike(Fault.THIN_UPLINK)
    value = b"x" * 20_000_000
    took, outcome = await timed(backend.set("large", value))
    assert outcome is None
    assert took > SILENCE + 0.5
    assert proxy.sent.count(b"SET\r\n") == 2
    proxy.heal()
    await backend.delete("large")
