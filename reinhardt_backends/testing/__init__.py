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

Each test runs on asyncio, on uvloop and trio where they are installed, and through ``SyncBackend``. To see the values
of a failed assertion, call ``pytest.register_assert_rewrite("reinhardt_backends.testing")`` in a ``conftest.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._clock import FakeClock
from ._failing import FailingBackend

if TYPE_CHECKING:
    from ._conformance import BackendConformance
    from ._runner import FURTHER_VERBS

__all__ = ["FURTHER_VERBS", "BackendConformance", "FailingBackend", "FakeClock"]


def __getattr__(name: str) -> Any:
    # The suite needs pytest; the clock and the failing backend do not.
    if name in ("BackendConformance", "FURTHER_VERBS"):
        from . import _conformance

        return getattr(_conformance, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
