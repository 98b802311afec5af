"""One store, three jobs: a throttle, a cache and a session on the same backend.

``python examples/quickstart.py`` keeps the keys in memory and runs on asyncio; with ``--trio`` it runs on trio, with
``--url redis://localhost:6379`` it keeps them on a Redis server.

The three components below know nothing of where the backend keeps its keys. Each takes a ``Backend`` and uses a few of
its verbs; ``main`` gives each a namespace of one shared backend.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import secrets
import sys
import time
from collections.abc import Awaitable, Callable

import anyio
from pydantic import BaseModel

from reinhardt_backends import Backend, BackendError

# The components


class Throttle:
    """Allow ``limit`` calls a window of ``seconds``, counted for each caller."""

    def __init__(self, backend: Backend, limit: int, seconds: float) -> None:
        self.backend, self.limit, self.seconds = backend, limit, seconds

    async def allow(self, caller: str) -> bool:
        # One atomic step: the first call of a window also sets when the window ends.
        return await self.backend.increment(caller, self.seconds) <= self.limit


class Forecast(BaseModel):
    city: str
    degrees: int
    sky: str


class Cache:
    """Keep what is slow to compute."""

    def __init__(self, backend: Backend, ttl: float) -> None:
        self.backend, self.ttl = backend, ttl

    async def forecast(self, city: str, compute: Callable[[str], Awaitable[Forecast]]) -> Forecast:
        kept = await self.backend.get(city, Forecast)  # Forecast | None, for the type checker as well
        if kept is None:
            kept = await compute(city)
            await self.backend.set(city, kept, self.ttl)
        return kept


class Session(BaseModel):
    user: str
    basket: list[str] = []


class Sessions:
    """Sessions that live for ``ttl`` seconds after the last visit."""

    def __init__(self, backend: Backend, ttl: float) -> None:
        self.backend, self.ttl = backend, ttl

    async def save(self, session_id: str, session: Session) -> None:
        await self.backend.set(session_id, session, self.ttl)

    async def visit(self, session_id: str) -> Session | None:
        return await self.backend.get(session_id, Session, renew=self.ttl)


# What happens


async def throttling(throttle: Throttle) -> None:
    title("Throttle", f"{throttle.limit} calls in {throttle.seconds:g} s for each address")
    answers = [await throttle.allow("203.0.113.7") for _ in range(8)]
    line(" ".join(map(mark, answers)), f"203.0.113.7 calls 8 times: {sum(answers)} allowed, {answers.count(False)} not")
    line(mark(await throttle.allow("198.51.100.2")), "198.51.100.2 has a count of its own")


async def caching(cache: Cache) -> None:
    async def look_outside(city: str) -> Forecast:
        await anyio.sleep(0.25)
        return Forecast(city=city, degrees=-3, sky="snow")

    title("Cache", "a forecast takes 250 ms to compute, once")
    for attempt in ("computed", "from the store", "from the store"):
        start = time.perf_counter()
        forecast = await cache.forecast("Oslo", look_outside)
        took = (time.perf_counter() - start) * 1000
        line("■" * max(1, round(took / 17)), f"{took:7.2f} ms  {attempt}: {forecast.degrees}°, {forecast.sky}")


async def shopping(sessions: Sessions, session_id: str) -> None:
    title("Session", f"lives for {sessions.ttl:g} s after the last visit")
    start = time.perf_counter()
    for thing in ("a lamp", "two chairs", "a kettle"):
        session = await sessions.visit(session_id) or Session(user="ada")
        session.basket.append(thing)
        await sessions.save(session_id, session)
        line(f"{time.perf_counter() - start:4.1f} s", f"{session.user} takes {thing}; basket: {len(session.basket)}")
        await anyio.sleep(0.25)


async def leaving(sessions: Sessions, session_id: str) -> None:
    title("Later", "nothing was deleted, and nobody cleaned up")
    await anyio.sleep(sessions.ttl + 0.1)
    session = await sessions.visit(session_id)
    line(mark(session is not None), "ada's session" + (" has expired" if session is None else " is still there"))


async def show(store: Backend) -> None:
    title("Store", "one backend holds it all, each key with its time")
    for key in sorted({key async for key in store.scan()}):
        left = await store.ttl(key)
        if left is not None:
            # The id of a session is a secret, so no more than its beginning is shown.
            shown = key if not key.startswith("session:") else key[:12] + "…"
            line(f"{shown:22}", f"{left:6.2f} s  {await store.get(key)}")


async def main(url: str) -> None:
    async with Backend.from_url(url) as backend:
        store = backend.namespace("quickstart")
        await store.clear()
        throttle = Throttle(store.namespace("throttle"), limit=5, seconds=1.2)
        cache = Cache(store.namespace("cache"), ttl=60)
        sessions = Sessions(store.namespace("session"), ttl=0.6)
        session_id = secrets.token_urlsafe(16)

        await throttling(throttle)
        await caching(cache)
        await shopping(sessions, session_id)
        await show(store)
        await leaving(sessions, session_id)
        line(mark(await throttle.allow("203.0.113.7")), "203.0.113.7 calls in a new window")
        await store.clear()


# How it looks

WIDTH = 22
COLOURS = {"bold": "1", "green": "32", "red": "31", "dim": "2"}


def paint(text: str, colour: str) -> str:
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if sys.stdout.isatty() else text


def title(name: str, text: str) -> None:
    print(f"\n  {paint(f'{name:9}', 'bold')} {paint(text, 'dim')}")


def mark(good: bool) -> str:
    return "✓" if good else "✗"


def line(left: str, right: str) -> None:
    padding = " " * (WIDTH - len(left))
    print(f"    {left.replace('✓', paint('✓', 'green')).replace('✗', paint('✗', 'red'))}{padding}  {right}", flush=True)


def start() -> None:
    parser = argparse.ArgumentParser(description="A throttle, a cache and a session on one backend.")
    parser.add_argument("--url", default="memory://", help="where the keys are kept (default: %(default)s)")
    parser.add_argument("--trio", action="store_true", help="run on trio instead of asyncio")
    arguments = parser.parse_args()
    if arguments.trio and importlib.util.find_spec("trio") is None:
        parser.error('--trio needs trio: pip install "reinhardt-backends[trio]"')
    # A terminal that lacks a sign gets a question mark instead of a traceback.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    runtime = "trio" if arguments.trio else "asyncio"
    print(f"\n  {paint('One store, three jobs', 'bold')}: {arguments.url.partition('://')[0]}, on {runtime}")
    try:
        anyio.run(main, arguments.url, backend=runtime)
    except (BackendError, ImportError, ValueError) as error:
        sys.exit(f"\n  {type(error).__name__}: {error}")
    print()


if __name__ == "__main__":
    start()
