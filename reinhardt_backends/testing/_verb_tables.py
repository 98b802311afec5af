"""Every verb as a call that takes a key, a ttl or a value: what the checks of arguments are tried on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from .._backend import Backend

Call = Callable[[Backend, Any], Awaitable[Any]]


async def scanned(store: Backend, prefix: str = "") -> list[str]:
    """The keys that a scan yields, each once, in order."""
    return sorted({key async for key in store.scan(prefix)})


BY_KEY: Final[dict[str, Call]] = {
    "set": lambda store, key: store.set(key, "new", 60),
    "get": lambda store, key: store.get(key),
    "get typed": lambda store, key: store.get(key, list[int]),
    "get renewing": lambda store, key: store.get(key, renew=60),
    "delete": lambda store, key: store.delete(key),
    "exists": lambda store, key: store.exists(key),
    "increment": lambda store, key: store.increment(key, 60),
    "add": lambda store, key: store.add(key, "new", 60),
    "replace": lambda store, key: store.replace(key, "new", 60),
    "pop": lambda store, key: store.pop(key),
    "pop typed": lambda store, key: store.pop(key, str),
    "ttl": lambda store, key: store.ttl(key),
    "touch": lambda store, key: store.touch(key, 60),
    "get_many": lambda store, key: store.get_many(["fine", key]),
    "set_many": lambda store, key: store.set_many({"fine": "new", key: "new"}),
    "delete_many": lambda store, key: store.delete_many(["fine", key]),
    "compare_and_set": lambda store, key: store.compare_and_set(key, "old", "new"),
    "compare_and_delete": lambda store, key: store.compare_and_delete(key, "old"),
    "increment_existing": lambda store, key: store.increment_existing(key),
    "get_and_renew": lambda store, key: store.get_and_renew(key, 60),
    "get_and_renew typed": lambda store, key: store.get_and_renew(key, 60, list[int]),
    "set_json": lambda store, key: store.set_json(key, '"new"', 60),
    "get_json": lambda store, key: store.get_json(key),
    "scan": lambda store, key: scanned(store, key),
}

WITHOUT_KEY: Final[dict[str, Call]] = {"time": lambda store, _: store.time()}

BY_TTL: Final[dict[str, Call]] = {
    "set": lambda store, ttl: store.set("fine", "new", ttl),
    "get": lambda store, ttl: store.get("fine", renew=ttl),
    "increment": lambda store, ttl: store.increment("count", ttl),
    "add": lambda store, ttl: store.add("free", "new", ttl),
    "replace": lambda store, ttl: store.replace("fine", "new", ttl),
    "touch": lambda store, ttl: store.touch("fine", ttl),
    "set_many": lambda store, ttl: store.set_many({"fine": "new", "free": "new"}, ttl),
    "get_and_renew": lambda store, ttl: store.get_and_renew("fine", 60 if ttl is None else ttl),
    "set_json": lambda store, ttl: store.set_json("fine", '"new"', ttl),
    "compare_and_set": lambda store, ttl: store.compare_and_set("fine", "old", "new", ttl),
}

BY_VALUE: Final[dict[str, Call]] = {
    "set": lambda store, value: store.set("fine", value),
    "add": lambda store, value: store.add("free", value),
    "replace": lambda store, value: store.replace("fine", value),
    "set_many": lambda store, value: store.set_many({"fine": value}),
    "compare_and_set": lambda store, value: store.compare_and_set("fine", "old", value),
    "compare_and_set expecting": lambda store, value: store.compare_and_set("fine", value, "new"),
    "compare_and_delete": lambda store, value: store.compare_and_delete("fine", value),
}


def provided(calls: dict[str, Call], further: frozenset[str]) -> Iterator[tuple[str, Call]]:
    """The calls of the verbs that a backend provides."""
    always = {"set", "get", "delete", "exists", "increment", "get_many", "set_many", "delete_many"}
    for name, call in calls.items():
        if name.partition(" ")[0] in always | further:
            yield name, call
