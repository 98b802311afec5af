"""What the server says when it refuses, as errors of ours.

The server's own words are shown only up to the first quotation mark: what follows may be a key, an argument or a user.
What a script was refused counts as if the command itself had been. Redis 6.2 wraps such an error in one of its own, and
later versions add where in the script it happened.
"""

from __future__ import annotations

import re
from typing import Final

from .._errors import AuthenticationError, BackendConnectionError, BackendError, ResponseError
from ._protocol import Refusal

#: Nothing was executed, and it may well be in a moment.
TRANSIENT: Final = frozenset({"LOADING", "TRYAGAIN", "BUSY", "MASTERDOWN"})

_CODE = re.compile(r"-?([A-Z][A-Z0-9_]*)(?:\s+|$)(.*)", re.DOTALL)
_WRAPPED = re.compile(r"Error (?:running|compiling) script[^:]*: *(?:@?\w+: *\d+: *)*(.*)", re.DOTALL)
_WHERE = re.compile(r"\s*(?:,? script: [0-9a-f]+.*|, on @?\w+:\d+.*|,? with args beginning with.*)$", re.DOTALL)
_QUOTE = re.compile(r"['\"`\r\n].*", re.DOTALL)
_LIMIT = 160


def parse(refusal: Refusal) -> tuple[str, str]:
    """The code of a refusal (``ERR`` where there is none) and the server's words, as far as they are its own."""
    code, text = _split(str(refusal))
    wrapped = _WRAPPED.match(text)
    if wrapped is not None:
        code, text = _split(wrapped[1])
    return code, _QUOTE.sub("", _WHERE.sub("", text))[:_LIMIT].strip()


def _split(text: str) -> tuple[str, str]:
    found = _CODE.match(text)
    return (found[1], found[2]) if found is not None else ("ERR", text)


def is_transient(refusal: Refusal) -> bool:
    """Whether the command was not executed and should be sent again after a moment."""
    return parse(refusal)[0] in TRANSIENT


def is_read_only(refusal: Refusal) -> bool:
    """Whether the command was not executed because the server has become a replica."""
    return parse(refusal)[0] == "READONLY"


def error_for(refusal: Refusal, location: str) -> BackendError:
    """The typed error for a refusal."""
    code, text = parse(refusal)
    message = f"{location} answered {code}" + (f": {text}" if text else "")
    if code in {"NOAUTH", "WRONGPASS"} or (code == "ERR" and _is_about_auth(text)):
        return AuthenticationError(message)
    if code == "DENIED" or text.startswith("max number of clients"):
        return BackendConnectionError(message)
    return ResponseError(message, code=code)


def _is_about_auth(text: str) -> bool:
    return text.startswith(("invalid password", "Client sent AUTH", "AUTH ", "invalid username-password"))
