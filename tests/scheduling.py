"""How the tests are spread over the workers of pytest-xdist: a test function at a time, with all of its parameters.

Each unit of work costs a message and a look at all units before it. With twelve thousand tests that are units of their
own, the scheduler would take longer than many a test.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadGroupScheduling


class FunctionScheduling(LoadGroupScheduling):
    """Keep the tests of an ``xdist_group`` together, and otherwise those of a test function."""

    def _split_scope(self, nodeid: str) -> str:
        return str(super()._split_scope(nodeid)).partition("[")[0]

    def _reschedule(self, node: Any) -> None:
        # The scheduler counts what a worker has left, over all units that the worker has ever had.
        units = self.assigned_work[node]
        for scope in [scope for scope, unit in units.items() if all(unit.values())]:
            del units[scope]
        super()._reschedule(node)
