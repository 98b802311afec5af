"""``Throttle``: at most so many hits in so much time, for each key.

A decision is one atomic step of the store: what is allowed is counted in the same instant, and what is denied leaves no
trace. So a limit holds exactly, however many tasks, processes and machines share it, and none of their clocks matters.

The algorithms and their sources are in ``_algorithms.py``; how they run on a backend is in ``_limiters.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final, Literal, TypeAlias, get_args

from .._backend import WARNING, Backend, LimitedRecord, reporter_for
from .._component import Line, Waiter, Waiting, check_backend, check_timeout, waiting_for
from .._errors import BackendConnectionError, BackendTimeoutError, OutcomeUnknownError, ResponseError
from .._memory import MemoryBackend
from .._types import check_key, check_prefix
from ._limit import Limit, LimitDecorator
from ._limiters import Algorithm, AtomicLimiter, Limiter, limiter_for
from ._rates import Rate
from ._result import ThrottleResult, result_of

ThrottleErrorPolicy: TypeAlias = Literal["raise", "allow", "deny", "local"]

UNAVAILABLE: Final = (BackendConnectionError, OutcomeUnknownError, ResponseError)
"""What a backend raises while its store cannot be reached, or refuses to serve."""

_AWAY: Final = LimitedRecord("throttle", WARNING, "the store is away (%s): on_error=%r decides")

_RETRY_AFTER_FAILURE: Final = 1.0
"""Seconds after which a hit that was denied without the store may be tried again."""

_MOST_SIBLINGS: Final = 128

_SHORTEST_SLEEP: Final = 0.001
_ROUNDING: Final = 0.001
"""Seconds by which a store may round up the time until a hit fits, and an event loop the time of day."""

_SHORTEST_CALL: Final = 0.1
"""A store gets these seconds to answer, however little is left of the timeout of ``wait``."""


class Throttle:
    """Limits how often something may be done: for each key, so many hits in so much time.

    Over ``MemoryBackend`` and ``RedisBackend``, and namespaces of these, a decision is one atomic step on the store's
    own clock, on Redis one round trip. Over any other backend a single rate by ``fixed-window`` needs the six verbs
    that every backend has, and two or three calls; the other algorithms, and several rates, need ``add`` and
    ``compare_and_set``, and the clock of this machine. If clocks are ``d`` seconds apart, at most ``d`` times the rate
    comes through in addition. A clock that is set back forgets no hit, and makes no caller wait for longer than it
    otherwise could.

    The algorithms:

    * ``"fixed-window"``: a window begins with the first hit, and allows ``limit`` hits until it ends. The cheapest.
      Around the end of a window up to twice the limit may come in a short time. A well-known use of ``INCR``, and
      described as such in its documentation by Redis.
    * ``"sliding-window"``: as that, and of the hits in the window before counts the share that a window ending now
      would cover, as if they had been spread evenly. An approximation by two counters; by J. Desgats, Cloudflare, 2017.
    * ``"gcra"``: a bucket of ``limit`` tokens, or of ``burst`` of them, that is refilled evenly over the period. Allows
      a burst, and then the rate, evenly. The generic cell rate algorithm of ITU-T I.371.

    Throttles with the same backend, prefix, algorithm and rates share their hits. Not to share them, give them prefixes
    of their own. On a backend that evicts live keys, such as ``MemoryBackend(maxsize=...)``, the limits used longest
    ago are forgotten first.

    Args:
        backend: Where the hits are counted.
        *rates: ``"100/min"``, ``"10/s"``, ``"5 per minute"``, ``"5/10s"``, or ``Rate(limit, period)``. Of several, each
            must allow a hit, and a denied one counts for none of them.
        algorithm: How the hits are counted.
        prefix: What the keys in the backend begin with.
        on_error: What happens while the store cannot be reached or refuses to serve: ``"raise"`` the error, ``"allow"``
            every hit, ``"deny"`` every hit, or ``"local"``: count in the memory of this process instead. Until an
            outage is known, each call tries the store first, so let the backend have a short ``timeout``.

    Raises:
        TypeError: ``backend`` is not a ``Backend``, or a rate or the prefix has the wrong type.
        ValueError: There is no rate, a rate cannot be read, two rates have the same period, or an option is unknown.
        UnsupportedOperationError: The backend does not provide what the algorithm needs. The message names the verbs.
    """

    def __init__(
        self,
        backend: Backend,
        *rates: str | Rate,
        algorithm: Algorithm = "fixed-window",
        prefix: str = "throttle",
        on_error: ThrottleErrorPolicy = "raise",
    ) -> None:
        check_backend(backend, "Throttle")
        if algorithm not in get_args(Algorithm):
            raise ValueError(f"algorithm must be one of {_listed(get_args(Algorithm))}, not {algorithm!r}")
        if on_error not in get_args(ThrottleErrorPolicy):
            raise ValueError(f"on_error must be one of {_listed(get_args(ThrottleErrorPolicy))}, not {on_error!r}")
        self._rates = _check_rates(rates, algorithm)
        self._most = min(rate.most for rate in self._rates)
        prefix = check_prefix(prefix)
        self._backend = backend
        self._algorithm: Algorithm = algorithm
        self._prefix = prefix
        self._on_error = on_error
        self._waiting: Waiting = waiting_for(backend)
        self._reporter = reporter_for(backend, "throttle")
        self._queues: dict[str, _Queue] = {}
        self._limiter = limiter_for(backend, self._rates, algorithm, prefix)
        self._plain_allow: Callable[[str], int] | None = None
        self._plain_decide: Callable[[str], list[int]] | None = None
        if isinstance(self._limiter, AtomicLimiter):
            self._head = self._limiter.head
            self._plain_allow, self._plain_decide = self._limiter.plain_allow, self._limiter.plain_decide
        self._local: Limiter | None = None
        if on_error == "local":
            self._local = limiter_for(MemoryBackend(), self._rates, algorithm, prefix)
        self._with_rates = lru_cache(_MOST_SIBLINGS)(
            partial(Throttle, backend, algorithm=algorithm, prefix=prefix, on_error=on_error)
        )
        """Returns a throttle that differs in its rates only, the same for the same rates."""

    def __repr__(self) -> str:
        return f"<Throttle {', '.join(map(str, self._rates))}>"

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The rates, in the order given."""
        return self._rates

    async def allow(self, key: str, cost: int = 1) -> bool:
        """Count a hit if every rate allows it, and return whether they do. Atomic; a denied hit changes nothing.

        Args:
            key: What is limited: an address, a user, ``"login:" + name``.
            cost: How many hits it counts as.

        Raises:
            TypeError: The key is not a ``str``, or the cost not an ``int``.
            ValueError: The cost is less than 1, or more than the limit, so that it would never be allowed.
            BackendError: The store could not be reached or refused to serve, and ``on_error`` is ``"raise"``.
        """
        if cost.__class__ is not int or not 0 < cost <= self._most:
            cost = self._check_cost(cost)
        if key.__class__ is not str:
            key = check_key(key)
        if cost == 1 and (plain := self._plain_allow) is not None:
            return plain(self._head + key) == 1
        try:
            allowed = await self._limiter.allow(key, cost) == 1
        except UNAVAILABLE as error:
            if self._on_error == "raise":
                raise
            self._note_degraded(key, error)
            allowed = self._on_error == "allow"
            if self._local is not None:
                allowed = await self._local.allow(key, cost) == 1
        if self._reporter is not None:
            self._reporter.report("allowed" if allowed else "denied", key)
        return allowed

    async def hit(self, key: str, cost: int = 1) -> ThrottleResult:
        """Count a hit if every rate allows it, and return what they say. Atomic; a denied hit changes nothing.

        Args:
            key: What is limited.
            cost: How many hits it counts as.

        Raises:
            TypeError: The key is not a ``str``, or the cost not an ``int``.
            ValueError: The cost is less than 1, or more than the limit, so that it would never be allowed.
            BackendError: The store could not be reached or refused to serve, and ``on_error`` is ``"raise"``.
        """
        key, cost = check_key(key), self._check_cost(cost)
        if cost == 1 and (plain := self._plain_decide) is not None:
            return result_of(self._rates, plain(self._head + key))
        return self._reported(key, await self._decide(self._limiter, key, cost))

    async def peek(self, key: str, cost: int = 1) -> ThrottleResult:
        """Return what the rates would say to a hit, and count nothing.

        Args:
            key: What is limited.
            cost: How many hits it would count as.

        Raises:
            TypeError: The key is not a ``str``, or the cost not an ``int``.
            ValueError: The cost is less than 1, or more than the limit, so that it would never be allowed.
            BackendError: The store could not be reached or refused to serve, and ``on_error`` is ``"raise"``.
        """
        return await self._decide(self._limiter, check_key(key), -self._check_cost(cost))

    async def reset(self, key: str) -> None:
        """Forget all hits of a key.

        Args:
            key: What is limited.

        Raises:
            TypeError: The key is not a ``str``.
            BackendError: The store could not be reached or refused to serve, whatever ``on_error`` is.
        """
        key = check_key(key)
        if self._local is not None:
            await self._local.reset(key)
        await self._limiter.reset(key)

    async def wait(self, key: str, cost: int = 1, timeout: float | None = None) -> ThrottleResult:
        """Count a hit as soon as every rate allows it, sleeping until then.

        Those that wait for one key of this object are served in order of arrival, whatever their costs; the first of
        them sleeps for as long as the rates say, and the others wait for it. Hits of other processes, and those that do
        not wait, may come first; then it sleeps again. A hit that would take longer than the timeout is denied as soon
        as that is known, and at the end of its timeout a hit is tried once more, out of turn.

        Args:
            key: What is limited.
            cost: How many hits it counts as.
            timeout: Seconds to wait at most; ``None`` for as long as it takes.

        Returns:
            What the rates said last: ``allowed`` is ``False`` if it would have taken longer than ``timeout``.

        Raises:
            TypeError: The key is not a ``str``, or a number has the wrong type.
            ValueError: The cost is less than 1 or more than the limit, or the timeout is negative.
            BackendTimeoutError: The store did not answer in time, and ``on_error`` is ``"raise"``. The hit may have
                been counted.
            BackendError: The store could not be reached or refused to serve, and ``on_error`` is ``"raise"``.
        """
        cost = self._check_cost(cost)
        key = check_key(key)
        until = None if timeout is None else self._waiting.now() + check_timeout(timeout)
        queue = self._queues.setdefault(key, _Queue())
        waiter = Waiter(self._waiting.caller())
        try:
            queue.join(waiter)
            if timeout == 0:
                return self._reported(key, await self._decide(self._limiter, key, cost))
            begun = self._waiting.now()
            if await queue.reach_front(waiter, self._waiting, until):
                await self._sleep(queue.refill_delay(cost, self._waiting.clock()), until)
            result = await self._wait_in_front(key, cost, until)
            queue.note(result, self._waiting.clock())
            if self._reporter is not None:
                self._reporter.report("waited", key, seconds=self._waiting.now() - begun)
            return self._reported(key, result)
        finally:
            self._leave(key, queue, waiter)

    def limit(
        self, key: str | Callable[..., str] | None = None, *, cost: int = 1, timeout: float | None = 0
    ) -> LimitDecorator:
        """Return a decorator: each call of the function is a hit, and runs only if every rate allows it.

        Example::

            @throttle.limit(key=lambda name, password: f"login:{name}")
            async def log_in(name: str, password: str) -> bool: ...

        Args:
            key: What is limited: a function that takes the arguments of a call and returns the key, or one key for all
                calls. By default the name of the decorated function, with its module.
            cost: How many hits a call counts as.
            timeout: Seconds to wait at most until a call is allowed, as for ``wait``. 0 refuses at once, ``None`` waits
                for as long as it takes.

        Raises:
            TypeError: An argument, or the decorated function, has the wrong type.
            ValueError: The key has fields (``"login:{name}"``), the cost is less than 1 or more than the limit, or the
                timeout is negative.
            ThrottledError: When the function is called more often than the rates allow.
            BackendError: When the function is called: the store could not be reached or refused to serve, and
                ``on_error`` is ``"raise"``.
        """
        cost = self._check_cost(cost)
        return Limit(self, key, cost, None if timeout is None else check_timeout(timeout))

    async def _wait_in_front(self, key: str, cost: int, until: float | None) -> ThrottleResult:
        while True:
            asked = self._waiting.now()
            result = await self._decide_until(until, asked, key, cost)
            if result.allowed:
                return result
            if until is not None and asked + result.retry_after - _ROUNDING > until:
                return result
            await self._sleep(max(result.retry_after, _SHORTEST_SLEEP), until)

    async def _sleep(self, seconds: float, until: float | None) -> None:
        if until is not None:
            seconds = min(seconds, max(until - self._waiting.now(), _ROUNDING))
        if seconds > 0:
            await self._waiting.sleep(seconds)

    async def _decide_until(self, until: float | None, now: float, key: str, cost: int) -> ThrottleResult:
        """Decide within the timeout of a wait."""
        if until is None:
            return await self._decide(self._limiter, key, cost)
        view = self._backend._with_timeout(max(until - now, _SHORTEST_CALL))
        limiter = limiter_for(view, self._rates, self._algorithm, self._prefix)
        try:
            return await self._decide(limiter, key, cost)
        except (BackendTimeoutError, OutcomeUnknownError) as error:
            if self._waiting.now() < until:
                raise
            raise BackendTimeoutError("the store did not answer in time; the hit may have been counted") from error

    def _leave(self, key: str, queue: _Queue, waiter: Waiter) -> None:
        queue.leave(waiter)
        if not queue and self._queues.get(key) is queue:
            self._queues.pop(key, None)

    async def _decide(self, limiter: Limiter, key: str, cost: int) -> ThrottleResult:
        try:
            return result_of(self._rates, await limiter.decide(key, cost))
        except UNAVAILABLE as error:
            if self._on_error == "raise":
                raise
            self._note_degraded(key, error)
        if self._local is not None:
            return result_of(self._rates, await self._local.decide(key, cost), degraded=True)
        if self._on_error == "allow":
            return ThrottleResult(True, self._most, self._most, 0.0, 0.0, degraded=True)
        return ThrottleResult(False, self._most, 0, _RETRY_AFTER_FAILURE, _RETRY_AFTER_FAILURE, degraded=True)

    def _reported(self, key: str, result: ThrottleResult) -> ThrottleResult:
        if self._reporter is not None:
            self._reporter.report("allowed" if result.allowed else "denied", key)
        return result

    def _note_degraded(self, key: str, error: Exception) -> None:
        """Log and report that ``on_error`` decides."""
        _AWAY.write(type(error).__name__, self._on_error)
        if self._reporter is not None:
            self._reporter.report("degraded", key, error=error)

    def _check_cost(self, cost: int) -> int:
        if cost.__class__ is int and 0 < cost <= self._most:
            return cost
        if isinstance(cost, bool) or not isinstance(cost, int):
            raise TypeError(f"a cost must be an int, not {type(cost).__name__}")
        if cost < 1:
            raise ValueError("a cost must be at least 1")
        if cost > self._most:
            raise ValueError(f"a cost of {cost} would never be allowed: the limit is {self._most}")
        return int(cost)


