"""What a server counts about its work: ``INFO commandstats`` and the bytes of its network traffic."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .servers import Server

_OURS = {"info", "config|resetstat", "config"}


@dataclass
class Work:
    """Commands that the server executed, those inside scripts included, and bytes received and sent."""

    commands: int
    received: int
    sent: int


def reset_stats(server: Server) -> None:
    """Let the server count from zero."""
    server.command("CONFIG", "RESETSTAT")


def work(server: Server) -> Work:
    """Return what the server has done since ``reset_stats``."""
    calls = re.findall(r"cmdstat_([^:]+):calls=(\d+)", server.command("INFO", "commandstats").decode())
    stats = server.command("INFO", "stats").decode()
    received, sent = (int(re.findall(rf"total_net_{way}_bytes:(\d+)", stats)[0]) for way in ("input", "output"))
    return Work(sum(int(count) for name, count in calls if name not in _OURS), received, sent)
