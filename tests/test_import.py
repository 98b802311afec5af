"""What ``import reinhardt_backends`` loads, beside what anyio and pydantic load anyway."""

from __future__ import annotations

import subprocess
import sys

import pytest

import reinhardt_backends

from .servers import Server

BASE = "import anyio; from pydantic import BaseModel, TypeAdapter"
FORBIDDEN = (
    "redis",
    "hiredis",
    "asyncio",
    "ssl",
    "importlib.metadata",
    "trio",
    "pickle",
    "anyio.from_thread",
    "socket",
    "pytest",
    "uvloop",
)


def loaded(code: str) -> set[str]:
    printed = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"], capture_output=True, text=True, check=True
    ).stdout
    return set(printed.split())


def test_nothing_dear_is_loaded() -> None:
    """No redis, no event loop, no ssl, no metadata, no pickle: nothing that anyio and pydantic do not load."""
    more = loaded(f"{BASE}; import reinhardt_backends") - loaded(BASE)
    dear = {name for name in more if any(name == bad or name.startswith(f"{bad}.") for bad in FORBIDDEN)}
    assert not dear
    assert not {name for name in more if name.startswith(("reinhardt_backends.testing", "reinhardt_backends._redis"))}


def test_memory_needs_no_event_loop() -> None:
    """Using a memory backend through the blocking face loads no event loop either."""
    code = (
        "from reinhardt_backends import MemoryBackend, SyncBackend; b = SyncBackend(MemoryBackend()); "
        "b.set('k', [1], 5); b.get('k', list[int])"
    )
    more = loaded(f"{BASE}; {code}") - loaded(BASE)
    assert not more & {"asyncio", "trio", "anyio.from_thread", "ssl", "redis"}


def test_a_plain_url_needs_no_redis_py(server: Server) -> None:
    """Connecting and scripts do without it; hiredis alone parses. Options in the url are read by redis-py."""
    code = (
        "from reinhardt_backends import RedisBackend, SyncBackend, SyncThrottle; "
        f"b = SyncBackend(RedisBackend({server.url!r})); b.increment('n', 5); SyncThrottle(b, '1/s').hit('k')"
    )
    assert "hiredis" in (modules := loaded(code))
    assert not {name for name in modules if name.partition(".")[0] == "redis"}


def test_without_redis_everything_else_works() -> None:
    """Where redis is not installed, using RedisBackend says what to install, and the rest works."""
    code = """
import sys
sys.modules["redis"] = sys.modules["hiredis"] = None
import reinhardt_backends
from reinhardt_backends import *
backend = MemoryBackend()
SyncBackend(backend).set("k", 1)
for use in (lambda: reinhardt_backends.RedisBackend("redis://localhost"), lambda: Backend.from_url("redis://localhost")):
    try:
        use()
    except ImportError as error:
        assert "pip install" in str(error) and "reinhardt-backends[redis]" in str(error), error
    else:
        raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_public_names_are_there() -> None:
    """Every name of __all__ resolves, sorted by kind, and dir shows it."""
    names = reinhardt_backends.__all__
    assert len(set(names)) == len(names)
    for name in names:
        if name != "RedisBackend":
            assert getattr(reinhardt_backends, name) is not None
    assert set(names) <= set(dir(reinhardt_backends))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = reinhardt_backends.nonsense
