"""The tokens of tags: what a value with tags depends on.

A tag has a token in the store, ``ID.SECONDS``: a random id, and for how many seconds it is kept each time that a value
with the tag is computed. A value is stored with the ids, and counts while its tags have them. A token outlives all
values that were stored with it: one that is kept for longer than the token says makes it live longer, and one that is
kept for less never shortens it. So ``SECONDS`` only grows, and no backend has to tell how long a key has left.

Where the backend has no ``compare_and_set``, a token that has to live longer is replaced by another, which outdates the
values that have it once: rewriting it could bring it back after an invalidation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import Any, Final

from .._backend import gather
from .._types import MAX_TTL, MISSING
from ._lookup import EntryReader, Lookup, Request, token_id
from ._stored import new_token

MARGIN: Final = 30.0
"""Seconds for which a token outlives the values that are stored with it, so for which a value may be computed."""


class TagTokens:
    """The tokens of the tags of one cache.

    Args:
        reader: Reads what is stored.
        atomic: Whether the backend has ``add`` and ``compare_and_set``.
    """

    def __init__(self, reader: EntryReader, atomic: bool) -> None:
        self._reader = reader
        self._atomic = atomic

    async def ids(self, request: Request, lookup: Lookup) -> dict[str, str]:
        """Return the ids of the tokens, as they are before the value is computed; create those that are missing."""
        tokens = {tag: lookup.tokens.get(tag, MISSING) for tag in request.tags}
        ids = await gather(
            self._reader.backend, [partial(self._id, tag, request, found) for tag, found in tokens.items()]
        )
        return dict(zip(tokens, ids, strict=True))

    async def live_on(self, request: Request, ids: Mapping[str, str], keep: float, began: float) -> bool:
        """Let the tokens outlive a value that was computed; ``False`` if one of them is gone.

        Args:
            request: The request, with the options for the value.
            ids: The ids of the tokens, as they were before.
            keep: For how long the tokens expected the value to be kept.
            began: When they expected it, on the monotonic clock.
        """
        if not ids or (monotonic() - began <= MARGIN and request.options.keep <= keep):
            return True
        calls = [partial(self._lives_on, tag, request, known) for tag, known in ids.items()]
        return all(await gather(self._reader.backend, calls))

    async def _lives_on(self, tag: str, request: Request, known: str) -> bool:
        found = await self._reader.read_one(self._reader.keys.tag_name(tag))
        return token_id(found) == known and await self._id(tag, request, found) == known

    async def _id(self, tag: str, request: Request, found: Any) -> str:
        backend, name = self._reader.backend, self._reader.keys.tag_name(tag)
        needed = min(math.ceil(request.options.keep + MARGIN), int(MAX_TTL))
        while True:
            found_id, seconds = _parsed(found)
            if found_id is not None and seconds >= needed:
                again = await self._reader.read_one(name, renew=seconds)
                if again == found:
                    return found_id
                found = again
                continue
            new = found_id if found_id is not None and self._atomic else new_token()
            if not self._atomic or (found_id is None and found is not MISSING):
                await backend.set(name, f"{new}.{needed}", needed)
                return new
            if found is MISSING:
                done = await backend.add(name, f"{new}.{needed}", needed)
            else:
                done = await backend.compare_and_set(name, found, f"{new}.{needed}", needed)
            if done:
                return new
            found = await self._reader.read_one(name)


def _parsed(stored: Any) -> tuple[str | None, int]:
    found_id = token_id(stored)
    seconds = "" if found_id is None else stored[len(found_id) + 1 :]
    if found_id and seconds.isascii() and seconds.isdigit() and 0 < int(seconds[:15]) <= MAX_TTL:
        return found_id, int(seconds[:15])
    return None, 0
