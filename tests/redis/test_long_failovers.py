"""Primaries die and fall silent, one after another, while 64 callers on three runtimes increment counters."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

pytest.importorskip("redis")

from ..topologies import Cluster, Node, Sentinels, until
from .incrementing import Callers, run_during

pytestmark = pytest.mark.long

COUNTS = {"asyncio": 40, "trio": 16, "blocking": 8}
SECONDS = 60

INCIDENTS: tuple[Callable[[Node], None], ...] = (Node.kill, Node.pause)


def _repeat(once: Callable[[Callable[[Node], None]], None], url: str) -> None:
    """Kill and stop primaries in turns. Only errors of connections are seen, and nothing is counted twice."""
    rounds = 0

    def incident() -> None:
        nonlocal rounds
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            once(INCIDENTS[rounds % 2])
            rounds += 1

    callers = run_during(incident, url, counts=COUNTS, before=0.3, after=0.5, within=10, timeout=15)
    _report(callers, rounds)
    for one in callers:
        assert sum(one.acknowledged), one.runtime
        assert one.surplus == 0, one.runtime
        for text in (*one.failed, *one.read_errors):
            assert text.startswith(("BackendConnectionError:", "BackendTimeoutError:")), text


def _report(callers: list[Callers], rounds: int) -> None:
    for one in callers:
        print(
            f"{one.runtime}: {rounds} failovers, {sum(one.acknowledged)} increments acknowledged, "
            f"{sum(one.unknown)} of unknown outcome, {sum(one.failed.values())} failed, {one.lost} lost, "
            f"{sum(one.read_errors.values())} reads failed"
        )


@pytest.mark.xdist_group("cluster")
def test_primaries_of_a_cluster_die_and_fall_silent(cluster: Cluster) -> None:
    def once(incident: Callable[[Node], None]) -> None:
        victim = cluster.primaries()[0]
        heirs = cluster.replicas(victim)
        incident(victim)
        until(lambda: any(heir.ask("ROLE")[0] == "master" for heir in heirs), "the takeover")
        time.sleep(1)
        # The old primary comes back as a replica.
        cluster.heal()

    _repeat(once, cluster.url)


@pytest.mark.xdist_group("sentinels")
def test_masters_die_and_fall_silent(sentinels: Sentinels) -> None:
    def once(incident: Callable[[Node], None]) -> None:
        old = sentinels.primary()
        incident(old)
        sentinels.await_switch(old)
        time.sleep(1)
        sentinels.heal()

    _repeat(once, sentinels.url)
