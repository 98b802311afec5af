"""``MemoryBackend``: entries in one dict, an expiry ring, and optional bounds."""

from __future__ import annotations

from ._backend import MemoryBackend
from ._bounded import EvictionPolicy

__all__ = ["EvictionPolicy", "MemoryBackend"]
