"""What ``RedisBackend`` adds to the contract: the wire, round trips, how it is made, many users of one object."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import redis
import redis.asyncio

from reinhardt_backends import (
    KEEP_TTL,
    AuthenticationError,
    Backend,
    BackendClosedError,
    BackendConnectionError,
    CounterError,
    DeserializationError,
    RedisBackend,
    ResponseError,
    SyncBackend,
)

from ..servers import Server, available, running
from .driving import drive, frames_text


@pytest.fixture
def bare(server: Server) -> Iterator[redis.Redis]:
    """A bare redis-py client on an empty server."""
    client = redis.Redis(port=server.port, decode_responses=False)
    client.flushall()
    yield client
    client.close()


# The wire.


@pytest.mark.anyio
async def test_without_a_prefix_the_wire_is_json_text_and_integers(server: Server, bare: redis.Redis) -> None:
    """A bare client reads what the backend wrote: what the original stores, so that both can share a database."""
    async with RedisBackend(server.url, prefix="") as backend:
        await backend.set("s", "active", 60)
        await backend.set("list", [1, 2, 3])
        await backend.set("map", {"id": 1})
        await backend.set("raw", b"\x00\xff")
        await backend.increment("n", 60)
        await backend.increment("n")
    assert bare.get("s") == b'"active"'
    assert bare.get("list") == b"[1,2,3]"
    assert bare.get("map") == b'{"id":1}'
    assert bare.get("raw") == b"\x00\x00\xff"
    assert bare.get("n") == b"2"
    assert 59_000 < bare.pttl("s") <= 60_000
    assert 59_000 < bare.pttl("n") <= 60_000
    assert bare.pttl("list") == -1


@pytest.mark.anyio
async def test_without_a_prefix_foreign_values_are_read(server: Server, bare: redis.Redis) -> None:
    """The backend reads what a bare client wrote, with foreign spacing too."""
    bare.set("s", json.dumps("active"))
    bare.set("list", "[1, 2,\n3]")
    bare.set("n", 41)
    bare.set("text", "not json")
    async with RedisBackend(server.url, prefix="") as backend:
        assert await backend.get("s", str) == "active"
        assert await backend.get("list", list[int]) == [1, 2, 3]
        assert await backend.increment("n") == 42
        assert await backend.get("n", int) == 42
        with pytest.raises(DeserializationError):
            await backend.get("text")


@pytest.mark.anyio
async def test_keys_on_the_server_begin_with_the_prefix(server: Server, bare: redis.Redis) -> None:
    async with RedisBackend(server.url) as backend:
        await backend.set("k", 1)
        await backend.namespace("a").namespace("b").set("k", 2)
    assert sorted(bare.keys()) == [b"reinhardt:a:b:k", b"reinhardt:k"]


@pytest.mark.anyio
async def test_a_value_of_a_foreign_type_is_an_error_of_its_own(server: Server, bare: redis.Redis) -> None:
    """A list under the key is no value and no counter, and stays."""
    bare.rpush("l", "x")
    async with RedisBackend(server.url, prefix="") as backend:
        with pytest.raises(ResponseError) as refused:
            await backend.get("l")
        assert refused.value.code == "WRONGTYPE"
        for ttl in (None, 60):
            with pytest.raises(CounterError):
                await backend.increment("l", ttl)
        assert await backend.exists("l")
        assert await backend.ttl("l") == math.inf
        assert bare.lrange("l", 0, -1) == [b"x"]
        assert await backend.touch("l", 60)
        assert await backend.delete("l")


@pytest.mark.anyio
async def test_foreign_keys_that_are_not_text_are_passed_over(server: Server, bare: redis.Redis) -> None:
    bare.set(b"\xff\xfe", "1")
    bare.set("ok", "1")
    async with RedisBackend(server.url, prefix="") as backend:
        assert [key async for key in backend.scan()] == ["ok"]
        await backend.clear()
    assert bare.dbsize() == 0


# Clearing.


@pytest.mark.anyio
@pytest.mark.parametrize("prefix", ["a*", "a?", "a[b]", "a\\", "a[^b]", "ü*", "a\\*", "[", "*"])
async def test_clear_takes_its_prefix_to_the_letter(server: Server, bare: redis.Redis, prefix: str) -> None:
    """However the prefix is spelled, no other keys are removed."""
    others = ["ab", "abc", "a", "ac", "a[", "üx", "a\\x", "b", "x" + prefix]
    for key in others:
        bare.set(key, "1")
    kept = {key.encode() for key in others if not key.startswith(prefix)}
    async with RedisBackend(server.url, prefix=prefix) as backend:
        await backend.set_many({f"k{number}": number for number in range(25)})
        await backend.clear()
        assert [key async for key in backend.scan()] == []
    assert set(bare.keys()) == kept


@pytest.mark.anyio
async def test_clear_takes_the_selected_database_only_where_it_has_no_prefix(server: Server, bare: redis.Redis) -> None:
    with redis.Redis(port=server.port, db=1) as other:
        other.set("stays", 1)
        bare.set("goes", 1)
        async with RedisBackend(server.url, prefix="") as backend:
            await backend.clear()
        assert other.get("stays") == b"1"
        assert bare.dbsize() == 0


@pytest.mark.anyio
async def test_many_keys_are_cleared_and_scanned(server: Server, bare: redis.Redis) -> None:
    """More than one page of a scan, more than one batch."""
    keys = {f"k{number}" for number in range(5000)}
    async with RedisBackend(server.url) as backend:
        await backend.set_many(dict.fromkeys(keys, "x"), 60)
        assert {key async for key in backend.scan("k")} == keys
        assert len(await backend.get_many(keys, str)) == 5000
        assert await backend.delete_many([f"k{number}" for number in range(2500)]) == 2500
        await backend.clear()
        assert [key async for key in backend.scan()] == []
    assert bare.dbsize() == 0


# Round trips.


VERBS: dict[str, Callable[[Backend], Any]] = {
    "set": lambda backend: backend.set("k", 1, 60),
    "set keeping": lambda backend: backend.set("k", 1, KEEP_TTL),
    "get": lambda backend: backend.get("k", int),
    "get renewing": lambda backend: backend.get("k", int, renew=60),
    "delete": lambda backend: backend.delete("k"),
    "exists": lambda backend: backend.exists("k"),
    "increment": lambda backend: backend.increment("k"),
    "increment ttl": lambda backend: backend.increment("k", 60),
    "add": lambda backend: backend.add("k", 1, 60),
    "replace": lambda backend: backend.replace("k", 1, 60),
    "pop": lambda backend: backend.pop("k"),
    "ttl": lambda backend: backend.ttl("k"),
    "touch": lambda backend: backend.touch("k", 60),
    "touch none": lambda backend: backend.touch("k", None),
    "get_many": lambda backend: backend.get_many([f"k{number}" for number in range(900)]),
    "set_many": lambda backend: backend.set_many(dict.fromkeys([f"k{number}" for number in range(900)], 1)),
    "set_many ttl": lambda backend: backend.set_many(dict.fromkeys([f"k{number}" for number in range(900)], 1), 60),
    "delete_many": lambda backend: backend.delete_many([f"k{number}" for number in range(900)]),
    "compare_and_set": lambda backend: backend.compare_and_set("k", 1, 2),
    "compare_and_delete": lambda backend: backend.compare_and_delete("k", 1),
    "ping": lambda backend: backend.ping(),
}


@pytest.mark.anyio
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
async def test_a_verb_takes_one_round_trip(
    server: Server, verb: Callable[[Backend], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the scripts are known to the server, each verb makes one exchange on the connection."""
    from reinhardt_backends._redis._link import Link

    async with RedisBackend(server.url) as backend:
        await verb(backend)
        exchanges = 0
        finish = Link.finish

        async def counted(link: Link, slot: Any) -> Any:
            nonlocal exchanges
            exchanges += 1
            return await finish(link, slot)

        monkeypatch.setattr(Link, "finish", counted)
        await verb(backend)
    assert exchanges == 1


