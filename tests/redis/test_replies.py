"""A peer out of step: a reply that no command of that kind has ends the connection, and is a typed error."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

pytest.importorskip("redis")
from reinhardt_backends import KEEP_TTL, BackendConnectionError, BackendError, DeserializationError, OutcomeUnknownError

from ..servers import Server
from .peers import greet, listening
from .runtimes import Runtime, on, on_every_runtime, timed


async def _scanned(backend: Any) -> list[str]:
    return [key async for key in backend.scan()]


VERBS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "get": lambda backend: backend.get("k"),
    "get as str": lambda backend: backend.get("k", str),
    "exists": lambda backend: backend.exists("k"),
    "ttl": lambda backend: backend.ttl("k"),
    "get_many": lambda backend: backend.get_many(["k", "l"]),
    "ping": lambda backend: backend.ping(),
    "scan": _scanned,
    "set": lambda backend: backend.set("k", 1),
    "set keeping": lambda backend: backend.set("k", 1, KEEP_TTL),
    "set_many": lambda backend: backend.set_many({"k": 1}),
    "set_many ttl": lambda backend: backend.set_many({"k": 1, "l": 2}, 60),
    "touch": lambda backend: backend.touch("k", 60),
    "touch none": lambda backend: backend.touch("k", None),
    "get renewing": lambda backend: backend.get("k", renew=60),
    "delete": lambda backend: backend.delete("k"),
    "delete_many": lambda backend: backend.delete_many(["k"]),
    "increment": lambda backend: backend.increment("k"),
    "increment ttl": lambda backend: backend.increment("k", 60),
    "add": lambda backend: backend.add("k", 1),
    "replace": lambda backend: backend.replace("k", 1),
    "pop": lambda backend: backend.pop("k"),
    "pop typed": lambda backend: backend.pop("k", int),
    "compare_and_set": lambda backend: backend.compare_and_set("k", 1, 2),
    "compare_and_delete": lambda backend: backend.compare_and_delete("k", 1),
}
READS = {"get", "get as str", "exists", "ttl", "get_many", "ping", "scan"}

#: Replies in RESP, and the verbs that they could belong to.
REPLIES: dict[bytes, set[str]] = {
    b"+OK\r\n": {"get", "get as str", "ping", "set", "set keeping", "set_many", "set_many ttl", "add", "replace", "pop"}
    | {"increment ttl", "pop typed"},
    b":1\r\n": {"exists", "ttl", "touch", "touch none", "delete", "delete_many", "increment", "increment ttl"}
    | {"compare_and_set", "compare_and_delete"},
    b"$-1\r\n": {"get", "get as str", "get renewing", "add", "replace", "pop", "pop typed"},
    b"*0\r\n": set(),
    b"*1\r\n$1\r\n0\r\n": set(),
    b"*2\r\n$1\r\n0\r\n:1\r\n": set(),
    b"*2\r\n-ERR nested\r\n-ERR nested\r\n": set(),
    b"*2\r\n$1\r\n0\r\n*0\r\n": {"scan"},
}


# What reads and judges replies is the same on every event loop.
@pytest.mark.parametrize("reply", REPLIES)
@on("asyncio", "blocking")
async def test_a_reply_that_the_command_cannot_have_is_a_typed_error(at: Runtime, reply: bytes) -> None:
    def handler(connection: socket.socket) -> None:
        greet(connection)
        while data := connection.recv(65536):
            commands = len(re.findall(rb"\*\d+\r\n\$\d+\r\n[A-Z]", data))
            connection.sendall(reply * commands)

    async def tried(name: str) -> tuple[Any, int]:
        with listening(handler) as peer:
            backend = at.open(peer.url, timeout=20)
            _, outcome = await timed(VERBS[name](backend))
            before = peer.accepted
            await timed(backend.exists("k"))
            return outcome, peer.accepted - before

    names = [name for name in VERBS if name not in REPLIES[reply]]
    for name, result in zip(names, await at.together(*(partial(tried, name) for name in names)), strict=True):
        outcome, reconnected = result
        expected = BackendConnectionError if name in READS or name == "pop typed" else OutcomeUnknownError
        assert type(outcome) is expected, name
        if expected is OutcomeUnknownError:
            assert type(outcome.__cause__) is BackendConnectionError
        assert reconnected, f"{name}: the connection is still in use"


@on_every_runtime
async def test_after_a_reply_out_of_step_a_new_connection_has_the_right_answer(at: Runtime, server: Server) -> None:
    """A proxy inserts one reply; the caller of a read notices nothing."""
    lies = [b"*1\r\n:7\r\n"]

    def handler(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as upstream:
            while data := connection.recv(65536):
                if b"EXISTS" in data and lies:
                    connection.sendall(lies.pop())
                upstream.sendall(data)
                connection.sendall(upstream.recv(65536))

    with listening(handler) as peer:
        backend = at.open(peer.url, prefix=f"{at.name}:")
        await backend.set("k", "value")
        assert await backend.exists("k") is True
        assert peer.accepted == 2
        assert await backend.get("k", str) == "value"


# Sliding expiry that has to be taken back.


@on_every_runtime
async def test_a_renewal_of_a_value_that_cannot_be_read_is_taken_back(at: Runtime, server: Server) -> None:
    backend = at.open(server.url, prefix=f"{at.name}:")
    for ttl in (None, 60):
        await backend.set("k", "text", ttl)
        with pytest.raises(DeserializationError):
            await backend.get("k", int, renew=600)
        left = await backend.ttl("k")
        assert left is not None
        assert left > 1000 if ttl is None else 59 < left <= 60
    await backend.delete("k")
    assert await backend.get("k", int, renew=600, default=7) == 7


@pytest.mark.parametrize("other_ttl", [0.2, 60, 601, None])
@on_every_runtime
async def test_taking_a_renewal_back_never_touches_another_callers_key(
    at: Runtime, server: Server, other_ttl: float | None
) -> None:
    """Between the two steps another caller writes the same value again, with any ttl."""
    writer = at.open(server.url, prefix=f"{at.name}-{other_ttl}:")

    def handler(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as upstream:
            while data := connection.recv(65536):
                if b"EVALSHA" in data or b"EVAL" in data:
                    calls.append(data)
                    if len(calls) == 2:
                        write()
                upstream.sendall(data)
                connection.sendall(upstream.recv(65536))

    def write() -> None:
        key = f"{at.name}-{other_ttl}:k"
        server.command("SET", key, '"text"', *([] if other_ttl is None else ["PX", str(int(other_ttl * 1000))]))

    calls: list[bytes] = []
    with listening(handler) as peer:
        reader = at.open(peer.url, prefix=f"{at.name}-{other_ttl}:")
        # The scripts are known to the server from here on.
        await writer.set("k", "text", 60)
        with pytest.raises(DeserializationError):
            await writer.get("k", int, renew=600)
        await reader.ping()
        for _ in range(50):
            calls.clear()
            await writer.set("k", "text", 0.1)
            # On a busy machine the key may have expired before it is read.
            try:
                assert await reader.get("k", int, renew=0.3 if other_ttl == 0.2 else 600) is None
            except DeserializationError:
                break
        assert len(calls) == 2
        left = await writer.ttl("k")
        assert left is not None, "the key of another caller was deleted"
        assert left == pytest.approx(other_ttl, abs=0.15 if other_ttl == 0.2 else 2) if other_ttl else left > 10_000


# Out of file descriptors.


@pytest.mark.parametrize("runtime", ["asyncio", "uvloop", "trio", "blocking"])
def test_without_a_file_descriptor_left_the_first_call_is_a_connection_error(server: Server, runtime: str) -> None:
    program = f"""
