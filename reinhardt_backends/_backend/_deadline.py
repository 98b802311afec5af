"""``Deadline``: a deadline for the calls of a backend that has none of its own, a user's subclass for example."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from .._errors import BackendTimeoutError, OutcomeUnknownError
from ._backend import Backend
from ._pages import close_iterator
from ._views import READS, View


class Deadline(View):
    """A view that cancels each call of its parent at a deadline.

    ``scan`` and ``clear`` of a namespace have it for each step they take.

    Args:
        parent: A backend whose coroutines can be cancelled.
        seconds: The deadline of one call.
    """

    def __init__(self, parent: Backend, seconds: float) -> None:
        super().__init__(parent)
        self._seconds = seconds

    def __repr__(self) -> str:
        return f"<{self._parent!r} with a timeout of {self._seconds:g} s>"

    async def _call(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        import anyio

        with anyio.move_on_after(self._seconds):
            return await getattr(self._parent, verb)(*args, **kwargs)
        raise self._timed_out(verb, is_read=verb in READS and "renew" not in kwargs)

    def _timed_out(self, verb: str, *, is_read: bool) -> BackendTimeoutError | OutcomeUnknownError:
        timeout = BackendTimeoutError(f"{verb} was cancelled after {self._seconds:g} s")
        if is_read:
            return timeout
        unknown = OutcomeUnknownError(f"{verb} was cancelled after {self._seconds:g} s; it may have been applied")
        unknown.__cause__ = timeout
        return unknown

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return _Steps(self._parent.scan(prefix), self)

    async def wait_until_ready(self, timeout: float) -> None:
        await Backend.wait_until_ready(self, timeout)

    async def aclose(self) -> None:
        await self._parent.aclose()

    async def _clear_prefix(self, prefix: str) -> None:
        if type(self._parent)._clear_prefix is Backend._clear_prefix:
            # Composed of steps, each of which has the deadline.
            await Backend._clear_prefix(self, prefix)
        else:
            await super()._clear_prefix(prefix)

    def _with_timeout(self, seconds: float) -> Backend:
        return self._parent._with_timeout(seconds)


class _Steps:
    """The keys of a scan, each step with a deadline."""

    def __init__(self, keys: AsyncIterator[str], deadline: Deadline) -> None:
        self._keys = keys
        self._deadline = deadline

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        import anyio

        with anyio.move_on_after(self._deadline._seconds):
            return await anext(self._keys)
        raise self._deadline._timed_out("scan", is_read=True)

    async def aclose(self) -> None:
        await close_iterator(self._keys)
