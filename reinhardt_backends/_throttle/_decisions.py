"""The decisions of a throttle as atomic steps over one key, in Python; ``_lua.py`` has the same for Redis.

The key holds the state of all rates, so that several of them are decided at once, in one place. What every rate
allows is counted, and nothing else is written, but for the mark of a clock that was set back (see ``_clock.py``). The
answer is 1 or 0 (allowed or not) where it is ``brief``, otherwise a list: that, and for each rate how many hits remain,
the time until it is as if there had been no hits, the time until it allows the cost, and the time until the next hit
fits once the remaining ones were spent. Times are in microseconds.

The state is a value of ``bytes`` in its stored form: a zero byte, and doubles in little-endian order, which are the
latest time, the lag, and the numbers of each rate as ``_algorithms.py`` has them. What is something else was not
written here, and counts as nothing. A single rate by ``fixed-window`` needs no such thing; see ``_counter.py``.

A step is made for one cost and for the rates of one throttle, so that what these give is computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final, TypeAlias

from .._backend._atomic import DecideOne, KeyStep
from ._algorithms import FIXED, GCRA, SLIDING, Algorithm, Meter, State
from ._clock import Reading, read_clock, settle
from ._lua import layout, pack_limits, script_for
from ._rates import Rate

MICRO: Final = 1_000_000

Decided: TypeAlias = tuple[Any, Any, float | None]

ALGORITHMS: Final = {"fixed-window": FIXED, "sliding-window": SLIDING, "gcra": GCRA}


def step_for(algorithm: str, rates: tuple[Rate, ...], cost: int, *, brief: bool) -> KeyStep:
    """Return the step that decides over a hit, or with a negative cost looks what its opposite would meet."""
    formulas = ALGORITHMS[algorithm]
    limits = [(rate.limit, rate.milliseconds * 1000, rate.most) for rate in rates]
    decide = _decide_one if len(rates) == 1 else _decide_several
    return KeyStep(
        f"throttle by {algorithm}",
        script_for(formulas, len(rates)),
        (pack_limits(cost, limits, brief=brief),),
        decide(formulas, limits, cost, brief),
    )


def _ttl(left: float, reset: float) -> float | None:
    """Return the ttl of a state, a little longer than it must be, so that most writes can keep it."""
    return None if left * MICRO >= reset else max(reset * 1.5 / MICRO, 0.001)


def _decide_one(formulas: Algorithm, limits: list[tuple[int, int, int]], cost: int, brief: bool) -> DecideOne:
    """Return the decision over a single rate."""
    codec = Struct(layout(formulas.width))
    size, unpack, pack = codec.size, codec.unpack, codec.pack
    take, left_of, _ = formulas.meter(cost, *limits[0])
    general = _decide_by_any_clock(formulas, limits, cost, brief)

    def decide(time: float, stored: Any, left: float) -> Decided:
        now = (time * MICRO + 0.5) // 1.0
        state: State | None = None
        if stored.__class__ is bytes and len(stored) == size and not stored[0]:
            state = unpack(stored)
            if state[0] > now or state[1]:
                return general(now, state, left)
        wait, reset, state = take(now, state)
        answer: Any = 0 if wait else 1
        if not brief:
            remaining, refill = left_of(now, state)
            answer = [answer, int(remaining), int(reset), int(wait), int(refill)]
        if wait or cost < 0:
            return answer, None, None
        return answer, pack(*state), None if left * MICRO >= reset else _ttl(left, reset)

    return decide


def _decide_several(formulas: Algorithm, limits: list[tuple[int, int, int]], cost: int, brief: bool) -> DecideOne:
    """Return the decision over several rates."""
    width = formulas.width
    codec = Struct(layout(width * len(limits)))
    size, unpack, pack = codec.size, codec.unpack, codec.pack
    takes = [
        (formulas.meter(cost, *limit).take, at, at + width)
        for limit, at in zip(limits, range(2, codec.size, width), strict=False)
    ]
    general = _decide_by_any_clock(formulas, limits, cost, brief)

    def decide(time: float, stored: Any, left: float) -> Decided:
        now = (time * MICRO + 0.5) // 1.0
        state: State | None = None
        if stored.__class__ is bytes and len(stored) == size and not stored[0]:
            state = unpack(stored)
        if not brief or cost < 0 or (state is not None and (state[0] > now or state[1])):
            return general(now, state, left)
        numbers, kept = [now, 0.0], 0.0
        for take, start, end in takes:
            wait, reset, at = take(now, None if state is None else state[:2] + state[start:end])
            if wait:
                return 0, None, None
            numbers += at[2:]
            kept = max(kept, reset)
        return 1, pack(*numbers), _ttl(left, kept)

    return decide


def _decide_by_any_clock(
    formulas: Algorithm, limits: list[tuple[int, int, int]], cost: int, brief: bool
) -> Callable[[float, State | None, float], Decided]:
    """Return the decision over any number of rates, on a clock that may have been set back."""
    width = formulas.width
    codec = Struct(layout(width * len(limits)))
    looks = [formulas.meter(-abs(cost), *limit) for limit in limits]
    meters = [formulas.meter(cost, *limit) for limit in limits]
    horizons = [meter.horizon for meter in meters]

    def decide(real: float, state: State | None, left: float) -> Decided:
        reading = Reading(real, real, real, real, 0) if state is None else read_clock(real, *state[:2])
        now = reading.now
        seen: list[tuple[float, float, State]] = []
        for index, look in enumerate(looks):
            old = None
            if state is not None and not reading.is_over(horizons[index]):
                old = state[:2] + state[2 + index * width : 2 + (index + 1) * width]
            seen.append(look.take(now, old))
        lag_before = reading.lag
        waits = [wait for wait, _, _ in seen]
        reading, promised = settle(reading, waits, horizons)
        counted = cost > 0 and not any(waits)
        if counted:
            seen = [meter.take(now, at) for meter, (_, _, at) in zip(meters, seen, strict=True)]
        new, ttl = None, None
        if counted or reading.lag != lag_before:
            new = codec.pack(now, reading.lag, *[number for _, _, at in seen for number in at[2:]])
            ttl = _ttl(left, max([reset for _, reset, _ in seen]) + now - real)
        allowed = 0 if any(waits) else 1
        return (allowed if brief else _answer(allowed, looks, reading, seen, promised)), new, ttl

    return decide


def _answer(
    allowed: int,
    meters: list[Meter],
    reading: Reading,
    seen: list[tuple[float, float, State]],
    promised: list[float],
) -> list[int]:
    answer = [allowed]
    for meter, (_, reset, at), wait in zip(meters, seen, promised, strict=True):
        left, refill = meter.left(reading.now, at)
        answer += [int(left), int(reading.promise_within(reset, meter.horizon))]
        answer += [int(wait), int(reading.promise_within(refill, meter.horizon))]
    return answer