@pytest.mark.anyio
async def test_scripts_that_the_server_forgot_are_sent_again(server: Server, bare: redis.Redis) -> None:
    async with RedisBackend(server.url) as backend:
        assert await backend.increment("n", 60) == 1
        bare.script_flush()
        assert await backend.increment("n", 60) == 2
        bare.script_flush()
        assert await backend.compare_and_set("n", 2, 7)
        assert await backend.get("n", int) == 7


# Counters, on every server there is.


@pytest.mark.parametrize("name", sorted(available()))
def test_counters_on_every_server(name: str) -> None:
    """One step, exact past 2**53, an expiry that is set once, and nothing changed where it fails."""
    with running(name) as server, SyncBackend(RedisBackend(server.url)) as backend:
        assert backend.increment("n", 60, by=2**53) == 2**53
        assert backend.increment("n", 600) == 2**53 + 1
        assert backend.increment("n", 600, by=2**62) == 2**53 + 1 + 2**62
        assert 59 < backend.ttl("n") <= 60  # type: ignore[operator]  # it is live
        assert backend.increment("n", 60, by=-(2**63)) == 2**53 + 1 + 2**62 - 2**63

        assert backend.increment("late") == 1
        assert backend.increment("late", 60) == 2
        assert 59 < backend.ttl("late") <= 60  # type: ignore[operator]  # it is live

        backend.set("top", 2**63 - 1)
        backend.set("text", "x", 600)
        backend.set("wide", 2**63)
        for key in ("top", "text", "wide"):
            before = backend.get(key), round(backend.ttl(key) or 0) if backend.ttl(key) != math.inf else None
            for ttl in (None, 60):
                with pytest.raises(CounterError):
                    backend.increment(key, ttl)
            assert (backend.get(key), round(backend.ttl(key) or 0) if backend.ttl(key) != math.inf else None) == before


