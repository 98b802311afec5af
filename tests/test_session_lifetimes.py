"""How long a session lives: a ttl of its own, the absolute ttl, the cap per user, and what becomes of a rotated id."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import uuid4

import anyio
import pytest
from pydantic import BaseModel

from reinhardt_backends import MemoryBackend, SerializationError, SessionStore, SyncSessionStore

from .places import Place, everywhere

ALL = ("memory", "namespace", "redis", "comparing")
ON_FAKE_TIME = ("memory", "namespace", "comparing")
ANYTHING = dict[str, Any]


@everywhere(*ON_FAKE_TIME)
async def test_a_session_may_have_a_ttl_of_its_own(place: Place) -> None:
    """ "Remember me": neither session of a user shortens or prolongs the other."""
    store = place.make(SessionStore, ANYTHING, ttl=10)
    short = await store.create({}, user="bob")
    long = await store.create({}, user="bob", ttl=timedelta(seconds=1000))
    assert (short.ttl, long.ttl) == (10, 1000)
    for _ in range(20):
        place.clock.advance(9)
        loaded = await store.load(short.id)
        await store.save(loaded)
    long = await store.load(long.id)
    assert long.ttl == 1000
    place.clock.advance(10)
    assert await store.load(short.id) is None
    place.clock.advance(980)
    await store.save(long)
    place.clock.advance(999)
    assert await store.load(long.id) is not None
    place.clock.advance(1000)
    assert await store.load(long.id) is None
    assert await place.contents() == {}


@everywhere(*ON_FAKE_TIME)
async def test_stores_with_two_ttls_over_one_prefix_do_not_cut_sessions_short(place: Place) -> None:
    short, long = place.make(SessionStore, ANYTHING, ttl=10), place.make(SessionStore, ANYTHING, ttl=1000)
    kept = await long.create({}, user="bob")
    used = await short.create({}, user="bob")
    for _ in range(5):
        place.clock.advance(9)
        assert await short.load(used.id) is not None
    assert await short.load(kept.id) is not None
    place.clock.advance(900)
    assert await long.load(kept.id) is not None


@everywhere(*ON_FAKE_TIME)
async def test_a_login_may_change_the_ttl(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=10)
    session = await store.create({})
    session.user = "bob"
    await store.rotate(session, ttl=1000)
    place.clock.advance(999)
    session = await store.load(session.id)
    await store.rotate(session)
    assert session.ttl == 1000
    place.clock.advance(999)
    session = await store.load(session.id)
    await store.rotate(session, ttl=5)
    place.clock.advance(5)
    assert await store.load(session.id) is None


@everywhere(*ON_FAKE_TIME)
async def test_the_absolute_ttl_counts_from_the_login(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=1000, absolute_ttl=100)
    for change in (store.rotate, store.save):
        session = await store.create({})
        place.clock.advance(90)
        session.user = "bob"
        await change(session)
        place.clock.advance(99)
        await store.rotate(session)
        assert await store.load(session.id) is not None
        place.clock.advance(1)
        assert await store.load(session.id) is None


@everywhere(*ALL)
async def test_above_the_cap_the_oldest_session_of_a_user_ends(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60, absolute_ttl=600, max_per_user=2)
    sessions = [await store.create({"n": n}, user="bob") for n in range(4)]
    other = await store.create({}, user="alice")
    assert [await store.load(session.id) is not None for session in sessions] == [False, False, True, True]
    assert [info.data["n"] for info in await store.sessions_of("bob")] == [2, 3]
    assert await store.load(other.id) is not None
    # Nothing of the ended ones is left.
    assert len([key for key in await place.contents() if ":id:" in key or ":until:" in key]) == 6


@everywhere(*ALL)
async def test_only_living_sessions_count_for_the_cap(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60, max_per_user=2)
    first, second = await store.create({}, user="bob"), await store.create({}, user="bob")
    assert await store.revoke(second)
    third = await store.create({}, user="bob")
    assert await store.load(first.id) is not None
    assert await store.load(third.id) is not None
    third.user = "alice"
    await store.save(third)
    fourth = await store.create({}, user="bob")
    alive = [await store.load(session.id) is not None for session in (first, third, fourth)]
    assert alive == [True, True, True]


@everywhere(*ALL)
async def test_a_login_of_a_visitor_counts_for_the_cap(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60, max_per_user=1)
    old = await store.create({}, user="bob")
    for change in (store.rotate, store.save):
        session = await store.create({})
        session.user = "bob"
        await change(session)
        assert await store.load(old.id) is None
        assert await store.load(session.id) is not None
        old = session


@everywhere(*ALL)
async def test_the_cap_holds_for_logins_at_the_same_time(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60, max_per_user=3)

    async def login() -> str:
        session = await store.create({})
        session.user = "bob"
        handle: str = (await store.rotate(session)).handle
        return handle

    handles = await place.at_once(30, login)
    left = [info.handle for info in await store.sessions_of("bob")]
    assert len(left) == 3
    assert set(left) <= set(handles)
    assert len([key for key in await place.contents() if ":id:" in key]) == 3


@everywhere(*ALL)
async def test_a_rotated_id_is_remembered_until_its_client_has_the_new_one(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=600)
    session = await store.create({}, user="bob")
    old = session.id
    assert not await store.was_rotated(old)
    await store.rotate(session)
    assert await store.was_rotated(old)
    assert not await store.was_rotated(session.id)
    for sent in ("", "A" * 64, old[:-1], "x" * 1000):
        assert not await store.was_rotated(sent)
    await store.revoke_user("bob")
    assert not await store.was_rotated(session.id)
    if place.kind in ON_FAKE_TIME:
        place.clock.advance(59.9)
        assert await store.was_rotated(old)
        place.clock.advance(0.1)
        assert not await store.was_rotated(old)


class Colour(StrEnum):
    RED = "red"


class Visit(BaseModel):
    seen: datetime
    extra: Any = None


@everywhere("memory", "redis")
async def test_plain_data_that_would_come_back_as_another_type_is_refused(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60)
    now = datetime.now(UTC)
    refused = {
        "datetime": {"at": now},
        "bytes": {"raw": b"swordfish"},
        "int": {"counts": {7: 1}},
        "tuple": {"deep": [{"pair": (1, 2)}]},
        "set": {"deep": {"members": {1}}},
        "UUID": {"id": uuid4()},
    }
    session = await store.create({"a": [1, 1.5, True, None, "x", {"b": []}], "colour": Colour.RED})
    assert (await store.load(session.id)).data == session.data
    before = await place.contents()
    for name, data in refused.items():
        with pytest.raises(SerializationError, match=rf"of type {name} that would come back as a (str|list)") as caught:
            await store.create(data)
        assert "swordfish" not in str(caught.value)
        session.data = data
        with pytest.raises(SerializationError):
            await store.save(session)
    assert await place.contents() == before
    with pytest.raises(SerializationError, match=r"Visit.* comes back"):
        await place.make(SessionStore, Visit, ttl=60).create(Visit(seen=now, extra={"at": now}))


@everywhere("memory", "redis")
async def test_data_that_the_type_declares_may_be_anything(place: Place) -> None:
    now = datetime.now(UTC)
    typed = place.make(SessionStore, dict[str, datetime], ttl=60)
    session = await typed.create({"at": now})
    assert (await typed.load(session.id)).data == {"at": now}
    by_number = place.make(SessionStore, dict[int, set[int]], ttl=60)
    session = await by_number.create({7: {1, 2}})
    assert (await by_number.load(session.id)).data == {7: {1, 2}}
    model = place.make(SessionStore, Visit, ttl=60)
    session = await model.create(Visit(seen=now, extra=[1]))
    assert (await model.load(session.id)).data == Visit(seen=now, extra=[1])


@everywhere("memory", "redis")
async def test_a_session_tells_when_it_began(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60)
    before = datetime.now(UTC)
    session = await store.create({}, user="bob")
    await store.rotate(session)
    loaded = await store.load(session.id)
    (info,) = await store.sessions_of("bob")
    assert loaded.created == info.created == session.created
    assert abs((session.created - before).total_seconds()) < 60


@everywhere("memory", "namespace", "comparing")
async def test_a_list_of_sessions_tells_when_each_was_last_seen(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60)
    first = await store.create({}, user="bob")
    await store.create({}, user="bob", ttl=600)
    place.clock.advance(40)
    await store.load(first.id)
    place.clock.advance(10)
    infos = await store.sessions_of("bob")
    if place.kind == "comparing":
        assert [info.last_seen for info in infos] == [None, None]
    else:
        passed = [(datetime.now(UTC) - info.last_seen).total_seconds() for info in infos]
        assert [round(seconds / 5) * 5 for seconds in passed] == [10, 50]


@everywhere(*ALL)
async def test_a_session_ends_by_its_handle(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60, absolute_ttl=600)
    session, visitor = await store.create({}, user="bob"), await store.create({})
    assert not await store.revoke_handle(session.handle, user="eve")
    assert not await store.revoke_handle(visitor.handle, user="eve")
    assert not await store.revoke_handle("no such handle")
    assert await store.load(session.id) is not None
    assert await store.revoke_handle(session.handle, user="bob")
    assert not await store.revoke_handle(session.handle, user="bob")
    assert await store.revoke_handle(visitor.handle)
    assert await store.load(session.id) is None
    assert await store.load(visitor.id) is None
    assert not [key for key in await place.contents() if ":id:" in key or ":until:" in key]
    with pytest.raises(TypeError):
        await store.revoke_handle(session)


@everywhere(*ALL)
async def test_all_other_sessions_of_a_user_end(place: Place) -> None:
    store = place.make(SessionStore, ANYTHING, ttl=60)
    sessions = [await store.create({}, user="bob") for _ in range(4)]
    other, visitor = await store.create({}, user="alice"), await store.create({})
    assert await store.revoke_others(sessions[2]) == 3
    alive = [await store.load(session.id) is not None for session in [*sessions, other, visitor]]
    assert alive == [False, False, True, False, True, True]
    assert await store.revoke_others(sessions[2]) == 0
    assert await store.revoke_others(visitor) == 0
    assert await store.load(sessions[2].id) is not None


@pytest.mark.parametrize("make", [SessionStore, SyncSessionStore])
def test_the_options_are_checked(make: Any) -> None:
    for cap in (0, -1):
        with pytest.raises(ValueError, match="max_per_user must be at least 1"):
            make(MemoryBackend(), ANYTHING, ttl=1, max_per_user=cap)
    for cap in (True, 1.5, "1"):
        with pytest.raises(TypeError, match="max_per_user must be an int"):
            make(MemoryBackend(), ANYTHING, ttl=1, max_per_user=cap)
    store = SyncSessionStore(MemoryBackend(), ANYTHING, ttl=1)
    session = store.create({})
    with pytest.raises(ValueError, match="a ttl must be"):
        store.create({}, ttl=0)
    with pytest.raises(ValueError, match="a ttl must be"):
        store.rotate(session, ttl=-1)


@pytest.mark.parametrize("make", [SessionStore, SyncSessionStore])
def test_a_backend_that_evicts_is_refused(make: Any) -> None:
    for backend in (MemoryBackend(maxsize=9), MemoryBackend(maxbytes=10**6), MemoryBackend(maxsize=9).namespace("ns")):
        with pytest.raises(ValueError, match="evicts live keys"):
            make(backend, ANYTHING, ttl=1)
        make(backend, ANYTHING, ttl=1, evictable=True)


@everywhere("memory", "redis")
async def test_a_step_of_the_clock_of_this_machine_neither_ends_nor_revives_a_session(
    place: Place,
) -> None:
    """How long a session lives is measured by the store. ``created`` and ``last_seen`` follow this machine's clock."""
    store = place.make(SessionStore, ANYTHING, ttl=0.3, absolute_ttl=3600)
    lasting = await store.create({}, user="bob", ttl=600)
    ended = await store.create({}, user="bob")
    with pytest.MonkeyPatch.context() as patch:
        now = time.time()
        patch.setattr(time, "time", lambda: now + 10 * 86_400)
        assert await store.load(lasting.id) is not None
        if place.kind == "redis":
            await anyio.sleep(0.35) if place.runtime != "sync" else time.sleep(0.35)
        else:
            place.clock.advance(0.35)
        for step in (-10 * 86_400, 0, 10 * 86_400):
            patch.setattr(time, "time", lambda step=step: now + step)
            assert await store.load(ended.id) is None
            assert await store.load(lasting.id) is not None
            assert [info.handle for info in await store.sessions_of("bob")] == [lasting.handle]
