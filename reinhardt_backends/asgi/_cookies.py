"""The cookie that carries the id of a session: how it is read, set and deleted."""

from __future__ import annotations

import re
from itertools import islice
from math import ceil
from typing import Final, Literal, TypeAlias, get_args

from .._session._session import Ticket
from .._types import TTL, check_ttl
from ._messages import Scope, fields_of

SameSite: TypeAlias = Literal["lax", "strict", "none"]

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ATTRIBUTE: Final = re.compile(r"[\x20-\x3a\x3c-\x7e]+")
_MOST: Final = 4
"""How many cookies of the name are looked at: a neighbouring site may have set one of its own."""


class Cookie:
    """A cookie by its name and attributes.

    Raises:
        TypeError: An attribute is not what it must be.
        ValueError: An attribute cannot be written, or browsers would refuse the cookie.
    """

    def __init__(
        self,
        name: str,
        *,
        path: str,
        domain: str | None,
        secure: bool,
        same_site: SameSite,
        partitioned: bool,
        max_age: TTL | None,
    ) -> None:
        _check_text("the name of the cookie", name, _NAME)
        _check_text("path", path, _ATTRIBUTE)
        if domain is not None:
            _check_text("domain", domain, _ATTRIBUTE)
        if not path.startswith("/"):
            raise ValueError("path must begin with a slash")
        if same_site not in get_args(SameSite):
            raise ValueError(f"same_site must be 'lax', 'strict' or 'none', not {same_site!r}")
        if not secure and (partitioned or same_site == "none" or name.startswith(("__Secure-", "__Host-"))):
            raise ValueError("browsers take such a cookie only if it is secure")
        if name.startswith("__Host-") and (path != "/" or domain is not None):
            raise ValueError("browsers take a __Host- cookie only with the path / and no domain")
        milliseconds = check_ttl(max_age)
        self._age = None if milliseconds is None else ceil(milliseconds / 1000)
        self._name = name
        self._form = re.compile(rb"(?:^|;)[ \t]*+%s=([^;]*)" % re.escape(name.encode()))
        parts = [f"Path={path}", *([f"Domain={domain}"] if domain else []), "HttpOnly", f"SameSite={same_site.title()}"]
        parts += [*(["Secure"] if secure else []), *(["Partitioned"] if partitioned else [])]
        self._attributes = "; ".join(parts)

    def tickets(self, scope: Scope) -> list[Ticket]:
        """Return the session ids that a request carries under the name, the most specific first, and only a few.

        As tickets, which show no id in a traceback.
        """
        found = (match for field in fields_of(scope, b"cookie") for match in self._form.finditer(field))
        values = (match[1].strip(b" \t").decode("latin-1") for match in islice(found, _MOST))
        return [ticket for value in values if (ticket := Ticket.read(value)) is not None]

    def setting(self, value: str) -> bytes:
        """Return the field that sets the cookie."""
        age = "" if self._age is None else f"; Max-Age={self._age}"
        return f"{self._name}={value}; {self._attributes}{age}".encode()

    def deleting(self) -> bytes:
        """Return the field that deletes the cookie."""
        return f"{self._name}=; {self._attributes}; Max-Age=0".encode()


def _check_text(what: str, text: str, form: re.Pattern[str]) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    if not form.fullmatch(text):
        raise ValueError(f"{what} cannot be written in a cookie: {text[:100]!r}")
