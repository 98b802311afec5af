"""Urls and clients that say how Redis is reached: one server, a service through its Sentinels, or a cluster.

``redis+sentinel://[[user]:password@]host[:port][,host[:port]...]/service[/db]``, and ``redis+cluster://`` likewise
without a path. User, password and options mean what
they mean in a url of one server, which redis-py reads (``_options``). A url may hold secrets, so a function that reads
one returns what is wrong instead of raising.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import unquote, unquote_plus

from .._types import Secret
from ._addresses import check_address_map, written
from ._options import DEFAULT_PORT, Options, Sentinels, check_encodes, client_settings, hide

if TYPE_CHECKING:
    from ._client import Client
    from ._cluster_options import ClusterOptions

# redis-py takes long to load, and a plain url does without it. Whether it is there shows at once all the same.
for _name in ("redis", "hiredis"):
    if find_spec(_name) is None:
        raise ModuleNotFoundError(f"No module named {_name!r}", name=_name)

SENTINEL_PORT: Final = 26379

#: Options that concern the Sentinels only.
SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password", "sentinel_ssl_context")

_SHAPE: Final = re.compile(r"(?P<scheme>[^:]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?")
_SEED: Final = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>[0-9]+))?")


@dataclass(frozen=True, kw_only=True, eq=False)
class SentinelOptions(Options):
    """How to reach one Sentinel."""

    is_sentinel: ClassVar[bool] = True


@dataclass(frozen=True)
class SeedUrl:
    """The parts of a url that lists several servers.

    Attributes:
        seeds: Host and port of each, in order, each once.
        path: The path, not decoded.
    """

    seeds: tuple[tuple[str, int], ...]
    path: str
    _scheme: str
    _user: Secret[str]
    _query: Secret[str]

    def for_one(self, path: str) -> str:
        """Return the url of the first seed alone, with the same user, password and options and another path."""
        host, port = self.seeds[0]
        query = self._query.reveal()
        return f"{self._scheme}://{self._user.reveal()}{written(host, port)}{path}{'?' if query else ''}{query}"


def split_seeds(url: Secret[str], default_port: int) -> SeedUrl | ValueError:
    """Return the parts of a url that lists several servers, or what is wrong with it."""
    shape = _SHAPE.fullmatch(url.reveal())
    if shape is None:
        return ValueError("the url cannot be read")
    user, at, places = shape["authority"].rpartition("@")
    seeds: dict[tuple[str, int], None] = {}
    for place in places.split(","):
        seed = _SEED.fullmatch(place)
        if seed is None:
            return ValueError("the url cannot be read: servers are host:port,host:port, and IPv6 is [address]:port")
        port = default_port if seed["port"] is None else int(seed["port"])
        if not 1 <= port <= 65535:
            return ValueError("a port in the url is not from 1 to 65535")
        seeds[unquote(seed["six"] or seed["host"]), port] = None
    scheme = shape["scheme"].partition("+")[0].lower()
    return SeedUrl(tuple(seeds), shape["path"], scheme, Secret(user + at), Secret(shape["query"] or ""))


def take_option(url: Any, name: str) -> tuple[str | None, Any]:
    """Take an option that is ours, and not redis-py's, out of a url."""
    base, _, query = url.partition("?") if isinstance(url, str) else (url, "", "")
    own: str | None = None
    rest = []
    for option in query.split("&"):
        key, _, value = option.partition("=")
        if key == name:
            own = unquote_plus(value)
        else:
            rest.append(option)
    return own, url if own is None else "?".join(filter(None, (base, "&".join(rest))))


def options_from_url(url: str, **options: Any) -> Options | ClusterOptions:
    """Return how the server, the service or the cluster of a url is reached.

    Args:
        url: A url of one server, of a service that Sentinels watch, or of a cluster.
        **options: As for ``Options.from_url``, ``SENTINEL_OPTIONS`` and ``address_map``. The url wins.

    Raises:
        TypeError: An option is unknown or of the wrong type.
        ValueError: The url or an option cannot be used.
    """
    hide(options)
    given = Secret[Any](url)
    del url
    own = {name: options.pop(name, None) for name in SENTINEL_OPTIONS}
    address_map = options.pop("address_map", None)
    if not isinstance(given.reveal(), str):
        return Options.from_url(given.reveal(), **options)
    if given.reveal().partition("://")[0].lower() in {"redis+cluster", "rediss+cluster"}:
        _refuse(own, "redis+sentinel")
        return _cluster_from_url(given, address_map, options)
    if given.reveal().partition("://")[0].lower() in {"redis+sentinel", "rediss+sentinel"}:
        return _service_from_url(given, own, address_map, options)
    _refuse({"address_map": address_map}, "redis+sentinel:// or a redis+cluster")
    _refuse(own, "redis+sentinel")
    return Options.from_url(given.reveal(), **options)


