"""The protocol: commands and replies by hiredis, with types of ours, and what an error reply means.

Of an error reply only the server's own words are shown: up to the first quotation mark that may be followed by a key,
an argument or a user name, and up to the first word that was sent. An error inside a script counts as if the command
itself had been refused: Redis 6.2 wraps such an error in one of its own, and later versions add where in the script it
happened.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

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
    if not _TEXT.issuperset(map(type, words)):
        words = tuple([b"%d" % word if word.__class__ is int else _word(word) for word in words])
    return _pack(words)


def pack_each(name: bytes, words: list[bytes]) -> list[bytes]:
    """The bytes of a command with one argument, for each argument. Faster than ``pack`` for each."""
    head = b"*2\r\n$%d\r\n%b\r\n$" % (len(name), name)
    return [b"%b%d\r\n%b\r\n" % (head, len(word), word) for word in words]


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


class Parser:
    """Bytes in, replies out, for one connection.

    hiredis makes room for all items of a list when it sees the header, so a corrupt one could take any amount of
    memory. No command of ours has that many. Such a header is refused before hiredis sees it. hiredis knows whether
    bytes that look like one are in the middle of a value.
    """

    __slots__ = ("_feed", "_gets", "_has_data", "_held", "_value_left")

    def __init__(self) -> None:
        reader = hiredis.Reader(protocolError=hiredis.ProtocolError, replyError=Refusal, notEnoughData=NOTHING)
        self._feed = cast("Callable[..., None]", reader.feed)
        self._has_data = reader.has_data
        self._gets = cast("Callable[[], Any]", reader.gets)
        #: The end of the last read, if it may be the beginning of a header.
        self._held = b""
        #: How many of the bytes to come belong to a large value.
        self._value_left = 0

    def feed(self, buffer: bytearray | bytes, length: int) -> Callable[[], Any]:
        """Take what was received: the first so many bytes of a buffer.

        Returns:
            A function that returns the next whole reply, or ``NOTHING``, and may raise ``ProtocolError``.

        Raises:
            ProtocolError: There is the header of a list that is too long.
        """
        if (length > SHORT_READ or self._value_left) and self._is_within_value(buffer, length):
            self._feed(buffer, 0, length)
            return self._gets
        read = buffer[:length]
        if self._held:
            read = self._held + read
            self._held = b""
        if read[-1] != _LF and (cut := _CUT.search(read, max(len(read) - 8, 0))) is not None:
            # No reply ends here, so that none is delayed.
            self._held = bytes(read[cut.start(1) :])
            read = read[: cut.start(1)]
        end = len(read)
        if end <= SHORT_READ:
            # To look for each kind in a copy takes less time than a pattern for all of them.
            suspect = _LIST in read or _PUSH in read or _SET in read or _MAP in read or _ATTRIBUTE in read
        else:
            # What follows the last of these bytes, and the digits after it, is not searched: most of a long list.
            last = max([read.rfind(kind) for kind in _KINDS])
            suspect, end = last >= 0, min(last + 8, end)
        if suspect and (_FIRST.match(read) or _LATER.search(read, 0, end)):
            return self._feed_in_parts(read)
        self._feed(read)
        return self._gets

    def _is_within_value(self, buffer: bytearray | bytes, length: int) -> bool:
        """Whether all of a read belongs to one large value, whose bytes need not be looked at."""
        left, self._value_left = self._value_left, 0
        if not left and not self._held and not self._has_data() and (header := _VALUE.match(buffer, 0, length)):
            left = header.end() + int(header[1]) + 2
        self._value_left = max(left - length, 0)
        return self._value_left > 0

    def _feed_in_parts(self, read: bytearray | bytes) -> Callable[[], Any]:
        replies: list[Any] = []
        position = 0
        for end in [*(found.start(1) for found in _HEADER.finditer(read)), len(read)]:
            self._feed(read[position:end])
            position = end
            while (reply := self._gets()) is not NOTHING:
                replies.append(reply)
            if end < len(read) and not self._has_data():
                raise ProtocolError("a list is too long")
        return partial(next, iter(replies), NOTHING)


#: The header of a list, push, set or map of a million items or more, or a part of a value that looks like one: where a
#: read begins, and later. One pattern for both would take many times as long.
_FIRST: Final = re.compile(rb"[*>~%|]\d{7}")
_LATER: Final = re.compile(rb"\n[*>~%|]\d{7}")
_HEADER: Final = re.compile(rb"(?:\A|\n)([*>~%|]\d{7})")
#: What may be a part of such a header at the end of a read; of any other header the first byte, after which hiredis
#: does not say that there is more to come.
_CUT: Final = re.compile(rb"(?:\A|\n)([*>~%|]\d{0,6}|[^\n])\Z")
_VALUE: Final = re.compile(rb"\$(\d{4,10})\r\n")
_LF: Final = ord("\n")
_KINDS: Final = b"*>~%|"
_LIST, _PUSH, _SET, _MAP, _ATTRIBUTE = _KINDS

#: Up to how many bytes a read is short.
SHORT_READ: Final = 4096


#: Codes that say that nothing was executed, and that it may be in a moment.
TRANSIENT: Final = frozenset({"LOADING", "TRYAGAIN", "BUSY", "MASTERDOWN", "CLUSTERDOWN"})

#: No more of a refusal is looked at: what a server has to say is short, and matching takes time.
_LONGEST: Final = 512
#: How much of its text is shown.
_SHOWN: Final = 160

_CODE = re.compile(r"-?([A-Z][A-Z0-9_]*)(?:\s+|$)(.*)", re.DOTALL)
_WRAPPED = re.compile(r"Error (?:running|compiling) script[^:]*: *(?:@?\w+: *\d+: *)*(.*)", re.DOTALL)
_WHERE = re.compile(r"(?:,? script: [0-9a-f]+.*|, on @?\w+:\d+.*|,? with args beginning with.*)$", re.DOTALL)
#: Where data may begin: a quotation mark (not the apostrophe in "can't") or a new line.
_QUOTE = re.compile(r"(?<![a-z])'|'(?![a-z])|[\"`\r\n]")
_QUOTED = re.compile(r"(['\"`])([\w|]{1,32})\1")
_WORD = re.compile(r"[^\s'\"`,;:.()<>=]+")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Names that a server quotes and that are not data: commands and settings.
_NAMES: Final = _words("""
    auth client client|id client|kill client|setname del eval evalsha exists expire get getdel getex hello incrby
    maxmemory mget mset persist pexpire pexpireat ping pttl scan select set time unlink
