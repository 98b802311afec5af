"""What all tests share: how they run asynchronously, and how hypothesis searches."""

from __future__ import annotations

import importlib.util
import os

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("reinhardt_backends.testing")

settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

RUNTIMES = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@pytest.fixture(params=RUNTIMES)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run every test marked ``anyio`` on each runtime that is installed."""
    if request.param != "asyncio" and importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return RUNTIMES[request.param]
