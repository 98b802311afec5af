"""limits: what the two storages share."""

from __future__ import annotations

import math
import time
from typing import Any, Final

from . import Backend

SCHEMES: Final = [f"reinhardt+{scheme}" for scheme in ("memory", "redis", "rediss", "unix")]
ASYNC_SCHEMES: Final = [f"async+{scheme}" for scheme in SCHEMES]

Counts = tuple[int, float, int, float]
"""The count of the window before, the seconds for which it still counts, and the same of the current window."""


class Windows:
    """The two windows of a key that matter at a time: the one before, and the current one."""

    def __init__(self, key: str, expiry: int, now: float) -> None:
        """Take a key, the length of a window in seconds, and the time on the store's clock."""
        self._expiry, self._passed = expiry, now % expiry
        number = int(now // expiry)
        self.keys: list[str] = [f"{key}/{number - 1}", f"{key}/{number}"]

    def counts(self, found: dict[str, int]) -> Counts:
        """Return the counts of what was found under the keys, and for how long they count."""
        before, current = (found.get(key, 0) for key in self.keys)
        left = self._expiry - self._passed
        return before, left if before else 0.0, current, left + self._expiry

    def fits(self, found: dict[str, int], limit: int, amount: int) -> bool:
        """Return whether a limit allows so many hits more. The window before counts in part, as it goes by."""
        before, left, current, _ = self.counts(found)
        return math.floor(before * left / self._expiry + current) + amount <= limit


def namespace_of(uri: str | None, backend: Backend | None, options: dict[str, Any]) -> Backend:
    """Return where a storage keeps its keys.

    Raises:
        TypeError: There is neither a backend nor a URL, or both.
    """
    if (uri is None) == (backend is None):
        raise TypeError("a storage takes a backend or a URL")
    return (backend or Backend.from_url(str(uri).rpartition("reinhardt+")[2], **options)).namespace("limits")


def expires_at(ttl: float | None) -> float:
    """Return the time on the clock of this machine at which a key with this ttl expires; now if it is missing."""
    return time.time() + (0.0 if ttl is None or ttl == math.inf else ttl)
