"""A backend of one's own: six verbs over an SQLite file, which outlives the process.

Run it with ``python examples/custom_backend.py``, or with ``--trio`` after it.

``reinhardt_backends.authoring`` has what a backend needs to keep the contract: ``check_key`` and the other checks
refuse what every backend refuses, ``encode`` and ``decode`` turn values into bytes and back. The rest of what it then
has (``get_many``, ``set_many``, ``delete_many``, ``namespace``, a blocking face) is composed of the six verbs.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from reinhardt_backends import (
    KEEP_TTL,
    TTL,
    Backend,
    BackendClosedError,
    BackendError,
    CounterError,
    DeserializationError,
    KeepTTL,
    MemoryBackend,
    SyncBackend,
)
from reinhardt_backends.authoring import check_count, check_key, check_ttl, check_type, decode, encode

T = TypeVar("T")

SCHEMA = """
    CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB NOT NULL, expiry REAL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS entries_by_expiry ON entries (expiry);
"""
LIVE = "key = ? AND (expiry IS NULL OR expiry > ?)"


class SqliteBackend(Backend):
    """Keeps its keys in an SQLite file. Each verb is one transaction, run in a worker thread.

    Args:
        path: The file, which is made if it is not there, or ``":memory:"``.
        clock: What the time is. A file outlives its process, so it is the wall clock that counts.
    """

    def __init__(self, path: str | Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.executescript(SCHEMA)
        self._closed = False

    async def set(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> None:
        name, data = check_key(key).encode(), encode(value)
        if ttl is KEEP_TTL:
            await self._run(self._replace_value, name, data)
        else:
            await self._run(self._store, name, data, check_ttl(ttl))

    async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: TTL | None = None) -> Any:
        check_type(type)
        data = await self._run(self._read, check_key(key).encode(), type, check_ttl(renew))
        return default if data is None else decode(data, type, key=key)

    async def delete(self, key: str) -> bool:
        return await self._run(self._delete, check_key(key).encode())

    async def exists(self, key: str) -> bool:
        return await self._run(self._find, check_key(key).encode()) is not None

    async def increment(self, key: str, ttl: TTL | None = None, *, by: int = 1) -> int:
        return await self._run(self._add_to, check_key(key), check_ttl(ttl), check_count(by))

    async def clear(self) -> None:
        await self._run(self._execute, "DELETE FROM entries")

    async def ping(self) -> None:
        await self._run(self._execute, "SELECT 1")

    async def aclose(self) -> None:
        await anyio.to_thread.run_sync(self._close)

    # One transaction each, in a worker thread.

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await anyio.to_thread.run_sync(partial(self._transaction, work, *args))

    def _transaction(self, work: Callable[..., T], *args: Any) -> T:
        with self._lock:
            if self._closed:
                raise BackendClosedError("the backend is closed")
            try:
                self._execute("BEGIN IMMEDIATE")
                with self._connection:
                    return work(*args)
            except sqlite3.Error as error:
                raise BackendError(f"SQLite: {error}") from error

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            self._connection.close()

    def _execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        return self._connection.execute(sql, args)

    def _find(self, name: bytes) -> tuple[bytes, float | None] | None:
        found = self._execute(f"SELECT value, expiry FROM entries WHERE {LIVE}", name, self._clock()).fetchone()
        return found if found is None else (found[0], found[1])

    def _read(self, name: bytes, type: Any, renew: int | None) -> bytes | None:
        found = self._find(name)
        if found is not None and renew is not None:
            decode(found[0], type)  # what cannot be read is not renewed
            self._store(name, found[0], renew)
        return None if found is None else found[0]

    def _store(self, name: bytes, data: bytes, milliseconds: int | None) -> None:
        now = self._clock()
        self._execute("DELETE FROM entries WHERE expiry <= ?", now)
        expiry = None if milliseconds is None else now + milliseconds / 1000
        self._execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", name, data, expiry)

    def _replace_value(self, name: bytes, data: bytes) -> None:
        now = self._clock()
        if not self._execute(f"UPDATE entries SET value = ? WHERE {LIVE}", data, name, now).rowcount:
            self._store(name, data, None)

    def _delete(self, name: bytes) -> bool:
        return self._execute(f"DELETE FROM entries WHERE {LIVE}", name, self._clock()).rowcount == 1

    def _add_to(self, key: str, milliseconds: int | None, by: int) -> int:
        name = key.encode()
        found = self._find(name)
        try:
            old = 0 if found is None else decode(found[0], int, key=key)
        except DeserializationError as error:
            raise CounterError(f"the value of {key!r} is not an integer") from error
        total = old + by
        if any(not -(2**63) <= number < 2**63 for number in (old, total)):
            raise CounterError(f"the counter {key!r} would leave the signed 64-bit range")
        if found is None or found[1] is None:
            self._store(name, encode(total), milliseconds)
        else:
            self._execute("UPDATE entries SET value = ? WHERE key = ?", encode(total), name)
        return total


async def main(path: Path) -> None:
    for run in ("first", "second"):
        async with SqliteBackend(path) as backend:
            visits = await backend.increment("visits", 3600)
            print(f"{run} time the file is open: {visits} visit(s), {await backend.get('langs', list[str])}")
            await backend.set_many({"langs": ["en", "ja"], "theme": "dark"})
    async with MemoryBackend() as backend:
        print(f"in memory there are {await backend.increment('visits')}: the same verbs, another store")


def blocking(path: Path) -> None:
    with SyncBackend(SqliteBackend(path)) as backend:
        print(f"and without await: {backend.get_many(['theme', 'langs', 'no such key'])}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "store.sqlite"
        anyio.run(main, file, backend="trio" if "--trio" in sys.argv else "asyncio")
        blocking(file)
