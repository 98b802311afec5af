"""What a cache has in the store: how its keys are called, and what one look at them shows.

**Reading** a value without tags and ``stale`` is one ``get`` by its type; with them it is one ``get_many``. What is
stored, and when it counts, is told in ``_stored.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .._backend import Backend
from .._errors import DeserializationError, ResponseError
from .._types import MISSING, check_key
from .._values._codec import decode
from ._stored import UNREADABLE, Entry, Recipe, entry_of, new_token

TAG_TTL: Final = 7 * 86400.0
"""Seconds for which the token of a tag lives at least, once a value with it is computed."""


class Job(NamedTuple):
    """What one caller asks for.

    Attributes:
        name: The key in the backend.
        recipe: How the value is read and kept.
        tags: Its tags.
        factory: What computes it.
    """

    name: str
    recipe: Recipe
    tags: tuple[str, ...]
    factory: Callable[[], Any]


class Seen(NamedTuple):
    """What one look at the store showed.

    Attributes:
        entry: What is there.
        value: The value, if it may be served; ``MISSING`` if not.
        stale: Whether it may be served only while somebody computes it anew.
        token: What is in the place of the token of freshness.
    """

    entry: Entry
    value: Any = MISSING
    stale: bool = False
    token: Any = MISSING

    @property
    def settled(self) -> bool:
        """Whether nothing has to be computed."""
        return self.value is not MISSING and not self.stale


NOTHING: Final = Seen(Entry(MISSING))


class Shelf:
    """The keys of one cache.

    Attributes:
        backend: Where they are.
        prefix: What the names of values begin with.
    """

    def __init__(self, backend: Backend, prefix: str, atomic: bool) -> None:
        self.backend = backend
        self.prefix = f"{prefix}:value:"
        self._fresh_prefix = f"{prefix}:fresh:"
        self._tag_prefix = f"{prefix}:tag:"
        self._atomic = atomic

    def value_name(self, key: str) -> str:
        """Return what the value of a key is called in the backend."""
        return self.prefix + check_key(key)

    def fresh_name(self, name: str) -> str:
        """Return what the token of freshness of a value is called."""
        return self._fresh_prefix + name[len(self.prefix) :]

    def tag_name(self, tag: str) -> str:
        """Return what the token of a tag is called."""
        return self._tag_prefix + tag

    async def look(self, job: Job) -> Seen:
        recipe = job.recipe
        names = [job.name]
        if recipe.stale or job.tags:
            names += [self.fresh_name(job.name), *map(self.tag_name, job.tags)]
        elif recipe.plain:
            try:
                value = await self.backend.get(job.name, recipe.type, default=MISSING)
            except (DeserializationError, ResponseError) as error:
                check_broken(error)
            else:
                return NOTHING if value is MISSING else Seen(Entry(value), value)
        found = await self._read(names)
        entry = entry_of(found.get(job.name, MISSING))
        conditions = [*map(self.tag_name, entry.tags), *([] if entry.fresh is None else [self.fresh_name(job.name)])]
        unknown = [name for name in conditions if name not in names]
        if unknown:
            found = {**found, **await self._read(unknown)}
        return self._judged(job, entry, found)

    def _judged(self, job: Job, entry: Entry, found: dict[str, Any]) -> Seen:
        current = all(found.get(self.tag_name(tag)) == token for tag, token in entry.tags.items())
        if entry.data is None or not current or not entry.tags.keys() >= set(job.tags):
            return Seen(entry)
        token = found.get(self.fresh_name(job.name), MISSING)
        stale = entry.fresh is not None and token != entry.fresh
        if stale and not job.recipe.stale:
            return Seen(entry)
        try:
            return Seen(entry, decode(entry.data, job.recipe.type), stale, token)
        except DeserializationError:
            return Seen(entry)

    async def _read(self, names: list[str]) -> dict[str, Any]:
        """Return what is stored under these names."""
        if len(names) > 1:
            with contextlib.suppress(DeserializationError):
                return await self.backend.get_many(names)
        found = {}
        for name in names:
            value: Any
            try:
                value = await self.backend.get(name, default=MISSING)
            except (DeserializationError, ResponseError) as error:
                check_broken(error)
                value = UNREADABLE
            if value is not MISSING:
                found[name] = value
        return found

    async def tokens(self, job: Job) -> dict[str, str]:
        """Return the tokens of the tags, as they are before the value is computed."""
        tokens: dict[str, str] = {}
        seconds = max(TAG_TTL, 2 * job.recipe.keep)
        for tag in job.tags:
            name = self.tag_name(tag)
            while tag not in tokens:
                token: Any
                try:
                    token = await self.backend.get(name, default=MISSING, renew=seconds)
                except DeserializationError:
                    token = UNREADABLE
                if isinstance(token, str):
                    tokens[tag] = token
                    continue
                new = new_token()
                if token is not MISSING or not self._atomic:
                    await self.backend.set(name, new, seconds)
                    tokens[tag] = new
                elif await self.backend.add(name, new, seconds):
                    tokens[tag] = new
        return tokens


def check_broken(error: Exception) -> None:
    """Raise an error of a ``get`` again, unless it says that what is stored is no value of ours."""
    if isinstance(error, ResponseError) and error.code != "WRONGTYPE":
        raise error
