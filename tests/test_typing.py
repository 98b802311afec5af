"""What type checkers infer: two of them here, all five in ``nox -s typing``."""

from __future__ import annotations

from .type_checkers import marked, reported


def test_mypy_infers_the_api() -> None:
    """mypy --strict reports the marked lines and no others."""
    found, said = reported("mypy")
    assert found == marked(), said


def test_pyright_infers_the_api() -> None:
    """pyright in strict mode reports the marked lines and no others."""
    found, said = reported("pyright")
    assert found == marked(), said
