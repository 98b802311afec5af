"""The address of a client.

It is the address of the socket, which a client cannot choose freely. Behind a proxy that is the address of the proxy,
which has appended the address that it saw to ``X-Forwarded-For``. Everything to the left of that is what the client
sent, so the field is read from the right: as long as a hop is a trusted proxy, what it appended is true and is the hop
before it. The first hop that is not trusted is the client; what stands further left is never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from ._messages import Scope, fields_of

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

UNIX: Final = "unix"
"""As a trusted proxy: any peer that connects over a unix socket, and so has no address."""

_UNKNOWN: Final = "unknown"
_MOST_HOPS: Final = 32
_WITH_PORT: Final = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")
_LONGEST: Final = 64
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""The addresses under which a network without IPv4 sees IPv4 clients (RFC 6052)."""


class ClientAddress:
    """Tells clients apart by their address: the default key of ``ThrottleMiddleware``, and part of one of your own.

    Call it with the scope of a request::

        address = ClientAddress(["10.0.0.0/8"])

        def key(scope):
            return f"{scope['path']} {address(scope)}"

    It returns the address of the client as text. For an IPv6 address that is its network, such as ``"2001:db8::/64"``,
    since a client usually has all addresses of its network; for an IPv4 address that is written as an IPv6 address
    (``::ffff:203.0.113.7``, and ``64:ff9b::203.0.113.7`` behind NAT64) it is the IPv4 address. A client without an
    address is ``"unknown"``, and all such clients are one.

    Args:
        trusted_proxies: Addresses and networks, such as ``"10.0.0.1"`` and ``"10.0.0.0/8"``, whose ``X-Forwarded-For``
            is believed; ``"unix"`` for a proxy that connects over a unix socket. Name proxies only: any other machine
            there could pretend to be any client. Without any, the field is ignored.
        ipv6_prefix: How many bits of an IPv6 address identify a client.

    Raises:
        TypeError: ``trusted_proxies`` is a single ``str``, or ``ipv6_prefix`` is not an ``int``.
        ValueError: One of them is no address or network, or ``ipv6_prefix`` is not between 1 and 128.
    """

    __module__ = "reinhardt_backends.asgi"  # where users import it from

    def __init__(self, trusted_proxies: Iterable[str | Address | Network] = (), *, ipv6_prefix: int = 64) -> None:
        if isinstance(trusted_proxies, str | bytes):
            raise TypeError("trusted_proxies must be an iterable of addresses, not a single one")
        if isinstance(ipv6_prefix, bool) or not isinstance(ipv6_prefix, int):
            raise TypeError(f"ipv6_prefix must be an int, not {type(ipv6_prefix).__name__}")
        if not 1 <= ipv6_prefix <= 128:
            raise ValueError("ipv6_prefix must be between 1 and 128")
        proxies = [*trusted_proxies]
        self._networks = [_network(proxy) for proxy in proxies if proxy != UNIX]
        self._trusts_unix = UNIX in proxies
        self._ipv6_prefix = ipv6_prefix

    def __call__(self, scope: Scope) -> str:
        """Return the address of the client of a request, for use as a key."""
        peer = (scope.get("client") or ("",))[0] or ""
        address = read_address(peer)
        if address is None and peer:
            # A name of the server's own, such as that of a client in a test.
            return str(peer)
        if self._trusts(address):
            address = self._forwarded(scope, address)
        return _UNKNOWN if address is None else self._text(address)

    def _forwarded(self, scope: Scope, hop: Address | None) -> Address | None:
        """Return the client that trusted proxies report; the farthest of the proxies if they report none."""
        entries = b",".join(fields_of(scope, b"x-forwarded-for")).decode("latin-1")
        for entry in reversed(entries.rsplit(",", _MOST_HOPS)):
            if (address := read_address(entry.strip())) is None:
                return hop
            hop = address
            if not self._trusts(hop):
                return hop
        return hop

    def _trusts(self, address: Address | None) -> bool:
        if address is None:
            return self._trusts_unix
        return any(address in network for network in self._networks)

    def _text(self, address: Address) -> str:
        if address.version == 6 and self._ipv6_prefix < 128:
            return str(IPv6Network((address, self._ipv6_prefix), strict=False))
        return str(address)


def read_address(text: str) -> Address | None:
    """Return the address in a text, which may have a port or a zone; ``None`` if there is none."""
    if len(text) > _LONGEST:
        return None
    if found := _WITH_PORT.fullmatch(text):
        text = found[1] if found[1] is not None else found[2]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return _embedded(address) if isinstance(address, IPv6Address) else address


def _embedded(address: IPv6Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, if it does, so that a client has one key only."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def _network(proxy: str | Address | Network) -> Network:
    if not isinstance(proxy, str | IPv4Address | IPv6Address | IPv4Network | IPv6Network):
        # A bare int would be taken for an address.
        raise TypeError(f"a trusted proxy must be an address or a network, not {type(proxy).__name__}")
    return ip_network(proxy)
