"""What is known of a command before it is sent: what may be done if no reply comes, and what a reply looks like."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from types import NoneType
from typing import Any, Final


class Kind(Enum):
    """What may be done about a command whose reply does not come."""

    READ = "read"
    """Sent again freely. If it stays unanswered, that itself is the error."""

    IDEMPOTENT = "idempotent"
    """A write that may land twice. If it may have been sent and stays unanswered, its outcome is unknown."""

    ONCE = "once"
    """A write that is never sent again once it may have been sent."""


def template(*words: bytes | None) -> bytes:
    """Return the bytes of a command as a format string for ``%``. Each ``None`` takes two values: a length and a word.

    Filling it in takes a quarter of the time that packing the command takes.
    """
    head = b"*%d\r\n" % len(words)
    return head + b"".join(
        _VARIES if word is None else _VARIES % (len(word), word.replace(b"%", b"%%")) for word in words
    )


_VARIES: Final = b"$%d\r\n%b\r\n"


class Reply:
    """What a command may be answered with, if it is not refused.

    A reply of another type shows that the peer is out of step: the connection cannot be used any more.

    Attributes:
        plain: The types of replies that need no further look.
        items: For replies that are lists, the types of what is in them.
        lengths: How long the list is, for each command of a call, if that is known.
    """

    __slots__ = ("items", "lengths", "plain")

    def __init__(self, *plain: type, items: Sequence[type] | None = None, lengths: Sequence[int] | None = None) -> None:
        self.plain = frozenset(plain)
        self.items = None if items is None else frozenset(items)
        self.lengths = lengths

    def fits(self, replies: Sequence[Any]) -> bool:
        """Return whether these are replies to the commands of a call."""
        return all(
            reply.__class__ in self.plain or (reply.__class__ is list and self._is_list(number, reply))
            for number, reply in enumerate(replies)
        )

    def _is_list(self, number: int, reply: list[Any]) -> bool:
        if self.items is None or (self.lengths is not None and len(reply) != self.lengths[number]):
            return False
        return self.items.issuperset([item.__class__ for item in reply])


ANYTHING: Final = Reply(bytes, int, float, bool, NoneType, list, dict)
WORD: Final = Reply(bytes)
NUMBER: Final = Reply(int)
VALUE: Final = Reply(bytes, NoneType)
#: A script answers with text where a number is too large for Lua.
COUNTER: Final = Reply(int, bytes)
EXISTING_COUNTER: Final = Reply(int, bytes, NoneType)
#: Seconds and microseconds.
TIME: Final = Reply(items=(bytes,), lengths=(2,))
#: A cursor and a list of names.
PAGE: Final = Reply(items=(bytes, list), lengths=(2,))
#: What an atomic step decides.
ANSWER: Final = Reply(int, bytes, NoneType, items=(int, bytes, NoneType, list))
#: A value, when it expired before (-1: never), and when it expires now (0: as before).
RENEWED: Final = Reply(NoneType, items=(bytes, int), lengths=(3,))
