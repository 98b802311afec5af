"""How blocking callers run coroutines: driven in the calling thread, or through an event loop in a worker thread."""

from __future__ import annotations

from ._face import BackendFace, Face, blocking_backend, blocking_verb, drive, drive_each
from ._portal import Runtime

__all__ = ["BackendFace", "Face", "Runtime", "blocking_backend", "blocking_verb", "drive", "drive_each"]
