"""Several calls of one backend at the same time, so that they share a round trip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ._backend import Backend
from ._overloads import T


async def gather(backend: Backend, calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Return the results of several calls of a backend, made at the same time if that saves waiting.

    Raises:
        Exception: What one of them raised, when all have ended.
    """
    if len(calls) < 2 or backend._blocking_twin() is backend:
        return [await call() for call in calls]
    import anyio

    results: dict[int, T] = {}
    errors: list[Exception] = []

    async def run(number: int, call: Callable[[], Awaitable[T]]) -> None:
        try:
            results[number] = await call()
        except Exception as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        for number, call in enumerate(calls):
            group.start_soon(run, number, call)
    if errors:
        try:
            raise errors[0]
        finally:
            # No cycle of error, traceback and frame.
            errors.clear()
    return [results[number] for number in range(len(calls))]
