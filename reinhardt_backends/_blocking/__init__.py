"""How blocking callers run coroutines: driven in the calling thread, or through an event loop in a worker thread."""

from __future__ import annotations

from ._face import Face

__all__ = ["Face"]
