"""The index of a user: each atomic step does the same in Lua as in Python, for any state of the store."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reinhardt_backends import MemoryBackend, RedisBackend
from reinhardt_backends._component import drive
from reinhardt_backends._session import _user_index as steps

from .extent import examples
from .servers import Server

HANDLES = [letter * 43 for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHI-_"]
FOREIGN = [5, None, [], {"a": 1}, "text", "", "12 short", b"\xff", "-3 x", "é"]
# Milliseconds. No key expires while the test runs, at whatever moments the two stores look at their clocks.
TTLS = st.integers(1_000_000, 10**14)
OPERATIONS = st.one_of(
    st.tuples(st.just("add"), TTLS, st.sampled_from(HANDLES), st.sampled_from([0, 3]), st.integers(0, 2**31)),
    st.tuples(st.just("holds"), st.sampled_from(HANDLES)),
    st.tuples(st.just("remove"), st.lists(st.sampled_from(HANDLES), max_size=4)),
    st.tuples(st.just("foreign"), st.sampled_from(FOREIGN)),
)


@given(st.lists(st.sampled_from(HANDLES), max_size=30, unique=True), st.lists(OPERATIONS, max_size=8))
def check(server: Server, handles: list[str], operations: list[Any]) -> None:
    memory = MemoryBackend()
    redis: Any = RedisBackend(server.url, prefix=f"{os.getpid()}-index:", timeout=30)._blocking_twin()
    both = (memory, redis)
    drive(redis.delete("k"))
    for operation in [*(("add", 1_000_000, handle, 0, 7) for handle in handles), *operations]:
        replies = []
        for backend in both:
            match operation:
                case ("foreign", value):
                    reply = drive(backend.set("k", value, 10_000))
                case ("add", *args):
                    reply = drive(backend._run_step(steps._ADD, ("k",), args))
                case ("holds", *args):
                    reply = drive(backend._run_step(steps._HOLDS, ("k",), args))
                case (_, removed):
                    reply = drive(backend._run_step(steps._REMOVE, ("k",), removed))
            replies.append(reply.decode() if isinstance(reply, bytes) else reply)
        assert replies[0] == replies[1], operation
        stored = [drive(backend.get("k")) for backend in both]
        assert stored[0] == stored[1], operation
        left = [drive(backend.ttl("k")) for backend in both]
        assert left[0] is left[1] is None or abs(left[0] - left[1]) < 60, operation
    drive(redis.aclose())


def test_the_steps_do_the_same_in_lua_as_in_python(server: Server) -> None:
    examples(30)(check)(server)
