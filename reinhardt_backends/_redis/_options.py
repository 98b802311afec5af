"""How to reach a server: a URL and keyword options, as one frozen object.

redis-py reads the URL, so a URL means here what it means there. A plain one, without options or escapes, can be read in
one way only. That is done here, since to load redis-py takes longer than all the rest. Where the URL and a keyword say
different things, the URL wins, as in redis-py. Secrets are in no repr and no message; ``location`` is what error
messages may name.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Final

from .._types import Secret, check_seconds
from ._addresses import AddressMap, written
from ._tls import TLS_OPTIONS, context_from

DEFAULT_PORT: Final = 6379


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be str, not {type(value).__name__}")


def _check_optional_text(name: str, value: Any) -> None:
    if value is not None:
        _check_text(name, value)


def _check_user(name: str, value: Any) -> None:
    _check_optional_text(name, value)
    check_encodes(name, Secret(value))


def _check_password(name: str, value: Any) -> None:
    if value is not None:
        check_encodes(name, value)


def check_encodes(name: str, secret: Secret[Any]) -> None:
    """Raise ``ValueError`` if a text has no UTF-8 form. The codec's own error would show the text."""
    text = secret.reveal
    try:
        if isinstance(text(), str):
            text().encode()
        return
    except UnicodeEncodeError:
        pass
    raise ValueError(f"{name} must be text that can be encoded as UTF-8")


def _check_name(name: str, value: Any) -> None:
    _check_optional_text(name, value)
    if value is not None and not all("!" <= letter <= "~" for letter in value):
        raise ValueError(f"{name} must be printable ASCII without spaces")


def _check_whole(low: int, high: int) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be int, not {type(value).__name__}")
        if not low <= value <= high:
            raise ValueError(f"{name} must be from {low} to {high}")

    return check


def _check_seconds(name: str, value: Any) -> None:
    check_seconds(value, name)


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be bool, not {type(value).__name__}")


def _check_context(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, ssl.SSLContext):
        raise TypeError(f"{name} must be ssl.SSLContext, not {type(value).__name__}")


def _check_provider(name: str, value: Any) -> None:
    if value is not None and not (hasattr(value, "get_credentials") or hasattr(value, "get_credentials_async")):
        raise TypeError(f"{name} must have get_credentials or get_credentials_async")


#: A function for each option, which raises ``TypeError`` or ``ValueError`` if its value will not do.
CHECKS: Final[dict[str, Callable[[str, Any], None]]] = {
    "host": _check_text,
    "port": _check_whole(1, 65535),
    "path": _check_optional_text,
    "db": _check_whole(0, 2**31 - 1),
    "username": _check_user,
    "password": _check_password,
    "credential_provider": _check_provider,
    "client_name": _check_name,
    "protocol": _check_whole(2, 3),
    "timeout": _check_seconds,
    "connect_timeout": _check_seconds,
    "ssl_context": _check_context,
    "socket_keepalive": _check_flag,
    "max_connections": _check_whole(1, 2**31 - 1),
}


