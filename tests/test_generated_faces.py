"""The generator of the blocking faces."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reinhardt_backends._sync import _generate

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "reinhardt_backends"

TOY = '''
from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar, overload

from ._backend import Backend

T = TypeVar("T")


class Toy:
    """A component over a backend."""

    limit = 5

    def __init__(self, backend: Backend, prefix: str = "toy", *, step: int = 1) -> None:
        """Take a backend."""
        self._backend = backend
        self._prefix = prefix
        self._step = step

    @property
    def prefix(self) -> str:
        """The beginning of its keys."""
        return self._prefix

    @overload
    async def hit(self, key: str) -> int: ...
    @overload
    async def hit(self, key: str, wrap: type[T]) -> T: ...
    async def hit(self, key: str, wrap: Any = int) -> Any:
        """Count a hit."""
        return wrap(await self._backend.increment(f"{self._prefix}:{key}", by=self._step))

    def keys(
        self,
        *prefixes: str,
    ) -> AsyncIterator[str]:
        """Iterate over its keys."""
        return self._keys()

    async def _keys(self) -> AsyncIterator[str]:
        async for key in self._backend.scan(self._prefix):
            yield key

    async def __aenter__(self) -> Toy:
        """Enter."""
        await self.hit("entered")
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        """Leave."""
        await self.hit("left")
'''

USE_TOY = """
from copied._backend import Backend
from copied._memory import MemoryBackend
from copied._sync._backend import SyncBackend, SyncToy
import anyio, inspect, threading

class Suspending(MemoryBackend):
    async def increment(self, *args, **kwargs):
        await anyio.sleep(0)
        return await super().increment(*args, **kwargs)

for backend in (MemoryBackend(), SyncBackend(MemoryBackend()), Suspending(), SyncBackend(Suspending())):
    before = threading.active_count()
    toy = SyncToy(backend, "t", step=3)
    assert toy.prefix == "t"
    assert (toy.hit("k"), toy.hit("k", str)) == (3, "6")
    assert list(toy.keys()) == ["t:k"]
    assert sorted(toy.keys("unused")) == ["t:k"]
    with toy as entered:
        assert entered is toy
    assert (toy.hit("entered"), toy.hit("left")) == (6, 6)
    assert not (type(backend) is MemoryBackend and threading.active_count() > before)

assert str(inspect.signature(SyncToy)) == (
    "(backend: 'Backend | SyncBackend', prefix: 'str' = 'toy', *, step: 'int' = 1) -> 'None'"
)
assert SyncToy.__doc__ == "A component over a backend."
assert SyncToy.hit.__doc__ == "Count a hit."
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package's own files, to be changed."""
    copied = tmp_path / "copied"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    return copied


