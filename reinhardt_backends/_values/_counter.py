"""Counters: integers of the signed 64-bit range, exact or refused."""

from __future__ import annotations

from typing import Any

from .._errors import CounterError
from .._types import MAX_COUNT, MIN_COUNT


def check_total(key: str, old: Any, by: int) -> int:
    """Return what ``increment`` stores: ``old + by``, where ``old`` is the value of ``key`` as it was stored.

    Raises:
        CounterError: ``old`` is not an integer, or one of both is outside the signed 64-bit range. Nothing may change.
    """
    if old.__class__ is not int or not MIN_COUNT <= old <= MAX_COUNT:
        raise CounterError(f"the value of {key!r} is not an integer of the signed 64-bit range")
    new: int = old + by
    if not MIN_COUNT <= new <= MAX_COUNT:
        raise CounterError(f"the counter {key!r} would leave the signed 64-bit range")
    return new
