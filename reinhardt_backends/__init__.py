"""One store behind an application's throttling, caching and sessions: in memory or on Redis, async and blocking."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, get_type_hints

from . import authoring
from ._backend import VERSION, Backend, BackendStats, Event, Listener, StoreInfo, register_scheme
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
from ._memory import EvictionPolicy, MemoryBackend
from ._sync import Runtime, SyncBackend
from .authoring import (
    KEEP_TTL,
    TTL,
    JSONValue,
    KeepTTL,
    check_count,
    check_key,
    check_keys,
    check_ttl,
    check_type,
    decode,
    encode,
)

if TYPE_CHECKING:
    from ._cache import Cache, CachedFunction, CacheErrorPolicy, SyncCachedFunction
    from ._lock import Lock
    from ._redis import RedisBackend
    from ._session import Session, SessionInfo, SessionLike, SessionStore
    from ._sync._components import SyncCache, SyncLock, SyncSessionStore, SyncThrottle
    from ._throttle import Algorithm, Quota, Rate, Throttle, ThrottledError, ThrottleErrorPolicy, ThrottleResult

__all__ = [
    "KEEP_TTL",
    "TTL",
    "Algorithm",
    "AuthenticationError",
    "Backend",
    "BackendClosedError",
    "BackendConnectionError",
    "BackendError",
    "BackendStats",
    "BackendTimeoutError",
    "Cache",
    "CacheErrorPolicy",
    "CachedFunction",
    "CapacityError",
    "CounterError",
    "DeserializationError",
    "Event",
    "EvictionPolicy",
    "JSONValue",
    "KeepTTL",
    "Listener",
    "Lock",
    "LockLostError",
    "MemoryBackend",
    "OutcomeUnknownError",
    "Quota",
    "Rate",
    "RedisBackend",
    "ResponseError",
    "Runtime",
    "SerializationError",
    "Session",
    "SessionConflictError",
    "SessionInfo",
    "SessionLike",
    "SessionStore",
    "StoreInfo",
    "SyncBackend",
    "SyncCache",
    "SyncCachedFunction",
    "SyncLock",
    "SyncSessionStore",
    "SyncThrottle",
    "Throttle",
    "ThrottleErrorPolicy",
    "ThrottleResult",
    "ThrottledError",
    "UnsupportedOperationError",
    "check_count",
    "check_key",
    "check_keys",
    "check_ttl",
    "check_type",
    "decode",
    "encode",
    "register_scheme",
]

__version__: Final = VERSION

# Resolved on first use, so that importing the package costs no more than what every program needs.
_LATE: Final[dict[str, str]] = {
    "Algorithm": "._throttle",
    "Cache": "._cache",
    "CacheErrorPolicy": "._cache",
    "CachedFunction": "._cache",
    "Lock": "._lock",
    "Quota": "._throttle",
    "Rate": "._throttle",
    "RedisBackend": "._redis",
    "Session": "._session",
    "SessionInfo": "._session",
    "SessionLike": "._session",
    "SessionStore": "._session",
    "SyncCache": "._sync._components",
    "SyncCachedFunction": "._cache",
    "SyncLock": "._sync._components",
    "SyncSessionStore": "._sync._components",
    "SyncThrottle": "._sync._components",
    "Throttle": "._throttle",
    "ThrottleErrorPolicy": "._throttle",
    "ThrottleResult": "._throttle",
    "ThrottledError": "._throttle",
}


def _settle(values: Iterable[Any], module: str) -> None:
    """Let public classes and functions say where users import them from: in documentation, pickles and tracebacks."""
    for value in values:
        if isinstance(value, type):
            _resolve_annotations(value)
        if isinstance(value, (type, FunctionType)):
            value.__module__ = module


def _resolve_annotations(cls: type) -> None:
    """Replace annotations that are text, while the names in them can be found in the module of the class."""
    if "__annotations__" in vars(cls):
        hints = get_type_hints(cls, include_extras=True)
        cls.__annotations__ = {name: hints[name] for name in cls.__annotations__}
        for name, field in getattr(cls, "__dataclass_fields__", {}).items():
            field.type = hints[name]


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_LATE[name], __name__)
    # All of them at once: a `Throttle` gives results whose class the program may never name.
    found = {other: getattr(module, other) for other in _LATE if _LATE[other] == _LATE[name]}
    globals().update(found)
    _settle(found.values(), __name__)
    return found[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_settle([globals()[name] for name in __all__ if name not in _LATE], __name__)
_settle([getattr(authoring, name) for name in authoring.__all__ if name.islower()], authoring.__name__)