import os, resource, sys
import anyio
from reinhardt_backends import BackendConnectionError, RedisBackend, SyncBackend

backend = RedisBackend({server.url!r}, timeout=1)
hoard = []

def exhaust():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            hoard.append(os.dup(0))
    except OSError:
        pass

def release():
    while hoard:
        os.close(hoard.pop())

async def main():
    exhaust()
    try:
        await backend.get("k")
    except BackendConnectionError as error:
        assert "Too many open files" in str(error), error
    else:
        raise AssertionError("no error")
    release()
    await backend.get("k")
    await backend.aclose()

if {runtime!r} == "blocking":
    face = SyncBackend(backend)
    exhaust()
    try:
        face.get("k")
    except BackendConnectionError as error:
        assert "Too many open files" in str(error), error
    else:
        raise AssertionError("no error")
    release()
    face.get("k")
else:
    kind = "trio" if {runtime!r} == "trio" else "asyncio"
    options = {{}} if kind == "trio" else {{"use_uvloop": {runtime!r} == "uvloop"}}
    anyio.run(main, backend=kind, backend_options=options)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_every_verb_is_looked_at() -> None:
    assert issubclass(BackendConnectionError, BackendError)
    assert len(VERBS) == 24


# Lists that are too long.


@pytest.mark.parametrize(
    "reply",
    [
        b"*1000000000\r\n",
        b"*9999999999999999999\r\n",
        b"*2\r\n$1\r\n0\r\n*100000000\r\n",
        b"$8\r\n*9999999\r\n*1000000000\r\n",
    ],
)
@on("trio", "blocking")
async def test_the_header_of_an_endless_list_takes_no_memory(at: Runtime, reply: bytes) -> None:
    def handler(connection: socket.socket) -> None:
        greet(connection)
        while connection.recv(65536):
            connection.sendall(reply)

    with listening(handler) as peer:
        backend = at.open(peer.url, timeout=20)
        for _ in range(3):
            _, outcome = await timed(backend.get_many(["k", "l"]))
            # Not a timeout: the list is refused as soon as its header has come.
            assert type(outcome) is BackendConnectionError


@on_every_runtime
async def test_a_value_that_looks_like_such_a_header_is_a_value(at: Runtime, server: Server) -> None:
    backend = at.open(server.url, prefix=f"{at.name}:")
    values = {f"k{number}": b"*1000000000\r\n" * 3 * 10**number for number in range(5)}
    await backend.set_many(values)
    assert await backend.get_many(values) == values
    for key, value in values.items():
        assert await backend.get(key, bytes) == value
