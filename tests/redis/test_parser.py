"""Bytes of the server become replies, wherever the reads cut them; no header takes memory for what has not come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

pytest.importorskip("redis")
from reinhardt_backends._redis._protocol import NOTHING, Parser, ProtocolError

KINDS = [b"*", b">", b"~", b"%", b"|"]

ENDLESS = [
    b"*1000000000\r\n",
    b"*1000000\r\n",
    b"*9999999999999999999\r\n",
    b"*2\r\n$1\r\n0\r\n*100000000\r\n",
    b"*2\r\n+a long line of text, longer than any header\r\n*100000000\r\n",
    b"$8\r\n*9999999\r\n*1000000000\r\n",
    b"+OK\r\n$3\r\n\r\n*\r\n:1\r\n*1000000000\r\n",
    b">1000000000\r\n",
    b"~1000000000\r\n",
    b"%1000000000\r\n",
    *(b"+OK\r\n$2\r\n:)\r\n" + kind + b"1000000\r\n" for kind in KINDS),
]

#: What looks like such a header, and is a value or a line of text.
HARMLESS = [
    (b"$13\r\n*1000000000\r\n\r\n+OK\r\n", [b"*1000000000\r\n", b"OK"]),
    (b"*2\r\n$15\r\n\r\n*1000000000\r\n\r\n$-1\r\n", [[b"\r\n*1000000000\r\n", None]]),
    (
        b"+*1000000000, and more than a header could have\r\n:7\r\n",
        [b"*1000000000, and more than a header could have", 7],
    ),
    (b"*1\r\n*1\r\n$12\r\n\r\n*10000000\r\r\n*0\r\n", [[[b"\r\n*10000000\r"]], []]),
]


def parsed(pieces: Iterable[bytes]) -> list[Any]:
    parser = Parser()
    replies: list[Any] = []
    buffer = bytearray(256)
    for piece in filter(None, pieces):
        buffer[: len(piece)] = piece
        gets = parser.feed(buffer, len(piece))
        while (reply := gets()) is not NOTHING:
            replies.append(reply)
    return replies


def cuts(stream: bytes) -> Iterable[list[bytes]]:
    """The stream in two pieces cut at each place, and byte by byte."""
    yield from ([stream[:cut], stream[cut:]] for cut in range(len(stream)))
    yield [stream[at : at + 1] for at in range(len(stream))]


@pytest.mark.parametrize("stream", ENDLESS)
def test_the_header_of_an_endless_list_is_refused_wherever_it_is_cut(stream: bytes) -> None:
    for pieces in cuts(stream):
        with pytest.raises(ProtocolError):
            parsed(pieces)


@pytest.mark.parametrize(("stream", "replies"), HARMLESS)
def test_a_value_that_looks_like_such_a_header_is_a_value_wherever_it_is_cut(stream: bytes, replies: list[Any]) -> None:
    for pieces in cuts(stream):
        assert parsed(pieces) == replies


def in_reads(stream: bytes, size: int) -> list[Any]:
    parser = Parser()
    replies: list[Any] = []
    for start in range(0, len(stream), size):
        piece = bytearray(stream[start : start + size])
        gets = parser.feed(piece, len(piece))
        while (reply := gets()) is not NOTHING:
            replies.append(reply)
    return replies


@pytest.mark.parametrize("size", [16, 4096, 5000, 16 * 1024, 64 * 1024, 10**6])
@pytest.mark.parametrize("kind", KINDS)
def test_large_values_hide_no_header_and_are_taken_for_none(size: int, kind: bytes) -> None:
    value = (b"\r\n" + kind + b"1000000\r\n") * 6000
    bulk = b"$%d\r\n%b\r\n" % (len(value), value)
    assert in_reads(bulk * 2 + b":1\r\n*2\r\n" + bulk * 2, size) == [value, value, 1, [value, value]]
    with pytest.raises(ProtocolError):
        in_reads(bulk + kind + b"1000000\r\n" + b"x" * 5000, size)
    with pytest.raises(ProtocolError):
        in_reads(b"*2\r\n" + bulk + kind + b"1000000\r\n", size)
