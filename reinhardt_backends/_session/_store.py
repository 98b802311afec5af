"""``SessionStore``: server-side sessions on any backend that can compare and set.

What a client has is an id; how it is made, and what a *handle* and a *proof* are, is told in ``_session.py``.

**One record.** Everything about a session that changes together is one value under one key: proof, version, user and
data. Saving and rotating compare and set it. So each is one atomic step on every backend, a cluster included: a change
made elsewhere shows in the version, rotating swaps one proof for another with no instant in which there are two or
none, and a record that was deleted is not written again, since only ``create`` writes where nothing is.

**Expiry** is the store's business, on its clock alone. The record expires when it is not loaded for ``ttl``. With
``absolute_ttl`` a second key lives exactly that long and is never renewed; without that key the session has ended.

**Users.** The index of a user lists the handles of the sessions that may be theirs, and a session with a user is alive
only while it is listed. Deleting that one key ends all of them at once; what is left of them expires by itself. Every
load renews it, so that it outlives each of its sessions, and it is cleared of dead ones as it grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic

from .._backend import Backend
from .._component import check_backend, require
from .._errors import DeserializationError, OutcomeUnknownError, SerializationError, SessionConflictError
from .._types import MISSING, TTL, check_key, check_name, check_ttl
from .._values._codec import check_type, decode, encode
from .._values._readers import type_name
from ._session import Data, Session, SessionInfo, Ticket

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from typing_extensions import TypeForm

_CROWD: Final = 16
"""How many handles an index has before it is first cleared of dead ones; after that, whenever it has doubled."""


class SessionStore(Generic[Data]):
    """Sessions with a sliding expiry, kept in a backend and found by an id that only the client has.

    Every method may raise the errors that the verbs of a backend raise.

    Args:
        backend: Where they are kept. It must provide ``add`` and ``compare_and_set`` beside the six verbs.
        type: What their data is: a pydantic model, ``dict[str, Any]``, or anything else that pydantic can validate.
        ttl: Seconds without a ``load`` or ``save`` after which a session ends.
        absolute_ttl: Seconds after which it ends in any case; ``None`` for never.
        prefix: What all its keys in the backend begin with, followed by a colon.

    Raises:
        TypeError, ValueError: An argument is not what it must be.
        UnsupportedOperationError: The backend does not provide a verb that is needed.
    """

    def __init__(
        self,
        backend: Backend,
        type: type[Data] | TypeAdapter[Data] | TypeForm[Data],
        *,
        ttl: TTL,
        absolute_ttl: TTL | None = None,
        prefix: str = "session",
    ) -> None:
        self._backend = check_backend(backend, "SessionStore")
        require(backend, "SessionStore", "add", "compare_and_set")
        check_type(type)
        if check_ttl(ttl) is None:
            raise TypeError("a session needs a ttl")
        check_ttl(absolute_ttl)
        self._type = type
        self._ttl = ttl
        self._absolute_ttl = absolute_ttl
        self._prefix = check_name(prefix)

    async def create(self, data: Data, user: str | None = None) -> Session[Data]:
        """Begin a session.

        A call that fails midway leaves no session that anybody could load.

        Args:
            data: Its data.
            user: Whose it is; ``None`` for a visitor.

        Raises:
            SerializationError: The data cannot be stored, or could not be read back as the type of the store.
        """
        ticket = Ticket.new()
        record = self._record(ticket, 1, user, data)
        await self._backend.set(self._key(ticket.handle), record, self._ttl)
        if self._absolute_ttl is not None:
            await self._backend.set(self._limit(ticket.handle), None, self._absolute_ttl)
        if user is not None:
            await self._enlist(user, ticket.handle)
        return Session(ticket, record, data)

    async def load(self, id: str) -> Session[Data] | None:
        """Return the session of an id and renew its expiry.

        Args:
            id: What a client sent. Text of any kind and length is fine; what is no id costs no call of the backend.

        Returns:
            ``None`` if the store has issued no such id, or the session has ended or was rotated, or its data is not
            valid as the type of the store any more. Nothing is renewed or created then.
        """
        ticket = Ticket.read(id)
        # Tracebacks may show the variables of this frame.
        del id
        record = None if ticket is None else await self._proven(ticket)
        if ticket is None or record is None or self._data(record) is MISSING:
            return None
        if not await self._is_listed(record["user"], ticket.handle):
            return None
        record = await self._read(self._key(ticket.handle), renew=True)
        if not _is_record(record) or not ticket.proves(record) or (data := self._data(record)) is MISSING:
            return None
        return Session(ticket, record, data)

    async def save(self, session: Session[Data]) -> None:
        """Store the data and the user of a session and renew its expiry. Atomic.

        Raises:
            SessionConflictError: It was changed elsewhere since it was loaded, or has ended. Nothing was changed.
            SerializationError: The data cannot be stored, or could not be read back as the type of the store.
        """
        await self._write(session, session._ticket)

    async def rotate(self, session: Session[Data]) -> Session[Data]:
        """Give a session a new id, and store its data and user as ``save`` does. Atomic: the old id is dead at once.

        Call it whenever a session gains rights, such as on login, so that nobody who knew the id before gains them.

        Returns:
            The session that was given; it has the new id.

        Raises:
            SessionConflictError: It was changed elsewhere since it was loaded, or has ended. Nothing was changed.
            SerializationError: The data cannot be stored, or could not be read back as the type of the store.
        """
        await self._write(session, session._ticket.rotated())
        return session

    async def revoke(self, id: str | Session[Data] | SessionInfo[Data]) -> bool:
        """End a session. It cannot come back: whoever still has it cannot save it.

        Args:
            id: Its id, or the session, or what ``sessions_of`` told of it. An id that was rotated ends nothing.

        Returns:
            Whether there was one to end.
        """
        if isinstance(id, (Session, SessionInfo)):
            handle: str | None = id.handle
        else:
            ticket = Ticket.read(id)
            del id
            handle = ticket.handle if ticket is not None and await self._proven(ticket) is not None else None
        if handle is None:
            return False
        ended = await self._backend.delete(self._key(handle))
        if self._absolute_ttl is not None:
            await self._backend.delete(self._limit(handle))
        return ended

    async def revoke_user(self, user: str) -> int:
        """End every session of a user at once. Atomic: after the first step none of them can be loaded or saved.

        Returns:
            How many there were.
        """
        index = self._index(_check_user(user))
        handles = _handles(await self._read(index))
        await self._backend.delete(index)
        theirs = [handle for handle, record in (await self._records(handles)).items() if record["user"] == user]
        ended = await self._backend.delete_many(map(self._key, theirs))
        if self._absolute_ttl is not None:
            await self._backend.delete_many(map(self._limit, theirs))
        return ended

    async def sessions_of(self, user: str) -> list[SessionInfo[Data]]:
        """Return what there is to tell of the sessions of a user, the oldest first. Nothing is renewed."""
        handles = _handles(await self._read(self._index(_check_user(user))))
        records = await self._records(handles)
        theirs = [(handle, self._data(record)) for handle, record in records.items() if record["user"] == user]
        return [SessionInfo(handle, user, data) for handle, data in theirs if data is not MISSING]

    async def _write(self, session: Session[Data], ticket: Ticket) -> None:
        key, before, user = self._key(ticket.handle), session._stored, session.user
        record = self._record(ticket, before["version"] + 1, user, session.data)
        alive = await self._is_listed(before["user"], ticket.handle)
        if alive and self._absolute_ttl is not None:
            alive = await self._backend.exists(self._limit(ticket.handle))
        if not alive:
            raise _conflict(ended=True)
        if user is not None and user != before["user"]:
            await self._enlist(user, ticket.handle)
        try:
            written = await self._backend.compare_and_set(key, before, record, self._ttl)
        except OutcomeUnknownError:
            # A new id must not be lost with the reply. Nobody else writes this proof and version.
            written = await self._read(key) == record
            if not written:
                raise
        if not written:
            raise _conflict(ended=not await self._backend.exists(key))
        session._ticket, session._stored = ticket, record

    async def _proven(self, ticket: Ticket) -> dict[str, Any] | None:
        """Return the record of a session that has not expired, if the ticket is the one that it was last given."""
        record = (await self._records([ticket.handle])).get(ticket.handle)
        return record if record is not None and ticket.proves(record) else None

    async def _records(self, handles: list[str]) -> dict[str, dict[str, Any]]:
        """Return the records of those sessions that have not expired."""
        names = [*map(self._key, handles)]
        if self._absolute_ttl is not None:
            names += map(self._limit, handles)
        try:
            found = {**await self._backend.get_many(names)}
        except DeserializationError:
            # Somebody else wrote there. One of many must not hide the others.
            found = {}
            for name in names:
                if (value := await self._read(name)) is not MISSING:
                    found[name] = value
        records: dict[str, Any] = {handle: found.get(self._key(handle)) for handle in handles}
        return {
            handle: record
            for handle, record in records.items()
            if _is_record(record) and (self._absolute_ttl is None or self._limit(handle) in found)
        }

    async def _read(self, name: str, renew: bool = False) -> Any:
        """Return what is stored, ``MISSING`` if that is nothing or was written by somebody else."""
        try:
            if renew:
                try:
                    return await self._backend.get(name, default=MISSING, renew=self._ttl)
                except OutcomeUnknownError:
                    # Whether it was renewed, this once, matters little.
                    pass
            return await self._backend.get(name, default=MISSING)
        except DeserializationError:
            return MISSING

    async def _is_listed(self, user: str | None, handle: str) -> bool:
        """Whether the index of a session's user, if it has one, lists it. Renews the index."""
        return user is None or handle in _handles(await self._read(self._index(user), renew=True))

    async def _enlist(self, user: str, handle: str) -> None:
        index = self._index(user)
        while True:
            there = await self._backend.get(index, default=MISSING)
            if there is MISSING:
                if await self._backend.add(index, [handle], self._ttl):
                    return
                continue
            handles = [other for other in _handles(there) if other != handle]
            if len(handles) >= _CROWD and len(handles).bit_count() == 1:
                handles = list(await self._records(handles))
            if await self._backend.compare_and_set(index, there, [*handles, handle], self._ttl):
                return

    def _record(self, ticket: Ticket, version: int, user: str | None, data: Data) -> dict[str, Any]:
        """Return what is stored, as plain JSON data, so that it can be compared with what is there later."""
        if user is not None:
            _check_user(user)
        encoded = encode(data)
        reason = "it is bytes" if encoded[:1] == b"\x00" else ""
        try:
            decode(encoded, self._type)
        except DeserializationError as error:
            reason = str(error)
        if reason:
            raise SerializationError(f"the data of a session is not a valid {type_name(self._type)}: {reason}")
        return {"proof": ticket.proof, "version": version, "user": user, "data": decode(encoded)}

    def _data(self, record: dict[str, Any]) -> Any:
        """Return the data of a record, or ``MISSING`` if it is not valid as the type of the store."""
        try:
            return decode(encode(record["data"]), self._type)
        except DeserializationError:
            return MISSING

    def _key(self, handle: str) -> str:
        return f"{self._prefix}:id:{handle}"

    def _limit(self, handle: str) -> str:
        return f"{self._prefix}:until:{handle}"

    def _index(self, user: str) -> str:
        return f"{self._prefix}:user:{user}"


def _check_user(user: str) -> str:
    if not isinstance(user, str):
        raise TypeError(f"a user must be a str, not {type(user).__name__}")
    return check_key(user)


def _handles(stored: Any) -> list[str]:
    return [handle for handle in stored if isinstance(handle, str)] if isinstance(stored, list) else []


def _is_record(stored: Any) -> bool:
    return (
        isinstance(stored, dict)
        and stored.keys() == {"proof", "version", "user", "data"}
        and isinstance(stored["proof"], str)
        and stored["proof"].isascii()
        and isinstance(stored["version"], int)
        and isinstance(stored["user"], str | None)
    )


def _conflict(*, ended: bool) -> SessionConflictError:
    what = "the session has ended" if ended else "the session was changed elsewhere since it was loaded"
    return SessionConflictError(what, ended=ended)
