"""What type checkers infer: the files in ``typing`` pass mypy and pyright, both strict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

API = Path(__file__).parent / "typing" / "api.py"
FILES = [str(path) for path in sorted(API.parent.glob("*.py"))]
ROOT = API.parent.parent.parent


def test_mypy_infers_the_api(tmp_path: Path) -> None:
    """mypy --strict agrees with every line, and every ignore in it is needed."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "--cache-dir", str(tmp_path), *FILES],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_pyright_infers_the_api() -> None:
    """pyright in strict mode agrees with every line, and every ignore in it is needed."""
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "-p", str(API.parent)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No source files" not in done.stdout
