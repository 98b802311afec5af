"""What is shown of a server's error reply: its own words, and nothing that it was sent."""

from __future__ import annotations

import socket
import time

import pytest

pytest.importorskip("redis")
from reinhardt_backends._redis._protocol import Refusal, error_for, parse, without_echo

from .driving import frames_text
from .peers import greet, listening
from .runtimes import Runtime, on_every_runtime, timed

PASSWORD = "correct horse-battery"


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        (
            "NOPERM this user has no permissions to run the 'set' command",
            "NOPERM: this user has no permissions to run the 'set' command",
        ),
        (
            "OOM command not allowed when used memory > 'maxmemory'.",
            "OOM: command not allowed when used memory > 'maxmemory'.",
        ),
        (
            "READONLY You can't write against a read only replica.",
            "READONLY: You can't write against a read only replica.",
        ),
        ("ERR invalid expire time in 'getex' command", "ERR: invalid expire time in 'getex' command"),
        (
            "ERR Error running script (call to f_8a): @user_script:1: -OOM command not allowed: used > 'maxmemory'.",
            "OOM: command not allowed: used > 'maxmemory'.",
        ),
        ("NOPERM No permissions to access a key", "NOPERM: No permissions to access a key"),
        ("ERR no such value: 'secret' of 'get'", "ERR: no such value:"),
        ('ERR no such value: "secret"', "ERR: no such value:"),
        ("ERR unknown command 'secret', with args beginning with: 'more' ", "ERR: unknown command"),
        ("ERR first line\r\nsecond line", "ERR: first line"),
        ("ERR", "ERR"),
        ("", "ERR"),
    ],
)
def test_words_that_carry_no_data_are_kept(reply: str, shown: str) -> None:
    assert str(error_for(Refusal(reply), "here:1")) == f"here:1 answered {shown}"


@pytest.mark.parametrize(
    "text", ["ERR " + " " * 10_000 + "x", "ERR" + " ," * 5_000, "ERR Error running script" + " a: 1:" * 2_000 + "x"]
)
def test_a_long_refusal_is_read_in_no_time(text: str) -> None:
    began = time.perf_counter()
    parse(Refusal(text))
    without_echo(Refusal(text), b"*1\r\n$4\r\nPING\r\n")
    assert time.perf_counter() - began < 0.05


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        ("ERR bad request: SET session:id the stored value", "ERR bad request: SET"),
        ("ERR you said SET, session:id, the stored value", "ERR you said SET,"),
        ("SECRET", ""),
        ("ERR SECRET", "ERR"),
        ("OOM command not allowed when used memory", "OOM command not allowed when used memory"),
        ("ERR upstream failure", "ERR upstream failure"),
    ],
)
def test_what_was_sent_is_not_repeated(reply: str, kept: str) -> None:
    sent = b"*3\r\n$3\r\nSET\r\n$10\r\nsession:id\r\n$16\r\nthe stored value\r\n$6\r\nSECRET\r\n$8\r\ncommands\r\n"
    assert str(without_echo(Refusal(reply), sent)).strip() == kept


@on_every_runtime
async def test_a_peer_that_repeats_what_it_was_sent_shows_no_password(at: Runtime) -> None:
    def echo(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            connection.sendall(b"-ERR cannot read " + data.replace(b"\r\n", b" ") + b"\r\n")

    with listening(echo) as peer:
        backend = at.open(peer.url, username="someone", password=PASSWORD, timeout=0.3)
        _, outcome = await timed(backend.get("k"))
        assert isinstance(outcome, Exception)
        shown = frames_text(outcome)
        for word in PASSWORD.split():
            assert word not in shown


@on_every_runtime
async def test_a_peer_that_repeats_what_it_was_sent_shows_no_key_and_no_value(at: Runtime) -> None:
    def echo(connection: socket.socket) -> None:
        greet(connection)
        while data := connection.recv(65536):
            connection.sendall(b"-ERR cannot read " + data.replace(b"\r\n", b" ") + b"\r\n")

    with listening(echo) as peer:
        backend = at.open(peer.url, timeout=0.3)
        for call in (
            backend.set("an-id", "the stored thing"),
            backend.get("an-id"),
            backend.get_many(["an-id", "other"]),
            backend.increment("an-id", 60),
            backend.compare_and_set("an-id", "the stored thing", "another"),
        ):
            _, outcome = await timed(call)
            assert isinstance(outcome, Exception)
            assert "an-id" not in str(outcome)
            assert "thing" not in str(outcome)


@pytest.mark.parametrize("code", ["ASK", "MOVED"])
def test_a_redirection_is_named_if_it_could_not_be_followed_in_time(code: str) -> None:
    refusal = without_echo(Refusal(f"{code} 3647 127.0.0.1:7001"))
    assert str(error_for(refusal, "here:1")) == f"here:1 answered {code}"
