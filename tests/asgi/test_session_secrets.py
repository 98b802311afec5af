"""No session id in the variables of our frames, but for the messages of ASGI themselves."""

from __future__ import annotations

from types import FrameType
from typing import Any

import pytest

import reinhardt_backends
from reinhardt_backends import BackendConnectionError, MemoryBackend, SessionStore

from .test_session_middleware import Client

pytestmark = pytest.mark.anyio

MESSAGES = {"scope", "message", "receive", "send"}
PACKAGE = reinhardt_backends.__path__[0]


class Failing(MemoryBackend):
    """A store that fails from a call of some verb on, and keeps the frames that lead to it."""

    fails = ""

    def check(self, verb: str) -> None:
        if verb == self.fails:
            raise BackendConnectionError("away")

    async def get_many(self, *args: Any, **kwargs: Any) -> Any:
        self.check("get_many")
        return await super().get_many(*args, **kwargs)

    async def compare_and_set(self, *args: Any, **kwargs: Any) -> bool:
        self.check("compare_and_set")
        return await super().compare_and_set(*args, **kwargs)

    async def exists(self, *args: Any, **kwargs: Any) -> bool:
        self.check("exists")
        return await super().exists(*args, **kwargs)

    async def delete(self, *args: Any, **kwargs: Any) -> bool:
        self.check("delete")
        return await super().delete(*args, **kwargs)


def variables(error: BaseException) -> str:
    """The variables of our frames in a traceback, without ASGI's messages."""
    shown = []
    trace = error.__traceback__
    while trace is not None:
        frame: FrameType = trace.tb_frame
        if frame.f_code.co_filename.startswith(PACKAGE):
            shown += [repr(value) for name, value in frame.f_locals.items() if name not in MESSAGES]
        trace = trace.tb_next
    assert shown
    return "\n".join(shown)


@pytest.mark.parametrize(
    ("verb", "change"),
    [
        ("get_many", lambda session: None),
        ("compare_and_set", lambda session: session.update(a=2)),
        ("compare_and_set", lambda session: session.rotate(user="ada")),
        ("delete", lambda session: session.clear()),
    ],
)
async def test_no_frame_shows_the_id_of_a_session(verb: str, change: Any) -> None:
    backend = Failing()
    client = Client(SessionStore(backend, dict[str, Any], ttl=60))
    await client.visit(lambda session: session.update(a=1))
    backend.fails = verb
    with pytest.raises(BackendConnectionError) as caught:
        await client.visit(change)
    assert client.id not in variables(caught.value)


async def test_no_frame_shows_an_id_that_is_not_known() -> None:
    backend = Failing()
    client = Client(SessionStore(backend, dict[str, Any], ttl=60))
    backend.fails = "exists"
    client.cookie = f"session={'Ab3_' * 16}"
    with pytest.raises(BackendConnectionError) as caught:
        await client.visit()
    assert client.id not in variables(caught.value)


async def test_an_id_of_the_wrong_type_is_not_shown() -> None:
    store = SessionStore(MemoryBackend(), dict[str, Any], ttl=60)
    sent: Any = b"Ab3_" * 16
    for call in (store.load, store.revoke, store.was_rotated):
        with pytest.raises(TypeError) as caught:
            await call(sent)
        assert "Ab3_Ab3_" not in variables(caught.value)
