"""``SessionStore``: server-side sessions on any backend that can compare and set.

A client has an id. ``_session.py`` explains how an id is made, and what *handle* and *proof* mean.

**One record.** Everything about a session that changes together is one value under one key (``_record.py``). Saving and
rotating compare and set it, so each is one atomic step on every backend, a cluster included: a change made elsewhere
shows in the version, rotating replaces one proof by another with no instant in which there are two or none, and a
record that was deleted is not written again, since only ``create`` writes where there is none.

**Expiry** is measured by the store alone, on its own clock. The record expires when it is not loaded for its ttl. With
``absolute_ttl`` a second key lives for exactly that time from the login; without that key the session has ended.

**Users.** The index of a user (``_user_index.py``) holds the handles of their sessions, and a session with a user is
alive only while its handle is there. Deleting that one key ends all of them at once, and taking one handle out ends one
of them; the records that remain expire by themselves. Ended sessions are taken out as an index grows.

**Markers.** ``rotate`` leaves a marker under the proof of the old id for a minute, and so does a logout in a request. A
request that was sent before and arrives after it can thus be distinguished from one for a session that has ended.
"""

from __future__ import annotations

import contextlib
import math
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic

from .._backend import WARNING, Backend, LimitedRecord, gather, reporter_for
from .._component import IN_LOOP, Waiting, check_backend, provides, refuse_eviction, require
from .._errors import BackendError, OutcomeUnknownError, SessionConflictError
from .._types import MISSING, TTL, check_key, check_name, check_ttl
from .._values._codec import check_type
from ._record import check_user, data_of, is_record, plain_data
from ._records import Records
from ._session import Data, Session, SessionInfo, SessionLike, Ticket, created_at
from ._user_index import UserIndex, read

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from typing_extensions import TypeForm

_AWAY: Final = LimitedRecord("session", WARNING, "the store is away (%s): requests have anonymous sessions")

MARKER_TTL: Final = 60
"""Seconds for which the store remembers that an id was given up."""


