"""A cluster: where keys are found, and what happens while slots move and nodes change their roles."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import Counter
from typing import Any

import pytest

from reinhardt_backends import RedisBackend, SyncBackend, SyncLock, SyncThrottle
from reinhardt_backends._redis._client import Client
from reinhardt_backends._redis._cluster import ClusterClient

from ..topologies import Cluster
from .peers import listening, relay
from .runtimes import Runtime, on_every_runtime

pytestmark = pytest.mark.xdist_group("cluster")

_numbers = itertools.count()


def prefix() -> str:
    """A prefix that no other test uses."""
    return f"c{os.getpid()}-{next(_numbers)}:"


def open_at(at: Runtime, cluster: Cluster, **options: Any) -> tuple[RedisBackend, Any]:
    """A backend, and its verbs on a runtime."""
    backend = RedisBackend(cluster.url, **{"prefix": prefix(), **options})
    return backend, at.verbs(backend)


def client_of(backend: RedisBackend) -> ClusterClient:
    client: Client = backend._client
    assert isinstance(client, ClusterClient)
    return client


@on_every_runtime
async def test_moved_slots_are_followed_and_the_map_is_asked_for_once(at: Runtime, cluster: Cluster) -> None:
    backend, verbs = open_at(at, cluster)
    keys = [f"k{number}" for number in range(100)]
    await verbs.set_many(dict.fromkeys(keys, 0))
    primaries = cluster.primaries()
    slots = {cluster.slot(backend._prefix + key) for key in keys}
    moves = {slot: primaries[(primaries.index(cluster.owner(slot)) + 1) % 3] for slot in sorted(slots)[:30]}
    for slot, taker in moves.items():
        cluster.move([slot], taker)
    asked = sum(node.calls("cluster|slots") for node in cluster.servers)
    assert await at.together(*[lambda key=key: verbs.increment(key) for key in keys]) == [1] * 100
    assert await verbs.get_many(keys) == dict.fromkeys(keys, 1)
    assert sum(node.calls("cluster|slots") for node in cluster.servers) - asked <= 2


@on_every_runtime
async def test_every_verb_works_in_a_slot_that_is_held_in_migration(at: Runtime, cluster: Cluster) -> None:
    start = prefix()
    _, verbs = open_at(at, cluster, prefix=start + "{x}")
    slot = cluster.slot(start + "{x}")
    source = cluster.owner(slot)
    taker = next(one for one in cluster.primaries() if one is not source)
    keys = [f"k{number}" for number in range(20)]
    await verbs.set_many({key: number for number, key in enumerate(keys)})
    cluster.begin_move(slot, taker)
    try:
        cluster.migrate_keys(slot, source, taker, keys=[f"{start}{{x}}{key}" for key in keys[:10]])
        assert await verbs.get_many(keys) == {key: number for number, key in enumerate(keys)}
        await verbs.set_many({key: number + 1 for number, key in enumerate(keys)})
        assert await verbs.pop("k0") == 1
        assert await verbs.pop("k19", int) == 20
        assert await verbs.get("k1", int, renew=100) == 2
        assert 99 < await verbs.ttl("k1") <= 100
        assert await verbs.increment("k2", 100) == 4
        assert await verbs.compare_and_set("k3", 4, 40)
        assert await verbs.delete_many(keys[4:16]) == 12
        assert {key async for key in verbs.scan()} == {"k1", "k2", "k3", "k16", "k17", "k18"}
        await verbs.clear()
        assert [key async for key in verbs.scan()] == []
    finally:
        cluster.migrate_keys(slot, source, taker)
        cluster.end_move(slot, taker)


@on_every_runtime
async def test_many_keys_are_one_write_for_each_node(at: Runtime, cluster: Cluster) -> None:
    """A proxy in front of each primary counts what the client writes: a third of 1,000 commands, some 15 kB."""
    keys = [f"k{number}" for number in range(1000)]
    writes: Counter[int] = Counter()
    with contextlib.ExitStack() as proxies:

        def proxied(port: int) -> int:
            def count(data: bytes) -> list[bytes]:
                writes[port] += 1
                return [data]

            return proxies.enter_context(listening(relay(("127.0.0.1", port), heard=count))).port

        ports = {node.port: proxied(node.port) for node in cluster.primaries()}
        _, verbs = open_at(at, cluster, address_map=lambda address: (address[0], ports.get(address[1], address[1])))
        await verbs.set_many(dict.fromkeys(keys, 1))
        writes.clear()
        assert len(await verbs.get_many(keys)) == 1000
        assert writes == dict.fromkeys(ports, 1)
        writes.clear()
        await verbs.set_many(dict.fromkeys(keys, 2))
        assert writes == dict.fromkeys(ports, 1)


@pytest.mark.parametrize("start", ["x{}y:", "a{b", "}{", "{t}"])
def test_components_work_after_any_prefix(cluster: Cluster, start: str) -> None:
    with SyncBackend(RedisBackend(cluster.url, prefix=start + prefix())) as verbs:
        with SyncLock(verbs, "n", ttl=10):
            assert SyncThrottle(verbs, "5/s").allow("k")
        verbs.clear()


def test_many_keys_are_read_over_one_that_holds_another_type(cluster: Cluster) -> None:
    """As ``MGET`` does on one server."""
    backend = RedisBackend(cluster.url, prefix=prefix())
    with SyncBackend(backend) as verbs:
        verbs.set_many({"a": 1, "b": 2, "c": 3})
        verbs.delete("b")
        cluster.command("RPUSH", backend._prefix + "b", "x")
        assert verbs.get_many(["a", "b", "c"]) == {"a": 1, "c": 3}
        verbs.clear()