""")

#: The words of what servers usually say, which are not data even if a command happened to carry them.
_USUAL: Final = _NAMES | _words("""
    ask busy clusterdown denied err execabort loading masterdown misconf moved noauth noperm noreplicas noscript oom
    readonly tryagain unkillable wrongpass wrongtype
    a access against allowed an arguments as authentication bad because been called can't client clients cluster
    command commands connection currently data dataset db decrement disabled down enough error errors execute failing
    for good has hash holding in increment index integer invalid is key keys kind link loading master matching max
    memory mode modify multiple no not number of one only operation or out overflow pair permissions persist please
    protected range reached read redis replica replicas request required run running save script served server slot
    snapshots supported syntax that the this to unable unknown unsupported use used user username-password valkey
    value when with would write wrong you
""")


def parse(refusal: Refusal) -> tuple[str, str]:
    """Return the code of a refusal (``ERR`` where there is none) and the server's own words."""
    code, text = _split(_unwrapped(refusal))
    return code, _own_words(_WHERE.sub("", text))[:_SHOWN].strip()


def _unwrapped(refusal: Refusal) -> str:
    """Return the text of a refusal, or of the one inside it if a script was refused something."""
    text = str(refusal)[:_LONGEST]
    wrapped = _WRAPPED.match(_split(text)[1])
    return text if wrapped is None else wrapped[1]


def _split(text: str) -> tuple[str, str]:
    found = _CODE.match(text)
    return (found[1], found[2]) if found is not None else ("ERR", text)


def _own_words(text: str) -> str:
    """Cut a text at the first quotation mark that may be followed by data."""
    position = 0
    while (quote := _QUOTE.search(text, position)) is not None:
        quoted = _QUOTED.match(text, quote.start())
        if quoted is None or quoted[2].lower() not in _NAMES:
            return text[: quote.start()]
        position = quoted.end()
    return text


def without_echo(refusal: Refusal, sent: bytes | None = None) -> Refusal:
    """Cut a refusal at the first word that was sent: a peer may repeat a password, a key or a value unquoted.

    Args:
        refusal: The reply.
        sent: The packed commands that it answers. If that is not known, each word that is not a usual one may be data.
    """
    text = _unwrapped(refusal)
    for word in _WORD.finditer(text):
        if word[0].lower() not in _USUAL and (sent is None or word[0].encode(errors="replace") in sent):
            return Refusal(text[: word.start()])
    return Refusal(text)


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
