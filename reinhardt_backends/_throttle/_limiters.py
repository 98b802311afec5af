"""How a throttle reaches its decision, by what its backend can do.

* ``AtomicLimiter``: one atomic step, on the store's clock. For our own backends.
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
from functools import lru_cache, partial
from typing import Any, Final, Literal, Protocol, TypeAlias

from .._backend import Backend
from .._backend._atomic import KeyStep
from .._component import provides, require
from .._types import KEEP_TTL, MISSING
from ._counter import allow_step, count_step
from ._decisions import step_for
from ._rates import Rate

Algorithm: TypeAlias = Literal["fixed-window", "sliding-window", "gcra"]


_MOST_STEPS: Final = 64
"""How many steps a throttle keeps; there is one for each cost."""


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
        return AtomicLimiter(backend, head, rates, algorithm)
    if counts:
        return IncrementLimiter(backend, head, f"{prefix}:end:{written}:", rates[0])
    several = " and several rates" if len(rates) > 1 else ""
    require(backend, f"Throttle with {algorithm}{several}", "add", "compare_and_set")
    return OptimisticLimiter(backend, head, rates, algorithm)


def _steps(rates: tuple[Rate, ...], algorithm: Algorithm) -> Callable[[int, bool], KeyStep]:
    """Return a function that has the step for a cost and a kind of answer: brief, or not."""

    def make(cost: int, brief: bool) -> KeyStep:
        if len(rates) != 1 or algorithm != "fixed-window":
            return step_for(algorithm, rates, cost, brief=brief)
        return allow_step(rates[0], cost) if brief else count_step(rates[0], cost)

    return lru_cache(_MOST_STEPS)(make)


class AtomicLimiter:
    """One step a decision.

    Attributes:
        plain_allow: For a backend that takes no time: ``plain_allow(head + key)`` decides over a hit of cost 1 and
            returns what ``allow`` would, in one call.
        plain_decide: The same for ``decide``.
    """

    def __init__(self, backend: Backend, head: str, rates: tuple[Rate, ...], algorithm: Algorithm) -> None:
        self._backend = backend
        self._run = backend._run_key_step
        self._step = _steps(rates, algorithm)
        self.head = head
        plain = backend._plain_verb("run_one")
        self.plain_allow: Callable[[str], int] | None = None
        self.plain_decide: Callable[[str], list[int]] | None = None
        if plain is not None:
            self.plain_allow = partial(plain, self._step(1, True).decide)
            self.plain_decide = partial(plain, self._step(1, False).decide)

    def decide(self, key: str, cost: int) -> Awaitable[list[int]]:
        return self._run(self._step(cost, False), self.head + key)

    def allow(self, key: str, cost: int) -> Awaitable[int]:
        return self._run(self._step(cost, True), self.head + key)

    async def reset(self, key: str) -> None:
        await self._backend.delete(self.head + key)


class OptimisticLimiter:
    """The pure function of a step over a value that was read, and a write that fails if the value has changed.

    The state is kept as text, which every backend has: its bytes in hexadecimal.
    """

    def __init__(self, backend: Backend, head: str, rates: tuple[Rate, ...], algorithm: Algorithm) -> None:
        self._backend = backend
        self._head = head
        self._step = _steps(rates, algorithm)

    async def decide(self, key: str, cost: int) -> list[int]:
        answer: list[int] = await self._try(key, self._step(cost, False))
        return answer

    async def allow(self, key: str, cost: int) -> int:
        answer: int = await self._try(key, self._step(cost, True))
        return answer

    async def _try(self, key: str, step: KeyStep) -> Any:
        name = self._head + key
        while True:
            value = await self._backend.get(name, default=MISSING)
            # The expiry is not known, so that each write sets it.
            answer, new, ttl = step.decide(time.time(), _from_text(value), 0.0)
            if new is None:
                return answer
            if value is MISSING:
                done = await self._backend.add(name, new.hex(), ttl)
            else:
                done = await self._backend.compare_and_set(name, value, new.hex(), KEEP_TTL if ttl is None else ttl)
            if done:
                return answer

    async def reset(self, key: str) -> None:
        await self._backend.delete(self._head + key)


def _from_text(value: Any) -> bytes | None:
    if not isinstance(value, str):
        return None
    try:
        return bytes.fromhex(value)
    except ValueError:
        return None


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
