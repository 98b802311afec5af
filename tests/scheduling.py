"""How the tests are spread over the workers of pytest-xdist: a test function at a time, with all of its parameters.

Each unit of work costs a message and a look at all units before it. With twelve thousand tests that are units of their
own, the scheduler would take longer than many a test.
"""

from __future__ import annotations

from xdist.scheduler import LoadGroupScheduling


class FunctionScheduling(LoadGroupScheduling):
    """Keep the tests of an ``xdist_group`` together, and otherwise those of a test function."""

    def _split_scope(self, nodeid: str) -> str:
        return str(super()._split_scope(nodeid)).partition("[")[0]
