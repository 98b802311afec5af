"""Callers that increment counters and read them while something happens to the servers, on every runtime at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from math import inf
from typing import Any

import anyio

from reinhardt_backends import BackendConnectionError, OutcomeUnknownError, RedisBackend, SyncBackend
from reinhardt_backends.testing._runner import AsyncClothes

from .driving import drive

RUNTIMES = ("asyncio", "trio", "blocking")


class Callers:
    """The callers of one runtime, over one backend, and what became of their calls.

    Attributes:
        acknowledged: For each counter, how many increments were answered.
        unknown: For each counter, how many have an unknown outcome.
        failed: The other errors of increments, by their text.
        read_errors: The errors of reads, by their text.
        answered: When an increment was answered, for each counter in order.
    """

    def __init__(self, runtime: str, url: str, count: int, **options: Any) -> None:
        self.runtime = runtime
        # Counters that were deleted may be back after a failover, so their names are new each time.
        self.backend = RedisBackend(url, prefix=f"{runtime}{time.monotonic_ns()}:", client_name=runtime, **options)
        self.acknowledged = [0] * count
        self.unknown = [0] * count
        self.failed: Counter[str] = Counter()
        self.read_errors: Counter[str] = Counter()
        self.answered: list[list[float]] = [[] for _ in range(count)]
        self.found: dict[str, int] = {}

    def run(self, ends: Callable[[], bool]) -> None:
        """Call until ``ends`` says so; then read every counter and close."""
        if self.runtime == "blocking":
            verbs = AsyncClothes(SyncBackend(self.backend))
            numbers = range(len(self.acknowledged))
            threads = [threading.Thread(target=drive, args=(self._call(verbs, one, ends),)) for one in numbers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            drive(self._finish(verbs))
        else:
            anyio.run(self._together, ends, backend=self.runtime)

    async def _together(self, ends: Callable[[], bool]) -> None:
        async with anyio.create_task_group() as group:
            for number in range(len(self.acknowledged)):
                group.start_soon(self._call, self.backend, number, ends)
        await self._finish(self.backend)

    async def _call(self, verbs: Any, number: int, ends: Callable[[], bool]) -> None:
        while not ends():
            try:
                await verbs.increment(f"{number}")
            except OutcomeUnknownError:
                self.unknown[number] += 1
            except BackendConnectionError as error:
                self.failed[f"{type(error).__name__}: {error}"] += 1
            else:
                self.acknowledged[number] += 1
                self.answered[number].append(time.monotonic())
            try:
                await verbs.get(f"{number}", int)
            except Exception as error:
                self.read_errors[f"{type(error).__name__}: {error}"] += 1
            if self.runtime == "blocking":
                time.sleep(0.005)
            else:
                await anyio.sleep(0.005)

    async def _finish(self, verbs: Any) -> None:
        numbers = [f"{number}" for number in range(len(self.acknowledged))]
        found = await verbs.get_many(numbers, int)
        self.found = {number: found.get(number, 0) for number in numbers}
        await verbs.delete_many(numbers)
        await verbs.aclose()

    @property
    def lost(self) -> int:
        """How many acknowledged increments are not in the counters."""
        return sum(max(0, mine - self.found[f"{n}"]) for n, mine in enumerate(self.acknowledged))

    @property
    def surplus(self) -> int:
        """How many increments are in the counters beyond those that may have been applied."""
        most = [mine + unknown for mine, unknown in zip(self.acknowledged, self.unknown, strict=True)]
        return sum(max(0, self.found[f"{n}"] - one) for n, one in enumerate(most))

    def recovery(self, since: float) -> float:
        """Seconds from a point in time until the first increment was answered."""
        late = [moment for moments in self.answered for moment in list(moments) if moment >= since]
        return min(late, default=inf) - since


def run_during(
    incident: Callable[[], None],
    url: str,
    *,
    counts: dict[str, int],
    before: float,
    after: float,
    within: float = 0.0,
    **options: Any,
) -> list[Callers]:
    """Run callers on every runtime at once, have something happen in the middle, and return them.

    Args:
        incident: What happens; when it returns it is over.
        url: Where to call.
        counts: How many callers there are on each runtime.
        before: Seconds of calls before the incident.
        after: Seconds of calls after it.
        within: Seconds that may pass after it, in addition, until every runtime has an answer.
        **options: Of the backends.
    """
    over = threading.Event()
    errors: list[BaseException] = []
    groups = [Callers(runtime, url, count, **options) for runtime, count in counts.items()]

    def run(callers: Callers) -> None:
        try:
            callers.run(over.is_set)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(callers,), daemon=True) for callers in groups]
    for thread in threads:
        thread.start()
    try:
        time.sleep(before)
        incident()
        moment = time.monotonic()
        while time.monotonic() < moment + within and any(one.recovery(moment) == inf for one in groups):
            time.sleep(0.05)
        time.sleep(after)
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads), "callers did not end"
    return groups