@pytest.mark.anyio
async def test_a_counter_never_lacks_its_expiry(server: Server, bare: redis.Redis) -> None:
    """While many callers count and the keys come and go, no observer sees a counter without an expiry."""
    bare_seen: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        with redis.Redis(port=server.port) as watcher:
            while not stop.is_set():
                bare_seen.append(watcher.pttl("reinhardt:n"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        async with RedisBackend(server.url) as backend, anyio.create_task_group() as tasks:

            async def count() -> None:
                for _ in range(200):
                    await backend.increment("n", 0.005)

            for _ in range(8):
                tasks.start_soon(count)
    finally:
        stop.set()
        watcher.join()
    assert -1 not in bare_seen
    assert any(left > 0 for left in bare_seen)


@pytest.mark.anyio
async def test_concurrent_increments_are_exact(server: Server, bare: redis.Redis) -> None:
    async with RedisBackend(server.url) as backend:
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(backend.increment, "n", 60)
        assert await backend.get("n", int) == 100


# How it is made.


@pytest.mark.anyio
async def test_connect_reaches_the_server_or_raises(server: Server) -> None:
    backend = await RedisBackend.connect(server.url, prefix="p:")
    assert "p:" in repr(backend)
    await backend.aclose()
    with pytest.raises(BackendConnectionError):
        await RedisBackend.connect("redis://127.0.0.1:1/0", timeout=0.5)


@pytest.mark.anyio
async def test_from_url_builds_one(server: Server, bare: redis.Redis) -> None:
    """Configuration names everything, the prefix included."""
    backend = Backend.from_url(server.url + "?prefix=a%2A%3A&timeout=2")
    assert isinstance(backend, RedisBackend)
    async with backend:
        await backend.set("k", 1)
    assert bare.keys() == [b"a*:k"]
    async with Backend.from_url(server.url, prefix="b:") as other:
        await other.set("k", 1)
    assert bare.exists("b:k")
    async with Backend.from_url(server.unix_url) as unix:
        await unix.ping()


@pytest.mark.parametrize("module", [redis, redis.asyncio], ids=["redis", "redis.asyncio"])
def test_from_client_takes_over_the_settings(server: Server, bare: redis.Redis, module: Any) -> None:
    client = module.Redis(host="127.0.0.1", port=server.port, db=2, decode_responses=True)
    with SyncBackend(RedisBackend.from_client(client, prefix="c:")) as backend:
        backend.set("k", 1)
    with redis.Redis(port=server.port, db=2) as other:
        assert other.get("c:k") == b"1"
    if module is redis:
        client.close()


@pytest.mark.parametrize("options", [{"prefix": 1}, {"timeout": "1"}, {"unknown": 1}])
def test_bad_options_are_type_errors(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        RedisBackend("redis://localhost", **options)


@pytest.mark.parametrize("spelling", ["s3cr3t+pass", "s3cr3t%2Fpass"])
def test_no_error_of_making_one_shows_the_password(spelling: str) -> None:
    """Not in the message, the causes, or a variable of a frame of ours."""
    url = f"redis://user:{spelling}@localhost:6379/0?unheard_of=1"
    with pytest.raises(ValueError, match="unheard_of") as refused:
        RedisBackend(url)
    assert "s3cr3t" not in frames_text(refused.value)
    with pytest.raises(TypeError):
        RedisBackend("redis://localhost", password="s3cr3t", timeout="never")  # type: ignore[arg-type]  # on purpose
    assert "s3cr3t" not in repr(RedisBackend(f"redis://user:{spelling}@localhost:6379/0"))


@pytest.mark.anyio
async def test_wrong_credentials_are_reported_without_the_password() -> None:
    with running(None, "--requirepass", "right") as server:
        async with RedisBackend(f"redis://:wr0ng-one@127.0.0.1:{server.port}/0") as backend:
            with pytest.raises(AuthenticationError) as refused:
                await backend.get("k")
            assert "wr0ng-one" not in str(refused.value)
        async with RedisBackend(server.url, password="right") as backend:
            await backend.ping()


def test_without_redis_the_message_says_what_to_install() -> None:
    """Everything else works, and the name is there; using it says which command mends it."""
    program = """
import sys
sys.modules["redis"] = None
sys.modules["hiredis"] = None
from reinhardt_backends import *
import reinhardt_backends
SyncBackend(MemoryBackend()).set("k", 1)
for make in (reinhardt_backends.RedisBackend, lambda: Backend.from_url("redis://localhost")):
    try:
        make()
    except ImportError as error:
        assert 'pip install "reinhardt-backends[redis]"' in str(error), error
    else:
        raise SystemExit("no ImportError")
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


# One object, many users.


def test_one_backend_serves_loops_and_threads_at_once(server: Server, bare: redis.Redis) -> None:
    """asyncio, trio and blocking callers, each in threads of their own, on one object."""
    backend = RedisBackend(server.url)
    face = SyncBackend(backend)

    async def count() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(backend.increment, "n", 60)

    def blocking() -> None:
        for _ in range(10):
            face.increment("n", 60)

    jobs: list[Callable[[], None]] = [blocking] * 10
    jobs += [lambda: anyio.run(count, backend="asyncio"), lambda: anyio.run(count, backend="trio")] * 3
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert face.get("n", int) == 160
    face.close()
    with pytest.raises(BackendClosedError):
        drive(backend._blocking_twin().get("n"))  # type: ignore[union-attr]  # it has one


def test_fifty_threads_share_the_blocking_face(server: Server, bare: redis.Redis) -> None:
    with SyncBackend(RedisBackend(server.url, max_connections=8, client_name="fifty-threads")) as backend:

        def work(number: int) -> None:
            for step in range(20):
                backend.set(f"k{number}", [number, step])
                assert backend.get(f"k{number}", list[int]) == [number, step]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(backend.get_many([f"k{number}" for number in range(50)])) == 50
        assert 1 <= sum(client["name"] == "fifty-threads" for client in bare.client_list()) <= 8


def test_the_blocking_face_works_inside_a_running_loop(server: Server) -> None:
    async def main() -> None:
        with SyncBackend(RedisBackend(server.url)) as backend:
            backend.set("k", 1)
            assert backend.get("k", int) == 1

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_blocking_face_works_in_a_forked_worker(server: Server) -> None:
    with SyncBackend(RedisBackend(server.url)) as backend:
        backend.set("n", 0)
        child = os.fork()
        if child == 0:
            try:
                backend.increment("n")
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert backend.increment("n") == 2


def test_a_subclass_is_run_in_the_portal(server: Server) -> None:
    """It may suspend anywhere, so the blocking face gives it an event loop."""

    class Slow(RedisBackend):
        async def exists(self, key: str) -> bool:
            await anyio.lowlevel.checkpoint()
            return await super().exists(key)

    with SyncBackend(Slow(server.url)) as backend:
        backend.set("k", 1)
        assert backend.exists("k")


@pytest.mark.anyio
async def test_pop_gives_each_value_to_one_caller(server: Server, bare: redis.Redis) -> None:
    """With a type too, where it is read first and deleted if unchanged."""
    async with RedisBackend(server.url) as backend:
        for kind in (Any, int):
            for number in range(20):
                await backend.set("k", number)
                got: list[Any] = []

                async def take(got: list[Any] = got, kind: Any = kind) -> None:
                    got.append(await backend.pop("k", kind))

                async with anyio.create_task_group() as tasks:
                    for _ in range(5):
                        tasks.start_soon(take)
                assert sorted(got, key=repr) == sorted([number, None, None, None, None], key=repr)


@pytest.mark.anyio
async def test_pop_leaves_what_is_not_valid(server: Server, bare: redis.Redis) -> None:
    async with RedisBackend(server.url) as backend:
        await backend.set("k", "text", 60)
        with pytest.raises(DeserializationError):
            await backend.pop("k", int)
        assert await backend.get("k", str) == "text"


# Interrupts.


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer on this platform")
@pytest.mark.parametrize("raising", [False, True], ids=["calls", "raises"])
def test_a_signal_handler_may_come_in_the_middle_of_a_blocking_call(server: Server, raising: bool) -> None:
    """It may use the same face, or raise: no call hangs or gets the reply of another, and the interpreter lives."""
    program = """
import signal, sys
from reinhardt_backends import RedisBackend, SyncBackend
url, raising = sys.argv[1], sys.argv[2] == "True"
class Interrupt(BaseException): ...
busy, handled = False, 0
def handler(*_):
    global busy, handled
    if raising:
        raise Interrupt
    if not busy:
        busy = True
        face.increment("handled", 60)
        handled += 1
        busy = False
face = SyncBackend(RedisBackend(url, prefix="interrupts:"))
face.clear()
face.set_many({f"k{number}": number for number in range(10)}, 60)
signal.signal(signal.SIGALRM, handler)
interrupts = turn = 0
def read():
    global turn
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0 if raising else 0.001)
    while turn < 2000:
        turn += 1
        assert face.get(f"k{turn % 10}", int) == turn % 10
    signal.setitimer(signal.ITIMER_REAL, 0)
while turn < 2000 and interrupts < 500:
    try:
        read()
    except Interrupt:
        interrupts += 1
signal.signal(signal.SIGALRM, signal.SIG_IGN)
assert interrupts if raising else face.get("handled", int, default=0) == handled > 0
face.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, server.url, str(raising)],
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    # An interrupt between making a coroutine and running it leaves it unused, and Python says so.
    assert done.returncode == 0, done.stderr


def test_numbers_are_sent_as_their_text() -> None:
    """hiredis gets no number, whose text it would take while signal handlers may raise."""
    from reinhardt_backends._redis._protocol import pack

    assert pack((b"SET", "k", 12, 1.5, -(2**63))) == pack((b"SET", "k", b"12", b"1.5", b"-9223372036854775808"))


def test_closing_cuts_a_blocking_caller_off_in_its_handshake() -> None:
    """The server accepted and says nothing; the error names the closing, not the server."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        backend = RedisBackend(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        ends: list[BaseException] = []

        def call() -> None:
            try:
                SyncBackend(backend).get("k")
            except BaseException as error:
                ends.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        with silent.accept()[0] as accepted:
            assert accepted.recv(1024)
            SyncBackend(backend).close()
            caller.join(10)
    assert [type(error) for error in ends] == [BackendClosedError]


@pytest.mark.anyio
async def test_a_harmless_script_outlives_a_lost_reply_and_a_forgotten_script(
    server: Server, bare: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart in the middle of a call: it is sent again, with its source."""
    from reinhardt_backends._redis._link import Link
    from reinhardt_backends._redis._mux import CallFailed, Failure

    exchange = Link.exchange
    lost = False

    async def once_lost(link: Link, data: bytes, count: int, deadline: float) -> Any:
        nonlocal lost
        if b"EVALSHA" in data and not lost:
            lost = True
            raise CallFailed(Failure(Failure.BROKEN, "lost on purpose"), sent=True)
        return await exchange(link, data, count, deadline)

    async with RedisBackend(server.url) as backend:
        await backend.set("k", 1, 60)
        bare.script_flush()
        monkeypatch.setattr(Link, "exchange", once_lost)
        assert await backend.touch("k", None)
        assert lost
        assert await backend.ttl("k") == math.inf


@pytest.mark.anyio
async def test_names_of_every_kind_are_scanned_and_cleared(server: Server, bare: redis.Redis) -> None:
    """Line breaks, foreign bytes, the prefix inside a name, and nothing but the prefix."""
    keys = {"", "\n", "a\nb", "p:\np:", "\np:", "ü", "x" * 100, "\n" * 3, "p:"}
    for keys_now in (keys, {"only"}, {""}, {key for key in keys if "\n" not in key}):
        async with RedisBackend(server.url, prefix="p:") as backend:
            for key in keys_now:
                await backend.set(key, 1)
            bare.set(b"p:\xff", "1")
            bare.set("other", "1")
            assert {key async for key in backend.scan()} == keys_now
            assert {key async for key in backend.namespace("n").scan()} == set()
            await backend.clear()
        assert bare.keys() == [b"other"]
