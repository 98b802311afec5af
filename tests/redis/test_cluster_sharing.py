"""One backend over a cluster, shared by many callers, loops, threads and processes, while the cluster changes."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time

import anyio
import pytest

pytest.importorskip("redis")

from reinhardt_backends import (
    BackendClosedError,
    BackendConnectionError,
    OutcomeUnknownError,
    RedisBackend,
    ResponseError,
    SyncBackend,
)

from ..topologies import Cluster, running_cluster, until
from .driving import IDEMPOTENT, ONCE, drive, frames_text
from .runtimes import Runtime, on_every_runtime
from .test_cluster import client_of, open_at, prefix

pytestmark = pytest.mark.xdist_group("cluster")


@pytest.mark.parametrize("runtime", ["asyncio", "trio", "blocking"])
def test_after_every_slot_has_moved_many_callers_ask_for_the_map_once(cluster: Cluster, runtime: str) -> None:
    at = Runtime(runtime)

    async def run() -> None:
        backend, verbs = open_at(at, cluster)
        keys = [f"k{number}" for number in range(500 if runtime != "blocking" else 64)]
        assert await verbs.get_many(keys) == {}
        before = {*client_of(backend).cluster.slots}
        for primary in cluster.primaries():
            # A failover moves all slots of a primary at once.
            cluster.fail_over(cluster.replicas(primary)[0])
        cluster.settle()
        # The map was asked for at the beginning, and may be asked for once a second.
        await at.sleep(1.0)
        asked = cluster.calls("cluster|slots")
        assert await at.together(*[lambda key=key: verbs.increment(key) for key in keys]) == [1] * len(keys)
        assert 1 <= cluster.calls("cluster|slots") - asked <= 2
        assert not {*client_of(backend).cluster.slots} & before
        await verbs.clear()

    at.run(run)


@on_every_runtime
async def test_a_scan_beside_a_mover_misses_nothing(at: Runtime, cluster: Cluster) -> None:
    backend, verbs = open_at(at, cluster)
    keys = {f"k{number}" for number in range(2000)}
    await verbs.set_many(dict.fromkeys(keys, 0))
    slots = random.sample(sorted({cluster.slot(backend._prefix + key) for key in sorted(keys)[:300]}), 100)
    over = threading.Event()

    def move() -> None:
        primaries = cluster.primaries()
        for round_, slot in enumerate(slots * 3):
            if over.is_set():
                return
            cluster.move([slot], primaries[round_ % 3])

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(5):
            assert keys - {key async for key in verbs.scan()} == set()
        await verbs.clear()
        assert {key async for key in verbs.scan()} == set()
    finally:
        over.set()
        mover.join()


def test_slots_without_a_server_concern_their_own_keys_only(cluster: Cluster) -> None:
    """Without full coverage. With it, every call is refused until the cluster is whole again."""
    victim = cluster.primaries()[0]
    lost = set(cluster.slots(victim))
    backend = RedisBackend(cluster.url, prefix=prefix(), timeout=1.0)
    with SyncBackend(backend) as verbs:
        keys = [f"k{number}" for number in range(40)]
        verbs.set_many(dict.fromkeys(keys, 1))
        gone, there = (
            [key for key in keys if (cluster.slot(backend._prefix + key) in lost) is each] for each in (True, False)
        )
        for node in cluster.servers:
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        for node in (*cluster.replicas(victim), victim):
            node.kill()
        try:
            for key in there:
                assert verbs.increment(key) == 2
            began = time.monotonic()
            with pytest.raises(BackendConnectionError):
                verbs.increment(gone[0])
            assert 0.5 < time.monotonic() - began < 3
            began = time.monotonic()
            with pytest.raises(BackendConnectionError):
                verbs.get_many(keys)
            assert verbs.increment(there[0]) == 3
            # The outage of the one node is known.
            with pytest.raises(BackendConnectionError):
                verbs.get(gone[0])
            assert time.monotonic() - began < 2.5
            for node in cluster.servers:
                if node.is_running:
                    node.ask("CONFIG", "SET", "cluster-require-full-coverage", "yes")
            until(lambda: "cluster_state:fail" in cluster.primaries()[0].ask("CLUSTER", "INFO"), "the cluster's end")
            with pytest.raises(ResponseError, match="CLUSTERDOWN"):
                verbs.get(there[0])
        finally:
            for node in cluster.servers:
                if node.is_running:
                    node.ask("CONFIG", "SET", "cluster-require-full-coverage", "yes")
            cluster.heal()
        assert verbs.wait_until_ready(10) is None
        assert verbs.increment(there[0]) == 4


def test_calls_go_on_when_all_nodes_but_one_seed_are_replaced() -> None:
    with running_cluster(primaries=3, replicas=0) as cluster:
        seed, *others = cluster.primaries()
        with SyncBackend(RedisBackend(f"redis+cluster://127.0.0.1:1,127.0.0.1:{seed.port}")) as verbs:
            keys = [f"k{number}" for number in range(50)]
            for turn, node in enumerate(others):
                assert {verbs.increment(key) for key in keys} == {turn + 1}
                new = cluster.add()
                new.ask("CLUSTER", "REPLICATE", cluster.node_id(node))
                cluster.settle()
                cluster.fail_over(new)
                cluster.settle()
                cluster.remove(node)
                assert {verbs.increment(key) for key in keys} == {turn + 2}
                verbs.delete_many(keys)
                verbs.set_many(dict.fromkeys(keys, turn + 1))


def test_a_child_of_a_fork_has_connections_and_a_map_of_its_own(cluster: Cluster) -> None:
    backend = RedisBackend(cluster.url, prefix=prefix())
    with SyncBackend(backend) as verbs:
        keys = [f"k{number}" for number in range(20)]
        verbs.set_many(dict.fromkeys(keys, 0))
        topology = client_of(backend).cluster
        # As if another thread were asking for the map at this moment.
        assert topology.may_ask(0.0)
        with topology._lock:
            child = os.fork()
            if child == 0:
                ok = topology.may_ask(0.0)
                topology._asking = False
                ok = ok and [verbs.increment(key) for key in keys] == [1] * 20
                os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        topology._asking = False
        assert [verbs.increment(key) for key in keys] == [2] * 20


def test_several_loops_and_threads_share_a_backend(cluster: Cluster) -> None:
    backend = RedisBackend(cluster.url, prefix=prefix())
    keys = [f"k{number}" for number in range(30)]

    async def increment() -> None:
        async with anyio.create_task_group() as group:
            for key in keys:
                group.start_soon(backend.increment, key)

    verbs = SyncBackend(backend)
    ways = [lambda name=name: anyio.run(increment, backend=name) for name in ("asyncio", "trio", "asyncio")]
    ways += [lambda: [verbs.increment(key) for key in keys]] * 3
    threads = [threading.Thread(target=way) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert verbs.get_many(keys) == dict.fromkeys(keys, len(ways))
    verbs.close()


@pytest.mark.anyio
async def test_cancelled_calls_leave_nothing_behind(cluster: Cluster) -> None:
    backend = RedisBackend(cluster.url, prefix=prefix())
    keys = [f"k{number}" for number in range(60)]
    await backend.set_many({key: key for key in keys})

    async def call(number: int) -> None:
        with anyio.move_on_after(random.random() * 0.003):
            while True:
                some = keys[number % 30 :][:20]
                assert await backend.get_many(some) == {key: key for key in some}
                assert await backend.get(some[0]) == some[0]

    for _ in range(5):
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(call, number)
    assert await backend.get_many(keys) == {key: key for key in keys}
    for member in client_of(backend).cluster.members.values():
        for connections in member.loops.values():
            link = connections.small.link
            assert link is not None
            assert not link.mux.live
            assert link.mux.leader is None
            assert link.mux.writer is None
    await backend.aclose()


@on_every_runtime
async def test_closing_while_the_map_is_asked_for_ends_every_call(at: Runtime, cluster: Cluster) -> None:
    for node in cluster.servers:
        node.pause()
    try:
        backend, verbs = open_at(at, cluster)

        async def close() -> None:
            await at.sleep(0.3)
            await verbs.aclose()

        began = time.monotonic()
        *calls, _ = await at.together(*[lambda n=n: verbs.get(f"k{n}") for n in range(5)], close)
        assert {type(outcome) for outcome in calls} == {BackendClosedError}
        assert time.monotonic() - began < 1.5
        assert client_of(backend).is_closed
    finally:
        for node in cluster.servers:
            node.resume()


def test_no_frame_shows_what_was_sent(cluster: Cluster) -> None:
    backend = RedisBackend(cluster.url, prefix=prefix(), timeout=0.4)
    client = client_of(backend).blocking()
    drive(client.call(IDEMPOTENT, b"MSET", "a", b"1", "b", b"2", "c", b"3"))
    for node in cluster.servers:
        node.pause()
    try:
        for call in (
            lambda: client.call(ONCE, b"APPEND", "a", b"s3cr-value"),
            lambda: client.call(IDEMPOTENT, b"MSET", "a", b"s3cr-value", "b", b"s3cr-value", "c", b"s3cr-value"),
        ):
            with pytest.raises(OutcomeUnknownError) as raised:
                drive(call())
            assert "s3cr" not in frames_text(raised.value)
    finally:
        for node in cluster.servers:
            node.resume()
        drive(client.aclose())


def test_a_loop_that_ends_without_closing_leaves_no_warning(cluster: Cluster) -> None:
    backend = RedisBackend(cluster.url, prefix=prefix())
    for _ in range(2):
        asyncio.run(backend.set_many({f"k{number}": number for number in range(30)}))
    with SyncBackend(backend) as verbs:
        assert len(verbs.get_many([f"k{number}" for number in range(30)])) == 30
