"""``Lock``: mutual exclusion over any backend."""

from __future__ import annotations

from ._lock import Lock

__all__ = ["Lock"]
