"""What type checkers infer of the public API. Checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, assert_type

from pydantic import BaseModel, Field, RedisDsn, TypeAdapter
from typing_extensions import TypedDict

from reinhardt_backends import (
    KEEP_TTL,
    Backend,
    JSONValue,
    MemoryBackend,
    RedisBackend,
    SyncBackend,
    check_key,
    check_ttl,
    decode,
    encode,
)


class User(BaseModel):
    id: int


class Session(TypedDict):
    user: int


async def get(backend: Backend, memory: MemoryBackend, zero: int) -> None:
    assert_type(await backend.get("k"), JSONValue | bytes)
    assert_type(await backend.get("k", default=0), JSONValue | bytes)
    assert_type(await backend.get("k", str), str | None)
    assert_type(await backend.get("k", User), User | None)
    assert_type(await backend.get("k", Session), Session | None)
    assert_type(await backend.get("k", int, default=0), int)
    assert_type(await backend.get("k", str, default=zero), str | int)
    assert_type(await backend.get("k", bytes, default=None), bytes | None)
    assert_type(await backend.get("k", list[int]), list[int] | None)
    assert_type(await backend.get("k", dict[str, User]), dict[str, User] | None)
    assert_type(await backend.get("k", TypeAdapter(int)), int | None)
    assert_type(await backend.get("k", User | None), User | None)
    assert_type(await backend.get("k", int | str), int | str | None)
    assert_type(await backend.get("k", Annotated[int, Field(gt=0)]), int | None)
    assert_type(await backend.get("k", int, renew=60), int | None)
    assert_type(await backend.get("k", int, default=0, renew=timedelta(seconds=60)), int)
    union: TypeAdapter[int | str] = TypeAdapter(int | str)
    assert_type(await backend.get("k", union), int | str | None)
    assert_type(await backend.get("k", union, default=0), int | str)
    assert_type(await memory.get("k", User), User | None)
    assert_type(await memory.get("k", int, default=0), int)
    assert_type(await memory.pop("k", User), User | None)
    assert_type(await memory.get_many(["k"], User), dict[str, User])


async def verbs(backend: Backend) -> None:
    assert_type(await backend.set("k", User(id=1), 60), None)
    await backend.set("k", b"raw", timedelta(minutes=1))
    await backend.set("k", [1], 0.5)
    await backend.set("k", None, KEEP_TTL)
    assert_type(await backend.delete("k"), bool)
    assert_type(await backend.exists("k"), bool)
    assert_type(await backend.increment("k", 60, by=-1), int)
    assert_type(await backend.clear(), None)
    assert_type(await backend.add("k", 1, 60), bool)
    assert_type(await backend.replace("k", 1, KEEP_TTL), bool)
    assert_type(await backend.pop("k"), JSONValue | bytes)
    assert_type(await backend.pop("k", User), User | None)
    assert_type(await backend.pop("k", int, default=0), int)
    assert_type(await backend.pop("k", User | None), User | None)
    assert_type(await backend.ttl("k"), float | None)
    assert_type(await backend.touch("k", None), bool)
    assert_type(await backend.get_many(["a"]), dict[str, JSONValue | bytes])
    assert_type(await backend.get_many({"a"}, User), dict[str, User])
    assert_type(await backend.get_many(("a",), int | str), dict[str, int | str])
    assert_type(await backend.get_many(iter(["a"]), TypeAdapter(int)), dict[str, int])
    assert_type(await backend.set_many({"a": 1, "b": "x"}, 60), None)
    assert_type(await backend.delete_many(["a"]), int)
    assert_type(await backend.compare_and_set("k", 1, 2, KEEP_TTL), bool)
    assert_type(await backend.compare_and_delete("k", 1), bool)
    assert_type(backend.scan("a"), AsyncIterator[str])
    assert_type(backend.namespace("n"), Backend)
    assert_type(await backend.ping(), None)
    assert_type(await backend.aclose(), None)
    async with backend as entered:
        assert_type(entered, Backend)
    async with MemoryBackend(maxsize=10, policy="lfu") as memory:
        assert_type(memory, MemoryBackend)
        assert_type(memory.cleanup_expired(), int)
    assert_type(Backend.from_url("memory://"), Backend)
    assert_type(Backend.from_url(RedisDsn("redis://localhost"), timeout=1), Backend)
    assert_type(RedisBackend.from_url("redis://localhost"), RedisBackend)
    assert_type(backend.observed(print, keys=True), Backend)
    assert_type(backend.stats().entries, int | None)
    assert_type(backend.stats().outage, bool)


def blocking(backend: SyncBackend, mapping: Mapping[str, User]) -> None:
    assert_type(backend.get("k"), JSONValue | bytes)
    assert_type(backend.get("k", User), User | None)
    assert_type(backend.get("k", Session), Session | None)
    assert_type(backend.get("k", int, default=0), int)
    assert_type(backend.get("k", list[int], renew=5), list[int] | None)
    assert_type(backend.get("k", TypeAdapter(int)), int | None)
    assert_type(backend.get("k", User | None), User | None)
    assert_type(backend.pop("k"), JSONValue | bytes)
    assert_type(backend.pop("k", User), User | None)
    assert_type(backend.get_many(["a"]), dict[str, JSONValue | bytes])
    assert_type(backend.get_many(["a"], User), dict[str, User])
    assert_type(backend.set("k", 1, KEEP_TTL), None)
    assert_type(backend.set_many(mapping, 60), None)
    assert_type(backend.delete("k"), bool)
    assert_type(backend.exists("k"), bool)
    assert_type(backend.increment("k", 60, by=2), int)
    assert_type(backend.add("k", 1), bool)
    assert_type(backend.ttl("k"), float | None)
    assert_type(backend.delete_many(["a"]), int)
    assert_type(backend.compare_and_set("k", 1, 2), bool)
    assert_type(backend.scan("a"), Iterator[str])
    assert_type(backend.namespace("n"), SyncBackend)
    assert_type(backend.close(), None)
    with SyncBackend(MemoryBackend()) as entered:
        assert_type(entered, SyncBackend)
    assert_type(SyncBackend.from_url("memory://"), SyncBackend)


def helpers() -> None:
    assert_type(encode([1]), bytes)
    assert_type(decode(b"1", int), int)
    assert_type(decode(b"1", list[int], key="k"), list[int])
    assert_type(check_key("k"), str)
    assert_type(check_ttl(5), int | None)
