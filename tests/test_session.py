"""``SessionStore``: the guarantees of a session, over every backend and runtime."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from reinhardt_backends import (
    BackendConnectionError,
    MemoryBackend,
    OutcomeUnknownError,
    RedisBackend,
    SerializationError,
    Session,
    SessionConflictError,
    SessionStore,
    SyncBackend,
    SyncSessionStore,
    UnsupportedOperationError,
)
from reinhardt_backends.testing import FakeClock

from .extent import examples
from .places import Comparing, Place, SixVerbs, everywhere
from .redis.driving import frames_text
from .servers import Server

ALL = ("memory", "namespace", "redis", "comparing")
ON_FAKE_TIME = ("memory", "namespace", "comparing")
ANYTHING = dict[str, Any]


class Visit(BaseModel):
    count: int = 0
    seen: datetime | None = None


@everywhere(*ALL)
async def test_what_is_saved_is_loaded(place: Place) -> None:
    store = place.make(SessionStore, Visit, ttl=60)
    created = await store.create(Visit(count=1))
    loaded = await store.load(created.id)
    assert (loaded.data, loaded.user, loaded.id, loaded.handle) == (Visit(count=1), None, created.id, created.handle)
    loaded.data.count = 2
    loaded.data.seen = datetime(2026, 1, 2, tzinfo=UTC)
    assert (await store.load(created.id)).data == Visit(count=1)
    await store.save(loaded)
    again = await store.load(created.id)
    assert again.data == loaded.data
    assert type(again.data) is Visit
    await store.save(loaded)
    await store.save(loaded)


@everywhere(*ALL)
async def test_sessions_are_apart(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60)
    other = place.make(SessionStore, ANYTHING, ttl=60, prefix="other")
    one, two = await store.create({"n": 1}), await store.create({"n": 2})
    assert one.id != two.id
    assert (await store.load(one.id)).data == {"n": 1}
    assert (await store.load(two.id)).data == {"n": 2}
    assert await other.load(one.id) is None


@everywhere(*ON_FAKE_TIME)
async def test_it_ends_when_it_is_not_used(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=10)
    session = await store.create({}, user="bob")
    for _ in range(5):
        place.clock.advance(9)
        assert await store.load(session.id) is not None
    place.clock.advance(9)
    await store.save(session)
    place.clock.advance(9)
    assert await store.load(session.id) is not None
    place.clock.advance(10)
    assert await store.load(session.id) is None
    with pytest.raises(SessionConflictError) as caught:
        await store.save(session)
    assert caught.value.ended
    assert await store.load(session.id) is None
    assert await store.sessions_of("bob") == []


@everywhere(*ON_FAKE_TIME)
async def test_it_ends_in_any_case(place: Place) -> None:
    """Using it, saving it and rotating it do not prolong the absolute ttl."""
    store = place.make(SessionStore, ANYTHING, ttl=10, absolute_ttl=25)
    session = await store.create({}, user="bob")
    place.clock.advance(9)
    session = await store.load(session.id)
    await store.save(session)
    place.clock.advance(9)
    await store.rotate(session)
    place.clock.advance(6)
    assert await store.load(session.id) is not None
    assert len(await store.sessions_of("bob")) == 1
    place.clock.advance(1)
    assert await store.load(session.id) is None
    assert await store.sessions_of("bob") == []
    for change in (store.save, store.rotate):
        with pytest.raises(SessionConflictError) as caught:
            await change(session)
        assert caught.value.ended


@everywhere(*ON_FAKE_TIME)
async def test_nothing_is_left_behind(place: Place) -> None:
    """What ended by itself, and what was revoked, leaves no key in the store."""
    store = place.make(SessionStore, ANYTHING, ttl=10, absolute_ttl=50)
    for _ in range(3):
        await store.create({}, user="bob")
    place.clock.advance(50)
    assert await place.contents() == {}
    session = await store.create({})
    assert await store.revoke(session.id)
    assert await place.contents() == {}
    await store.create({}, user="bob")
    await store.create({}, user="bob")
    assert await store.revoke_user("bob") == 2
    assert await place.contents() == {}


@everywhere("redis")
async def test_it_ends_on_a_server(place: Place) -> None:
    """On the real clock of a server, a session with a short ttl ends."""
    store = place.make(SessionStore, ANYTHING, ttl=60, absolute_ttl=0.02)
    session = await store.create({})
    began = time.monotonic()
    while await store.load(session.id) is not None:
        assert time.monotonic() - began < 10
    kept = await place.make(SessionStore, ANYTHING, ttl=60).create({}, user="bob")
    record = next(key for key in await place.contents() if kept.handle in key)
    short = place.make(SessionStore, ANYTHING, ttl=0.02)
    session = await short.create({}, user="bob")
    while await place.verbs.exists(record.replace(kept.handle, session.handle)):
        assert time.monotonic() - began < 10
    assert await short.load(session.id) is None


@everywhere(*ALL)
async def test_an_id_is_256_random_bits(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60)
    session = await store.create({})
    ids = [session.id]
    for _ in range(20):
        await store.rotate(session)
        ids.append(session.id)
    secrets = {base64.urlsafe_b64decode(one)[-32:] for one in ids}
    assert len(secrets) == len(ids)
    assert all(len(secret) == 32 for secret in secrets)
    assert all(set(one) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") for one in ids)


@everywhere(*ALL)
async def test_the_store_does_not_have_the_id(place: Place) -> None:
    """Neither the id nor a part of it that would do can be read from the store, nor does what is there load."""
    store = place.make(SessionStore, ANYTHING, ttl=60, absolute_ttl=600)
    session = await store.create({"n": 1}, user="bob")
    raw = base64.urlsafe_b64decode(session.id)
    contents = json.dumps(await place.contents())
    for start in range(len(session.id) - 7):
        assert session.id[start : start + 8] not in contents
    assert raw.hex()[:16] not in contents
    words = [word for part in contents.split('"') for word in part.split(":")]
    for word in [*words, *(one + other for one in words for other in words if len(one) == len(other) == 43)]:
        assert await store.load(word[:64]) is None


@everywhere(*ALL)
async def test_no_text_shows_the_id(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60)
    session = await store.create({"n": 1}, user="bob")
    info = (await store.sessions_of("bob"))[0]
    for text in (repr(session), str(session), f"{session}", repr(info), repr(session._ticket), repr([session])):
        assert session.id not in text
        assert session.id[:16] not in text
        assert session.id[-16:] not in text
    assert session.handle in repr(session)
    assert not hasattr(session, "__dict__")


@everywhere(*ALL)
async def test_an_id_that_was_not_issued_is_not_adopted(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60)
    session = await store.create({})
    before = await place.contents()
    raw = base64.urlsafe_b64decode(session.id)
    forged = [base64.urlsafe_b64encode(raw[:16] + bytes([raw[16] ^ 1]) + raw[17:]), base64.urlsafe_b64encode(bytes(48))]
    for sent in ["A" * 64, *(one.decode() for one in forged), session.id[:-1], session.id + "A", session.id.lower()]:
        assert await store.load(sent) is None
        assert not await store.revoke(sent)
    assert await place.contents() == before
    assert await store.load(session.id) is not None


@everywhere(*ALL)
async def test_garbage_is_no_session(place: Place) -> None:
    """Whatever a cookie holds, it is no error, and costs no call of the backend."""
    store = place.make(SessionStore, ANYTHING, ttl=60)
    for sent in ["", " ", "\0", "é" * 64, "\ud800" * 64, "A" * 63 + "\n", "A" * 64 + "\n", "x" * 2**20, "{}", "٣" * 64]:
        assert await store.load(sent) is None
        assert not await store.revoke(sent)
    for sent in (None, b"A" * 64, 5):
        with pytest.raises(TypeError, match="a session id must be a str"):
            await store.load(sent)


def test_garbage_costs_no_call() -> None:
    class Silent(Comparing):
        async def get(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError

        get_many = get

    async def main() -> None:
        store = SessionStore(Silent(MemoryBackend()), ANYTHING, ttl=60)
        assert await store.load("x" * 2**20) is None
        assert await store.load("A" * 63) is None

    anyio.run(main)


@everywhere(*ALL)
async def test_a_change_made_elsewhere_is_not_undone(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60)
    session = await store.create({"n": 0})
    one, two = await store.load(session.id), await store.load(session.id)
    one.data["n"] = 1
    await store.save(one)
    two.data["n"] = 2
    with pytest.raises(SessionConflictError) as caught:
        await store.save(two)
    assert not caught.value.ended
    assert session.id not in str(caught.value)
    assert (await store.load(session.id)).data == {"n": 1}
    one.data["n"] = 0
    await store.save(one)
    # The data is as it was when it was loaded, and was changed all the same.
    with pytest.raises(SessionConflictError):
        await store.save(session)
    with pytest.raises(SessionConflictError):
        await store.rotate(session)


@everywhere(*ALL)
async def test_rotating_changes_the_id(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60)
    session = await store.create({"n": 1})
    old, other = session.id, await store.load(session.id)
    session.data["n"] = 2
    session.user = "bob"
    assert await store.rotate(session) is session
    assert session.id != old
    assert await store.load(old) is None
    assert not await store.revoke(old)
    loaded = await store.load(session.id)
    assert (loaded.data, loaded.user) == ({"n": 2}, "bob")
    assert [info.handle for info in await store.sessions_of("bob")] == [session.handle]
    for change in (store.save, store.rotate):
        with pytest.raises(SessionConflictError) as caught:
            await change(other)
        assert not caught.value.ended
    assert (await store.load(session.id)).data == {"n": 2}
    await store.save(session)


@everywhere(*ON_FAKE_TIME)
async def test_an_id_that_was_rotated_prolongs_nothing(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=10)
    session = await store.create({})
    old = session.id
    await store.rotate(session)
    place.clock.advance(9)
    assert await store.load(old) is None
    place.clock.advance(1)
    assert await store.load(session.id) is None


@everywhere(*ALL)
async def test_a_revoked_session_does_not_come_back(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60, absolute_ttl=600)
    for how in ("id", "session", "info", "user"):
        session = await store.create({"n": 1}, user="bob")
        info = (await store.sessions_of("bob"))[0]
        if how == "user":
            assert await store.revoke_user("bob") == 1
        else:
            what = {"id": session.id, "session": session, "info": info}[how]
            assert await store.revoke(what)
            assert not await store.revoke(what)
        assert await store.load(session.id) is None
        for change in (store.save, store.rotate):
            with pytest.raises(SessionConflictError) as caught:
                await change(session)
            assert caught.value.ended
        assert await store.load(session.id) is None
        assert await store.sessions_of("bob") == []


@everywhere(*ALL)
async def test_a_user_has_sessions(place: Place) -> None:
    store = place.make(SessionStore, Visit, ttl=60)
    sessions = [await store.create(Visit(count=n), user="bob") for n in range(3)]
    other = await store.create(Visit(count=9), user="alice")
    await store.create(Visit())
    infos = await store.sessions_of("bob")
    assert [(info.handle, info.user, info.data.count) for info in infos] == [
        (session.handle, "bob", n) for n, session in enumerate(sessions)
    ]
    assert await store.revoke(sessions[1])
    assert [info.data.count for info in await store.sessions_of("bob")] == [0, 2]
    assert await store.revoke_user("bob") == 2
    assert await store.revoke_user("bob") == 0
    assert [await store.load(session.id) for session in sessions] == [None] * 3
    assert (await store.load(other.id)).user == "alice"
    assert await store.sessions_of("carol") == []


@everywhere(*ALL)
async def test_a_session_changes_hands(place: Place) -> None:
    """A session whose user changed is the new user's, and logging out leaves a visitor's session."""
    store = place.make(SessionStore, ANYTHING, ttl=60)
    session = await store.create({}, user="alice")
    session.user = "bob"
    await store.save(session)
    assert await store.sessions_of("alice") == []
    assert await store.revoke_user("alice") == 0
    assert (await store.load(session.id)).user == "bob"
    session.user = None
    await store.rotate(session)
    assert await store.sessions_of("bob") == []
    assert await store.revoke_user("bob") == 0
    assert (await store.load(session.id)).user is None


@everywhere(*ON_FAKE_TIME)
async def test_the_index_of_a_user_stays_small(place: Place) -> None:
    """After many logins beside a session that stays, the index of the user holds few ended ones."""
    store = place.make(SessionStore, ANYTHING, ttl=10)
    kept = await store.create({}, user="bob")
    for _ in range(100):
        place.clock.advance(5)
        assert await store.load(kept.id) is not None
        await store.create({}, user="bob")
    contents = await place.contents()
    index = next(value for key, value in contents.items() if key.endswith("user:bob"))
    assert index.count(" ") <= 33
    assert kept.handle in index
    assert len(await store.sessions_of("bob")) == 3


@everywhere("memory", "redis")
async def test_a_session_without_its_index_is_dead(place: Place) -> None:
    """What could not be revoked with its user any more, since a store forgot, is not served."""
    store = place.make(SessionStore, ANYTHING, ttl=60)
    session = await store.create({}, user="bob")
    await place.verbs.delete("session:user:bob")
    assert await store.load(session.id) is None
    with pytest.raises(SessionConflictError):
        await store.save(session)


@everywhere(*ALL)
async def test_foreign_data_is_no_session(place: Place) -> None:
    store = place.make(SessionStore, Visit, ttl=60)
    verbs: Any = place.verbs if place.kind != "namespace" else place.verbs.namespace("ns")
    for foreign in ("text", 5, None, [], {}, b"\xff", {"proof": "x"}, {"proof": 1, "version": 1, "user": 2, "data": 3}):
        session = await store.create(Visit(), user="bob")
        kept = await store.create(Visit(count=5), user="bob")
        await verbs.set(f"session:id:{session.handle}", foreign)
        assert await store.load(session.id) is None
        assert [info.handle for info in await store.sessions_of("bob")] == [kept.handle]
        await verbs.set("session:user:bob", foreign)
        assert await store.load(kept.id) is None
        assert await store.sessions_of("bob") == []
        again = await store.create(Visit(), user="bob")
        assert await store.load(again.id) is not None
        await store.revoke_user("bob")


@everywhere(*ALL)
async def test_data_of_an_older_type_is_no_session(place: Place) -> None:
    old, new = place.make(SessionStore, ANYTHING, ttl=60), place.make(SessionStore, Visit, ttl=60)
    session = await old.create({"count": "many"}, user="bob")
    assert await new.load(session.id) is None
    assert await new.sessions_of("bob") == []
    assert (await old.load(session.id)).data == {"count": "many"}
    assert await new.revoke(session.id)


@everywhere(*ALL)
async def test_data_that_could_not_be_loaded_is_refused(place: Place) -> None:
    store = place.make(SessionStore, Visit, ttl=60)
    before = await place.contents()
    secret = SecretStr("hush")
    for data in ({"count": "many"}, 5, None, b"{}", Visit.model_construct(count="many"), object(), {"a": secret}):
        with pytest.raises(SerializationError) as caught:
            await store.create(data)
        assert "many" not in str(caught.value)
        assert "hush" not in str(caught.value)
    assert await place.contents() == before
    session = await store.create(Visit(count=1))
    session.data = Visit.model_construct(count="many")
    for change in (store.save, store.rotate):
        with pytest.raises(SerializationError):
            await change(session)
    assert (await store.load(session.id)).data == Visit(count=1)


@everywhere(*ALL)
async def test_a_user_is_text(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60)
    for user in (5, b"bob", ["bob"]):
        for call in (store.revoke_user, store.sessions_of, lambda user: store.create({}, user)):
            with pytest.raises(TypeError, match="a user must be a str"):
                await call(user)
    with pytest.raises(ValueError, match="surrogate"):
        await store.create({}, user="\ud800")
    session = await store.create({}, user="")
    assert (await store.load(session.id)).user == ""
    session.user = 5
    with pytest.raises(TypeError, match="a user must be a str"):
        await store.save(session)


@pytest.mark.parametrize("make", [SessionStore, SyncSessionStore])
def test_what_it_is_built_of(make: Any) -> None:
    backend = MemoryBackend()
    for ttl in (0, -1, float("nan"), 10**12):
        with pytest.raises(ValueError, match="a ttl must be"):
            make(backend, ANYTHING, ttl=ttl)
        with pytest.raises(ValueError, match="a ttl must be"):
            make(backend, ANYTHING, ttl=1, absolute_ttl=ttl)
    for ttl in (True, "1", None):
        with pytest.raises(TypeError):
            make(backend, ANYTHING, ttl=ttl)
    with pytest.raises(TypeError, match="type"):
        make(backend, None, ttl=1)
    with pytest.raises(TypeError):
        make(backend, ANYTHING, ttl=1, prefix=5)
    with pytest.raises(ValueError, match="empty"):
        make(backend, ANYTHING, ttl=1, prefix="")
    with pytest.raises(TypeError, match="not dict"):
        make({}, ANYTHING, ttl=1)
    for poor in (SixVerbs(backend), SixVerbs(backend).namespace("ns")):
        with pytest.raises(UnsupportedOperationError, match="SixVerbs does not provide add, compare_and_set"):
            make(poor, ANYTHING, ttl=1)


def test_the_face_takes_a_face() -> None:
    backend = MemoryBackend()
    store = SyncSessionStore(SyncBackend(backend), dict[str, Any], ttl=60)
    session = store.create({"n": 1})
    loaded = SyncSessionStore(backend, dict[str, Any], ttl=60).load(session.id)
    assert loaded is not None
    assert loaded.data == {"n": 1}


class Failing(Comparing):
    """Fails at a call of choice, before or after the verb has its effect; the latter with an unknown outcome."""

    def __init__(self, store: MemoryBackend) -> None:
        super().__init__(store)
        self.calls = 0
        self.fail_at = -1
        self.after = False

    async def step(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        fails = self.calls == self.fail_at
        if fails and not self.after:
            raise BackendConnectionError("away")
        answer = await function(*args, **kwargs)
        if fails:
            raise OutcomeUnknownError("lost")
        return answer

    async def set(self, *args: Any, **kwargs: Any) -> None:
        await self.step(super().set, *args, **kwargs)

    async def get(self, *args: Any, **kwargs: Any) -> Any:
        return await self.step(super().get, *args, **kwargs)

    async def delete(self, *args: Any, **kwargs: Any) -> bool:
        return await self.step(super().delete, *args, **kwargs)

    async def exists(self, *args: Any, **kwargs: Any) -> bool:
        return await self.step(super().exists, *args, **kwargs)

    async def add(self, *args: Any, **kwargs: Any) -> bool:
        return await self.step(super().add, *args, **kwargs)

    async def compare_and_set(self, *args: Any, **kwargs: Any) -> bool:
        return await self.step(super().compare_and_set, *args, **kwargs)


async def each_failure(run: Any) -> None:
    """Run something with each call of its backend failing in turn, before and after it has its effect."""
    for after in (False, True):
        for fail_at in range(1, 30):
            backend = Failing(MemoryBackend())
            backend.after = after
            if await run(backend, fail_at):
                break
        else:
            raise AssertionError("it never came to its end")


def armed(backend: Failing, fail_at: int) -> None:
    backend.calls, backend.fail_at = 0, fail_at


def test_a_crash_leaves_one_session_alive() -> None:
    """Whichever step of rotating is the last: either the old id is alive or the new one, never both or none."""

    async def rotate(backend: Failing, fail_at: int) -> bool:
        store = SessionStore(backend, ANYTHING, ttl=60, absolute_ttl=600)
        session = await store.create({}, user="bob")
        old = session.id
        session.user = "alice"
        armed(backend, fail_at)
        failed = False
        try:
            await store.rotate(session)
        except (BackendConnectionError, OutcomeUnknownError):
            failed = True
        armed(backend, -1)
        alive = [one for one in {old, session.id} if await store.load(one) is not None]
        assert alive == [session.id]
        assert (session.id == old) is failed
        return not failed and backend.calls < fail_at

    anyio.run(each_failure, rotate)


def test_a_crash_leaves_no_session_that_cannot_be_revoked() -> None:
    """Whichever step of creating or of revoking is the last, revoking the user ends what is there."""

    async def create_and_revoke(backend: Failing, fail_at: int) -> bool:
        store = SessionStore(backend, ANYTHING, ttl=60)
        first = await store.create({}, user="bob")
        armed(backend, fail_at)
        finished = False
        second: Session[ANYTHING] | None = None
        try:
            second = await store.create({}, user="bob")
            await store.revoke_user("bob")
            finished = backend.calls < fail_at
        except (BackendConnectionError, OutcomeUnknownError):
            pass
        armed(backend, -1)
        await store.revoke_user("bob")
        assert await store.load(first.id) is None
        assert second is None or await store.load(second.id) is None
        assert await store.sessions_of("bob") == []
        return finished

    anyio.run(each_failure, create_and_revoke)


def test_no_frame_keeps_an_id() -> None:
    """A traceback that shows the variables of our frames shows no id, through the blocking face neither."""

    class Gone(Comparing):
        gone = False

        async def get_many(self, *args: Any, **kwargs: Any) -> Any:
            raise BackendConnectionError("away")

        async def compare_and_set(self, *args: Any, **kwargs: Any) -> bool:
            raise BackendConnectionError("away")

    backend = Gone(MemoryBackend())
    store, face = SessionStore(backend, ANYTHING, ttl=60), SyncSessionStore(backend, ANYTHING, ttl=60)
    session = face.create({})
    calls = {
        "load": lambda: anyio.run(store.load, session.id),
        "revoke": lambda: anyio.run(store.revoke, session.id),
        "rotate": lambda: anyio.run(store.rotate, session),
        "blocking load": lambda: face.load(session.id),
        "blocking revoke": lambda: face.revoke(session.id),
        "blocking rotate": lambda: face.rotate(session),
    }
    for name, call in calls.items():
        with pytest.raises(BackendConnectionError) as caught:
            call()
        assert session.id not in frames_text(caught.value), name


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_one_of_many_saves_wins(kind: str, request: pytest.FixtureRequest) -> None:
    """Of several writers that loaded the same state, one saves; no visit is lost, from threads either."""
    store, close = blocking_store(kind, request)
    session = store.create({"n": 0})
    conflicts = []

    def visit() -> None:
        for _ in range(20):
            while True:
                mine = store.load(session.id)
                assert mine is not None
                mine.data["n"] += 1
                try:
                    store.save(mine)
                    break
                except SessionConflictError as error:
                    conflicts.append(error)

    in_threads(8, visit)
    final = store.load(session.id)
    assert final is not None
    assert final.data == {"n": 160}
    close()


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_one_of_many_rotations_wins(kind: str, request: pytest.FixtureRequest) -> None:
    store, close = blocking_store(kind, request)
    for _ in range(10):
        session = store.create({})
        loaded = [store.load(session.id) for _ in range(8)]
        won: list[str] = []

        def rotate(loaded: Any = loaded, won: list[str] = won) -> None:
            mine = loaded.pop()
            with contextlib.suppress(SessionConflictError):
                won.append(store.rotate(mine).id)

        in_threads(8, rotate)
        assert len(won) == 1
        assert store.load(won[0]) is not None
        assert store.load(session.id) is None
    close()


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_revoking_a_user_races_with_everything(kind: str, request: pytest.FixtureRequest) -> None:
    """Sessions that are created, saved and rotated while their user is revoked: what lives afterwards is listed."""
    store, close = blocking_store(kind, request)
    for _ in range(10):
        made: list[Session[ANYTHING]] = [store.create({}, user="bob")]
        turn = iter(range(4))

        def work(made: list[Session[ANYTHING]] = made, turn: Any = turn) -> None:
            match next(turn):
                case 0:
                    store.revoke_user("bob")
                case 1:
                    made.append(store.create({}, user="bob"))
                case 2:
                    try:
                        store.rotate(made[0])
                    except SessionConflictError as error:
                        assert error.ended
                case _:
                    visitor = store.create({})
                    visitor.user = "bob"
                    store.save(visitor)
                    made.append(visitor)

        in_threads(4, work)
        alive = {session.handle for session in made if store.load(session.id) is not None}
        assert alive == {info.handle for info in store.sessions_of("bob")}
        store.revoke_user("bob")
        assert [session for session in made if store.load(session.id) is not None] == []
    close()


@pytest.mark.parametrize("change", ["rotate", "revoke", "save", "revoke_user"])
def test_what_happens_while_a_session_is_loaded(change: str) -> None:
    """Between finding it and renewing it: a session that was rotated or revoked is not loaded, the newest data is."""

    class Interrupted(Comparing):
        async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: Any = None) -> Any:
            if renew is not None and (between := happens.pop(0) if happens else None):
                await between()
            return await super().get(key, type, default=default, renew=renew)

    happens: list[Any] = []

    async def main() -> None:
        store = SessionStore(Interrupted(MemoryBackend()), ANYTHING, ttl=60)
        session = await store.create({"n": 1}, user="bob")
        session.data["n"] = 2
        changes: dict[str, Any] = {
            "rotate": lambda: store.rotate(session),
            "revoke": lambda: store.revoke(session),
            "save": lambda: store.save(session),
            "revoke_user": lambda: store.revoke_user("bob"),
        }
        happens.append(changes[change])
        loaded = await store.load(session.id)
        assert happens == []
        if change == "save":
            assert loaded is not None
            assert loaded.data == {"n": 2}
            await store.save(loaded)
        else:
            assert loaded is None

    anyio.run(main)


PROCESS = """
import sys
from typing import Any
from reinhardt_backends import RedisBackend
from reinhardt_backends import SessionConflictError
from reinhardt_backends import SyncSessionStore

