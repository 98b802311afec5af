"""What type checkers need to see the overloads of a verb in its overrides. Nothing here does anything at run time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, cast

from typing_extensions import TypeVar

T = TypeVar("T")
D = TypeVar("D", default=None)
V = TypeVar("V")


def typed_as(verb: V) -> Callable[[Any], V]:
    """Give an override of a verb the overloads of ``verb``, for type checkers. Nothing happens when it runs."""
    return _same


def _same(override: Any) -> Any:
    return override


def abstract_at_run_time(verb: V) -> V:
    """Make a verb abstract, but not for type checkers: some would take every override ``typed_as`` it for abstract."""
    return abstractmethod(cast("Any", verb))  # type: ignore[no-any-return]
