"""Small helpers that several tests of the connection share."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import reinhardt_backends
from reinhardt_backends._redis._client import Client
from reinhardt_backends._redis._commands import Kind
from reinhardt_backends._redis._link import Link
from reinhardt_backends._redis._options import Options

T = TypeVar("T")

OURS = str(Path(reinhardt_backends.__file__).parent) + os.sep

READ, IDEMPOTENT, ONCE = Kind.READ, Kind.IDEMPOTENT, Kind.ONCE


def client_for(url: str, **options: Any) -> Client:
    """A client for a URL."""
    return Client(Options.from_url(url, **options))


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that must not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise AssertionError("a blocking call suspended")


def links(client: Client) -> list[Link]:
    """Every connection that a client has open, except for those that blocking calls use at the moment."""
    loops = list(client._node.loops.values())
    found = [lane.link for connections in loops for lane in (connections.small, connections.large)]
    pool = client._node.pool
    pooled = list(pool._idle) if pool is not None else []
    return [link for link in [*found, *pooled] if link is not None and link.failure is None]


def assert_idle(client: Client) -> None:
    """Nothing is in flight, no caller waits, and no role is taken."""
    for link in links(client):
        mux = link.mux
        assert not mux.live
        assert mux.leader is None
        assert mux.writer is None
        assert not link._queued


def frames_text(error: BaseException) -> str:
    """Everything that a traceback printer could show of an error: messages, causes and variables of our frames."""
    seen: set[int] = set()
    parts: list[str] = []
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        parts += [str(one), repr(one), repr(one.args), repr(vars(one))]
        trace = one.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename.startswith(OURS):
                parts.append(repr(trace.tb_frame.f_locals))
            trace = trace.tb_next
        pending += [one.__cause__, one.__context__]
    return "\n".join(parts)


@contextlib.contextmanager
def in_thread(function: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run a function in a thread beside the ``with`` block; what it raises is raised at the end."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(20)
    assert not thread.is_alive(), "the thread did not end"
    if failures:
        raise failures[0]
