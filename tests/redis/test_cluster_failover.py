"""Slots move and nodes of a real cluster fail while callers on asyncio, trio and in threads increment counters."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest

pytest.importorskip("redis")

from ..topologies import Cluster, Node, until
from .incrementing import Callers, run_during

pytestmark = pytest.mark.xdist_group("cluster")

COUNTS = {"asyncio": 40, "trio": 16, "blocking": 8}

#: Seconds that a busy machine may add to a recovery.
SLACK = 1.0


def counts_are_true(callers: list[Callers], *, unknown: bool) -> None:
    """Nothing was counted twice or refused, and without ``unknown`` each outcome is known and nothing is lost."""
    for one in callers:
        assert not one.failed, one.runtime
        assert not one.read_errors, one.runtime
        assert one.surplus == 0, one.runtime
        if not unknown:
            assert not sum(one.unknown), one.runtime
            assert one.lost == 0, one.runtime


def reshard(cluster: Cluster, count: int) -> None:
    """Move slots that have counters, and some others, to and fro."""
    primaries = cluster.primaries()
    slots = [cluster.slot(f"{runtime}:{number}") for runtime, callers in COUNTS.items() for number in range(callers)]
    for round_ in range(count):
        cluster.move(random.sample(slots, 20), primaries[round_ % len(primaries)])


def test_a_live_reshard_is_followed_without_errors(cluster: Cluster) -> None:
    callers = run_during(lambda: reshard(cluster, 4), cluster.url, counts=COUNTS, before=0.3, after=0.2)
    counts_are_true(callers, unknown=False)


def test_a_planned_failover_of_all_primaries_is_followed_without_errors(cluster: Cluster) -> None:
    def incident() -> None:
        for primary in cluster.primaries():
            cluster.fail_over(cluster.replicas(primary)[0])

    counts_are_true(run_during(incident, cluster.url, counts=COUNTS, before=0.3, after=0.5), unknown=False)


def failing_over(cluster: Cluster, incident: Callable[[Node], None], after: float) -> tuple[float, list[Callers]]:
    """Have one primary fail; return the seconds from the takeover of its slots to the first answers, and the callers.

    While a primary is away, the map is asked for at most 25 times a second by each backend.
    """
    victim = cluster.primaries()[0]
    slots = set(cluster.slots(victim))
    heirs = cluster.replicas(victim)
    asked: list[float] = []
    switched: list[float] = []

    def fail() -> None:
        others = [node for node in cluster.servers if node is not victim]
        began, before = time.monotonic(), sum(node.calls("cluster|slots") for node in others)
        incident(victim)
        until(lambda: any(heir.ask("ROLE")[0] == "master" for heir in heirs), "the takeover")
        switched.append(time.monotonic())
        time.sleep(after)
        questions = sum(node.calls("cluster|slots") for node in others) - before
        asked.append(questions / (time.monotonic() - began))

    callers = run_during(fail, cluster.url, counts=COUNTS, before=0.3, after=0.0)
    assert asked[0] < 25 * len(COUNTS)
    slowest = 0.0
    for one in callers:
        for number, moments in enumerate(one.answered):
            if cluster.slot(f"{one.runtime}:{number}") in slots:
                slowest = max(slowest, min(moment for moment in moments if moment >= switched[0]) - switched[0])
    return slowest, callers


def test_a_killed_primary_is_left_when_its_replica_has_taken_over(cluster: Cluster) -> None:
    slowest, callers = failing_over(cluster, lambda victim: victim.kill(), after=1.5)
    counts_are_true(callers, unknown=True)
    assert slowest < 0.5 + SLACK
    print(f"recovered in {slowest:.2f} s, lost {sum(one.lost for one in callers)}")


def test_a_stopped_primary_is_left_when_its_replica_has_taken_over(cluster: Cluster) -> None:
    slowest, callers = failing_over(cluster, lambda victim: victim.pause(), after=2.0)
    counts_are_true(callers, unknown=True)
    assert slowest < 1.2 + SLACK
    print(f"recovered in {slowest:.2f} s, lost {sum(one.lost for one in callers)}")


@pytest.mark.parametrize("incident", [Node.kill, Node.pause], ids=["killed", "stopped"])
def test_a_primary_comes_back_as_a_replica_and_takes_its_slots_again(
    cluster: Cluster, incident: Callable[[Node], None]
) -> None:
    victim = cluster.primaries()[0]
    heirs = cluster.replicas(victim)
    incident(victim)
    until(lambda: any(heir.ask("ROLE")[0] == "master" for heir in heirs), "the takeover")

    def come_back() -> None:
        cluster.heal()
        assert victim.ask("ROLE")[0] == "slave"
        cluster.fail_over(victim)
        assert victim.ask("ROLE")[0] == "master"

    callers = run_during(come_back, cluster.url, counts=COUNTS, before=0.3, after=0.5)
    # A primary that was stopped takes writes, and loses them, until it hears that it was replaced.
    counts_are_true(callers, unknown=incident is Node.pause)


@pytest.mark.long
def test_slots_move_and_primaries_fail_over_for_a_minute(cluster: Cluster) -> None:
    stop = threading.Event()

    def incident() -> None:
        ends = time.monotonic() + 60
        while time.monotonic() < ends and not stop.is_set():
            reshard(cluster, 5)
            primary = random.choice(cluster.primaries())
            cluster.fail_over(cluster.replicas(primary)[0])
            cluster.settle()

    counts_are_true(run_during(incident, cluster.url, counts=COUNTS, before=0.3, after=0.5), unknown=False)
