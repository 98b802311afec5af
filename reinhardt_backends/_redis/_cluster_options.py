"""How to reach a cluster: what its nodes have in common, the seeds, and where announced addresses really are."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any, ClassVar

from redis.connection import Connection, SSLConnection

from ._addresses import Address, AddressMap, check_address_map, reach
from ._options import Options, client_settings


@dataclass(frozen=True, kw_only=True, eq=False)
class NodeOptions(Options):
    """How to reach one node of a cluster."""

    in_cluster: ClassVar[bool] = True


@dataclass(frozen=True, eq=False)
class ClusterOptions:
    """How to reach a cluster.

    Attributes:
        common: What all nodes have in common; its host and port mean nothing.
        seeds: Where the cluster is looked for. Only these know it at the beginning, and they are tried again later.
        address_map: Where a node that announces an address is reached, if that is another one.
    """

    common: NodeOptions
    seeds: tuple[Address, ...]
    address_map: AddressMap | None = None

    @classmethod
    def of(cls, options: Options, seeds: tuple[Address, ...], address_map: Any = None) -> ClusterOptions:
        """Return the options of a cluster whose nodes have these in common.

        Raises:
            TypeError: ``address_map`` is neither a mapping nor a function.
            ValueError: The options name a database that a cluster does not have.
        """
        checked = check_address_map(address_map)
        if options.db:
            raise ValueError("a cluster has no databases but 0")
        common = NodeOptions(**{one.name: getattr(options, one.name) for one in fields(options) if one.init})
        return cls(common, seeds, checked)

    @classmethod
    def from_client(cls, client: Any) -> ClusterOptions:
        """Return the settings of a redis-py ``RedisCluster``.

        Raises:
            ValueError: One of them has no counterpart here.
        """
        manager = client.nodes_manager
        # The client of threads keeps them in the manager, with a function of its own for new connections.
        given: Any = getattr(client, "connection_kwargs", None) or manager.connection_kwargs
        settings = {name: value for name, value in given.items() if name != "redis_connect_func"}
        if getattr(client, "user_on_connect_func", None) is not None:
            raise ValueError("a client with redis_connect_func cannot be taken over")
        kind = settings.pop("connection_class", SSLConnection if settings.get("ssl") else Connection)
        pool = SimpleNamespace(connection_class=kind, connection_kwargs=settings)
        seeds = tuple((str(node.host), int(node.port)) for node in manager.startup_nodes.values())
        return cls.of(client_settings(pool), seeds, manager.address_remap)

    @property
    def timeout(self) -> float:
        """Seconds that one call may take in all."""
        return self.common.timeout

    @property
    def location(self) -> str:
        """Where the cluster is, for messages."""
        return ",".join(self.at(seed).location for seed in self.seeds)

    def at(self, address: Address) -> NodeOptions:
        """Return how to reach the node at an address."""
        return replace(self.common, host=address[0], port=address[1])

    def reach(self, announced: Address) -> Address:
        """Return where a node that announces an address is reached.

        Raises:
            BackendConnectionError: The user's function failed, or returned no address.
        """
        return reach(self.address_map, announced)
