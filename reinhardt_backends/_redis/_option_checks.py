"""What each option may be, and how a secret is kept from being printed."""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

S = TypeVar("S")


class Secret(Generic[S]):
    """Text or bytes that do not print."""

    __slots__ = ("_text",)

    def __init__(self, text: S) -> None:
        self._text = text

    def reveal(self) -> S:
        """The text itself. Keep it out of variables: a traceback may show them."""
        return self._text

    def __repr__(self) -> str:
        return "***"


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be str, not {type(value).__name__}")


def _check_optional_text(name: str, value: Any) -> None:
    if value is not None:
        _check_text(name, value)


def _check_password(name: str, value: Any) -> None:
    if not isinstance(value, Secret):
        _check_optional_text(name, value)


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
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and more than 0")


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
    "username": _check_optional_text,
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
