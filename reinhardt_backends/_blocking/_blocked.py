"""A backend that suspends, for code that is driven in the calling thread.

A component that calls functions of the program, as a cache does, should call them in the thread of its caller, so it
cannot run in the portal as a whole. It is driven, and each verb goes to the portal by itself: the verbs here are
coroutines that block until the portal is done, and never suspend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from .._backend import Backend
from ._face import Runner


def blocked(backend: Backend, runner: Runner) -> Backend:
    """Return an object with the verbs of a backend that never suspend; it has nothing else of a ``Backend``."""
    return cast("Backend", _Blocked(backend, runner))


class _Blocked:
    def __init__(self, backend: Backend, runner: Runner) -> None:
        self._backend = backend
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        verb = getattr(self._backend, name)
        runner = self._runner

        async def call(*args: Any, **kwargs: Any) -> Any:
            return runner.call(lambda: verb(*args, **kwargs))

        setattr(self, name, call)
        return call
