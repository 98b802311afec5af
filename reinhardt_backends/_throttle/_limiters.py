"""How a throttle reaches its decision, by what its backend can do.

* ``AtomicLimiter``, ``AtomicCounter``: one atomic step, on the store's clock. For our own backends.
* ``OptimisticLimiter``: read, decide, and write if nothing was written in between, as often as it takes. For users'
  backends that provide ``add`` and ``compare_and_set``. They have no clock to ask, so the wall clock of this machine is
  used; ``_clock.py`` deals with the differences between machines.
* ``IncrementLimiter``: ``get`` and ``increment``, which every backend has: a single rate by ``fixed-window``, on the
  expiry of the store.

Each allows exactly as many hits as its algorithm says, whatever runs at the same time. The last one may deny, in a race
of hits with a cost of more than 1, what would just have fitted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from .._backend import Backend
from .._backend._atomic import Step
from .._component import provides, require
from .._types import KEEP_TTL, MISSING
from ._counter import ALLOW, COUNT
from ._decisions import STEPS
from ._rates import Rate

Algorithm: TypeAlias = Literal["fixed-window", "sliding-window", "gcra"]


class Limiter(Protocol):
    """Decides over keys."""

    def decide(self, key: str, cost: int) -> Awaitable[list[int]]:
        """Decide over a hit, or with a negative cost look; the answer is that of a step."""
        ...

    def allow(self, key: str, cost: int) -> Awaitable[int]:
        """Decide over a hit, and say only whether it is allowed."""
        ...

    async def reset(self, key: str) -> None:
        """Forget the hits of a key."""
        ...


def limiter_for(backend: Backend, rates: tuple[Rate, ...], algorithm: Algorithm, prefix: str) -> Limiter:
    """Return the limiter for a backend, whose keys there begin with a prefix.

    Raises:
        UnsupportedOperationError: The backend does not provide a verb that it needs.
    """
    counts = len(rates) == 1 and algorithm == "fixed-window"
    written = "+".join(map(str, rates))
    head = f"{prefix}:{algorithm}:{written}:"
    if backend._runs_steps():
        return AtomicCounter(backend, head, rates) if counts else AtomicLimiter(backend, head, rates, STEPS[algorithm])
    if counts:
        return IncrementLimiter(backend, head, f"{prefix}:end:{written}:", rates[0])
    several = " and several rates" if len(rates) > 1 else ""
    require(backend, f"Throttle with {algorithm}{several}", "add", "compare_and_set")
    return OptimisticLimiter(backend, head, rates, STEPS[algorithm])


def _arguments(rates: tuple[Rate, ...]) -> tuple[int, ...]:
    return tuple(number for rate in rates for number in (rate.limit, rate.milliseconds * 1000, rate.most))


class Brief(NamedTuple):
    """How to decide over a hit of cost 1 with one call, on a backend that takes no time.

    ``run(head + key, arguments)`` is what ``allow`` would answer.
    """

    run: Callable[[str, tuple[int, ...]], int]
    head: str
    arguments: tuple[int, ...]


class AtomicLimiter:
    """One step a decision."""

    def __init__(self, backend: Backend, head: str, rates: tuple[Rate, ...], step: Step) -> None:
        self._backend = backend
        self._head = head
        self._run = backend._run_step
        self._step = step
        self._rest = _arguments(rates)
        self.brief: Brief | None = None
        plain = backend._plain_verb("run_one")
        if plain is not None:
            self.brief = Brief(partial(plain, step), head, (1, 1, *self._rest))

    def decide(self, key: str, cost: int) -> Awaitable[list[int]]:
        return self._run(self._step, (self._head + key,), (cost, 0, *self._rest))

    def allow(self, key: str, cost: int) -> Awaitable[int]:
        return self._run(self._step, (self._head + key,), (cost, 1, *self._rest))

    async def reset(self, key: str) -> None:
        await self._backend.delete(self._head + key)


class AtomicCounter(AtomicLimiter):
    """A single rate by ``fixed-window``: what is asked most often, by the shortest way."""

    def __init__(self, backend: Backend, head: str, rates: tuple[Rate, ...]) -> None:
        super().__init__(backend, head, rates, COUNT)
        (rate,) = rates
        self._limits = (rate.limit, rate.milliseconds)
        self._once = (1, *self._limits)
        plain = backend._plain_verb("run_one")
        if plain is not None:
            self.brief = Brief(partial(plain, ALLOW), head, self._once)

    def allow(self, key: str, cost: int) -> Awaitable[int]:
        return self._run(ALLOW, (self._head + key,), self._once if cost == 1 else (cost, *self._limits))


class OptimisticLimiter:
    """The pure function of a step over a value that was read, and a write that fails if the value has changed."""

    def __init__(self, backend: Backend, head: str, rates: tuple[Rate, ...], step: Step) -> None:
        self._backend = backend
        self._head = head
        self._step = step
        self._rest = _arguments(rates)

    async def decide(self, key: str, cost: int) -> list[int]:
        answer: list[int] = await self._try(key, (cost, 0, *self._rest))
        return answer

    async def allow(self, key: str, cost: int) -> int:
        answer: int = await self._try(key, (cost, 1, *self._rest))
        return answer

    async def _try(self, key: str, args: tuple[int, ...]) -> Any:
        name = self._head + key
        while True:
            value = await self._backend.get(name, default=MISSING)
            # The expiry is not known, so that each write sets it.
            found = None if value is MISSING else (value, 0.0)
            answer, writes = self._step.decide(time.time(), (found,), args)
            if not writes or writes[0] is None:
                return answer
            text, ttl = writes[0]
            if value is MISSING:
                done = await self._backend.add(name, text, ttl)
            else:
                done = await self._backend.compare_and_set(name, value, text, KEEP_TTL if ttl is None else ttl)
            if done:
                return answer

    async def reset(self, key: str) -> None:
        await self._backend.delete(self._head + key)


class IncrementLimiter:
    """A counter that expires with its window.

    When the window ends, only the store knows. A backend with ``ttl`` is asked. For others, the caller that begins a
    window notes the time of day at which it will end, under another key that expires with it; no decision depends on
    that.
    """

    def __init__(self, backend: Backend, head: str, end: str, rate: Rate) -> None:
        self._backend = backend
        self._head = head
        self._end = end
        self._rate = rate
        self._has_ttl = provides(backend, "ttl")

    async def allow(self, key: str, cost: int) -> int:
        # A denied hit must not count, so it is not tried. Those that race past this look find the counter too high.
        if await self._count(key) + cost > self._rate.limit:
            return 0
        count = await self._backend.increment(self._head + key, self._rate.period, by=cost)
        if count == cost and not self._has_ttl:
            await self._backend.set(self._end + key, time.time() + self._rate.period, self._rate.period)
        return int(count <= self._rate.limit)

    async def decide(self, key: str, cost: int) -> list[int]:
        allowed = await self.allow(key, cost) if cost > 0 else None
        count = await self._count(key)
        if allowed is None:
            allowed = int(count - cost <= self._rate.limit)
        reset = math.ceil(await self._left(key) * 1e6) if count else 0
        wait = 0 if allowed else max(reset, 1)
        return [allowed, max(self._rate.limit - count, 0), reset, wait, reset or self._rate.milliseconds * 1000]

    async def _count(self, key: str) -> int:
        count: int = await self._backend.get(self._head + key, int, default=0)
        return max(count, 0)

    async def _left(self, key: str) -> float:
        if self._has_ttl:
            left = await self._backend.ttl(self._head + key)
        else:
            end = await self._backend.get(self._end + key, default=None)
            left = end - time.time() if isinstance(end, float) else math.inf
        return min(max(left or 0.0, 0.001), self._rate.period)

    async def reset(self, key: str) -> None:
        await self._backend.delete_many([self._head + key, self._end + key])
