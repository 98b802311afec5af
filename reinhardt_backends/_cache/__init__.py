"""``Cache``: computed values over any backend."""

from __future__ import annotations

from ._cache import Cache, CacheErrorPolicy
from ._cached import CachedFunction, SyncCachedFunction

__all__ = ["Cache", "CacheErrorPolicy", "CachedFunction", "SyncCachedFunction"]
