"""How the tests are spread over the workers of pytest-xdist: a test function at a time, with all of its parameters.

Each unit of work costs a message and a look at all units before it. With twelve thousand tests that are units of their
own, the scheduler would take longer than many a test.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def name_groups(items: Iterable[pytest.Item]) -> None:
    """Put the ``xdist_group`` of a test into its id, by which the scheduler finds it.

    The plugin would do so if its workers were told of ``--dist=loadgroup``, but a ``conftest.py`` tells the controller
    only; and up to 3.8 it sets an attribute that pytest does not look at since 9.2. Without groups each worker starts
    the servers of all of them.
    """
    for item in items:
        group = item.get_closest_marker("xdist_group")
        if group is None or "@" in item.nodeid.rpartition("]")[2]:
            continue
        name: Any = f"{item.nodeid}@{group.args[0]}"
        if hasattr(item, "_id"):
            item._id = type(item._id).parse(name)
        else:
            item._nodeid = name


def scheduling() -> Any:
    """Return the class of the scheduler. The plugin may not be installed."""
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

    return FunctionScheduling
