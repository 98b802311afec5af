"""How blocking callers run coroutines: driven in the calling thread, or through an event loop in a worker thread."""

from __future__ import annotations

from .._component import drive
from ._face import BackendFace, Face, blocking_backend, blocking_target, drive_each
from ._portal import Runtime

__all__ = ["BackendFace", "Face", "Runtime", "blocking_backend", "blocking_target", "drive", "drive_each"]
