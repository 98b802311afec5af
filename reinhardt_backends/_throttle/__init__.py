"""``Throttle``: rate limits over any backend."""

from __future__ import annotations

from ._limit import LimitDecorator, SyncLimitDecorator, ThrottledError
from ._limiters import Algorithm
from ._rates import Rate
from ._result import Quota, ThrottleResult
from ._throttle import Throttle, ThrottleErrorPolicy

__all__ = [
    "Algorithm", "LimitDecorator", "Quota", "Rate", "SyncLimitDecorator", "Throttle", "ThrottleErrorPolicy",
    "ThrottleResult", "ThrottledError",
]  # fmt: skip
