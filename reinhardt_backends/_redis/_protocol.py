"""The protocol: commands and replies by hiredis, with types of ours, and what an error reply means.

Of an error reply only the server's own words are shown, up to the first quotation mark: a key, an argument or a user
name may follow. An error inside a script counts as if the command itself had been refused: Redis 6.2 wraps such an
error in one of its own, and later versions add where in the script it happened.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import hiredis

from .._errors import AuthenticationError, BackendConnectionError, BackendError, ResponseError

#: What the parser returns when it has no whole reply.
NOTHING: Final = object()

#: Something that a RESP3 server says unasked, which answers no command.
Push: Final = hiredis.PushNotification

ProtocolError: Final = hiredis.ProtocolError

_pack = cast("Callable[[tuple[Any, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]
_TEXT: Final = frozenset({bytes, str})


def pack(words: tuple[Any, ...]) -> bytes:
    """The bytes of a command, given as a tuple of its words."""
    # Of a number hiredis takes the text, and if a signal handler raises at that moment, it crashes the interpreter.
    return _pack(words if _TEXT.issuperset(map(type, words)) else tuple([_word(word) for word in words]))


def _word(word: Any) -> bytes | str:
    if isinstance(word, (bytes, str)):
        return word
    return b"%d" % word if isinstance(word, int) else repr(word).encode()


class Refusal(Exception):
    """An error that the server gave as a reply, as it came. Never raised: it travels in the place of the reply.

    Its text may quote what was sent, so it does not print.
    """

    def __repr__(self) -> str:
        return "<refusal>"


class Parser(Protocol):
    """Bytes in, replies out."""

    def feed(self, buffer: bytearray, offset: int, length: int, /) -> None:
        """Take what was received."""

    def gets(self) -> Any:
        """The next whole reply, or ``NOTHING``."""


def new_parser() -> Parser:
    """A parser for one connection. Both of its methods may raise ``ProtocolError``."""
    reader = hiredis.Reader(protocolError=hiredis.ProtocolError, replyError=Refusal, notEnoughData=NOTHING)
    return cast("Parser", reader)


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


def is_unknown_script(refusal: Refusal) -> bool:
    """Whether the command was not executed because the server does not know the script."""
    return parse(refusal)[0] == "NOSCRIPT"


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
