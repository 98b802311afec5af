"""What a backend knows about itself without counting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackendStats:
    """What is known about a backend without counting or asking its store. ``None`` is not known, or does not apply.

    Attributes:
        entries: How many entries are held, expired ones that were not swept yet included.
        bytes: How many bytes they count as; known to a ``MemoryBackend`` with ``maxbytes``.
        evictions: How many live entries were evicted so far.
        connections: How many connections are open, those of all event loops and threads.
        in_flight: How many commands were sent and are not answered yet.
        outage: Whether the server is known to be out of service, so that calls fail at once.
    """

    entries: int | None = None
    bytes: int | None = None
    evictions: int | None = None
    connections: int | None = None
    in_flight: int | None = None
    outage: bool = False
