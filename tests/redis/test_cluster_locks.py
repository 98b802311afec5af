"""A ``Lock`` whose slot is held in migration: both of its keys, one, or none may have moved."""

from __future__ import annotations

import pytest

pytest.importorskip("redis")

from reinhardt_backends import RedisBackend, ResponseError, SyncBackend, SyncLock

from ..topologies import Cluster
from .test_cluster import prefix

pytestmark = pytest.mark.xdist_group("cluster")


def test_a_lock_has_one_owner_while_its_slot_is_held_in_migration(cluster: Cluster) -> None:
    start = prefix()
    with SyncBackend(RedisBackend(cluster.url, prefix=start)) as store:
        hasty = store.with_timeout(0.3)
        slot = cluster.slot(f"{start}{{lock:job}}")
        source = cluster.owner(slot)
        taker = next(one for one in cluster.primaries() if one is not source)
        owner = SyncLock(store, "job", ttl=60)
        assert owner.acquire(timeout=0)
        first = owner.token
        assert first is not None
        cluster.begin_move(slot, taker)
        try:
            keys = source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100)
            assert len(keys) == 2
            assert owner.extend()
            assert not takes(hasty)
            for key in keys:
                cluster.migrate_keys(slot, source, taker, keys=[key])
                assert owner.extend()
                assert not takes(hasty)
            assert owner.token == first
            owner.release()
            # The token has moved and the lock is missing, so that no node runs a step over both.
            assert not takes(hasty)
        finally:
            cluster.end_move(slot, taker)
        with SyncLock(store, "job", ttl=60) as later:
            assert later.token is not None
            assert later.token > first
        store.clear()


def takes(store: SyncBackend) -> bool:
    """Whether another caller gets the lock. The servers may say that this cannot be decided now."""
    try:
        return SyncLock(store, "job", ttl=60).acquire(timeout=0)
    except ResponseError as error:
        assert error.code == "TRYAGAIN", str(error)
        return False