url, prefix = sys.argv[1:]
store = SyncSessionStore(RedisBackend(url, prefix=prefix), dict[str, Any], ttl=60)
id = sys.stdin.readline().strip()
for _ in range(25):
    while True:
        session = store.load(id)
        session.data["n"] += 1
        try:
            store.save(session)
            break
        except SessionConflictError:
            pass
"""


def test_processes_do_not_undo_each_other(server: Server) -> None:
    prefix = f"{os.getpid()}-processes:"
    store = SyncSessionStore(RedisBackend(server.url, prefix=prefix), ANYTHING, ttl=60)
    session = store.create({"n": 0})
    command = [sys.executable, "-c", PROCESS, server.url, prefix]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        process.communicate(session.id + "\n", timeout=60)
    assert [process.returncode for process in processes] == [0] * 4
    final = store.load(session.id)
    assert final is not None
    assert final.data == {"n": 100}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: "\\ud" not in json.dumps(value))


@examples(30)
@given(st.lists(st.dictionaries(st.text(max_size=5).filter(str.isascii), JSON, max_size=3), min_size=1, max_size=4))
def test_any_data_is_saved_again_and_again(steps: list[dict[str, Any]]) -> None:
    """Comparing what is stored with what was loaded works for any data, in any order of its keys."""
    store = SyncSessionStore(MemoryBackend(), ANYTHING, ttl=60)
    session = store.create(steps[0])
    for data in steps:
        loaded = store.load(session.id)
        assert loaded is not None
        loaded.data = data
        store.save(loaded)
        store.save(loaded)
        again = store.load(session.id)
        assert again is not None
        assert again.data == data


@examples(50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["create", "load", "save", "rotate", "revoke", "revoke_user", "login", "wait"]),
            st.integers(0, 5),
        ),
        max_size=40,
    )
)
def test_a_store_behaves_as_its_model(steps: list[tuple[str, int]]) -> None:  # noqa: C901 - a model is one story
    """After any operations in any order, exactly the ids of a simple model load."""
    clock = FakeClock()
    store = SyncSessionStore(MemoryBackend(clock=clock), ANYTHING, ttl=10, absolute_ttl=25)
    sessions: list[Session[ANYTHING]] = []
    alive: dict[int, tuple[float, float, str | None]] = {}
    dead_ids: set[str] = set()
    now = 0.0

    def lives(which: int) -> bool:
        return which in alive and now < alive[which][0] and now < alive[which][1]

    for what, number in steps:
        which = number % len(sessions) if sessions else -1
        if what == "wait":
            clock.advance(number)
            now += number
        elif what == "create" or which < 0:
            user = [None, "bob", "alice"][number % 3]
            sessions.append(store.create({}, user))
            alive[len(sessions) - 1] = (now + 10, now + 25, user)
        elif what == "revoke_user":
            user = ["bob", "alice"][number % 2]
            ended = [one for one in alive if lives(one) and alive[one][2] == user]
            assert store.revoke_user(user) == len(ended)
            for one in ended:
                del alive[one]
        elif what == "revoke":
            store.revoke(sessions[which].id)
            alive.pop(which, None)
        elif what == "load":
            assert (store.load(sessions[which].id) is not None) is lives(which)
            if lives(which):
                alive[which] = (now + 10, *alive[which][1:])
        else:
            old = sessions[which].id
            if what == "login":
                sessions[which].user = "bob"
            try:
                if what == "rotate":
                    store.rotate(sessions[which])
                    dead_ids.add(old)
                else:
                    store.save(sessions[which])
                assert lives(which)
                alive[which] = (now + 10, alive[which][1], sessions[which].user)
            except SessionConflictError:
                assert not lives(which)
        for user in ("bob", "alice"):
            listed = {info.handle for info in store.sessions_of(user)}
            assert listed == {sessions[one].handle for one in alive if lives(one) and alive[one][2] == user}
        assert all(store.load(one) is None for one in dead_ids)


def blocking_store(kind: str, request: pytest.FixtureRequest) -> tuple[SyncSessionStore[ANYTHING], Any]:
    if kind == "memory":
        return SyncSessionStore(MemoryBackend(), ANYTHING, ttl=60), lambda: None
    server = request.getfixturevalue("server")
    backend = RedisBackend(server.url, prefix=f"{os.getpid()}-{request.node.name}:")
    return SyncSessionStore(backend, ANYTHING, ttl=60), SyncBackend(backend).close


def in_threads(count: int, function: Any) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
