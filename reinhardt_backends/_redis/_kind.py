"""What may be done about a command whose reply does not come."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """What may be done about a command whose reply does not come."""

    READ = "read"
    """Sent again freely. If it stays unanswered, that itself is the error."""

    IDEMPOTENT = "idempotent"
    """A write that may land twice. If it may have been sent and stays unanswered, its outcome is unknown."""

    ONCE = "once"
    """A write that is never sent again once it may have been sent."""
