"""One store behind an application's throttling, caching and sessions: in memory or on Redis, async and blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._backend import Backend
from ._codec import check_type, decode, encode
from ._errors import (
    AuthenticationError,
    BackendClosedError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    CapacityError,
    CounterError,
    DeserializationError,
    OutcomeUnknownError,
    ResponseError,
    SerializationError,
    UnsupportedOperationError,
)
from ._memory import MemoryBackend
from ._sync import SyncBackend
from ._types import KEEP_TTL, TTL, JSONValue, KeepTTL, check_count, check_key, check_keys, check_ttl

if TYPE_CHECKING:
    from ._redis import RedisBackend

__all__ = [
    "KEEP_TTL",
    "TTL",
    "AuthenticationError",
    "Backend",
    "BackendClosedError",
    "BackendConnectionError",
    "BackendError",
    "BackendTimeoutError",
    "CapacityError",
    "CounterError",
    "DeserializationError",
    "JSONValue",
    "KeepTTL",
    "MemoryBackend",
    "OutcomeUnknownError",
    "RedisBackend",
    "ResponseError",
    "SerializationError",
    "SyncBackend",
    "UnsupportedOperationError",
    "check_count",
    "check_key",
    "check_keys",
    "check_ttl",
    "check_type",
    "decode",
    "encode",
]


def __getattr__(name: str) -> Any:
    if name == "RedisBackend":
        from ._redis import RedisBackend

        return RedisBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
