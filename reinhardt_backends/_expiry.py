"""Which keys to sweep when: a ring of dicts, O(1) a write and O(live keys) memory.

Each key with an expiry is filed in the slot whose stretch of time covers it: 64 slots of 0.25 s for the near future, 64
of 8 s and 128 of 256 s beyond; what lies further ahead goes round again. When the time of a slot has passed, the whole
slot is set aside, and its keys are handed out a few at a time to be deleted, or filed anew where a later write moved
their expiry. Nothing is ordered, and there is no timer: a rewritten key costs nothing until the ring comes to it.

Slots are dicts, since a key then leaves its slot exactly when it is deleted; lists, heaps and queues keep stale records
of every overwritten key.

A ring is not thread-safe: its owner holds a lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

# (slots a second, number of slots), near to far. All are powers of two, so that a product and a mask find the slot.
LEVELS: Final = ((1 / 0.25, 64), (1 / 8, 64), (1 / 256, 128))

_FINE, _FINE_COUNT = LEVELS[0]
_MIDDLE, _MIDDLE_COUNT = LEVELS[1]
_COARSE, _COARSE_COUNT = LEVELS[2]
# A level reaches two slots less far than it is long: the slot under way and the one just passed are not free.
_FINE_REACH: Final = (_FINE_COUNT - 2) / _FINE
_MIDDLE_REACH: Final = (_MIDDLE_COUNT - 2) / _MIDDLE
_COARSE_REACH: Final = (_COARSE_COUNT - 2) / _COARSE
_FINE_MASK: Final = _FINE_COUNT - 1
_MIDDLE_MASK: Final = _MIDDLE_COUNT - 1
_COARSE_MASK: Final = _COARSE_COUNT - 1
_MIDDLE_BASE: Final = _FINE_COUNT
_COARSE_BASE: Final = _FINE_COUNT + _MIDDLE_COUNT

UNFILED: Final = -1
"""The slot of a key without expiry."""


class ExpiryRing:
    """Files keys by expiry and hands out those whose time may have come.

    Attributes:
        due: The instant from which ``take`` has something to do.
    """

    __slots__ = ("_passed", "_slots", "_ticks", "due")

    def __init__(self, now: float) -> None:
        self._slots: list[dict[str, None]] = [{} for _, count in LEVELS for _ in range(count)]
        self._ticks = [int(now * rate) for rate, _ in LEVELS]
        self._passed: list[dict[str, None]] = []
        self.due = (self._ticks[0] + 1) / _FINE

    def file(self, key: str, expiry: float, now: float) -> int:
        """File ``key`` and return its slot. ``take`` has been called with this ``now``, or is not due."""
        ahead = expiry - now
        if ahead < _FINE_REACH:
            slot = int(expiry * _FINE) & _FINE_MASK
        elif ahead < _MIDDLE_REACH:
            slot = _MIDDLE_BASE + (int(expiry * _MIDDLE) & _MIDDLE_MASK)
        elif ahead < _COARSE_REACH:
            slot = _COARSE_BASE + (int(expiry * _COARSE) & _COARSE_MASK)
        else:
            slot = _COARSE_BASE + (int((now + _COARSE_REACH) * _COARSE) & _COARSE_MASK)
        self._slots[slot][key] = None
        return slot

    def discard(self, key: str, slot: int) -> None:
        """Forget ``key``, which ``file`` put into ``slot``."""
        if slot >= 0:
            self._slots[slot].pop(key, None)

    def take(self, now: float, limit: int) -> list[str]:
        """Return up to ``limit`` keys of passed slots, which it forgets: delete them, or file them again."""
        if now >= (self._ticks[0] + 1) / _FINE:
            self._turn(now)
        passed = self._passed
        taken: list[str] = []
        while passed and len(taken) < limit:
            keys = passed[-1]
            try:
                for _ in range(limit - len(taken)):
                    taken.append(keys.popitem()[0])
            except KeyError:
                passed.pop()
        # While keys are left over, every call is due.
        self.due = now if passed else (self._ticks[0] + 1) / _FINE
        return taken

    def pending(self, now: float) -> Iterator[str]:
        """Every filed key whose expiry may have come by ``now``, and perhaps some more than once."""
        if now >= (self._ticks[0] + 1) / _FINE:
            self._turn(now)
            self.due = now if self._passed else (self._ticks[0] + 1) / _FINE
        for keys in self._passed:
            yield from keys
        base = 0
        for (_, count), tick in zip(LEVELS, self._ticks, strict=True):
            yield from self._slots[base + tick % count]
            base += count

    def _turn(self, now: float) -> None:
        """Set aside the slots whose time has passed."""
        base = 0
        for level, (rate, count) in enumerate(LEVELS):
            tick = int(now * rate)
            for passing in range(max(self._ticks[level], tick - count), tick):
                slot = base + passing % count
                if self._slots[slot]:
                    self._passed.append(self._slots[slot])
                    self._slots[slot] = {}
            self._ticks[level] = max(self._ticks[level], tick)
            base += count
