"""Computations that outlast the cancellation of their caller for some time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def outlasting_cancellation(work: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Await some work. If the caller is cancelled, let the work go on for at most that many seconds, and then raise.

    The work runs in a task of its own, shielded, so that neither a cancel scope nor ``asyncio.Task.cancel`` of the
    caller reaches it. The caller waits for its end.
    """
    import anyio

    ended = anyio.Event()
    scope = anyio.CancelScope(shield=True)
    results: list[T] = []
    errors: list[Exception] = []

    async def run() -> None:
        try:
            with scope:
                results.append(await work())
        except Exception as error:
            errors.append(error)
        finally:
            ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        try:
            await ended.wait()
        except BaseException:
            with anyio.move_on_after(seconds, shield=True):
                await ended.wait()
            scope.cancel()
            raise
    if errors:
        try:
            raise errors[0]
        finally:
            # No cycle of error, traceback and frame.
            errors.clear()
    return results[0]
