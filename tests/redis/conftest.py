"""Fixtures for the tests of the Redis connection."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from servers import Server, available, running

RUNTIMES = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(
        ("asyncio", {"use_uvloop": True}),
        id="uvloop",
        marks=pytest.mark.skipif(sys.platform == "win32", reason="no uvloop"),
    ),
    pytest.param(("trio", {}), id="trio"),
]


@pytest.fixture(params=RUNTIMES)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Every asynchronous test runs on each runtime."""
    return request.param


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server for the tests that do it no harm."""
    if not available():
        pytest.skip("no server binary found")
    with running() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that the test may stop, restart or reconfigure."""
    if not available():
        pytest.skip("no server binary found")
    with running() as server:
        yield server
