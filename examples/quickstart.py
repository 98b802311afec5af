"""One store, three jobs: a throttle, a cache and sessions on the same backend.

``python examples/quickstart.py`` keeps the keys in memory and runs on asyncio; with ``--trio`` it runs on trio, with
``--url redis://localhost:6379`` it keeps them on a Redis server.

``Throttle``, ``Cache`` and ``SessionStore`` each take a ``Backend`` and do not care where it keeps its keys. Each puts
its own prefix in front of its keys, so they can share one backend.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import sys
import time
from collections.abc import Awaitable, Callable

import anyio
from pydantic import BaseModel

from reinhardt_backends import Backend, BackendError, Cache, Rate, SessionStore, Throttle

WINDOW = 1.2
SESSION_TTL = 0.6


class Forecast(BaseModel):
    city: str
    degrees: int
    sky: str


class Basket(BaseModel):
    items: list[str] = []


async def compute_forecast(city: str) -> Forecast:
    await anyio.sleep(0.25)  # stands for a slow query
    return Forecast(city=city, degrees=-3, sky="snow")


async def throttling(throttle: Throttle) -> None:
    title("Throttle", f"5 calls in {WINDOW:g} s for each address")
    answers = [await throttle.allow("203.0.113.7") for _ in range(8)]
    line(" ".join(map(mark, answers)), f"203.0.113.7 calls 8 times: {sum(answers)} allowed, {answers.count(False)} not")
    line(mark(await throttle.allow("198.51.100.2")), "198.51.100.2 has its own count")


async def caching(forecast: Callable[[str], Awaitable[Forecast]]) -> None:
    title("Cache", "a forecast takes 250 ms to compute, once")
    for source in ("computed", "from the store", "from the store"):
        start = time.perf_counter()
        found = await forecast("Oslo")
        took = (time.perf_counter() - start) * 1000
        line("■" * max(1, round(took / 17)), f"{took:7.2f} ms  {source}: {found.degrees}°, {found.sky}")


async def shopping(sessions: SessionStore[Basket]) -> str:
    title("Session", f"lives for {SESSION_TTL:g} s after the last visit")
    start = time.perf_counter()
    session_id = (await sessions.create(Basket(), user="ada")).id  # the browser keeps it, in a cookie
    for item in ("a lamp", "two chairs", "a kettle"):
        session = await sessions.load(session_id)  # renews the expiry
        if session is None:
            break
        session.data.items.append(item)
        await sessions.save(session)
        line(f"{time.perf_counter() - start:4.1f} s", f"ada takes {item}; basket: {len(session.data.items)}")
        await anyio.sleep(0.25)
    return session_id


async def leaving(sessions: SessionStore[Basket], session_id: str) -> None:
    title("Later", "expired keys are gone; there was nothing to clean up")
    await anyio.sleep(SESSION_TTL + 0.1)
    session = await sessions.load(session_id)
    line(mark(session is not None), "ada's session" + (" has expired" if session is None else " is still there"))


async def show(store: Backend) -> None:
    title("Store", "one backend holds all keys, each with its expiry")
    for key in sorted([key async for key in store.scan()]):
        left = await store.ttl(key)
        if left is not None:
            # The parts of a key between the component's prefix and the name are the component's own.
            first, *_, last = key.split(":")
            line(f"{first}:{last if len(last) < 20 else last[:8] + '…'}", f"{left:6.2f} s")


async def main(url: str) -> None:
    async with Backend.from_url(url) as backend:
        store = backend.namespace("quickstart")
        await store.clear()
        throttle = Throttle(store, Rate(5, WINDOW))
        forecast = Cache(store, ttl=60).cached(key="{city}")(compute_forecast)
        sessions = SessionStore(store, Basket, ttl=SESSION_TTL)

        await throttling(throttle)
        await caching(forecast)
        session_id = await shopping(sessions)
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