@dataclass(frozen=True, eq=False)
class Sentinels:
    """The Sentinels that know where a service is.

    Attributes:
        service: The name under which they watch it.
        each: How each of them is reached.
        address_map: Where a server that they name is reached, if that is another address.
    """

    service: str
    each: tuple[Options, ...]
    address_map: AddressMap | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Options:
    """How to reach one server.

    Attributes:
        host: Name or address of the server.
        port: TCP port.
        path: Path of a unix socket, instead of host and port.
        db: Number of the database.
        username: The ACL user; ``None`` is the default user.
        password: Its password.
        credential_provider: Gives user name and password for each connection, instead of fixed ones.
        client_name: What the connections call themselves on the server.
        protocol: RESP version, 2 or 3. 2 unless said otherwise: nothing here needs what 3 adds.
        timeout: Seconds that one call may take in all, retries and connecting included.
        connect_timeout: Seconds that one attempt to connect may take.
        ssl_context: Use TLS, with this context. Made by default for ``rediss://``: it verifies chain and host name.
        socket_keepalive: Whether TCP keepalive is switched on.
        max_connections: How many connections blocking callers may have open at a time; further ones wait.
        sentinels: What names the server, instead of host and port.
    """

    host: str = "localhost"
    port: int = DEFAULT_PORT
    path: str | None = None
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | Secret[str] | None = field(default=None, repr=False)
    credential_provider: Any = field(default=None, repr=False)
    client_name: str | None = None
    protocol: int = 2
    timeout: float = 5.0
    connect_timeout: float = 5.0
    ssl_context: ssl.SSLContext | None = None
    socket_keepalive: bool = True
    max_connections: int = 64
    sentinels: Sentinels | None = None

    #: Whether the server must be a node of a cluster; otherwise it must be none.
    in_cluster: ClassVar[bool] = False
    #: Whether it is a Sentinel; otherwise it must be none.
    is_sentinel: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.password is not None and not isinstance(self.password, Secret):
            _check_text("password", self.password)
            object.__setattr__(self, "password", Secret(self.password))
        for name, check in CHECKS.items():
            check(name, getattr(self, name))
        if self.credential_provider is not None and (self.password is not None or self.username is not None):
            raise ValueError("give either credential_provider or username and password, not both")

    @property
    def location(self) -> str:
        """Where the server is, for messages."""
        if self.sentinels is not None:
            return f"service {self.sentinels.service!r}"
        if self.path is not None:
            return self.path
        return written(self.host, self.port)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Options:
        """Options from a URL and keyword options; where both say something, the URL wins.

        ``redis://[[user]:password@]host[:port][/db]``, ``rediss://...`` for TLS,
        ``unix://[[user]:password@]/path?db=0``. User, password and path are percent-decoded. Query options have the
        names of the keyword options, or redis-py's: ``socket_timeout``, ``socket_connect_timeout`` and ``ssl_*``
        (files, verification). Options of redis-py's that mean nothing here (``decode_responses``,
        ``health_check_interval``, ``retry_on_timeout`` and the like) are read and have no effect.

        Raises:
            TypeError: An unknown keyword option, or one of the wrong type.
            ValueError: The URL is not one of these, has an unknown query option, or a value is out of range.
        """
        hide(options)
        given = Secret[Any](url)
        del url
        unknown = sorted(options.keys() - _NAMES)
        if unknown:
            raise TypeError(f"unknown option{'s' * (len(unknown) > 1)}: {', '.join(unknown)}")
        if not isinstance(given.reveal(), str):
            raise TypeError(f"the url must be str, not {type(given.reveal()).__name__}")
        settings, tls, trouble = _read_url(given.reveal())
        if trouble is not None:
            raise ValueError(trouble)
        foreign = sorted(settings.keys() - _IN_URLS)
        if foreign:
            raise ValueError(f"unknown option{'s' * (len(foreign) > 1)} in the url: {', '.join(foreign)}")
        return _build(options, settings, tls=tls)

    @classmethod
    def from_client(cls, client: Any) -> Options:
        """The connection settings of a configured redis-py client, ``redis.Redis`` or ``redis.asyncio.Redis``.

        The client itself is not used and stays open. What has no meaning here (``decode_responses``, its retries, its
        pool) is not taken over.

        Raises:
            TypeError: Not such a client, or one of a cluster or of Sentinels.
            ValueError: The client is configured in a way that has no counterpart here.
        """
        pool: Any = getattr(client, "connection_pool", None)
        kind = getattr(pool, "connection_class", None)
        if not isinstance(kind, type) or not hasattr(pool, "connection_kwargs"):
            raise TypeError(f"not a redis.Redis or redis.asyncio.Redis: {type(client).__name__}")
        names = {base.__name__ for base in kind.__mro__}
        if any("Sentinel" in name for name in (*names, type(pool).__name__)):
            raise TypeError("a client of sentinels cannot be taken over")
        return client_settings(pool)


def client_settings(pool: Any) -> Options:
    """The settings that a redis-py pool gives its connections.

    Raises:
        ValueError: One of them has no counterpart here.
    """
    if pool.connection_kwargs.get("redis_connect_func") is not None:
        raise ValueError("a client with redis_connect_func cannot be taken over")
    tls = any(base.__name__ == "SSLConnection" for base in pool.connection_class.__mro__)
    return _build({}, _read_client(pool.connection_kwargs), tls=tls)


def hide(settings: dict[str, Any]) -> None:
    """Wrap what is secret, before anything can go wrong."""
    for name in ("password", "sentinel_password", "ssl_password"):
        if isinstance(settings.get(name), str):
            settings[name] = Secret(settings[name])


