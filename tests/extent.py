"""How much a test tries: how many examples, which grow tenfold with ``--long``, and on which runtimes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

#: Examples of a test that names no number, with ``--long``.
LONG = 500


def examples(count: int, **options: Any) -> settings:
    """Settings for a test of hypothesis. Modules are imported after the profile has been chosen."""
    return settings(max_examples=10 * count if settings.default.max_examples == LONG else count, **options)


def only_on(*runtimes: str) -> Any:
    """The fixture ``runtime`` of a conformance suite that need not run on all of them."""

    def runtime(request: pytest.FixtureRequest) -> Any:
        return request.param

    return pytest.fixture(params=runtimes)(staticmethod(runtime))
