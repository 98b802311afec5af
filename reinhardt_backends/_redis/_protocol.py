"""The protocol, which hiredis packs and parses, with types of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import hiredis

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
