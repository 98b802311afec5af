"""How to reach a cluster: what its nodes have in common, the seeds, and where announced addresses really are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any, ClassVar, cast

from redis.connection import Connection, SSLConnection

from .._errors import BackendConnectionError
from ._cluster_replies import Address
from ._options import Options, client_settings

#: Where a node that announces an address is reached: a mapping, or a function.
AddressMap = Mapping[Address, Address] | Callable[[Address], Address]


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
        if address_map is not None and not (isinstance(address_map, Mapping) or callable(address_map)):
            raise TypeError(f"address_map must be a mapping or a function, not {type(address_map).__name__}")
        if options.db:
            raise ValueError("a cluster has no databases but 0")
        common = NodeOptions(**{one.name: getattr(options, one.name) for one in fields(options) if one.init})
        return cls(common, seeds, cast("AddressMap | None", address_map))

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
        found: Any = announced
        try:
            if isinstance(self.address_map, Mapping):
                found = self.address_map.get(announced, announced)
            elif self.address_map is not None:
                found = self.address_map(announced)
            host, port = found
        except Exception as error:
            failed = type(error).__name__
        else:
            if isinstance(host, str) and isinstance(port, int) and 1 <= port <= 65535:
                return host, port
            failed = "no (host, port)"
        raise BackendConnectionError(f"address_map does not map {announced[0]}:{announced[1]}: {failed}")
