"""The verbs that ``Backend`` composes of others, and waiting for the store."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from .._errors import BackendConnectionError, BackendTimeoutError, OutcomeUnknownError, ResponseError
from .._types import MISSING, TTL, KeepTTL, check_keys, check_mapping, check_new_ttl
from .._values._codec import encode
from ._pages import close_iterator

if TYPE_CHECKING:
    from ._backend import Backend

_CLEAR_BATCH: Final = 1000
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5


async def get_each(backend: Backend, keys: Iterable[str], type: Any) -> dict[str, Any]:
    """Compose ``get_many`` of ``get``."""
    found: dict[str, Any] = {}
    for key in check_keys(keys):
        value = await backend.get(key, type, default=MISSING)
        if value is not MISSING:
            found[key] = value
    return found


async def set_each(backend: Backend, mapping: Mapping[str, Any], ttl: TTL | KeepTTL | None) -> None:
    """Compose ``set_many`` of ``set``. Everything is checked before the first key is set."""
    pairs = check_mapping(mapping)
    check_new_ttl(ttl)
    for _, value in pairs:
        encode(value)
    for key, value in pairs:
        await backend.set(key, value, ttl)


async def delete_each(backend: Backend, keys: Iterable[str]) -> int:
    """Compose ``delete_many`` of ``delete``."""
    removed = 0
    for key in check_keys(keys):
        removed += await backend.delete(key)
    return removed


async def delete_scanned(backend: Backend, prefix: str) -> None:
    """Remove every key that ``scan`` finds."""
    keys = backend.scan(prefix)
    try:
        batch: list[str] = []
        async for key in keys:
            batch.append(key)
            if len(batch) == _CLEAR_BATCH:
                await backend.delete_many(batch)
                batch = []
        await backend.delete_many(batch)
    finally:
        await close_iterator(keys)


async def ping_until_ready(backend: Backend, timeout: float) -> None:
    """Call ``ping`` until it succeeds, or time is up."""
    until = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        try:
            return await backend._with_timeout(max(until - time.monotonic(), _FIRST_PAUSE)).ping()
        except (BackendConnectionError, OutcomeUnknownError, ResponseError) as error:
            if time.monotonic() + pause >= until:
                raise BackendTimeoutError(f"the store was not ready within {timeout:g} s") from error
        await backend._sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
