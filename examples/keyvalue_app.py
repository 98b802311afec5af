"""A store for FastMCP and other libraries that are built on py-key-value, here under one of its own wrappers.

``pip install "reinhardt-backends[keyvalue]"``, and then ``python examples/keyvalue_app.py``. ``--url
redis://localhost:6379`` keeps the values on a Redis server.
"""

from __future__ import annotations

import argparse

import anyio
from key_value.aio.wrappers.prefix_collections import PrefixCollectionsWrapper

from reinhardt_backends import Backend
from reinhardt_backends.keyvalue import BackendKeyValue


async def main(url: str) -> None:
    async with Backend.from_url(url) as backend:
        store = BackendKeyValue(backend)
        # Each server has collections of its own.
        server = PrefixCollectionsWrapper(store, prefix="weather-server")
        await server.put("ada", {"scopes": ["read"]}, collection="tokens", ttl=3600)
        value, seconds = await server.ttl("ada", collection="tokens")
        print(f"{value}, for {seconds:.0f} s more")
        print("keys:", await store.keys("weather-server__tokens"))
        await store.destroy()
        print("after destroy:", await server.get("ada", collection="tokens"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A store of py-key-value in a backend.")
    parser.add_argument("--url", default="memory://", help="where the values are kept (default: %(default)s)")
    anyio.run(main, parser.parse_args().url)
