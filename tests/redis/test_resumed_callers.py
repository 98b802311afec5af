"""Callers on asyncio go on inside the reader that read their reply: what they do there must not harm the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import selectors
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

pytest.importorskip("redis")

from reinhardt_backends import BackendClosedError, RedisBackend
from reinhardt_backends._io._waiter import Waiter

from ..servers import Server

TaskFactory = Callable[..., Any]


def _python_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
    return asyncio.tasks._PyTask(coroutine, loop=loop, **options)  # type: ignore[attr-defined]


FACTORIES: dict[str, TaskFactory | None] = {"usual": None, "python": _python_task}
if hasattr(asyncio, "eager_task_factory"):
    FACTORIES["eager"] = asyncio.eager_task_factory


class Selector(selectors.DefaultSelector):
    """Counts the turns of its loop."""

    turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        found: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        return found


@contextlib.contextmanager
def _loop(selector: selectors.BaseSelector | None = None) -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        yield runner.get_loop()


def test_a_call_takes_one_turn_of_the_loop(server: Server) -> None:
    selector = Selector()

    async def main() -> int:
        async with RedisBackend(server.url, prefix="turns:") as backend:
            await backend.set("key", "value")
            before = selector.turns
            for _ in range(100):
                assert await backend.get("key", str) == "value"
            return selector.turns - before

    with _loop(selector) as loop:
        assert loop.run_until_complete(main()) < 150


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
def test_every_kind_of_task(server: Server, factory: TaskFactory | None) -> None:
    seen: ContextVar[int] = ContextVar("seen")

    async def caller(backend: RedisBackend, number: int) -> None:
        seen.set(number)
        for turn in range(20):
            await backend.set(f"{number}", turn)
            assert await backend.get(f"{number}", int) == turn
            assert seen.get() == number
            # Since Python 3.14, a task that is written in Python is not the current one to anybody.
            assert asyncio.current_task() is not None or factory is _python_task

    async def main() -> None:
        async with RedisBackend(server.url, prefix="tasks:") as backend:
            await asyncio.gather(*[caller(backend, number) for number in range(20)])
            call = asyncio.ensure_future(backend.get("1", int))
            await asyncio.sleep(0)
            call.cancel("why")
            with pytest.raises(asyncio.CancelledError) as caught:
                await call
            assert caught.value.args == ("why",)
            assert await backend.get("2", int) == 19

    with _loop() as loop:
        loop.set_task_factory(factory)
        loop.run_until_complete(main())


@pytest.mark.parametrize("interrupt", [SystemExit, KeyboardInterrupt])
def test_a_caller_that_ends_the_loop_keeps_nobody_from_their_reply(
    server: Server, interrupt: type[BaseException]
) -> None:
    with _loop() as loop:
        backend = RedisBackend(server.url, prefix="interrupt:")

        async def leave() -> None:
            await backend.get("key", str)
            raise interrupt

        async def start() -> list[asyncio.Task[Any]]:
            await backend.set("key", "value")
            callers = [backend.get("key", str), leave(), backend.get("key", str), backend.get("key", str)]
            return [asyncio.ensure_future(caller) for caller in callers]

        calls = loop.run_until_complete(start())
        with pytest.raises(interrupt):
            loop.run_forever()
        _, waiting = loop.run_until_complete(asyncio.wait(calls, timeout=5))
        assert not waiting
        results = loop.run_until_complete(asyncio.gather(*calls, return_exceptions=True))
        assert [results[0], *results[2:]] == ["value"] * 3
        assert isinstance(results[1], interrupt)
        assert loop.run_until_complete(backend.get("key", str)) == "value"
        loop.run_until_complete(backend.aclose())


def test_a_caller_that_cancels_another_one_whose_reply_has_come(server: Server) -> None:
    async def main() -> None:
        async with RedisBackend(server.url, prefix="cancel:") as backend:
            await backend.set("key", "value")

            async def cancel() -> None:
                await backend.get("key", str)
                victim.cancel()

            # The first reads for all, and goes on last.
            first = asyncio.ensure_future(backend.get("key", str))
            canceller = asyncio.ensure_future(cancel())
            victim = asyncio.ensure_future(backend.increment("counter"))
            last = asyncio.ensure_future(backend.get("key", str))
            await canceller
            with pytest.raises(asyncio.CancelledError):
                await victim
            assert [await first, await last] == ["value", "value"]
            assert await backend.get("counter", int) == 1

    with _loop() as loop:
        loop.run_until_complete(main())


def test_a_caller_that_closes_the_backend(server: Server) -> None:
    async def main() -> list[Any]:
        backend = RedisBackend(server.url, prefix="close:")
        await backend.set("key", "value")

        async def close() -> str:
            value = await backend.get("key", str)
            await backend.aclose()
            return str(value)

        async def again() -> None:
            await backend.get("key", str)
            await backend.get("key", str)

        return list(await asyncio.gather(again(), close(), backend.get("key", str), return_exceptions=True))

    with _loop() as loop:
        again, closer, other = loop.run_until_complete(main())
        assert closer == "value"
        assert again is None or isinstance(again, BackendClosedError)
        assert other == "value" or isinstance(other, BackendClosedError)


def test_in_debug_mode_the_loop_names_the_task_that_is_slow(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    async def slow_caller(backend: RedisBackend) -> None:
        await backend.get("key", str)
        time.sleep(0.3)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.25
        async with RedisBackend(server.url, prefix="debug:") as backend:
            await backend.ping()
            await asyncio.gather(slow_caller(backend), backend.get("key", str))

    with caplog.at_level(logging.WARNING, "asyncio"):
        asyncio.run(main(), debug=True)
    slow = [record.getMessage() for record in caplog.records if "took" in record.getMessage()]
    assert any("slow_caller" in message for message in slow), slow
    assert not any("_on_readable" in message for message in slow), slow


async def _wait(waiter: Waiter) -> None:
    await waiter


def test_a_waiter_that_is_woken_before_it_is_awaited() -> None:
    async def main() -> None:
        waiter = Waiter(asyncio.get_running_loop())
        waiter.wake()
        await waiter
        assert waiter.done()
        assert not waiter.cancel()
        late = Waiter(asyncio.get_running_loop())
        late.is_done = True
        called: list[Any] = []
        late.add_done_callback(called.append)
        assert not called
        await asyncio.sleep(0)
        assert called == [late]

    with _loop() as loop:
        loop.run_until_complete(main())


def test_a_waiter_that_was_cancelled_is_not_woken() -> None:
    async def main() -> None:
        waiter = Waiter(asyncio.get_running_loop())
        task = asyncio.ensure_future(_wait(waiter))
        await asyncio.sleep(0)
        task.cancel()
        waiter.wake()
        with pytest.raises(asyncio.CancelledError):
            await task

    with _loop() as loop:
        loop.run_until_complete(main())


def test_a_waiter_whose_loop_has_closed_is_woken_in_vain() -> None:
    with _loop() as loop:
        waiter = Waiter(loop)
        waiter.add_done_callback(lambda _: None)
    waiter.wake()
    assert waiter.done()
