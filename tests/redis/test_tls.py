"""TLS: natively where the server has it, and through a proxy that ends it in front of one that has not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("redis")
pytest.importorskip("trustme")
import trustme

from reinhardt_backends import BackendConnectionError, BackendTimeoutError, OutcomeUnknownError
from reinhardt_backends._redis._client import Client

from ..servers import Server, available, free_port, running
from .driving import IDEMPOTENT, ONCE, READ, assert_idle, client_for, drive, frames_text, links
from .peers import greet, holding, listening

pytestmark = pytest.mark.anyio


class Authority:
    """A certificate authority, a certificate for 127.0.0.1 and localhost, and contexts for both ends."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        self.ca_file = str(directory / "ca.pem")
        self.key_file = str(directory / "key.pem")
        self.certificate_file = str(directory / "certificate.pem")
        authority.cert_pem.write_to_path(self.ca_file)
        certificate.private_key_pem.write_to_path(self.key_file)
        Path(self.certificate_file).write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        self.client_certificate = authority.issue_cert("client@example.org")
        self._certificate = certificate
        self._authority = authority

    def server_context(self, *, version: ssl.TLSVersion | None = None, ask: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate.configure_cert(context)
        if version is not None:
            context.maximum_version = version
        if ask:
            context.verify_mode = ssl.CERT_REQUIRED
            self._authority.configure_trust(context)
        return context

    def client_context(self, *, known: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        if known:
            self.client_certificate.configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@contextlib.contextmanager
def _proxied(server: Server, context: ssl.SSLContext) -> Iterator[str]:
    with listening(_terminate(server.port), context) as proxy:
        yield f"rediss://127.0.0.1:{proxy.port}"


def _terminate(port: int) -> Any:
    """Decrypt in one thread: an ``SSLSocket`` is not for reading and writing at the same time from two."""

    def handler(client: Any) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            client.setblocking(False)
            server.setblocking(False)
            _shuttle(client, server)

    return handler


def _shuttle(client: ssl.SSLSocket, server: socket.socket) -> None:
    import select

    up, down = bytearray(), bytearray()
    while True:
        wanted = [client, server] if len(down) < 1_000_000 else [client]
        writable = [one for one, data in ((client, down), (server, up)) if data]
        if not client.pending():
            select.select(wanted, writable, [], 1)
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while True:
                data = client.recv(65536)
                if not data:
                    return
                up += data
        with contextlib.suppress(BlockingIOError):
            if len(down) < 1_000_000:
                data = server.recv(65536)
                if not data:
                    return
                down += data
        with contextlib.suppress(BlockingIOError):
            while up:
                del up[: server.send(up)]
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while down:
                del down[: client.send(down[:16_384])]


async def _use(client: Client) -> None:
    """Small and large values, many at a time, both faces."""
    value = b"x" * 2_000_000

    async def small(number: int) -> None:
        assert await client.call(READ, "ECHO", number) == b"%d" % number

    async def large() -> None:
        assert await client.call(READ, "ECHO", value) == value

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(small, number)
        for _ in range(3):
            group.start_soon(large)
    assert await client.call_many(IDEMPOTENT, [("SET", "tls", "a"), ("GET", "tls")]) == [b"OK", b"a"]
    assert_idle(client)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_through_a_proxy(server: Server, authority: Authority, version: ssl.TLSVersion) -> None:
    with _proxied(server, authority.server_context(version=version)) as url:
        client = client_for(url, ssl_context=authority.client_context(), timeout=20)
        await _use(client)
        await anyio.to_thread.run_sync(lambda: _blocking_use(client))
        await client.aclose()


def _blocking_use(client: Client) -> None:
    twin = client.blocking()
    value = b"y" * 2_000_000
    assert drive(twin.call(READ, "ECHO", value)) == value
    assert drive(twin.call(READ, "ECHO", "small")) == b"small"


@pytest.mark.parametrize("name", available())
async def test_natively(authority: Authority, name: str) -> None:
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", authority.certificate_file]
    options += ["--tls-key-file", authority.key_file, "--tls-ca-cert-file", authority.ca_file]
    try:
        with running(name, *options, "--tls-auth-clients", "no") as one:
            client = client_for(f"rediss://localhost:{port}/3?ssl_ca_certs={authority.ca_file}", timeout=20)
            await _use(client)
            await anyio.to_thread.run_sync(lambda: _blocking_use(client))
            assert await client.call(ONCE, "INCR", "count") == 1
            await anyio.to_thread.run_sync(one.restart)
            assert await client.call(ONCE, "INCR", "count") == 1
            await client.aclose()
    except RuntimeError:
        pytest.skip(f"{name} was built without TLS")


@pytest.mark.parametrize("name", available())
async def test_client_certificates(authority: Authority, name: str) -> None:
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", authority.certificate_file]
    options += ["--tls-key-file", authority.key_file, "--tls-ca-cert-file", authority.ca_file]
    try:
        with running(name, *options, "--tls-auth-clients", "yes"):
            client = client_for(f"rediss://localhost:{port}", ssl_context=authority.client_context(known=True))
            assert await client.call(READ, "PING") == b"PONG"
            await client.aclose()
            stranger = client_for(f"rediss://localhost:{port}", ssl_context=authority.client_context())
            with pytest.raises(BackendConnectionError):
                await stranger.call(ONCE, "INCR", "a")
            await stranger.aclose()
    except RuntimeError:
        pytest.skip(f"{name} was built without TLS")


async def test_an_unknown_authority_is_refused(server: Server, authority: Authority) -> None:
    with _proxied(server, authority.server_context()) as url:
        client = client_for(url, password="s3cret")
        for face in (client, client.blocking()):
            with pytest.raises(BackendConnectionError, match=r"127\.0\.0\.1.*certificate") as caught:
                await face.call(ONCE, "INCR", "a")
            assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
            assert "s3cret" not in frames_text(caught.value)
        await client.aclose()


async def test_another_host_name_is_refused(server: Server) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example.org").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with _proxied(server, context) as url:
        client = client_for(url, ssl_context=trusting)
        with pytest.raises(BackendConnectionError, match="certificate"):
            await client.call(READ, "PING")
        await client.aclose()
        trusting.check_hostname = False
        client = client_for(url, ssl_context=trusting)
        assert await client.call(READ, "PING") == b"PONG"
        await client.aclose()


async def test_a_server_without_tls_is_named_in_the_error(server: Server) -> None:
    client = client_for(f"rediss://127.0.0.1:{server.port}", connect_timeout=0.5)
    with pytest.raises(BackendConnectionError):
        await client.call(READ, "PING")
    await client.aclose()


async def test_a_server_with_tls_met_without(server: Server, authority: Authority) -> None:
    with _proxied(server, authority.server_context()) as url:
        client = client_for(url.replace("rediss", "redis"), timeout=1)
        with pytest.raises(BackendConnectionError):
            await client.call(READ, "PING")
        await client.aclose()


async def test_a_peer_that_never_ends_the_handshake() -> None:
    release = threading.Event()
    with listening(holding(release)) as peer:
        client = client_for(f"rediss://127.0.0.1:{peer.port}", connect_timeout=0.2)
        with pytest.raises(BackendTimeoutError):
            await client.call(ONCE, "INCR", "a")
        release.set()
        await client.aclose()


async def test_session_tickets_are_no_unasked_replies(server: Server, authority: Authority) -> None:
    with _proxied(server, authority.server_context(version=ssl.TLSVersion.TLSv1_3)) as url:
        client = client_for(url, ssl_context=authority.client_context())
        assert await client.call(READ, "PING") == b"PONG"
        (link,) = links(client)
        for _ in range(3):
            assert await client.call(READ, "PING") == b"PONG"
        assert links(client) == [link]
        await client.aclose()


async def test_a_connection_that_ends_while_idle_is_found_before_anything_is_sent(authority: Authority) -> None:
    requests: list[bytes] = []
    ended = threading.Event()

    def handler(connection: Any) -> None:
        greet(connection)
        requests.append(connection.recv(65536))
        connection.sendall(b":1\r\n")
        with contextlib.suppress(OSError):
            connection.unwrap()
        connection.close()
        ended.set()

    with listening(handler, authority.server_context()) as peer:
        client = client_for(f"rediss://127.0.0.1:{peer.port}", ssl_context=authority.client_context())
        for call in (client.call, client.blocking().call):
            ended.clear()
            assert await call(ONCE, "INCR", "a") == 1
        await client.aclose()


async def test_a_break_in_the_middle_of_a_call_is_unknown(authority: Authority) -> None:
    def handler(connection: Any) -> None:
        greet(connection)
        connection.recv(65536)

    with listening(handler, authority.server_context()) as peer:
        client = client_for(f"rediss://127.0.0.1:{peer.port}", ssl_context=authority.client_context())
        with pytest.raises(OutcomeUnknownError):
            await client.call(ONCE, "INCR", "a")
        await client.aclose()


async def test_a_cancelled_large_write_breaks_no_other_call(server: Server, authority: Authority) -> None:
    with _proxied(server, authority.server_context()) as url:
        client = client_for(url, ssl_context=authority.client_context(), timeout=20)
        for turns in range(8):
            async with anyio.create_task_group() as group:
                scope = anyio.CancelScope()

                async def victim(scope: anyio.CancelScope = scope) -> None:
                    with scope:
                        await client.call(IDEMPOTENT, "SET", "tls large", b"x" * 4_000_000)

                group.start_soon(victim)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                group.start_soon(client.call, IDEMPOTENT, "SET", "tls large", b"y" * 300_000)
                await anyio.lowlevel.checkpoint()
                scope.cancel()
            assert await client.call(READ, "STRLEN", "tls large") in (300_000, 4_000_000)
        assert_idle(client)
        await client.aclose()
