"""Where a server is really reached that announces an address which is not reachable from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from .._errors import BackendConnectionError

#: A host and a port.
Address: TypeAlias = tuple[str, int]

#: Where a server that announces an address is reached: a mapping, or a function.
AddressMap: TypeAlias = Mapping[Address, Address] | Callable[[Address], Address]


def check_address_map(given: Any) -> AddressMap | None:
    """Return an address map as it was given.

    Raises:
        TypeError: It is neither a mapping nor a function.
    """
    if given is not None and not (isinstance(given, Mapping) or callable(given)):
        raise TypeError(f"address_map must be a mapping or a function, not {type(given).__name__}")
    return cast("AddressMap | None", given)


def reach(address_map: AddressMap | None, announced: Address) -> Address:
    """Return where a server that announces an address is reached.

    Raises:
        BackendConnectionError: The user's function failed, or returned no address.
    """
    found: Any = announced
    try:
        if isinstance(address_map, Mapping):
            found = address_map.get(announced, announced)
        elif address_map is not None:
            found = address_map(announced)
        host, port = found
    except Exception as error:
        failed = type(error).__name__
    else:
        if isinstance(host, str) and isinstance(port, int) and 1 <= port <= 65535:
            return host, port
        failed = "no (host, port)"
    raise BackendConnectionError(f"address_map does not map {written(*announced)}: {failed}")


def written(host: str, port: int) -> str:
    """Return an address as messages and urls have it; one of IPv6 is in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