def _read_client(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a redis-py pool gives its connections, as far as it means something here."""
    wanted = (_NAMES | _RENAMED.keys() | TLS_OPTIONS) - {"max_connections"}
    settings = {name: value for name, value in kwargs.items() if name in wanted and value is not None}
    if "ssl_cert_reqs" in kwargs and kwargs["ssl_cert_reqs"] is None:
        settings["ssl_cert_reqs"] = "none"
    hide(settings)
    return settings


def _read_url(url: str) -> tuple[dict[str, Any], bool, str | None]:
    """What redis-py reads in a URL, whether it asks for TLS, and what is wrong with it."""
    if not url.startswith(("redis://", "rediss://", "unix://")):
        return {}, False, "the url must begin with redis://, rediss:// or unix://"
    plain = _PLAIN.fullmatch(url)
    if plain is not None and int(plain["port"] or 0) <= 65535:
        settings: dict[str, Any] = {name: text for name, text in plain.groupdict().items() if text}
        settings |= {name: int(settings[name]) for name in ("port", "db") if name in settings}
        hide(settings)
        return settings, url.startswith("rediss://"), None
    if not url.startswith("unix://") and _HAS_DATABASE.fullmatch(url) is None:
        # redis-py would take the database 0, whatever was meant: another database, or a slash in a password.
        return {}, False, "the database in the url is not a number: redis://host:port/db"
    from redis.exceptions import RedisError

    read, internal = _redis_py()
    trouble = "the url cannot be read"
    try:
        pool = read(url)
    except RedisError:
        return {}, False, trouble
    except (TypeError, ValueError) as error:
        # This text names an option and no more; everything else that may be said here could show the URL.
        named = str(error)
        return {}, False, named if named.startswith("Invalid value for '") else trouble
    settings = {name: value for name, value in pool.connection_kwargs.items() if name not in internal}
    if "max_connections=" in url.partition("?")[2]:
        settings["max_connections"] = pool.max_connections
    if url.startswith("unix://") and "path" not in settings:
        return {}, False, "a unix:// url must have a path"
    if not isinstance(pool.connection_class, type):
        # The URL itself said connection_class=..., which from_url has passed on.
        settings["connection_class"] = pool.connection_class
    hide(settings)
    return settings, url.startswith("rediss://"), None


def _build(options: Mapping[str, Any], settings: Mapping[str, Any], *, tls: bool) -> Options:
    merged = dict(options)
    for name, value in settings.items():
        target = _RENAMED.get(name, name)
        if target in _NAMES:
            merged[target] = _FROM_TEXT.get(target, _same)(value)
    if not tls and any(name in TLS_OPTIONS for name in settings):
        raise ValueError("ssl_ options need a rediss:// url")
    if tls and merged.get("ssl_context") is None:
        merged["ssl_context"] = context_from({name: settings[name] for name in settings if name in TLS_OPTIONS})
    return Options(**merged)


def _same(value: Any) -> Any:
    return value


def _number(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("a timeout in the url is not a number") from None


def _whole(value: Any) -> Any:
    try:
        return int(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("an option in the url is not a whole number") from None


def _flag(value: Any) -> Any:
    return value.upper() not in {"0", "F", "FALSE", "N", "NO", ""} if isinstance(value, str) else bool(value)


_NAMES: Final = frozenset(CHECKS)

#: redis-py's names for options of ours.
_RENAMED: Final = {"socket_timeout": "timeout", "socket_connect_timeout": "connect_timeout"}

#: Values that redis-py leaves as text where they come from a URL.
_FROM_TEXT: Final[dict[str, Callable[[Any], Any]]] = {
    "timeout": _number,
    "connect_timeout": _number,
    "port": _whole,
    "db": _whole,
    "protocol": _whole,
    "max_connections": _whole,
    "socket_keepalive": _flag,
}

#: Options of redis-py's that mean nothing here.
_IGNORED: Final = frozenset(
    {
        "decode_responses",
        "encoding",
        "encoding_errors",
        "health_check_interval",
        "legacy_responses",
        "lib_name",
        "lib_version",
        "retry_on_error",
        "retry_on_timeout",
        "single_connection_client",
        "socket_read_size",
        "socket_type",
    }
)

#: What a URL may set.
_IN_URLS: Final = (_NAMES - {"credential_provider", "ssl_context"}) | _RENAMED.keys() | TLS_OPTIONS | _IGNORED

#: A URL of which redis-py could read nothing else.
_PLAIN: Final = re.compile(
    r"rediss?://(?:(?P<username>[\w.-]*):(?P<password>[\w.-]+)@)?(?P<host>[a-z0-9.-]+)?(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?:/(?P<db>[0-9]{1,9}))?",
    re.ASCII,
)

#: A URL whose path is a database, or empty.
_HAS_DATABASE: Final = re.compile(r"[^:]*://[^/?#]*(?:/(?:[0-9]+/?)?)?(?:[?#].*)?", re.ASCII | re.DOTALL)


@cache
def _redis_py() -> tuple[Callable[[str], Any], frozenset[str]]:
    """Return redis-py's own reading of a URL, and what that itself puts among the connection's arguments.

    The latter is found by asking about a URL that says nothing.
    """
    from redis.connection import ConnectionPool

    read: Callable[[str], Any] = ConnectionPool.from_url  # pyright: ignore[reportUnknownMemberType]
    own = ("orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout")
    return read, frozenset([*own, *read("redis://").connection_kwargs])
