"""Real Sentinels fail over while callers on asyncio, trio and in threads increment counters."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

pytest.importorskip("redis")

from reinhardt_backends import BackendConnectionError, RedisBackend, SyncBackend

from ..topologies import Node, Sentinels, until
from .incrementing import Callers, run_during

pytestmark = pytest.mark.xdist_group("sentinels")

COUNTS = {"asyncio": 40, "trio": 16, "blocking": 8}

#: Seconds that a busy machine may add to a recovery.
SLACK = 3.0


def _failing_over(sentinels: Sentinels, incident: Callable[[Node], None]) -> tuple[float, Node, list[Callers]]:
    """Return when most Sentinels named the new primary, the primary, and the callers."""
    old = sentinels.primary()
    found: list[tuple[float, Node]] = []

    def fail() -> None:
        incident(old)
        new = sentinels.await_switch(old)
        found.append((time.monotonic(), new))

    # On a starved machine the Sentinels may fail over twice, so calls have more time than they need.
    callers = run_during(fail, sentinels.url, counts=COUNTS, before=0.3, after=0.2, within=10, timeout=15)
    return (*found[0], callers)


def _counts_are_true(callers: list[Callers]) -> None:
    for one in callers:
        assert one.surplus == 0, one.runtime


@pytest.mark.parametrize("database", [0, 1])
def test_a_url_of_one_server_that_leads_to_a_sentinel_is_refused(sentinels: Sentinels, database: int) -> None:
    url = f"redis://127.0.0.1:{sentinels.watchers[0].port}/{database}"
    with SyncBackend(RedisBackend(url)) as face, pytest.raises(BackendConnectionError, match=r"redis\+sentinel://"):
        face.get("k")


def test_a_planned_failover_is_followed_without_errors(sentinels: Sentinels) -> None:
    began = time.monotonic()
    moved: list[float] = []

    def incident() -> None:
        old = sentinels.primary()
        sentinels.fail_over()
        new = sentinels.await_switch(old)
        until(lambda: all(f"name={name} " in new.ask("CLIENT", "LIST") for name in COUNTS), "the move of all callers")
        moved.append(time.monotonic() - began)

    for one in run_during(incident, sentinels.url, counts=COUNTS, before=0.3, after=0.3):
        # What the replaced primary acknowledged until the callers left it is lost. No client can prevent that.
        assert one.surplus == 0
        assert not one.read_errors
        assert not one.failed
        assert not sum(one.unknown), one.runtime
    assert moved[0] < 0.3 + 2.5 + SLACK


def test_a_killed_primary_is_left_when_the_sentinels_have_switched(sentinels: Sentinels) -> None:
    switched, _, callers = _failing_over(sentinels, lambda old: old.kill())
    _counts_are_true(callers)
    for one in callers:
        assert not one.failed
        assert not one.read_errors
        assert one.recovery(switched) < 0.5 + SLACK, one.runtime


def test_a_stopped_primary_is_left_when_the_sentinels_have_switched(sentinels: Sentinels) -> None:
    switched, _, callers = _failing_over(sentinels, lambda old: old.pause())
    _counts_are_true(callers)
    for one in callers:
        assert not one.failed
        assert not one.read_errors
        assert one.recovery(switched) < 1.2 + SLACK, one.runtime