class _Queue(Line):
    """The waiters for one key, and what the last of them was told, so that the next one need not ask in vain."""

    def __init__(self) -> None:
        super().__init__()
        self._remaining: int | None = None
        self._refilled = 0.0

    def note(self, result: ThrottleResult, now: float) -> None:
        """Note what the first waiter was told."""
        if result.allowed and result.quotas:
            self._remaining = result.remaining
            self._refilled = now + max(
                [quota.refill_after for quota in result.quotas if not quota.remaining], default=0.0
            )

    def refill_delay(self, cost: int, now: float) -> float:
        """Return the seconds for which a hit of this cost will be denied, as far as that is known."""
        if self._remaining is None or cost <= self._remaining:
            return 0.0
        # A loop may wake a task a little early, and another decision would cost more than the delay.
        return self._refilled - now + _ROUNDING


def _check_rates(rates: tuple[str | Rate, ...], algorithm: Algorithm) -> tuple[Rate, ...]:
    if not rates:
        raise ValueError("a throttle needs a rate, such as '100/min'")
    parsed = tuple(rate if isinstance(rate, Rate) else Rate.parse(rate) for rate in rates)
    if algorithm != "gcra" and any(rate.burst is not None for rate in parsed):
        raise ValueError(f"a burst needs algorithm='gcra', not {algorithm!r}")
    if len({rate.period for rate in parsed}) < len(parsed):
        raise ValueError("two rates have the same period, so that one of them would never matter")
    return parsed


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(repr(word) for word in words)
