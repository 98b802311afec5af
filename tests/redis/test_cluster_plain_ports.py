"""A cluster with TLS whose nodes announce their plain ports, as they do without ``tls-cluster``."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("redis")
pytest.importorskip("trustme")

from reinhardt_backends import BackendConnectionError, RedisBackend, SyncBackend

from ..servers import available
from ..topologies import free_cluster_port, running_cluster
from .test_tls import Authority

pytestmark = pytest.mark.xdist_group("cluster")


def test_announced_plain_ports_are_mapped_to_the_ports_for_tls(tmp_path: Path) -> None:
    if "redis-server" not in available():
        pytest.skip("no server with TLS")
    authority = Authority(tmp_path)
    files = {"cert": authority.certificate_file, "key": authority.key_file, "ca-cert": authority.ca_file}
    args = [word for name, value in files.items() for word in (f"--tls-{name}-file", value)]
    with running_cluster(*args, "--tls-auth-clients", "no", name="redis-server", primaries=2, replicas=0) as cluster:
        secure = {server.port: free_cluster_port() for server in cluster.servers}
        for server in cluster.servers:
            server.ask("CONFIG", "SET", "tls-port", secure[server.port])
        seed = secure[cluster.servers[0].port]
        url = f"rediss+cluster://127.0.0.1:{seed}?ssl_ca_certs={authority.ca_file}"
        keys = [f"k{number}" for number in range(20)]
        mapped = RedisBackend(url, address_map=lambda address: (address[0], secure[address[1]]))
        with SyncBackend(mapped) as verbs:
            verbs.set_many(dict.fromkeys(keys, 1))
            assert [verbs.increment(key) for key in keys] == [2] * 20
            assert verbs.stats().connections == 2
        # A server that gets a TLS handshake on its plain port waits for the end of the line.
        unmapped = RedisBackend(url, timeout=0.5)
        with SyncBackend(unmapped) as verbs, pytest.raises(BackendConnectionError, match="address_map"):
            verbs.get_many(keys)
