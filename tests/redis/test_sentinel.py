"""How the primary of a service is found and followed, with Sentinels that say what each test tells them to say.

``test_sentinel_failover.py`` does the same with real Sentinels.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

pytest.importorskip("redis")
import anyio

from reinhardt_backends import (
    BackendClosedError,
    BackendConnectionError,
    BackendTimeoutError,
    OutcomeUnknownError,
    RedisBackend,
    SyncBackend,
)
from reinhardt_backends._redis import _sentinel

from ..servers import Server, free_port, running
from .driving import ONCE, assert_idle, drive, in_thread
from .runtimes import Runtime, on_every_runtime, timed
from .sentinel_peers import Told, telling, url_of

#: How often the tests let the Sentinels be asked, in seconds.
OFTEN = 0.2


@pytest.fixture(autouse=True)
def _ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sentinel, "REVIEW", OFTEN)
    # On a busy machine a peer that is about to answer may take longer than a real Sentinel is given.
    monkeypatch.setattr(_sentinel, "PATIENCE", 5.0)


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Server, Server]]:
    """Two servers that know nothing of each other."""
    with running() as one, running() as other:
        yield one, other


@pytest.fixture(autouse=True)
def _both_are_primaries(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "pair" in request.fixturenames:
        for server in request.getfixturevalue("pair"):
            server.command("REPLICAOF", "NO", "ONE")


def values(server: Server, key: str) -> bytes:
    """What a server has under a key of a backend without a prefix."""
    return server.command("GET", key)


@on_every_runtime
async def test_the_highest_epoch_wins(at: Runtime, pair: tuple[Server, Server]) -> None:
    old, new = pair
    with telling(old, new, old, epochs=(4, 5, 4)) as peers:
        # Whichever of the three are asked first, there is one with the newer answer in two majorities of three, and
        # once it is known, the older one is not believed.
        backend = at.open(url_of(peers), prefix=f"{at.name}:")
        for _ in range(3):
            await at.sleep(OFTEN + 0.1)
            await backend.set("k", 1)
        await backend.set("k", "newest")
        assert b"newest" in values(new, f"{at.name}:k")


@on_every_runtime
async def test_now_and_then_one_call_asks_and_all_follow(at: Runtime, pair: tuple[Server, Server]) -> None:
    old, new = pair
    with telling(old, old, old) as peers:
        backend = at.open(url_of(peers), prefix=f"{at.name}:")
        await backend.set("k", "old")
        assert b"old" in values(old, f"{at.name}:k")
        for one in peers:
            one.name(new, 1)
        began = time.monotonic()
        while b"moved" not in values(new, f"{at.name}:k"):
            await backend.set("k", "moved")
            assert time.monotonic() - began < OFTEN + 8
            await at.sleep(0.02)
        await backend.set("k", "again")
        assert b"again" in values(new, f"{at.name}:k")


def test_a_call_in_flight_ends_normally_when_its_primary_is_replaced(pair: tuple[Server, Server]) -> None:
    old, new = pair

    async def main() -> None:
        with telling(old) as peers:
            backend = RedisBackend(url_of(peers), prefix="")
            await backend.ping()

            async def blocked() -> None:
                assert await backend._client.call(ONCE, "BLPOP", "nothing here", "0.7") is None

            async with anyio.create_task_group() as group:
                group.start_soon(blocked)
                peers[0].name(new, 1)
                await anyio.sleep(OFTEN + 0.1)
                await backend.set("there", 1)
                assert values(new, "there") == b"$1\r\n1\r\n"
            await backend.aclose()

    anyio.run(main)


@on_every_runtime
async def test_a_silent_primary_that_was_replaced_loses_its_connection(at: Runtime) -> None:
    with running() as old, running() as new, telling(old) as peers:
        backend = at.open(url_of(peers), prefix="", timeout=10)
        await backend.set("k", 1)
        new.command("SET", "k", "2")
        os.kill(old.pid, signal.SIGSTOP)
        try:

            async def promote() -> None:
                await at.sleep(0.2)
                peers[0].name(new, 1)

            # Reads and what may land twice are sent again. Blocking callers have connections of their own, so only the
            # one that takes the idle one has sent something.
            calls = [backend.get("k", int), backend.set("other", 3), backend.increment("n")]
            outcomes = await at.together(*(partial(timed, call) for call in calls), promote)
        finally:
            os.kill(old.pid, signal.SIGCONT)
        read, write, once = outcomes[:3]
        assert (read[1], write[1]) == (2, None)
        assert values(new, "other") == b"$1\r\n3\r\n"
        assert isinstance(once[1], OutcomeUnknownError) or (at.name == "blocking" and once[1] == 1)
        assert max(read[0], write[0], once[0]) < 8


@on_every_runtime
async def test_a_replica_is_never_used_and_waited_for(at: Runtime, pair: tuple[Server, Server]) -> None:
    old, new = pair
    with telling(old) as peers:
        backend = at.open(url_of(peers), prefix=f"{at.name}:", timeout=10)
        assert await backend.increment("n") == 1
        # Its clients keep their connections, and are refused with READONLY.
        old.command("REPLICAOF", "127.0.0.1", str(free_port()))

        async def promote() -> None:
            await at.sleep(0.6)
            peers[0].name(new, 1)

        results = await at.together(lambda: timed(backend.increment("n", by=5)), promote)
        assert results[0][1] == 5
        assert 0.5 < results[0][0] < 8
        old.command("REPLICAOF", "NO", "ONE")


@on_every_runtime
async def test_a_service_that_no_sentinel_knows_is_named(at: Runtime) -> None:
    with telling(None, None) as peers:
        backend = at.open(url_of(peers, "wrong%20name"), timeout=20)
        took, error = await timed(backend.ping())
        assert type(error) is BackendConnectionError
        assert "no Sentinel watches a service 'wrong name'" in str(error)
        assert all(f"127.0.0.1:{one.port}" in str(error) for one in peers)
        assert took < 8


@on_every_runtime
async def test_sentinels_that_are_dead_or_lie_do_not_matter(at: Runtime, pair: tuple[Server, Server]) -> None:
    old, new = pair

    class Dead:
        port = free_port()

    with telling(old, new, new, epochs=(1, 2, 2)) as peers:
        backend = at.open(url_of([Dead, *peers, Dead]), prefix=f"{at.name}:")
        await backend.set("k", "right")
        assert b"right" in values(new, f"{at.name}:k")
        # The others die: what the last one says is older than what is known.
        for one in peers[1:]:
            one.server = None
        await at.sleep(OFTEN + 0.1)
        await backend.set("k", "still")
        await at.sleep(OFTEN + 0.1)
        await backend.set("k", "right still")
        assert b"right still" in values(new, f"{at.name}:k")


@on_every_runtime
async def test_a_sentinel_that_hangs_is_not_asked_again_for_some_time(
    at: Runtime, pair: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sentinel, "PATIENCE", 0.3)
    with telling(pair[0], pair[0]) as peers, telling(None) as (hanging,):
        hanging.silent = True
        backend = at.open(url_of([*peers, hanging]), prefix=f"{at.name}:", timeout=20)
        end = time.monotonic() + 5 * OFTEN
        while time.monotonic() < end:
            await backend.set("k", 1)
            await at.sleep(0.02)
        assert hanging.accepted == 1
        # A question takes a quarter of what the call has left at most.
        assert await backend.with_timeout(2).get("k", int) == 1


@on_every_runtime
async def test_no_sentinel_answers(at: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    with telling(None, None) as peers:
        for one in peers:
            one.silent = True
        monkeypatch.setattr(_sentinel, "PATIENCE", 0.2)
        backend = at.open(url_of(peers), timeout=0.8)
        took, error = await timed(backend.get("k"))
        assert isinstance(error, BackendConnectionError)
        assert "no Sentinel says where service 'main' is" in str(error) or isinstance(error, BackendTimeoutError)
        assert took < 8
        # Nothing was sent, and a write says so.
        assert not isinstance((await timed(backend.increment("n")))[1], OutcomeUnknownError)


@on_every_runtime
async def test_closing_ends_calls_that_wait_for_sentinels(at: Runtime) -> None:
    with telling(None) as (peer,):
        peer.silent = True
        backend = at.open(url_of([peer]), timeout=20, connect_timeout=20)

        async def close() -> None:
            await at.sleep(0.2)
            await backend.aclose()

        calls: list[Any] = [lambda: timed(backend.get("a")), lambda: timed(backend.increment("b"))]
        results = await at.together(*calls, close)
        for took, error in results[:2]:
            assert isinstance(error, BackendClosedError)
            assert took < 15


def test_loops_and_threads_share_one_answer(pair: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sentinel, "REVIEW", 60.0)
    with telling(pair[0]) as (peer,):
        backend = RedisBackend(url_of([peer]), prefix="shared:")
        face = SyncBackend(backend)
        barrier = threading.Barrier(18)
        errors: list[BaseException] = []

        def blocking() -> None:
            barrier.wait()
            face.increment("n")

        def in_loop() -> None:
            async def main() -> None:
                await backend.increment("n")

            barrier.wait()
            anyio.run(main)

        def run(target: Any) -> None:
            try:
                target()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(target,)) for target in [blocking] * 16 + [in_loop] * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not errors
        assert face.get("n", int) == 18
        face.close()
        face.close()
        assert peer.asked == 1
        pair[0].command("DEL", "shared:n")


def test_the_number_of_questions_does_not_grow_with_the_callers(pair: tuple[Server, Server]) -> None:
    with telling(pair[0]) as (peer,):
        face = SyncBackend(RedisBackend(url_of([peer]), prefix="paced:"))
        began = time.monotonic()
        end = began + 0.9

        def calls() -> None:
            while time.monotonic() < end:
                face.get("k")

        with in_thread(calls), in_thread(calls):
            calls()
        assert 2 <= peer.asked <= 2 + (time.monotonic() - began) / OFTEN
        face.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_a_fork_asks_for_itself(pair: tuple[Server, Server]) -> None:
    with telling(pair[0]) as (peer,):
        backend = RedisBackend(url_of([peer]), prefix="forked:")
        face = SyncBackend(backend)
        assert face.increment("n") == 1
        # Another thread is in the middle of asking, and holds what it takes, when the process forks.
        locator = backend._client._node._locator
        assert locator is not None
        with locator._lock:
            locator._asking_until = time.monotonic() + 60
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    code = 0 if face.increment("n") == 2 else 2
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            locator._asking_until = 0.0
        assert face.increment("n") == 3
        face.delete("n")
        face.close()


def test_an_answer_that_no_sentinel_gives_is_an_error() -> None:
    class Odd(Told):
        def _answer(self) -> bytes:
            return b"+OK\r\n+OK\r\n"

    with Odd(None) as peer:
        backend = RedisBackend(url_of([peer]), timeout=1).namespace("n")
        with pytest.raises(BackendConnectionError, match="did not answer as a Sentinel does"):
            SyncBackend(backend).get("k")
        drive(backend.aclose())


@pytest.mark.parametrize(("host", "listens"), [(b"::1", "::1"), (b"localhost", "127.0.0.1")])
def test_a_primary_may_be_named_by_an_ipv6_address_or_a_host_name(host: bytes, listens: str) -> None:
    try:
        socket.create_server((listens, 0), family=socket.AF_INET6 if ":" in listens else socket.AF_INET).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with running(None, "--bind", listens) as server, telling(server) as (peer,):
        peer.host = host
        face = SyncBackend(RedisBackend(url_of([peer])))
        face.set("k", 1)
        assert face.get("k", int) == 1
        face.close()


@pytest.mark.parametrize("runtime", ["asyncio", "trio"])
def test_random_cancellation_while_the_primary_changes(runtime: str, pair: tuple[Server, Server]) -> None:
    rng = random.Random(1)
    acknowledged = unknown = 0

    async def main(peer: Told) -> None:
        backend = RedisBackend(url_of([peer]), prefix="random:", timeout=2)
        end = time.monotonic() + 1.2

        async def calls(number: int) -> None:
            nonlocal acknowledged, unknown
            while time.monotonic() < end:
                with anyio.move_on_after(rng.choice([0.0, 0.0005, 0.002, 1])) as scope:
                    await backend.increment(f"{number}")
                    acknowledged += 1
                unknown += scope.cancelled_caught

        async def move() -> None:
            for epoch in range(1, 100):
                if time.monotonic() > end:
                    return
                await anyio.sleep(0.1)
                peer.name(pair[epoch % 2], epoch)

        async with anyio.create_task_group() as group:
            group.start_soon(move)
            for number in range(16):
                group.start_soon(calls, number)
        assert_idle(backend._client)
        await backend.aclose()

    with telling(pair[0]) as (peer,):
        anyio.run(main, peer, backend=runtime)
    counted = 0
    for server in pair:
        for number in range(16):
            value = server.command("GET", f"random:{number}")
            counted += 0 if value.startswith(b"$-1") else int(value.split(b"\r\n")[1])
            server.command("DEL", f"random:{number}")
    assert acknowledged > 100
    assert acknowledged <= counted <= acknowledged + unknown


def test_an_address_map_says_where_a_named_primary_is_reached(server: Server) -> None:
    with telling(server) as (peer,):
        peer.host = b"unreachable.invalid"
        there = {("unreachable.invalid", server.port): ("127.0.0.1", server.port)}
        for mapped in (there, there.__getitem__):
            face = SyncBackend(RedisBackend(url_of([peer]), address_map=mapped))
            face.ping()
            face.close()
        face = SyncBackend(RedisBackend(url_of([peer]), address_map=lambda _: None, timeout=1))  # type: ignore[arg-type,return-value]
        with pytest.raises(BackendConnectionError, match="address_map does not map unreachable"):
            face.ping()
        face.close()
    with pytest.raises(TypeError, match="address_map"):
        RedisBackend("redis+sentinel://host/main", address_map=7)  # type: ignore[arg-type]
