"""Every example runs as a reader would run it, and says what it is there to show."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from reinhardt_backends import Backend, BackendClosedError
from reinhardt_backends.testing import BackendConformance, FakeClock

from .extent import only_on

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"

SAYS = {
    "quickstart.py": ["5 allowed, 3 not", "from the store: -3°, snow", "basket: 3", "cache:Oslo", "expired"],
    "typed_values.py": ["paid by Card", "datetime.date(2024, 3, 14)", "not valid as int", "JSON has no NaN"],
    "blocking_script.py": ["40 orders done, each once"],
    "observed.py": ["span    throttle by gcra", "db.client.operation.duration", "cache, hit", "throttle, denied"],
    "custom_backend.py": ["2 visit(s), ['en', 'ja']", "'theme': 'dark'"],
}
RUNS = [(example, "") for example in SAYS] + [
    (example, "--trio") for example in SAYS if example != "blocking_script.py"
]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program with warnings as errors and nothing in its way, and return what it said."""
    return subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(("example", "options"), RUNS, ids=[" ".join(one).strip() for one in RUNS])
def test_an_example_runs_and_shows_its_point(example: str, options: str) -> None:
    done = run(str(EXAMPLES / example), *options.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert [words for words in SAYS[example] if words not in done.stdout] == []


def test_every_example_is_run() -> None:
    # Those that serve have test modules of their own.
    assert {path.name for path in EXAMPLES.glob("*.py") if not path.stem.endswith("_app")} == set(SAYS)


def test_quickstart_says_which_urls_there_are() -> None:
    done = run(str(EXAMPLES / "quickstart.py"), "--url", "carrier-pigeon://loft")
    assert done.returncode == 1
    assert "memory://" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_benchmark_runs() -> None:
    done = run("tests/bench/bench_memory.py", "--rounds", "1", "--keys", "2000", "--calls", "100")
    assert (done.returncode, done.stderr) == (0, "")
    assert "memory back after 2,000 keys expired" in done.stdout


class TestCustomBackend(BackendConformance):
    """The backend of the example keeps the contract, as far as six verbs go."""

    provides = frozenset()
    tick = 1.0
    runtime = only_on("asyncio", "sync")

    @pytest.fixture
    def backend(self) -> Backend:
        specification = importlib.util.spec_from_file_location("custom_backend", EXAMPLES / "custom_backend.py")
        assert specification is not None
        assert specification.loader is not None
        example = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(example)
        self._clock = FakeClock()
        backend: Backend = example.SqliteBackend(":memory:", clock=self._clock)
        return backend

    async def advance(self, seconds: float) -> None:
        self._clock.advance(seconds)

    @pytest.mark.anyio
    async def test_each_verb_of_its_own_is_refused_once_it_is_closed(self, backend: Backend) -> None:
        await backend.set("k", 1)
        await backend.aclose()
        await backend.aclose()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: backend.set("k", 1),
            lambda: backend.get("k"),
            lambda: backend.delete("k"),
            lambda: backend.exists("k"),
            lambda: backend.increment("k"),
            backend.clear,
            backend.ping,
        ]
        for call in calls:
            with pytest.raises(BackendClosedError):
                await call()
