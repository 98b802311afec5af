"""``Cache``: computed values over any backend."""

from __future__ import annotations

from ._cache import Cache, OnCacheError
from ._cached import CachedFunction, SyncCachedFunction

__all__ = ["Cache", "CachedFunction", "OnCacheError", "SyncCachedFunction"]
