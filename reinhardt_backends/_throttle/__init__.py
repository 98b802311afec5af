"""``Throttle``: rate limits over any backend."""

from __future__ import annotations

from ._rates import Rate
from ._result import Quota, ThrottleResult
from ._throttle import OnError, Throttle

__all__ = ["OnError", "Quota", "Rate", "Throttle", "ThrottleResult"]
