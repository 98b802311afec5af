"""The layers: each module imports only from layers below its own."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import reinhardt_backends

# From the bottom up. A name that ends in a dot is a folder, whose modules may import one another.
LAYERS = (
    "_errors", "_types", "_values.", "_atomic", "_backend", "_memory.",
    "_io.", "_component", "_redis.", "_blocking.",
    "_throttle.", "_cache.", "_session.", "_lock", "_sync.", "asgi.", "testing.", "__init__",
)  # fmt: skip
STDLIB_ONLY = {"_errors"}
# Which layers may import these. The portal asks asyncio whether it is called from its own loop.
FOREIGN = {
    "redis": {"_redis."},
    "hiredis": {"_redis."},
    "asyncio": {"_io.", "_blocking."},
    "trio": {"_io.", "_blocking."},
    "pytest": {"testing."},
    "cachetools": {"_values.", "_memory."},
}
ROOT = Path(reinhardt_backends.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)


def layer_of(parts: tuple[str, ...]) -> str:
    """The layer of a module, given by its path in the package."""
    if parts and f"{parts[0]}." in LAYERS:
        return f"{parts[0]}."
    return parts[0] if parts else "__init__"


def module_parts(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports_of(path: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Line, top-level package and, for imports of ours, the path in the package; TYPE_CHECKING blocks included."""
    package = path.relative_to(ROOT.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0], tuple(alias.name.split(".")[1:])
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            target = (*base, *(node.module.split(".") if node.module else ()))
            if target[0] != ROOT.name:
                yield node.lineno, target[0], ()
            elif len(target) > 1:
                yield node.lineno, target[0], target[1:]
            else:
                # "from . import x": x may be a module, or a name of the package itself.
                for alias in node.names:
                    here = (ROOT / f"{alias.name}.py").exists() or (ROOT / alias.name).is_dir()
                    yield node.lineno, target[0], (alias.name,) if here else ()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_layers_below(path: Path) -> None:
    """A module imports nothing from the layers above its own, and foreign packages only where they belong."""
    layer = layer_of(module_parts(path))
    assert layer in LAYERS, f"{layer} is not in the list of layers"
    for line, package, target in imports_of(path):
        if package == ROOT.name:
            wanted = layer_of(target)
            assert wanted in LAYERS, f"{wanted} is not in the list of layers"
            allowed = LAYERS.index(wanted) < LAYERS.index(layer) or (wanted == layer and layer.endswith("."))
            assert allowed, f"{path.name}:{line} imports {wanted} from {layer}"
        if package in FOREIGN:
            assert layer in FOREIGN[package], f"{path.name}:{line} imports {package}"
        if layer in STDLIB_ONLY:
            assert package in sys.stdlib_module_names, f"{path.name}:{line} imports {package}"


def test_only_from_url_imports_by_name() -> None:
    """importlib, which could go round the order, is used by tables of ours; others only ask whether trio is there."""
    users = {path.name for path in FILES for _, package, _ in imports_of(path) if package == "importlib"}
    assert users <= {"__init__.py", "_backend.py", "_face.py", "_runner.py"}
