"""One store behind an application's throttling, caching and sessions: in memory or on Redis, async and blocking."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from ._backend import Backend
from ._errors import (
    AuthenticationError,
    BackendClosedError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    CapacityError,
    CounterError,
    DeserializationError,
    LockLostError,
    OutcomeUnknownError,
    ResponseError,
    SerializationError,
    SessionConflictError,
    UnsupportedOperationError,
)
from ._memory import MemoryBackend
from ._sync import SyncBackend
from ._types import KEEP_TTL, TTL, JSONValue, KeepTTL, check_count, check_key, check_keys, check_ttl
from ._values import check_type, decode, encode

if TYPE_CHECKING:
    from ._cache import Cache, CachedFunction, SyncCachedFunction
    from ._lock import Lock
    from ._redis import RedisBackend
    from ._session import Session, SessionInfo, SessionStore
    from ._sync._components import SyncCache, SyncLock, SyncSessionStore, SyncThrottle
    from ._throttle import Quota, Rate, Throttle, ThrottleResult

__all__ = [
    "KEEP_TTL",
    "TTL",
    "AuthenticationError",
    "Backend",
    "BackendClosedError",
    "BackendConnectionError",
    "BackendError",
    "BackendTimeoutError",
    "Cache",
    "CachedFunction",
    "CapacityError",
    "CounterError",
    "DeserializationError",
    "JSONValue",
    "KeepTTL",
    "Lock",
    "LockLostError",
    "MemoryBackend",
    "OutcomeUnknownError",
    "Quota",
    "Rate",
    "RedisBackend",
    "ResponseError",
    "SerializationError",
    "Session",
    "SessionConflictError",
    "SessionInfo",
    "SessionStore",
    "SyncBackend",
    "SyncCache",
    "SyncCachedFunction",
    "SyncLock",
    "SyncSessionStore",
    "SyncThrottle",
    "Throttle",
    "ThrottleResult",
    "UnsupportedOperationError",
    "check_count",
    "check_key",
    "check_keys",
    "check_ttl",
    "check_type",
    "decode",
    "encode",
]

# Resolved on first use, so that importing the package costs no more than what everybody needs.
_LATE: Final = {
    "Cache": "._cache",
    "CachedFunction": "._cache",
    "Lock": "._lock",
    "Quota": "._throttle",
    "Rate": "._throttle",
    "RedisBackend": "._redis",
    "Session": "._session",
    "SessionInfo": "._session",
    "SessionStore": "._session",
    "SyncCache": "._sync._components",
    "SyncCachedFunction": "._cache",
    "SyncLock": "._sync._components",
    "SyncSessionStore": "._sync._components",
    "SyncThrottle": "._sync._components",
    "Throttle": "._throttle",
    "ThrottleResult": "._throttle",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LATE[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
