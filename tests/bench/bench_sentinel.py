"""How soon callers follow a failover of real Sentinels, and what a call through Sentinels costs, beside the limits.

    python tests/bench/bench_sentinel.py [--server NAME] [--rounds N]

One primary, two replicas and three Sentinels (down-after 0.5 s) on the loopback interface; callers on asyncio, trio and
in threads at once increment counters. A recovery is counted from the moment when most Sentinels name the new primary; a
planned switch from the command.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from reinhardt_backends import RedisBackend
from tests.bench.table import Line, at_least, at_most, report
from tests.redis.incrementing import Callers, run_during
from tests.servers import available
from tests.topologies import Node, Sentinels, running_sentinels, until

COUNTS = {"asyncio": 64, "trio": 64, "blocking": 16}


def _planned(group: Sentinels, rounds: int) -> list[Line]:
    switches: list[float] = []
    lost: dict[str, list[int]] = defaultdict(list)
    errors = 0
    for _ in range(rounds):
        old = group.primary()

        def incident(old: Node = old) -> None:
            began = time.monotonic()
            group.fail_over()
            new = group.await_switch(old)
            until(lambda: all(f"name={name} " in new.ask("CLIENT", "LIST") for name in COUNTS), "the move")
            switches.append(time.monotonic() - began)

        for one in run_during(incident, group.url, counts=COUNTS, before=0.5, after=0.5):
            lost[one.runtime].append(one.lost)
            errors += sum(one.failed.values()) + sum(one.read_errors.values()) + sum(one.unknown)
        group.heal()
    print({f"acknowledged by the replaced primary and lost, {name}": counts for name, counts in lost.items()})
    return [
        at_most("planned failover: seconds until all callers have moved", statistics.median(switches), 2.5, unit="s"),
        at_most("planned failover: errors and unknown outcomes", errors, 0, unit="calls"),
    ]


def _unplanned(group: Sentinels, rounds: int, what: str, strike: Callable[[Node], None], must: float) -> list[Line]:
    recoveries: dict[str, list[float]] = defaultdict(list)
    seen: list[Callers] = []
    for _ in range(rounds):
        old = group.primary()
        moments: list[float] = []

        def incident(old: Node = old, moments: list[float] = moments) -> None:
            strike(old)
            group.await_switch(old)
            moments.append(time.monotonic())

        callers = run_during(incident, group.url, counts=COUNTS, before=0.5, after=2.5)
        seen += callers
        for one in callers:
            recoveries[one.runtime].append(one.recovery(moments[0]))
        group.heal()
    print(
        f"{what}: {sum(sum(one.unknown) for one in seen)} unknown, {sum(one.lost for one in seen)} lost, "
        f"{sum(sum(one.failed.values()) for one in seen)} failed, {sum(one.surplus for one in seen)} counted twice"
    )
    return [
        at_most(f"{what}: seconds from the Sentinels' switch to the first reply, {name}", max(taken), must, unit="s")
        for name, taken in recoveries.items()
    ]


async def _throughput(group: Sentinels) -> list[Line]:
    """Calls of 1 and 64 callers through Sentinels, as a part of those of a backend that knows the address."""
    lines = []
    direct = f"redis://127.0.0.1:{group.primary().port}/0"
    async with RedisBackend(direct) as plain, RedisBackend(group.url) as found:
        for callers, turns in ((1, 2000), (64, 60)):
            ratios = []
            for _ in range(15):
                times = []
                for backend in (plain, found):
                    await backend.get("k")

                    async def caller(backend: RedisBackend = backend, turns: int = turns) -> None:
                        for _ in range(turns):
                            await backend.get("k")

                    began = time.perf_counter()
                    await asyncio.gather(*(caller() for _ in range(callers)))
                    times.append(time.perf_counter() - began)
                ratios.append(times[0] / times[1])
            what = f"get through Sentinels / directly, {callers} callers on asyncio"
            lines.append(at_least(what, statistics.median(ratios), 0.95))
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=sorted(available()), help="the server binary; the preferred one by default")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything happens")
    arguments = parser.parse_args()
    with running_sentinels(name=arguments.server) as group:
        lines = asyncio.run(_throughput(group))
        lines += _planned(group, arguments.rounds)
        lines += _unplanned(group, arguments.rounds, "kill -9", Node.kill, 0.5)
        lines += _unplanned(group, arguments.rounds, "SIGSTOP", Node.pause, 1.2)
    report("a primary that Sentinels watch", lines)


if __name__ == "__main__":
    main()
