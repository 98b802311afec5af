"""The expiry ring against a model that simply remembers every expiry."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reinhardt_backends._memory._expiry import LEVELS, UNFILED, ExpiryRing

from .extent import examples

KEYS = st.sampled_from("abcdef")
TTLS = st.one_of(
    st.floats(0.001, 40_000),
    st.sampled_from(
        [0.001, 0.25, 15.499, 15.5, 15.501, 16.0, 495.9, 496.0, 496.1, 32_255.9, 32_256.0, 32_800.0, 1e6, 1e11]
    ),
)
STEPS = st.one_of(st.floats(0, 50_000), st.sampled_from([0.0, 0.001, 0.25, 7.9, 16.0, 512.0, 32_768.0, 1e7]))


class RingMachine(RuleBasedStateMachine):
    """An owner that files, rewrites, deletes and sweeps as the memory backend does."""

    @initialize(start=st.sampled_from([0.0, 0.24, 1000.0, 86_400.5, 2.0**31]))
    def begin(self, start: float) -> None:
        self.now = start
        self.ring = ExpiryRing(start)
        self.entries: dict[str, tuple[float, int]] = {}

    @rule(key=KEYS, ttl=TTLS)
    def write(self, key: str, ttl: float) -> None:
        self.sweep(limit=3)
        expiry = self.now + ttl
        before = self.entries.get(key)
        if before is not None and before[0] <= expiry:
            self.entries[key] = (expiry, before[1])
            return
        slot = self.ring.file(key, expiry, self.now)
        if before is not None and before[1] != slot:
            self.discard(key, before[1])
        self.entries[key] = (expiry, slot)

    def discard(self, key: str, slot: int) -> None:
        if slot != UNFILED:
            self.ring.slots[slot].pop(key, None)

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        if key in self.entries:
            self.discard(key, self.entries.pop(key)[1])

    @rule(step=STEPS)
    def wait(self, step: float) -> None:
        self.now += step

    @rule(limit=st.integers(1, 3))
    def sweep(self, limit: int) -> None:
        if self.now < self.ring.due(self.now):
            return
        taken = self.ring.take(self.now, limit)
        assert len(taken) <= limit
        self.handle(taken)

    @rule()
    def sweep_all(self) -> None:
        """When nothing is left to take, no key is there whose slot has passed, and none is taken again."""
        while self.now >= self.ring.due(self.now):
            self.handle(self.ring.take(self.now, 2))
        for expiry, slot in self.entries.values():
            rate = LEVELS[0 if slot < 64 else 1 if slot < 128 else 2][0]
            assert expiry > self.now or int(expiry * rate) == int(self.now * rate)

    def handle(self, taken: list[str]) -> None:
        for key in taken:
            self.ring.settled(key)
            if key not in self.entries:
                continue
            expiry, slot = self.entries[key]
            self.discard(key, slot)
            if expiry <= self.now:
                del self.entries[key]
            else:
                self.entries[key] = (expiry, self.ring.file(key, expiry, self.now))

    @invariant()
    def every_expired_key_is_pending(self) -> None:
        """Whatever has expired can be found at once."""
        if hasattr(self, "ring"):
            expired = {key for key, (expiry, _) in self.entries.items() if expiry <= self.now}
            assert expired <= set(self.ring.pending(self.now))

    @invariant()
    def the_ring_holds_no_more_than_it_must(self) -> None:
        """A key is in its own slot only, and beside that at most once among the passed ones."""
        if hasattr(self, "ring"):
            for index, slot in enumerate(self.ring.slots):
                assert all(self.entries[key][1] == index for key in slot)
            assert sum(map(len, self.ring._passed)) <= 2 * 6


TestRing = RingMachine.TestCase
TestRing.settings = examples(30, stateful_step_count=30)


def take(ring: ExpiryRing, now: float, limit: int = 10) -> list[str]:
    """Take keys and settle them."""
    taken = ring.take(now, limit)
    for key in taken:
        ring.settled(key)
    return taken


def test_what_is_filed_is_taken_soon_after_its_expiry() -> None:
    """A key is handed out within one slot of its level after its expiry, and never before."""
    for ttl, width in ((0.1, 0.25), (15.0, 0.25), (20.0, 8.0), (480.0, 8.0), (1000.0, 256.0), (32_000.0, 256.0)):
        ring = ExpiryRing(1000.0)
        ring.file("k", 1000.0 + ttl, 1000.0)
        assert take(ring, 1000.0 + ttl - 0.001) == []
        assert take(ring, 1000.0 + ttl + width) == ["k"]
        assert take(ring, 1000.0 + 2 * ttl + width) == []


def test_what_lies_beyond_the_ring_goes_round_again() -> None:
    """A key with a ttl past the reach of the ring is handed out early and filed again."""
    ring, now, expiry, rounds = ExpiryRing(0.0), 0.0, 100_000.0, 0
    ring.file("k", expiry, now)
    while now < expiry:
        now += 300.0
        for key in take(ring, now, 10):
            rounds += 1
            if now < expiry:
                ring.file(key, expiry, now)
    assert 3 <= rounds <= 6


def test_due_tells_when_there_is_something_to_take() -> None:
    """Until due, take has nothing to do; while keys are left over, every call is due."""
    ring = ExpiryRing(10.0)
    for key in "abc":
        ring.file(key, 10.1, 10.0)
    assert ring.due(10.0) == pytest.approx(10.25)
    assert len(take(ring, 10.25, 2)) == 2
    assert ring.due(10.25) <= 10.25
    assert len(take(ring, 10.25, 2)) == 1
    assert take(ring, 10.25, 2) == []
    assert ring.due(10.25) == pytest.approx(10.5)


def test_what_was_taken_and_not_settled_is_taken_again() -> None:
    """A sweep that an exception ends loses no key: the next one gets what it had taken, and no more than its limit."""
    ring = ExpiryRing(10.0)
    for key in "abcd":
        ring.file(key, 10.1, 10.0)
    first = ring.take(10.25, 2)
    assert len(first) == 2
    assert ring.take(10.25, 2) == first
    assert set(first) <= set(ring.pending(10.25))
    assert ring.due(10.25) <= 10.25
    ring.settled(first[0])
    assert first[1] in take(ring, 10.25, 2)
    assert len(take(ring, 10.25, 2)) == 1
    assert take(ring, 10.25, 2) == []


def test_short_lived_keys_go_where_short_lived_keys_belong() -> None:
    """A stretch that many keys were filed in long ago is not used for keys that expire in it soon."""
    ring = ExpiryRing(0.0)
    for number in range(10):
        ring.file(f"long{number}", 3600.0, 0.0)
    low, high, _, _ = ring.latest
    assert low <= 3600.0 < high
    take(ring, 3590.0)
    assert not ring.latest[0] <= 3600.0 < ring.latest[1]


def test_a_clock_that_leaps() -> None:
    """A leap far past the whole ring hands out every key, once."""
    ring = ExpiryRing(0.0)
    keys = {f"k{number}" for number in range(500)}
    for number, key in enumerate(sorted(keys)):
        ring.file(key, 1.0 + number * 100, 0.0)
    taken = [key for _ in range(20) for key in take(ring, 1e9, 50)]
    assert sorted(taken) == sorted(keys)
