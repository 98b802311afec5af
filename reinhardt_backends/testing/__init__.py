"""For tests: a clock that stands still, a backend that fails on request, and what every backend must pass.

``FakeClock`` makes a ``MemoryBackend`` expire when a test says so::

    clock = FakeClock()
    backend = MemoryBackend(clock=clock)
    await backend.set("k", "v", ttl=60)
    clock.advance(60)
    assert not await backend.exists("k")

``FailingBackend`` shows what an application does when its store fails::

    failing = FailingBackend(MemoryBackend())
    failing.hang("get")

``BackendConformance`` has one test for each promise of the contract that can be tried through the verbs. It needs
pytest. The author of a backend subclasses it in a test module and gives it a backend::

    class TestMine(BackendConformance):
        provides = frozenset()

        @pytest.fixture
        def backend(self):
            return MyBackend()

Each test runs on asyncio, on uvloop and trio where they are installed, and through ``SyncBackend``. For a backend that
runs on some of these only, override the fixture ``runtime``::

        @pytest.fixture(params=["asyncio", "sync"])
        def runtime(self, request):
            return request.param
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from ._clock import FakeClock
from ._failing import FailingBackend

if TYPE_CHECKING:
    from ._conformance import BackendConformance
    from ._runner import FURTHER_VERBS

__all__ = ["FURTHER_VERBS", "BackendConformance", "FailingBackend", "FakeClock"]

_SUITE: Final = (
    "_adapter_verbs", "_arguments", "_optional_verbs", "_required_verbs", "_runner", "_sharing", "_values", "_views",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    # The suite needs pytest; the clock and the failing backend do not.
    if name in ("BackendConformance", "FURTHER_VERBS"):
        import pytest

        # A failed assertion then shows its values. It only works for modules that are not imported yet.
        pytest.register_assert_rewrite(
            *[f"{__name__}.{module}" for module in _SUITE if f"{__name__}.{module}" not in sys.modules]
        )
        from . import _conformance

        return getattr(_conformance, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
