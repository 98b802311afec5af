"""One store behind an application's throttling, caching and sessions: in memory or on Redis, async and blocking."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

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
    from ._cache import Cache
    from ._cache._cached import CachedFunction, SyncCachedFunction
    from ._lock import Lock, LockLostError
    from ._redis import RedisBackend
    from ._session import SessionStore
    from ._session._types import Session, SessionConflictError, SessionInfo
    from ._sync_components import SyncCache, SyncLock, SyncSessionStore, SyncThrottle
    from ._throttle import Throttle
    from ._throttle._quota import Quota, ThrottleResult
    from ._throttle._rates import Rate

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
    "CachedFunction": "._cache._cached",
    "Lock": "._lock",
    "LockLostError": "._lock",
    "Quota": "._throttle._quota",
    "Rate": "._throttle._rates",
    "RedisBackend": "._redis",
    "Session": "._session._types",
    "SessionConflictError": "._session._types",
    "SessionInfo": "._session._types",
    "SessionStore": "._session",
    "SyncCache": "._sync_components",
    "SyncCachedFunction": "._cache._cached",
    "SyncLock": "._sync_components",
    "SyncSessionStore": "._sync_components",
    "SyncThrottle": "._sync_components",
    "Throttle": "._throttle",
    "ThrottleResult": "._throttle._quota",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LATE[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
