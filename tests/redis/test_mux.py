"""The queue that many callers share, without any I/O."""

from __future__ import annotations

import random
from collections import deque
from math import inf
from typing import Any

import pytest

pytest.importorskip("redis")
from reinhardt_backends._redis._mux import Failure, Mux, Slot
from reinhardt_backends._redis._protocol import NOTHING, Push


class Bench:
    """A mux with a parser made of a list, and a record of the waiters that were woken."""

    def __init__(self) -> None:
        self.woken: list[Slot] = []
        self.mux = Mux(self._wake)

    def _wake(self, slot: Slot) -> None:
        slot.waiter = None
        self.woken.append(slot)

    def replies(self, *replies: Any) -> bool:
        queue = deque(replies)
        return self.mux.hand_out(lambda: queue.popleft() if queue else NOTHING)

    def call(self, data: bytes = b"x", count: int = 1, deadline: float = inf) -> Slot:
        slot = self.mux.append(data, count, deadline)
        slot.waiter = object()
        return slot


def test_each_reply_goes_to_the_oldest_slot() -> None:
    bench = Bench()
    first, second = bench.call(), bench.call()
    assert bench.replies(b"1", b"2")
    assert (first.reply, second.reply) == (b"1", b"2")
    assert bench.woken == [first, second]
    assert not bench.mux.slots


def test_a_slot_of_many_replies_ends_with_the_last() -> None:
    bench = Bench()
    many, one = bench.call(count=3), bench.call()
    assert bench.replies(1, 2)
    assert not many.done
    assert bench.replies(3, 4)
    assert many.reply == [1, 2, 3]
    assert one.reply == 4


def test_a_dropped_slot_swallows_its_reply() -> None:
    bench = Bench()
    first, second, third = bench.call(), bench.call(count=2), bench.call()
    bench.mux.drop(first)
    bench.mux.drop(second)
    assert bench.replies(b"a", b"b", b"c", b"d")
    assert third.reply == b"d"
    assert bench.woken == [third]
    assert not bench.mux.slots


def test_an_unexpected_reply_is_reported() -> None:
    bench = Bench()
    bench.call()
    assert not bench.replies(b"a", b"unexpected")
    assert bench.mux.unexpected == b"unexpected"


def test_a_push_message_answers_no_call() -> None:
    bench = Bench()
    slot = bench.call()
    assert bench.replies(Push([b"invalidate"]), b"a")
    assert slot.reply == b"a"


def test_a_single_command_counts_as_sent_only_when_it_left_whole() -> None:
    bench = Bench()
    slot, batch = bench.call(b"12345"), bench.call(b"678", count=2)
    bench.mux.sent += 4
    assert slot.mark > bench.mux.sent
    bench.mux.sent += 1
    assert slot.mark <= bench.mux.sent
    assert batch.mark > bench.mux.sent
    bench.mux.sent += 1
    assert batch.mark <= bench.mux.sent


def test_late_slots_end_and_others_stay() -> None:
    bench = Bench()
    early, late = bench.call(deadline=10), bench.call(deadline=5)
    assert bench.mux.next_deadline() == 5
    bench.mux.received += 1
    bench.mux.expire(7, Failure(Failure.EXPIRED, "late"))
    assert late.failure is not None
    assert not early.done
    assert bench.woken == [late]
    assert bench.mux.next_deadline() == 10
    assert bench.replies(b"a", b"b")
    assert early.reply == b"a"


def test_the_newest_live_waiter_is_next() -> None:
    bench = Bench()
    first, second, third = bench.call(), bench.call(), bench.call()
    assert bench.mux.newest_waiter() is third
    bench.mux.drop(third)
    second.waiter = None
    assert bench.mux.newest_waiter() is first


def test_losing_the_connection_ends_every_live_slot() -> None:
    bench = Bench()
    dropped, live = bench.call(), bench.call()
    bench.mux.drop(dropped)
    failure = Failure(Failure.BROKEN, "gone")
    bench.mux.fail(failure)
    assert live.failure is failure
    assert dropped.failure is None
    assert bench.woken == [live]
    assert not bench.mux.slots


def test_every_reply_finds_its_own_slot_beside_dropped_and_late_ones(long: bool) -> None:
    for seed in range(500 if long else 50):
        play(random.Random(seed))


def play(rng: random.Random) -> None:
    bench = Bench()
    sent: deque[int] = deque()
    live: dict[Slot, list[int]] = {}
    number = 0
    clock = 0.0
    for _ in range(300):
        clock += rng.random()
        action = rng.random()
        if action < 0.5:
            count = rng.choice([1, 1, 1, 3])
            wanted = list(range(number, number + count))
            number += count
            sent.extend(wanted)
            live[bench.call(b"x" * count, count, clock + rng.random() * 50)] = wanted
        elif action < 0.6 and live:
            slot = rng.choice(list(live))
            bench.mux.drop(slot)
            del live[slot]
        elif action < 0.65:
            bench.mux.received += 1
            bench.mux.expire(clock, Failure(Failure.EXPIRED, "late"))
            for slot in [slot for slot in live if slot.done]:
                assert slot.deadline == inf
                del live[slot]
        else:
            assert bench.replies(*[sent.popleft() for _ in range(min(len(sent), rng.randrange(5)))])
            for slot in [slot for slot in live if slot.done]:
                wanted = live.pop(slot)
                assert (slot.reply if slot.count > 1 else [slot.reply]) == wanted
    assert bench.replies(*sent)
    for slot, wanted in live.items():
        assert (slot.reply if slot.count > 1 else [slot.reply]) == wanted
    assert not bench.mux.slots