def client_for(options: Options | ClusterOptions) -> Client:
    """Return a client that is not connected yet."""
    if isinstance(options, Options):
        from ._client import Client

        return Client(options)
    from ._cluster import ClusterClient

    return ClusterClient(options)


def _refuse(options: Mapping[str, Any], scheme: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name} needs a {scheme}:// url")


def _cluster_from_url(url: Secret[str], address_map: Any, options: Mapping[str, Any]) -> ClusterOptions:
    from ._cluster_options import ClusterOptions

    parts = split_seeds(url, DEFAULT_PORT)
    if isinstance(parts, ValueError):
        raise parts
    if parts.path not in {"", "/", "/0"}:
        raise ValueError("a cluster has no database but 0, and its url no path: redis+cluster://host:port,host:port")
    return ClusterOptions.of(Options.from_url(parts.for_one(""), **options), parts.seeds, address_map)


def options_from_client(client: Any) -> Options | ClusterOptions:
    """Return the settings of a redis-py client: of one server, of a cluster, or made by ``Sentinel.master_for``.

    Raises:
        TypeError: Not such a client.
        ValueError: The client is configured in a way that has no counterpart here.
    """
    if hasattr(client, "nodes_manager"):
        from ._cluster_options import ClusterOptions

        return ClusterOptions.from_client(client)
    pool: Any = getattr(client, "connection_pool", None)
    manager: Any = getattr(pool, "sentinel_manager", None)
    if manager is None:
        return Options.from_client(client)
    if not pool.is_master:
        raise ValueError("a client of replicas (slave_for) cannot be taken over")
    if getattr(manager, "_force_master_ip", None) is not None:
        raise ValueError("a Sentinel with force_master_ip cannot be taken over")
    sentinels = tuple(_sentinel(Options.from_client(one)) for one in manager.sentinels)
    service = str(pool.service_name)
    return replace(client_settings(pool), sentinels=Sentinels(service, sentinels))


def _service_from_url(url: Secret[str], own: dict[str, Any], address_map: Any, options: Mapping[str, Any]) -> Options:
    for name in ("sentinel_username", "sentinel_password"):
        text, rest = take_option(url.reveal(), name)
        if text is not None:
            own[name], url = Secret(text), Secret(rest)
        del text, rest
    parts = split_seeds(url, SENTINEL_PORT)
    if isinstance(parts, ValueError):
        raise parts
    service, _, db = parts.path[1:].partition("/")
    service = unquote(service)
    if not service:
        raise ValueError("the url names no service: redis+sentinel://host:port/service/db")
    check_encodes("the service", Secret(service))
    if db and not (db.isascii() and db.isdecimal()):
        raise ValueError("the database in the url is not a number: redis+sentinel://host:port/service/db")
    server = Options.from_url(parts.for_one(f"/{db}" if db else ""), **options)
    each = _sentinels(parts.seeds, own, server)
    return replace(server, sentinels=Sentinels(service, each, check_address_map(address_map)))


def _sentinels(seeds: tuple[tuple[str, int], ...], own: Mapping[str, Any], server: Options) -> tuple[Options, ...]:
    """Return how each Sentinel is reached: with credentials of its own, and by TLS as the server unless said."""
    context = own["sentinel_ssl_context"]
    if context is None:
        context = server.ssl_context
    elif context is False:
        context = None
    elif not isinstance(context, ssl.SSLContext):
        raise TypeError(f"sentinel_ssl_context must be ssl.SSLContext or False, not {type(context).__name__}")
    credentials: dict[str, Any] = {}
    for name in ("username", "password"):
        value = own[f"sentinel_{name}"]
        text = value.reveal() if isinstance(value, Secret) else value
        if text is not None and not isinstance(text, str):
            raise TypeError(f"sentinel_{name} must be str, not {type(text).__name__}")
        check_encodes(f"sentinel_{name}", Secret(text))
        credentials[name] = text if name == "username" else value
        del text
    return tuple(
        _sentinel(server, host=host, port=port, ssl_context=context, credential_provider=None, **credentials)
        for host, port in seeds
    )


def _sentinel(options: Options, **changes: Any) -> SentinelOptions:
    settings: dict[str, Any] = {one.name: getattr(options, one.name) for one in fields(options)}
    settings |= {"db": 0, "protocol": 2, **changes}
    return SentinelOptions(**settings)
