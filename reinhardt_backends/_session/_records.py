"""The records of the sessions of a store, and the keys that limit how long they live at most."""

from __future__ import annotations

from typing import Any

from .._backend import Backend
from .._errors import DeserializationError
from .._types import MISSING, TTL
from ._record import is_record
from ._user_index import read


class Records:
    """Where a store keeps records: one key for each, and with ``absolute_ttl`` one that lives exactly that long."""

    def __init__(self, backend: Backend, prefix: str, absolute_ttl: TTL | None) -> None:
        self._backend = backend
        self._prefix = prefix
        self._absolute_ttl = absolute_ttl

    def key(self, handle: str) -> str:
        """Return the key of a record."""
        return f"{self._prefix}:id:{handle}"

    def _limit(self, handle: str) -> str:
        return f"{self._prefix}:until:{handle}"

    async def get(self, handles: list[str]) -> dict[str, dict[str, Any]]:
        """Return the records of those sessions that have not expired."""
        names = [*map(self.key, handles)]
        if self._absolute_ttl is not None:
            names += map(self._limit, handles)
        try:
            found = {**await self._backend.get_many(names)}
        except DeserializationError:
            # Another program wrote there. One of many must not hide the others.
            found = {name: value for name in names if (value := await read(self._backend, name)) is not MISSING}
        records: dict[str, Any] = {handle: found.get(self.key(handle)) for handle in handles}
        return {
            handle: record
            for handle, record in records.items()
            if is_record(record) and (self._absolute_ttl is None or self._limit(handle) in found)
        }

    async def begin_absolute_ttl(self, handle: str) -> None:
        """Let the absolute ttl of a session count from now, if there is one."""
        if self._absolute_ttl is not None:
            await self._backend.set(self._limit(handle), None, self._absolute_ttl)

    async def is_within_absolute_ttl(self, handle: str) -> bool:
        """Return whether the absolute ttl of a session, if there is one, has not passed."""
        return self._absolute_ttl is None or await self._backend.exists(self._limit(handle))

    async def delete(self, handle: str) -> bool:
        """Delete the record of a session and return whether there was one."""
        ended = await self._backend.delete(self.key(handle))
        if self._absolute_ttl is not None:
            await self._backend.delete(self._limit(handle))
        return ended

    async def delete_many(self, handles: list[str]) -> int:
        """Delete the records of some sessions and return how many there were."""
        if not handles:
            return 0
        ended = await self._backend.delete_many(map(self.key, handles))
        if self._absolute_ttl is not None:
            await self._backend.delete_many(map(self._limit, handles))
        return ended

    async def delete_of(self, user: str, handles: list[str]) -> int:
        """Delete those of some records that belong to a user and return how many there were."""
        records = await self.get(handles)
        return await self.delete_many([handle for handle, record in records.items() if record["user"] == user])
