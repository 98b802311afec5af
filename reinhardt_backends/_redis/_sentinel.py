"""Where the primary of a service is, as its Sentinels say, and whether it still is there.

Each Sentinel that is asked says, in one trip, where the primary is (which changes as soon as a replica is promoted) and
in which configuration epoch. Followers learn of a failover later than the Sentinel that led it, so a majority is asked
and the highest epoch wins. An answer of an older epoch than the known one is not believed for some time, since a
primary that was replaced calls itself a primary until the Sentinels have demoted it.

The Sentinels are asked before each connection, when a primary is silent, and once a second by one of the callers, since
a primary that was replaced as planned goes on taking writes and loses them. There is no background task. One caller
asks for all loops and threads; the others wait for its answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Final, NamedTuple

from .._backend._locks import RLock
from .._errors import (
    AuthenticationError,
    BackendClosedError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
)
from .._io import Attempt, Runtime
from ._addresses import reach
from ._handshake import open_link
from ._health import Health
from ._link import Link
from ._mux import CallFailed, Failure
from ._options import Options, Sentinels
from ._protocol import Refusal, error_for, pack
from ._silence import NEARLY

#: Seconds between two questions while nothing is wrong.
REVIEW: Final = 1.0

#: For how many seconds an answer serves every caller, whatever has happened meanwhile.
PACE: Final = 0.1

#: Seconds that one Sentinel may take to answer, and for how many seconds one that did not is asked last.
PATIENCE: Final = 0.5
AVOIDED: Final = 5.0

#: For how many seconds an answer of an older epoch is not believed.
MEMORY: Final = 15.0

#: Seconds that the first attempts to connect to a primary may take, since it may be replaced meanwhile. Further ones
#: take twice as long each time.
ATTEMPT: Final = 0.5
SHORT_ATTEMPTS: Final = 4

#: How often a caller that waits for another one's answer looks for it. Seconds.
LOOK: Final = 0.005

#: Sleep until a point in time, or until the backend is closed.
Rest = Callable[[float], Awaitable[None]]


class Primary(NamedTuple):
    """Where a primary is, and since which configuration epoch."""

    host: str
    port: int
    epoch: int


class Locator:
    """Finds the primary of one service. Shared by all loops and threads.

    Args:
        options: How the service is reached.
        health: What is known about the primary.
    """

    def __init__(self, options: Options, sentinels: Sentinels, health: Health) -> None:
        self._options = options
        self._service = sentinels.service
        self._sentinels = sentinels.each
        self._address_map = sentinels.address_map
        self._health = health
        self._question = _question(sentinels.service)
        # Re-entrant, since a signal handler may make a call.
        self._lock = RLock()
        self._primary: Primary | None = None
        #: When an answer last named the known primary.
        self._confirmed = -inf
        #: When the Sentinels were asked last, and why that was in vain if it was.
        self._asked = -inf
        self._failure: BackendError | None = None
        #: Since when the answer is in doubt, and how many attempts to connect to the primary have failed.
        self._doubted = -inf
        self._failed = 0
        #: Until when another caller waits for the one that asks.
        self._asking_until = -inf
        #: Which Sentinel is asked first, and until when each is avoided.
        self._turn = 0
        self._avoided = [-inf] * len(self._sentinels)

    def doubt(self) -> None:
        """Note that the primary may have been replaced: the next caller asks."""
        self._doubted = monotonic()

    async def open_link(self, runtime: Runtime, rest: Rest, attempt: Attempt, deadline: float, *, large: bool) -> Link:
        """Make one attempt to find the primary and connect to it.

        Args:
            runtime: What the connection serves.
            rest: How to sleep meanwhile.
            attempt: Lets another task or thread end the attempt.
            deadline: When the caller's time is up.
            large: Whether the connection is for large values.

        Raises:
            BackendConnectionError: The Sentinels name no primary, or it could not be reached, or is none.
            BackendError: As ``_handshake.open_link`` does.
        """
        primary = await self.find(runtime, rest, attempt, deadline)
        host, port = reach(self._address_map, (primary.host, primary.port))
        options = replace(self._options, host=host, port=port, path=None, sentinels=None)
        allowed = ATTEMPT * 2 ** min(max(0, self._failed - SHORT_ATTEMPTS + 1), 10)
        try:
            link = await open_link(runtime, options, attempt, min(deadline, monotonic() + allowed), large=large)
        except BackendError:
            self._failed += 1
            self.doubt()
            raise
        if link.is_replica:
            self.doubt()
            link.fail(_closed())
            raise BackendConnectionError(f"{self._options.location}: {options.location} is a replica")
        self._failed = 0
        return link

    async def review(self, runtime: Runtime, rest: Rest, attempt: Attempt, deadline: float) -> None:
        """Ask whether the primary is still the same. What fails leaves everything as it is.

        Raises:
            BackendError: No Sentinel has answered.
        """
        now = monotonic()
        # The call itself needs most of its time.
        await self.find(runtime, rest, attempt, now + min(PATIENCE, (deadline - now) / 4), review=True)

    def is_due(self) -> bool:
        """Take the right to review, which one caller a second has."""
        now = monotonic()
        if now < self._health.review_at or self._health.down.known:
            return False
        with self._lock:
            if now < self._health.review_at:
                return False
            # Sentinels that do not answer cost a caller time, and may not do so every second.
            rested = [until for until in self._avoided if until > now]
            self._health.review_by(min(rested) if len(rested) == len(self._avoided) else now + REVIEW)
            return len(rested) < len(self._avoided)

    async def find(
        self, runtime: Runtime, rest: Rest, attempt: Attempt, deadline: float, *, review: bool = False
    ) -> Primary:
        """Return where the primary is, from an answer that is fresh enough or from the Sentinels."""
        while True:
            now = monotonic()
            with self._lock:
                fresh = self._failure is None and self._asked > self._doubted and now < self._asked + REVIEW
                fresh = fresh and not review
                if (fresh or now < self._asked + PACE) and now >= self._asking_until:
                    return self._answer()
                mine = now >= self._asking_until
                if mine:
                    self._asking_until = now + PATIENCE * len(self._sentinels)
            if mine:
                try:
                    await self._ask(runtime, attempt, deadline)
                finally:
                    self._asking_until = -inf
                return self._answer()
            if now >= deadline:
                raise BackendTimeoutError(f"{self._options.location}: no answer of a Sentinel in time")
            await rest(min(deadline, now + LOOK))
            if attempt.aborted:
                raise BackendClosedError("the backend was closed while connecting")

    def _answer(self) -> Primary:
        failure = self._failure
        if failure is None and self._primary is not None:
            return self._primary
        # One exception object must not be raised in several tasks.
        raise type(failure)(str(failure)) if failure is not None else BackendConnectionError("nothing is known yet")

    async def _ask(self, runtime: Runtime, attempt: Attempt, deadline: float) -> None:
        """Ask one Sentinel after another, until a majority has answered."""
        answers: list[Primary] = []
        failures: list[BackendError] = []
        for number in self._in_turn():
            began = monotonic()
            if began >= deadline:
                break
            limit = min(deadline, began + PATIENCE)
            try:
                answers.append(await self._ask_one(runtime, self._sentinels[number], attempt, limit))
            except BackendError as error:
                if attempt.aborted:
                    raise
                failures.append(error.with_traceback(None))
                if not isinstance(error, _Unknown) and limit - began >= PATIENCE * NEARLY:
                    self._avoided[number] = monotonic() + AVOIDED
            if len(answers) > len(self._sentinels) // 2:
                break
        with self._lock:
            self._asked = monotonic()
            self._failure = None if answers else self._failure_of(failures)
            if answers:
                self._believe(answers)

    def _in_turn(self) -> list[int]:
        """The Sentinels in the order in which they are asked: another one first each time, avoided ones last."""
        count = len(self._sentinels)
        self._turn = (self._turn + 1) % count
        now = monotonic()
        order = [(self._turn + number) % count for number in range(count)]
        return sorted(order, key=lambda number: self._avoided[number] > now)

    async def _ask_one(self, runtime: Runtime, sentinel: Options, attempt: Attempt, deadline: float) -> Primary:
        """Ask a Sentinel over a connection of its own."""
        link = await open_link(runtime, sentinel, attempt, deadline)
        failure: BackendError
        try:
            attempt.enter(partial(link.fail, _closed()) if runtime.suspends else link.cut)
            address, details = await link.exchange(self._question, 2, deadline)
            return self._read(address, details, sentinel)
        except CallFailed as failed:
            failure = BackendConnectionError(f"{sentinel.location}: {failed.failure.text}")
        finally:
            attempt.leave()
            link.fail(_closed())
        if attempt.aborted:
            raise BackendClosedError("the backend was closed while connecting")
        raise failure

    def _read(self, address: Any, details: Any, sentinel: Options) -> Primary:
        if isinstance(address, Refusal):
            raise error_for(address, sentinel.location)
        if address is None:
            raise _Unknown(sentinel.location)
        try:
            host, port = address[0].decode(), int(address[1])
            if isinstance(details, Refusal):
                # A user of the Sentinel without the right to ask for more.
                return Primary(host, port, 0)
            return Primary(host, port, int(dict(zip(details[::2], details[1::2], strict=True))[b"config-epoch"]))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            pass
        raise BackendConnectionError(f"{sentinel.location} did not answer as a Sentinel does")

    def _failure_of(self, failures: list[BackendError]) -> BackendError:
        unknown = [str(failure) for failure in failures if isinstance(failure, _Unknown)]
        if unknown:
            return BackendConnectionError(f"no Sentinel watches a service {self._service!r}: {', '.join(unknown)}")
        text = f"no Sentinel says where {self._options.location} is: {'; '.join(map(str, failures)) or 'no time left'}"
        if any(isinstance(failure, AuthenticationError) for failure in failures):
            return AuthenticationError(text)
        return BackendConnectionError(text)

    def _believe(self, answers: list[Primary]) -> None:
        """Take the answer of the highest epoch. Replace all connections if the primary has changed."""
        known, now = self._primary, monotonic()
        found = max(answers, key=lambda one: (one.epoch, known is not None and one[:2] == known[:2]))
        self._health.review_by(now + REVIEW)
        # A Sentinel has answered, so the addresses are right, and trying again makes sense.
        self._health.served = True
        if known is not None and found.epoch < known.epoch and now < self._confirmed + MEMORY:
            return
        self._confirmed = now
        self._primary = found
        if known is not None and found[:2] != known[:2]:
            self._failed = 0
            self._health.retire_links()


class _Unknown(BackendConnectionError):
    """A Sentinel does not know the service."""


def _question(service: str) -> bytes:
    return b"".join(pack((b"SENTINEL", what, service)) for what in (b"GET-MASTER-ADDR-BY-NAME", b"MASTER"))


def _closed() -> Failure:
    return Failure(Failure.CLOSED, "the connection was closed")
