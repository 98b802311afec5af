"""Which keys to sweep when: a ring of dicts, O(1) a write and O(live keys) memory.

Each key with an expiry is filed in the slot whose stretch of time covers it: 64 slots of 0.25 s for the near future, 64
of 8 s and 128 of 256 s beyond; what lies further ahead goes round again. When the time of a slot has passed, the whole
slot is set aside, and its keys are handed out a few at a time, to be deleted or, if a later write moved their expiry,
to be filed again. Nothing is sorted, and there is no timer: a rewritten key costs nothing until the ring comes to it.

Slots are dicts, since a key then leaves its slot exactly when it is deleted; lists, heaps and queues keep stale records
of every overwritten key.

A ring is not thread-safe: its owner holds a lock. That lock is re-entrant, so a signal handler or a finalizer may call
in the middle of any method here, and an exception that it raises may end the method anywhere. No key gets lost by that:
each method first puts a key or a slot where it goes, and then takes it from where it was. A key that is in two places
is handed out twice, which does no harm.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

# Slots a second, a mask that gives the slot within the level, and the first slot of the level, near to far. All are
# powers of two, so that a product and a mask find the slot.
LEVELS: Final = ((4.0, 63, 0), (1 / 8, 63, 64), (1 / 256, 127, 128))

_FINE, _MIDDLE, _COARSE = LEVELS
# A level reaches two slots less far than it is long: the slot under way and the one just passed are not free.
_FINE_REACH: Final = 62 * 0.25
_MIDDLE_REACH: Final = 62 * 8.0
_COARSE_REACH: Final = 126 * 256.0

UNFILED: Final = -1
"""The slot of a key without expiry."""

_NOWHERE: Final[tuple[float, float, int, dict[str, None]]] = (0.0, 0.0, UNFILED, {})


class ExpiryRing:
    """Files keys by expiry and hands out those whose time may have come.

    Attributes:
        slots: The filed keys, by slot. Deleting a key from its slot takes it out of the ring.
        latest: The slot that was used twice in a row since the ring last turned: the stretch of expiries that it covers
            (from, to), its number, and its keys. A key whose expiry lies in there may be put right into the keys.
    """

    __slots__ = ("_last", "_passed", "_taken", "_ticks", "latest", "slots")

    def __init__(self, now: float) -> None:
        self.slots: list[dict[str, None]] = [_new_slot() for _, mask, _ in LEVELS for _ in range(mask + 1)]
        self._ticks = [int(now * rate) for rate, _, _ in LEVELS]
        # Slots whose time has passed, and the keys of them that were handed out and are not settled yet.
        self._passed: list[dict[str, None]] = []
        self._taken: dict[str, None] = {}
        self._last = UNFILED
        self.latest = _NOWHERE

    def file(self, key: str, expiry: float, now: float) -> int:
        """File ``key`` and return its slot. ``take`` has been called with this ``now``, or is not due."""
        ahead = expiry - now
        if ahead < _FINE_REACH:
            rate, mask, base = _FINE
        elif ahead < _MIDDLE_REACH:
            rate, mask, base = _MIDDLE
        else:
            rate, mask, base = _COARSE
            if ahead > _COARSE_REACH:
                expiry = now + _COARSE_REACH
        tick = int(expiry * rate)
        slot = base + (tick & mask)
        keys = self.slots[slot]
        keys[key] = None
        if slot == self._last:
            self.latest = (tick / rate, (tick + 1) / rate, slot, keys)
        else:
            self._last = slot
        return slot

    def take(self, now: float, limit: int) -> list[str]:
        """Return up to ``limit`` keys of passed slots. Delete each or file it again, and then call ``settled``.

        What was returned before and is not settled is returned first, since that call was interrupted.
        """
        if now >= self._next_turn():
            self._turn(now)
        passed = self._passed
        taken = self._taken
        while True:
            # A handler may run where a loop turns, so what the loop needs is looked at inside it.
            if not passed:
                break
            keys = passed[-1]
            wanted = limit - len(taken)
            if wanted <= 0:
                break
            try:
                # One call moves them all, so that none is in neither place when an exception comes in between.
                taken.update(islice(iter(keys.popitem, None), wanted))
            except KeyError:
                if passed and not passed[-1]:
                    passed.pop()
        return list(taken)

    def settled(self, key: str) -> None:
        """Forget a key that was taken: it is deleted or filed again."""
        self._taken.pop(key, None)

    def due(self, now: float) -> float:
        """Return the instant from which ``take`` has something to do. While keys are left over, that is ``now``."""
        return now if self._passed or self._taken else self._next_turn()

    def pending(self, now: float) -> list[str]:
        """Return every filed key whose expiry may have come by ``now``, some of them possibly more than once."""
        slots = [self._taken, *self._passed]
        for (rate, mask, base), tick in zip(LEVELS, self._ticks, strict=True):
            last = int(now * rate)
            slots += [self.slots[base + (at & mask)] for at in range(max(tick, last - mask), last + 1)]
        return [key for keys in slots for key in list(keys)]

    def _next_turn(self) -> float:
        return (self._ticks[0] + 1) / LEVELS[0][0]

    def _turn(self, now: float) -> None:
        """Set aside the slots whose time has passed."""
        # A slot that was right for the keys of a while ago is too coarse for those that expire in it by now.
        self.latest = _NOWHERE
        self._last = UNFILED
        slots, passed = self.slots, self._passed
        for level, (rate, mask, base) in enumerate(LEVELS):
            tick = int(now * rate)
            for passing in range(max(self._ticks[level], tick - mask - 1), tick):
                slot = base + (passing & mask)
                if slots[slot]:
                    fresh = _new_slot()
                    # No call between the two, so that a signal handler finds the slot in one place.
                    passed += [slots[slot]]
                    slots[slot] = fresh
            self._ticks[level] = max(self._ticks[level], tick)


def _new_slot() -> dict[str, None]:
    # A dict that has once had another key than a str keeps the hashes of all its keys at hand. A look-up among many
    # then need not fetch other keys from memory to compare theirs, which takes a third off the cost of filing a key.
    slot: dict[Any, None] = {None: None}
    del slot[None]
    return slot
