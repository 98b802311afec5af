"""One store for an application's throttling, caching and sessions, in memory or on Redis."""

from __future__ import annotations

from ._backend import Backend
from ._memory import MemoryBackend
from ._types import KEEP_TTL