class SessionStore(Generic[Data]):
    """Sessions with a sliding expiry, kept in a backend and found by an id that only the client has.

    Every method may raise the errors that the verbs of a backend raise.

    Args:
        backend: Where they are kept. It must provide ``add`` and ``compare_and_set`` beside the six verbs.
        type: The type of their data: a pydantic model, ``dict[str, Any]``, or anything else that pydantic can validate.
        ttl: Seconds without a ``load`` or ``save`` after which a session ends. A session may have a ttl of its own.
        absolute_ttl: Seconds from the login (or, for a visitor, from ``create``) after which a session ends in any
            case; ``None`` for never.
        max_per_user: How many sessions a user may have. One more ends the oldest. ``None`` for any number.
        prefix: What all its keys in the backend begin with, followed by a colon.
        evictable: Accept a backend that evicts live keys, and so ends sessions early, to stay within its bounds.

    Raises:
        TypeError, ValueError: An argument is not what it must be, or the backend evicts live keys.
        UnsupportedOperationError: The backend does not provide a verb that is needed.
    """

    def __init__(
        self,
        backend: Backend,
        type: type[Data] | TypeAdapter[Data] | TypeForm[Data],
        *,
        ttl: TTL,
        absolute_ttl: TTL | None = None,
        max_per_user: int | None = None,
        prefix: str = "session",
        evictable: bool = False,
    ) -> None:
        self._backend = check_backend(backend, "SessionStore")
        require(backend, "SessionStore", "add", "compare_and_set")
        refuse_eviction(backend, "SessionStore", evictable)
        check_type(type)
        self._type = type
        self._milliseconds = _check_session_ttl(ttl)
        check_ttl(absolute_ttl)
        self._absolute_ttl = absolute_ttl
        self._max_per_user = _check_cap(max_per_user)
        self._prefix = check_name(prefix)
        self._records = Records(backend, prefix, absolute_ttl)
        self._index = UserIndex(backend, prefix, max_per_user)
        self._knows_ttl = provides(backend, "ttl")
        self._waiting: Waiting = IN_LOOP
        self._reporter = reporter_for(backend, "session")

    async def create(self, data: Data, user: str | None = None, *, ttl: TTL | None = None) -> Session[Data]:
        """Begin a session.

        A call that fails midway leaves no session that could be loaded.

        Args:
            data: Its data.
            user: Its user; ``None`` for a visitor.
            ttl: Seconds without a ``load`` or ``save`` after which it ends; the ttl of the store by default.

        Raises:
            SerializationError: The data cannot be stored, or would come back as something else.
        """
        ticket = Ticket.new()
        milliseconds = self._milliseconds if ttl is None else _check_session_ttl(ttl)
        record = self._record(ticket, 1, user, milliseconds, int(time.time()), data)
        await self._backend.set(self._records.key(ticket.handle), record, milliseconds / 1000)
        await self._records.begin_absolute_ttl(ticket.handle)
        if user is not None:
            count, chosen = await self._index.add(user, ticket.handle, milliseconds, self._waiting)
            await self._trim(user, count, chosen)
        return Session(ticket, record, data)

    async def load(self, id: str) -> Session[Data] | None:
        """Return the session of an id and reset its expiry.

        Args:
            id: What a client sent, of any length and with any characters. What cannot be an id costs no call of the
                backend.

        Returns:
            ``None`` if the store has issued no such id, or the session has ended or was rotated, or its data is no
            longer valid as the type of the store. Nothing is changed then.
        """
        try:
            ticket = Ticket.read(id)
        finally:
            # Tracebacks may show the variables of this frame.
            del id
        return None if ticket is None else await self._load(ticket)

    async def was_rotated(self, id: str) -> bool:
        """Return whether a client gave up an id within the last minute: by ``rotate``, or by a logout in a request.

        A request with such an id was sent before. Its client has, or is about to receive, a newer id or none; so do not
        delete the cookie, which may be another one by now.
        """
        try:
            ticket = Ticket.read(id)
        finally:
            del id
        return ticket is not None and await self._was_rotated(ticket)

    async def save(self, session: Session[Data]) -> None:
        """Store the data and the user of a session and reset its expiry. Atomic.

        Raises:
            SessionConflictError: It was changed elsewhere since it was loaded, or has ended. Nothing was changed.
            SerializationError: The data cannot be stored, or would come back as something else.
        """
        await self._write(session, session._ticket, session._stored["ttl"])

    async def rotate(self, session: Session[Data], *, ttl: TTL | None = None) -> Session[Data]:
        """Give a session a new id, and store its data and user as ``save`` does. Atomic: the old id ends at once.

        Call it whenever a session gains rights, such as on login, so that an id that was known before does not gain
        them.

        Args:
            session: The session.
            ttl: Seconds without a ``load`` or ``save`` after which it ends from now on, as for "remember me"; left
                out, its ttl stays as it is.

        Returns:
            The session that was given; it has the new id.

        Raises:
            SessionConflictError: It was changed elsewhere since it was loaded, or has ended. Nothing was changed.
            SerializationError: The data cannot be stored, or would come back as something else.
        """
        milliseconds = session._stored["ttl"] if ttl is None else _check_session_ttl(ttl)
        await self._write(session, session._ticket.rotated(), milliseconds)
        return session

    async def revoke(self, id: str | Session[Data] | SessionInfo[Data]) -> bool:
        """End a session. It cannot come back: a copy of it that was loaded before cannot be saved.

        Args:
            id: Its id, or the session, or what ``sessions_of`` returned for it. An id that was rotated ends nothing.

        Returns:
            Whether there was one to end.
        """
        if isinstance(id, (Session, SessionInfo)):
            return await self._records.delete(id.handle)
        try:
            ticket = Ticket.read(id)
        finally:
            del id
        return (
            ticket is not None and await self._proven(ticket) is not None and await self._records.delete(ticket.handle)
        )

    async def revoke_handle(self, handle: str, *, user: str | None = None) -> bool:
        """End the session of a handle, as a user may choose it from a list of their sessions.

        Args:
            handle: The handle, which is no secret.
            user: End it only if it is a session of this user. A handle that comes from a client needs that check.

        Returns:
            Whether there was one to end.
        """
        if user is not None:
            record = (await self._records.get([check_key(handle)])).get(handle)
            if record is None or record["user"] != check_user(user):
                return False
        return await self._records.delete(check_key(handle))

    async def revoke_others(self, session: SessionLike) -> int:
        """End every session of a user but this one, as after a change of the password.

        Atomic: after one step none of the others can be loaded or saved. For a session without a user nothing happens.

        Args:
            session: The session that stays: a ``Session``, or ``scope["session"]``.

        Returns:
            How many there were.
        """
        user = session.user
        if user is None:
            return 0
        others = [handle for handle in await self._index.handles(user) if handle != session.handle]
        if not others:
            return 0
        await self._index.remove(user, others, self._waiting)
        return await self._records.delete_of(user, others)

    async def revoke_user(self, user: str) -> int:
        """End every session of a user at once. Atomic: after the first step none of them can be loaded or saved.

        Returns:
            How many there were.
        """
        handles = await self._index.handles(check_user(user))
        await self._index.clear(user)
        return await self._records.delete_of(user, handles)

    async def sessions_of(self, user: str) -> list[SessionInfo[Data]]:
        """Return the sessions of a user, the oldest first. No expiry is reset.

        When each was last seen takes one call of the backend for each, all at the same time; for a blocking caller one
        after the other.
        """
        records = await self._records.get(await self._index.handles(check_user(user)))
        theirs = {
            handle: (record, data)
            for handle, record in records.items()
            if record["user"] == user and (data := data_of(record, self._type)) is not MISSING
        }
        calls = [partial(self._last_seen, handle, record["ttl"]) for handle, (record, _) in theirs.items()]
        seen = await gather(self._backend, calls)
        return [
            SessionInfo(handle, user, data, created_at(record), last_seen)
            for (handle, (record, data)), last_seen in zip(theirs.items(), seen, strict=True)
        ]

    async def _log_out(self, session: Session[Data]) -> None:
        """End a session whose client gives up its id now, and remember that as ``rotate`` does."""
        await self._backend.set(self._marker(session._ticket), None, MARKER_TTL)
        await self._records.delete(session.handle)

    async def _load(self, ticket: Ticket) -> Session[Data] | None:
        found = await self._proven(ticket)
        if found is None or (data := data_of(found, self._type)) is MISSING:
            return None
        if found["user"] is not None and not await self._index.holds(found["user"], ticket.handle):
            return None
        record = await read(self._backend, self._records.key(ticket.handle), renew=found["ttl"] / 1000)
        if record != found:
            # It was changed, rotated or ended meanwhile.
            if not is_record(record) or not ticket.proves(record):
                return None
            data = data_of(record, self._type)
        return None if data is MISSING else Session(ticket, record, data)

    async def _was_rotated(self, ticket: Ticket) -> bool:
        return await self._backend.exists(self._marker(ticket))

    def _note_anonymous(self, error: BackendError) -> None:
        """Log that a request is served with an anonymous session."""
        _AWAY.write(type(error).__name__)

    async def _write(self, session: Session[Data], ticket: Ticket, milliseconds: int) -> None:
        before, user = session._stored, session.user
        record = self._record(ticket, before["version"] + 1, user, milliseconds, before["created"], session.data)
        await self._check_alive(before["user"], ticket.handle)
        is_login = user is not None and user != before["user"]
        count, chosen = 0, list[str]()
        # What the new state needs is there before the one step that makes it valid.
        if user is not None and (is_login or milliseconds > before["ttl"]):
            count, chosen = await self._index.add(user, ticket.handle, milliseconds, self._waiting)
        if is_login:
            await self._records.begin_absolute_ttl(ticket.handle)
        if ticket is not session._ticket:
            await self._backend.set(self._marker(session._ticket), None, MARKER_TTL)
        await self._replace(self._records.key(ticket.handle), before, record)
        session._ticket, session._stored = ticket, record
        # The session is stored, whatever becomes of the index.
        with contextlib.suppress(BackendError):
            if before["user"] not in {None, user}:
                await self._index.remove(before["user"], (ticket.handle,), self._waiting)
            if user is not None:
                await self._trim(user, count, chosen)

    async def _check_alive(self, user: str | None, handle: str) -> None:
        listed = user is None or await self._index.holds(user, handle)
        if not listed or not await self._records.is_within_absolute_ttl(handle):
            raise self._conflict(handle, ended=True)

    async def _replace(self, key: str, before: dict[str, Any], record: dict[str, Any]) -> None:
        try:
            written = await self._backend.compare_and_set(key, before, record, record["ttl"] / 1000)
        except OutcomeUnknownError:
            # A new id must not be lost with the reply. No other writer writes this proof and version.
            written = await read(self._backend, key) == record
            if not written:
                raise
        if not written:
            raise self._conflict(key, ended=not await self._backend.exists(key))

    def _conflict(self, handle: str, *, ended: bool) -> SessionConflictError:
        if self._reporter is not None:
            self._reporter.report("conflict", handle)
        what = "the session has ended" if ended else "the session was changed elsewhere since it was loaded"
        return SessionConflictError(what, ended=ended)

    async def _trim(self, user: str, count: int, chosen: list[str]) -> None:
        """Take ended sessions out of an index that has grown, and end the oldest ones above ``max_per_user``.

        Args:
            user: The user of the index.
            count: How many entries it had when one was added.
            chosen: What ``UserIndex.add`` chose: with a cap those that it cut off, otherwise a sample.
        """
        cap = self._max_per_user
        handles = list(chosen)
        if cap is not None and count > cap:
            handles += await self._index.handles(user)
        if not handles:
            return
        records = await self._records.get(handles)
        excess: list[str] = []
        if cap is not None:
            theirs = [handle for handle in handles if handle in records and records[handle]["user"] == user]
            kept = [handle for handle in theirs if handle not in chosen]
            excess = [*(handle for handle in theirs if handle in chosen), *kept[: max(len(kept) - cap, 0)]]
        gone = [*excess, *(handle for handle in handles if handle not in records)]
        if gone:
            await self._index.remove(user, gone, self._waiting)
        await self._records.delete_many(excess)

    async def _last_seen(self, handle: str, milliseconds: int) -> datetime | None:
        """Return when the expiry of a record was last reset."""
        if not self._knows_ttl:
            return None
        left = await self._backend.ttl(self._records.key(handle))
        passed = milliseconds / 1000 - (left or 0)
        return datetime.now(UTC) - timedelta(seconds=passed) if math.isfinite(passed) else None

    async def _proven(self, ticket: Ticket) -> dict[str, Any] | None:
        """Return the record of a session that has not expired, if this is its current id."""
        record = (await self._records.get([ticket.handle])).get(ticket.handle)
        return record if record is not None and ticket.proves(record) else None

    def _record(
        self, ticket: Ticket, version: int, user: str | None, milliseconds: int, created: int, data: Data
    ) -> dict[str, Any]:
        if user is not None:
            check_user(user)
        return {
            "proof": ticket.proof,
            "version": version,
            "user": user,
            "ttl": milliseconds,
            "created": created,
            "data": plain_data(data, self._type),
        }

    def _marker(self, ticket: Ticket) -> str:
        return f"{self._prefix}:rotated:{ticket.proof}"


def _check_session_ttl(ttl: TTL) -> int:
    milliseconds = check_ttl(ttl)
    if milliseconds is None:
        raise TypeError("a session needs a ttl")
    return milliseconds


def _check_cap(max_per_user: int | None) -> int | None:
    if max_per_user is None:
        return None
    if isinstance(max_per_user, bool) or not isinstance(max_per_user, int):
        raise TypeError(f"max_per_user must be an int or None, not {type(max_per_user).__name__}")
    if max_per_user < 1:
        raise ValueError("max_per_user must be at least 1")
    return max_per_user
