"""limits over a backend: a limit by name, and how much is left of it.

``pip install "reinhardt-backends[limits]"``, and then ``python examples/limits_app.py``. ``--url
redis://localhost:6379`` counts on a Redis server.
"""

from __future__ import annotations

import argparse

from limits import parse
from limits.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

from reinhardt_backends import Backend, SyncBackend
from reinhardt_backends.limits import BackendStorage

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="limits over a backend.")
    parser.add_argument("--url", default="memory://", help="where hits are counted (default: %(default)s)")
    backend = Backend.from_url(parser.parse_args().url)
    storage = BackendStorage(backend=backend)
    storage.reset()
    rate = parse("3/minute")
    for limiter in (FixedWindowRateLimiter(storage), SlidingWindowCounterRateLimiter(storage)):
        hits = [limiter.hit(rate, "ada") for _ in range(5)]
        left = limiter.get_window_stats(rate, "ada").remaining
        print(f"{type(limiter).__name__}: {hits.count(True)} allowed, {hits.count(False)} not, {left} left")
    SyncBackend(backend).close()
