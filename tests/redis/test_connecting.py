"""Name lookups and credential providers have deadlines, closing ends them, and an idle connection is asked first."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from types import ModuleType
from typing import Any

import anyio
import pytest

pytest.importorskip("redis")
from reinhardt_backends import (
    AuthenticationError,
    BackendClosedError,
    BackendConnectionError,
    BackendTimeoutError,
    RedisBackend,
    SyncBackend,
)
from reinhardt_backends._io import current_loop

from ..servers import Server
from .driving import IDEMPOTENT, ONCE, READ, client_for, drive, in_thread, links
from .fault_proxy import Fault, faulty
from .runtimes import Runtime, on_every_runtime, timed


@pytest.fixture
def hanging_lookups(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Look-ups of names hang until the end of the test."""
    released = threading.Event()
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host == "hanging.invalid" and not options.get("flags"):
            released.wait(20)
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return real(host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield
    released.set()


class HangingProvider:
    """A credential provider that never answers."""

    def get_credentials(self) -> tuple[str, str]:
        time.sleep(5)
        return "user", "password"


class HangingAsyncProvider:
    """The same, for event loops."""

    async def get_credentials_async(self) -> tuple[str, str]:
        await anyio.sleep(5)
        return "user", "password"


@on_every_runtime
async def test_a_name_lookup_has_the_deadline_of_the_call(at: Runtime, hanging_lookups: None) -> None:
    backend = at.open("redis://hanging.invalid:6379", timeout=0.3)
    took, outcome = await timed(backend.get("k"))
    assert isinstance(outcome, BackendTimeoutError)
    assert took < 0.8


@pytest.mark.parametrize("provider", [HangingProvider, HangingAsyncProvider])
@on_every_runtime
async def test_a_credential_provider_has_the_deadline_of_the_call(at: Runtime, server: Server, provider: Any) -> None:
    backend = at.open(server.url, timeout=0.3, credential_provider=provider())
    took, outcome = await timed(backend.get("k"))
    assert isinstance(outcome, BackendTimeoutError)
    assert not isinstance(outcome, AuthenticationError)
    assert took < 0.8


@pytest.mark.parametrize("what", ["lookup", "provider", "async provider"])
@pytest.mark.parametrize("runtime", ["asyncio", "trio", "blocking"])
def test_closing_ends_what_hangs(server: Server, hanging_lookups: None, runtime: str, what: str) -> None:
    options: dict[str, Any] = {"timeout": 10}
    if what != "lookup":
        options["credential_provider"] = HangingProvider() if what == "provider" else HangingAsyncProvider()
    backend = RedisBackend("redis://hanging.invalid:6379" if what == "lookup" else server.url, **options)
    began = time.monotonic()

    async def call() -> None:
        with pytest.raises(BackendClosedError):
            await backend.get("k")

    def run() -> None:
        if runtime == "blocking":
            with pytest.raises(BackendClosedError):
                SyncBackend(backend).get("k")
        else:
            anyio.run(call, backend=runtime)

    with in_thread(run):
        time.sleep(0.3)
        SyncBackend(backend).close()
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("blocking", [False, True])
def test_an_idle_connection_is_asked_before_what_may_not_be_resent(server: Server, blocking: bool) -> None:
    with faulty(server.port) as proxy:
        client = client_for(proxy.url, timeout=8)

        async def main() -> None:
            face = client.blocking() if blocking else client
            await face.call(READ, "PING")
            (link,) = links(client)
            for kind, words in ((ONCE, ("INCR", "idle")), (READ, ("GET", "idle")), (IDEMPOTENT, ("SET", "idle", "1"))):
                link.fresh_until = 0.0
                before = time.monotonic()
                await face.call(kind, *words)
                sent = [data for when, _, data in proxy.requests if when >= before]
                assert b"PING" in sent[0]
                # Awaited in front of what may not be resent, in the same packet otherwise.
                assert len(sent) == (2 if kind is ONCE else 1)
                assert link.fresh_until > time.monotonic() + 20
            before = time.monotonic()
            await face.call(ONCE, "INCR", "idle")
            assert b"PING" not in proxy.requests_since(before)

        anyio.run(main)
        drive(client.blocking().aclose())


@on_every_runtime
async def test_a_path_that_died_while_idle_costs_no_unknown_outcome(at: Runtime, server: Server) -> None:
    with faulty(server.port) as proxy:
        backend = at.open(proxy.url, timeout=8, prefix=f"idle {at.name}:")
        await backend.delete("n")
        target = backend._face._target if at.name == "blocking" else backend
        (link,) = links(target._client)
        link.fresh_until = 0.0
        proxy.strike(Fault.SILENT_PATH)
        took, outcome = await timed(backend.increment("n"))
        assert outcome == 1
        assert took < 3
        await backend.aclose()


def test_the_kernel_watches_the_path(server: Server) -> None:
    client = client_for(server.url.replace("127.0.0.1", "localhost")).blocking()
    drive(client.call(READ, "PING"))
    (link,) = links(client)
    sock = link._port._sock  # type: ignore[attr-defined]  # the port's own
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"):
        if hasattr(socket, name):
            assert sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) < 60
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    drive(client.aclose())


def test_a_refused_connection_is_still_refused_at_once() -> None:
    backend = SyncBackend(RedisBackend("redis://127.0.0.1:1"))
    began = time.monotonic()
    with pytest.raises(BackendConnectionError):
        backend.get("k")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("loaded", [{}, {"lowlevel": ModuleType("trio.lowlevel")}])
def test_asyncio_connects_while_another_thread_imports_trio(
    server: Server, monkeypatch: pytest.MonkeyPatch, loaded: dict[str, ModuleType]
) -> None:
    half = ModuleType("trio")
    vars(half).update(loaded)
    client = client_for(server.url)

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "trio", half)
            patch.delitem(sys.modules, "trio.lowlevel", raising=False)
            for name, module in loaded.items():
                patch.setitem(sys.modules, f"trio.{name}", module)
            assert await client.call(READ, "ECHO", "a") == b"a"
            # A callback of the loop is in no task.
            found: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(lambda: found.set_result(current_loop()))
            assert await found is asyncio.get_running_loop()
            await client.aclose()

    asyncio.run(main())
