"""``SessionStore``: sessions over any backend."""

from __future__ import annotations

from ._session import Session, SessionInfo, SessionLike
from ._store import SessionStore

__all__ = ["Session", "SessionInfo", "SessionLike", "SessionStore"]
