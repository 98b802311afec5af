"""The generated blocking faces, and their generator."""

from __future__ import annotations

from .._blocking import Runtime
from ._backend import SyncBackend

__all__ = ["Runtime", "SyncBackend"]
