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

#: The bytes of a command, given as a tuple of its words.
pack = cast("Callable[[tuple[Any, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]


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