def generator(package: Path, *arguments: str, **environment: str) -> Any:
    """Run the generator by its path, with nothing but the standard library to import."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(package / "_sync/_generate.py"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_committed_file_is_what_the_source_makes() -> None:
    done = generator(PACKAGE, "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_runs_as_a_module_too() -> None:
    command = [sys.executable, "-m", "reinhardt_backends._sync._generate", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "tamper",
    [
        lambda text: text + "\n",
        lambda text: text.replace("-> bool", "-> int", 1),
        lambda text: text.replace("Atomic.", "Atomic!", 1),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text[: len(text) // 2],
        lambda text: "",
    ],
)
def test_check_fails_with_a_diff_on_any_change_and_changes_nothing(copy: Path, tamper: Callable[[str], str]) -> None:
    output = copy / "_sync/_backend.py"
    changed = tamper(output.read_text(encoding="utf-8")).encode()
    output.write_bytes(changed)
    done = generator(copy, "--check")
    assert done.returncode == 1
    assert done.stdout.startswith("--- _sync/_backend.py\n+++ _sync/_backend.py, generated\n@@ ")
    assert "run python -m reinhardt_backends._sync._generate" in done.stderr
    assert output.read_bytes() == changed


def test_check_fails_if_there_is_no_file(copy: Path) -> None:
    (copy / "_sync/_backend.py").unlink()
    assert generator(copy, "--check").returncode == 1


def test_a_change_of_the_source_shows_in_the_diff(copy: Path) -> None:
    change(copy / "_backend/_backend.py", "Return whether ``key`` is live.", "Say whether ``key`` is live.")
    done = generator(copy, "--check")
    assert done.returncode == 1
    assert (
        '-        """Return whether ``key`` is live."""\n+        """Say whether ``key`` is live."""\n' in done.stdout
    )
    assert generator(copy).returncode == 0
    assert generator(copy, "--check").returncode == 0


def test_it_writes_the_same_every_time(copy: Path) -> None:
    written = set()
    for seed in ("1", "2", "3"):
        (copy / "_sync/_backend.py").unlink()
        done = subprocess.run(
            [sys.executable, "-S", str(copy / "_sync/_generate.py")],
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": "C"},
            check=False,
        )
        assert done.returncode == 0
        written.add((copy / "_sync/_backend.py").read_bytes())
    assert len(written) == 1


def test_the_file_says_where_it_comes_from() -> None:
    head = (PACKAGE / "_sync/_backend.py").read_text(encoding="utf-8").splitlines()[:2]
    assert head[0].startswith("# Generated from _backend/_backend.py, _backend/_optional.py, _memory/_backend.py")
    assert "Do not edit" in head[0]
    assert "python -m reinhardt_backends._sync._generate" in head[1]


def test_over_memory_every_verb_calls_a_plain_function() -> None:
    tree = ast.parse((PACKAGE / "_sync/_backend.py").read_text(encoding="utf-8"))
    backend, memory, namespace = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    names = {node.name for node in backend.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"}
    fast = {node.name for node in memory.body if isinstance(node, ast.FunctionDef)}
    assert names - fast == {"from_url", "namespace", "observed", "stats", "with_timeout", "wait_until_ready"}
    assert fast <= names
    keyed = {node.name for node in namespace.body if isinstance(node, ast.FunctionDef)}
    many = {"get_many", "set_many", "delete_many", "clear", "scan", "ping", "close", "time"}
    assert keyed == fast - many


def test_a_verb_that_does_more_than_call_a_plain_function_is_driven(copy: Path) -> None:
    change(
        copy / "_memory/_backend.py",
        "        return self._exists(key)",
        "        found = self._exists(key)\n        return found",
    )
    assert "_exists" not in _generate.generate(copy)
    assert "_delete" in _generate.generate(copy)


def test_a_component_gets_a_face_by_one_line_in_the_table(copy: Path) -> None:
    (copy / "_toy.py").write_text(TOY, encoding="utf-8")
    text = _generate.generate(copy, (_generate.BACKEND, _generate.Target("_toy.py", "Toy")))
    (copy / "_sync/_backend.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", USE_TOY],
        cwd=copy.parent,
        env={**os.environ, "PYTHONPATH": str(copy.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "    @overload\n    def hit(self, key: str, wrap: type[T]) -> T: ...\n    def hit(" in text
    assert "limit = 5" not in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class Toy:", "class Other:", r"_toy\.py has no class Toy"),
        ("backend: Backend, prefix", "backend: str, prefix", "no constructor that takes a backend"),
        ("    def __init__", "    def build", "no constructor that takes a backend"),
    ],
)
def test_a_source_that_cannot_be_cut_is_an_error_that_says_where(copy: Path, old: str, new: str, message: str) -> None:
    (copy / "_toy.py").write_text(TOY, encoding="utf-8")
    change(copy / "_toy.py", old, new)
    with pytest.raises(ValueError, match=message):
        _generate.generate(copy, (_generate.BACKEND, _generate.Target("_toy.py", "Toy")))


def test_text_that_is_not_ascii_is_cut_at_the_right_place(copy: Path) -> None:
    change(copy / "_backend/_backend.py", "Return whether ``key`` is live.", "Return whether ``key`` lives; ¿ß?.")
    change(copy / "_backend/_optional.py", 'prefix: str = ""', 'prefix: str = "ä"')
    text = _generate.generate(copy)
    assert '"""Return whether ``key`` lives; ¿ß?."""\n' in text
    assert 'def scan(self, prefix: str = "ä") -> Iterator[str]:' in text
    ast.parse(text)
