"""What type checkers infer: two of them here, all five in ``nox -s typing``."""

from __future__ import annotations

from pathlib import Path

from .type_checkers import marked, reported


def test_mypy_infers_the_api(tmp_path: Path) -> None:
    """mypy --strict reports the marked lines and no others."""
    found, said = reported("mypy", "--cache-dir", str(tmp_path))
    assert found == marked(), said


def test_pyright_infers_the_api() -> None:
    """pyright in strict mode reports the marked lines and no others."""
    found, said = reported("pyright")
    assert found == marked(), said
