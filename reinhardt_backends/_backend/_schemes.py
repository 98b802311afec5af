"""The schemes of urls, and the classes that they stand for, which are imported when a url asks for them."""

from __future__ import annotations

import importlib
from typing import Any, Final

from .._types import Secret

_SCHEMES: Final = {
    "memory": ".._memory:MemoryBackend",
    "redis": ".._redis:RedisBackend",
    "rediss": ".._redis:RedisBackend",
    "redis+sentinel": ".._redis:RedisBackend",
    "rediss+sentinel": ".._redis:RedisBackend",
    "unix": ".._redis:RedisBackend",
}


def class_for(given: Secret[tuple[str, Any]]) -> Any:
    """Return the class for the url that is given."""
    kind = type(given.reveal()[0])
    if not issubclass(kind, str):
        raise TypeError(f"a url must be a str, not {kind.__name__}")
    scheme = given.reveal()[0].partition(":")[0].lower() if "://" in given.reveal()[0] else ""
    if scheme not in _SCHEMES:
        raise ValueError(f"a backend's url begins with one of {', '.join(f'{name}://' for name in _SCHEMES)}")
    module, _, name = _SCHEMES[scheme].partition(":")
    return getattr(importlib.import_module(module, __package__), name)
