"""``MemoryBackend``: entries in one dict, an expiry ring, and optional bounds."""

from __future__ import annotations

from ._backend import MemoryBackend

__all__ = ["MemoryBackend"]
