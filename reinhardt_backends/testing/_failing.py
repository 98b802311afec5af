"""A backend that fails when a test says so."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Literal, NamedTuple, TypeVar

import anyio

from .._backend import READS, Backend, View
from .._errors import BackendConnectionError, BackendError, BackendTimeoutError, OutcomeUnknownError

T = TypeVar("T")

_POLL: Final = 0.005


class _Fault(NamedTuple):
    kind: Literal["fails", "hangs", "loses replies"]
    verbs: tuple[str, ...]
    error: BackendError | None = None


class FailingBackend(View):
    """A view of a backend whose calls fail, hang or lose their replies, for tests of what an application does then.

    At first every call is passed on. ``fail``, ``hang`` and ``lose_replies`` each replace what was asked for before,
    and ``heal`` ends it::

        failing = FailingBackend(MemoryBackend())
        cache = Cache(failing, ttl=60, on_error="miss")
        failing.fail()
        ...
        failing.heal()

    The decisions of throttles and locks are no verbs but atomic steps, which only the faults of all verbs affect.

    Args:
        backend: The backend that does the work.
        timeout: How long a call hangs, in seconds, as the ``timeout`` of ``RedisBackend``.
    """

    __module__ = "reinhardt_backends.testing"  # where users import it from

    def __init__(self, backend: Backend, *, timeout: float = 5.0) -> None:
        super().__init__(backend)
        self._timeout = timeout
        self._fault: _Fault | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {self._parent!r} that {self._fault.kind if self._fault else 'works'}>"

    def fail(self, *verbs: str, error: BackendError | None = None) -> None:
        """Let calls raise and change nothing.

        Args:
            *verbs: The names of the verbs that do; all if there is none.
            error: What they raise; a ``BackendConnectionError`` by default.
        """
        self._begin(_Fault("fails", verbs, error))

    def hang(self, *verbs: str) -> None:
        """Let calls hang, as with a server that is stopped.

        After ``timeout`` seconds reads raise ``BackendTimeoutError`` and writes, which are not made,
        ``OutcomeUnknownError``. A call that still hangs when ``heal`` is called is passed on.
        """
        self._begin(_Fault("hangs", verbs))

    def lose_replies(self, *verbs: str) -> None:
        """Let calls be made, and raise as if the connection had broken before the reply came.

        Reads raise ``BackendConnectionError`` and writes, which are made, ``OutcomeUnknownError``.
        """
        self._begin(_Fault("loses replies", verbs))

    def heal(self) -> None:
        """Pass calls on again."""
        self._fault = None

    def _begin(self, fault: _Fault) -> None:
        for verb in fault.verbs:
            if verb.startswith("_") or not callable(getattr(Backend, verb, None)):
                raise ValueError(f"there is no verb {verb!r}")
        self._fault = fault

    async def _call(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        return await self._through_fault(verb, lambda: super(FailingBackend, self)._call(verb, *args, **kwargs))

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return _FailingScan(self, super().scan(prefix))

    async def aclose(self) -> None:
        await self._parent.aclose()

    async def _through_fault(self, verb: str, call: Callable[[], Awaitable[T]]) -> T:
        fault = self._fault_of(verb)
        if fault is None:
            return await call()
        if fault.kind == "fails":
            raise fault.error or BackendConnectionError(f"{verb} fails, as the test has asked for")
        if fault.kind == "loses replies":
            await call()
            raise _unanswered(verb, BackendConnectionError(f"the reply to {verb} is lost, as the test has asked for"))
        until = time.monotonic() + self._timeout
        while self._fault_of(verb) is fault:
            if time.monotonic() >= until:
                raise _unanswered(verb, BackendTimeoutError(f"{verb} hangs, as the test has asked for"))
            await anyio.sleep(_POLL)
        return await self._through_fault(verb, call)

    def _fault_of(self, verb: str) -> _Fault | None:
        fault = self._fault
        return fault if fault is not None and (not fault.verbs or verb in fault.verbs) else None


def _unanswered(verb: str, cause: BackendConnectionError) -> BackendError:
    if verb in READS:
        return cause
    unknown = OutcomeUnknownError(f"{verb} may have been applied: {cause}")
    unknown.__cause__ = cause
    return unknown


class _FailingScan:
    """The keys of a scan, each of which may fail."""

    def __init__(self, failing: FailingBackend, keys: AsyncIterator[str]) -> None:
        self._failing = failing
        self._keys = keys

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        return await self._failing._through_fault("scan", lambda: anext(self._keys))
