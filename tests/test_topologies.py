"""The topologies that other tests rely on do what their names say."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("hiredis")

from .topologies import Cluster, Sentinels


@pytest.mark.xdist_group("cluster")
def test_a_group_shares_a_worker(request: pytest.FixtureRequest) -> None:
    """Otherwise each worker would start all of these servers."""
    assert request.node.nodeid.endswith("@cluster") == ("PYTEST_XDIST_WORKER" in os.environ)


@pytest.mark.xdist_group("cluster")
def test_a_cluster_reshards_fails_over_and_heals(cluster: Cluster) -> None:
    first, second, _ = cluster.primaries()
    slot = cluster.slots(first)[0]
    cluster.move([slot], to=second)
    assert cluster.owner(slot) is second
    cluster.move([slot], to=first)

    replica = cluster.replicas(first)[0]
    cluster.fail_over(replica)
    cluster.settle()
    assert cluster.owner(slot) is replica
    replica.kill()
    cluster.heal()
    assert len(cluster.primaries()) == 3


@pytest.mark.xdist_group("sentinels")
def test_sentinels_agree_on_a_primary_with_replicas(sentinels: Sentinels) -> None:
    old = sentinels.primary()
    assert len(sentinels.replicas()) == 2
    sentinels.fail_over()
    assert sentinels.await_switch(old) is not old
