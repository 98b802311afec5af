"""Commands are the same bytes however they are packed, and a wire says whether reading is worth while."""

from __future__ import annotations

import select
import socket

import pytest

pytest.importorskip("hiredis")

from reinhardt_backends._redis._commands import template
from reinhardt_backends._redis._protocol import pack
from reinhardt_backends._redis._wire import PlainWire


@pytest.mark.parametrize("word", [b"", b"k", b"%d%%\r\n$1\r\n", "ä".encode(), bytes(range(256)) * 40])
def test_a_filled_template_is_the_packed_command(word: bytes) -> None:
    form = template(b"EVALSHA", b"100 %d", None, b"\x00%b\xff", None)
    assert form % (len(word), word, 2, b"ab") == pack((b"EVALSHA", b"100 %d", word, b"\x00%b\xff", b"ab"))


@pytest.mark.parametrize("with_poll", [True, False])
def test_a_wire_notices_data_and_the_end_of_the_stream(with_poll: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_poll:
        monkeypatch.delattr(select, "poll", raising=False)
    near, far = socket.socketpair()
    with near:
        wire = PlainWire(near)
        # Without poll only reading tells.
        assert bool(wire.has_arrived()) is not with_poll
        with far:
            far.send(b"+OK\r\n")
            assert wire.has_arrived()
            near.recv(5)
            assert bool(wire.has_arrived()) is not with_poll
        assert wire.has_arrived()
