"""The whole suite, as its users see it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from .._backend import Backend
from ._adapter_verbs import AdapterVerbs
from ._arguments import Terms
from ._optional_verbs import FurtherVerbs
from ._required_verbs import SixVerbs
from ._runner import FURTHER_VERBS
from ._sharing import Sharing
from ._values import Values
from ._views import Views


class BackendConformance(Terms, SixVerbs, FurtherVerbs, AdapterVerbs, Values, Sharing, Views):
    """What every backend must pass. Subclass it as ``Test...`` and override what follows.

    Attributes:
        provides: The verbs beyond the first six that the backend provides, of ``FURTHER_VERBS``; the others must
            raise ``UnsupportedOperationError``. ``"aclose"`` says that a closed backend refuses every verb.
        tick: A short time in seconds, of which tests wait a few: long enough for some verbs. Where ``advance`` moves
            a fake clock it may be anything, such as 1.
    """

    __module__ = "reinhardt_backends.testing"  # where users import it from

    provides: ClassVar[frozenset[str]] = FURTHER_VERBS
    tick: ClassVar[float] = 0.02

    @pytest.fixture
    def backend(self) -> Iterator[Backend] | Backend:
        """Return, or yield, a backend with no keys in it. Each test enters it with ``async with``, and so closes it."""
        raise NotImplementedError("override the fixture 'backend' of BackendConformance")

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass for the backend: wait, by default; with a fake clock, advance it."""
        await super().advance(seconds)
