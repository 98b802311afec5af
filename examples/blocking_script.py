"""The same verbs without ``await``: a script with threads, and no event loop anywhere.

Run it with ``python examples/blocking_script.py``, or with ``--url redis://localhost:6379`` after it.

Eight threads work through a list of orders. They share one backend: it hands out each order once, remembers what was
computed already, and counts.
"""

from __future__ import annotations

import argparse
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

from reinhardt_backends import SyncBackend

CUSTOMERS = ("ada", "grace", "edsger", "barbara")


def digest_of(store: SyncBackend, customer: str) -> str:
    """Return what is slow to compute, from the store if it is there."""
    kept = store.get(f"digest:{customer}", str)
    if kept is None:
        store.increment("computed")
        kept = hashlib.pbkdf2_hmac("sha256", customer.encode(), b"salt", 20_000).hex()
        store.set(f"digest:{customer}", kept, 60)
    return kept


def work(store: SyncBackend, number: int) -> str | None:
    """Handle one order, unless another thread took it; return the name of the thread that did."""
    worker = threading.current_thread().name
    if not store.add(f"taken:{number}", worker, 60):
        return None
    digest_of(store, CUSTOMERS[number % len(CUSTOMERS)])
    store.increment(f"done:{worker}")
    return worker


def main(url: str) -> None:
    with SyncBackend.from_url(url) as backend:
        store = backend.namespace("orders")
        store.clear()
        # Every order is handed to the threads twice, and done once.
        with ThreadPoolExecutor(8, thread_name_prefix="worker") as pool:
            handled = [name for name in pool.map(lambda number: work(store, number), [*range(40), *range(40)]) if name]
        print(f"{len(handled)} orders done, each once, by {len(set(handled))} threads")
        print(f"{store.get('computed', int)} digests computed for {len(CUSTOMERS)} customers and 40 orders")
        for key in sorted(store.scan("done:")):
            print(f"  {key.removeprefix('done:'):9} {'■' * store.get(key, int, default=0)}")
        store.clear()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Threads that share one backend.")
    parser.add_argument("--url", default="memory://", help="where the keys are kept (default: %(default)s)")
    main(parser.parse_args().url)
