"""What the package calls itself: to servers, in logs and in telemetry."""

from __future__ import annotations

from typing import Final

NAME: Final = "reinhardt_backends"
VERSION: Final = "0.1.0"
