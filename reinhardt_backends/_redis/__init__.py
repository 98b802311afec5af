"""``RedisBackend`` and the connection that its callers share."""

from __future__ import annotations

from ._backend import RedisBackend

__all__ = ["RedisBackend"]
