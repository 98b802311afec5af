"""How long a writer waits after another writer was faster: exponential backoff with full jitter."""

from __future__ import annotations

import random
from typing import Final

_BASE: Final = 0.005
_LONGEST: Final = 0.25


def backoff_seconds(failures: int) -> float:
    """Return how many seconds to wait after this many failures in a row. Random, so that writers spread out."""
    return random.uniform(0, min(_BASE * 2.0**failures, _LONGEST))  # noqa: S311 - only to spread writers
