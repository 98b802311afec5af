"""The shape of the package: its layers, what imports what, and how long things are.

``python -m tests.layers`` prints it and fails where a limit is exceeded; ``nox -s layout`` does the same.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

# From the bottom up. A name that ends in a slash is a folder, whose modules may import one another.
LAYERS = (
    "_errors", "_types", "_values/", "_backend/", "_memory/",
    "_io/", "_component", "_redis/", "_blocking/",
    "_throttle/", "_cache/", "_session/", "_lock/", "_sync/", "authoring", "asgi/", "testing/", "__init__",
)  # fmt: skip

# One layer above all others. Each is a single module that joins the package to a framework and imports only public
# names, so its edges say nothing about the layers below and are not counted.
ADAPTERS = frozenset({
    "django", "django_values", "django_views", "fastapi", "flask", "flask_caching", "keyvalue", "limits", "limits_aio",
    "limits_windows", "litestar", "otel",
})  # fmt: skip

_OWN = {"self", "cls"}  # private attributes of these are the class's own

ROOT = Path(__file__).resolve().parent.parent / "reinhardt_backends"
FILES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)
GENERATED = {ROOT / "_sync" / "_backend.py", ROOT / "_sync" / "_components.py"}

MOST_LEVELS = 7
MOST_EDGES = 69
LONGEST_FUNCTION = 50
LARGEST_MODULE = 500


class Import(NamedTuple):
    """One import: its line, the top-level package, and for one of ours the path inside the package."""

    line: int
    package: str
    target: tuple[str, ...]


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a module, which is parsed once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def layer_of(parts: tuple[str, ...]) -> str:
    """Return the layer of a module, given by its path in the package."""
    if parts and f"{parts[0]}/" in LAYERS:
        return f"{parts[0]}/"
    return parts[0] if parts else "__init__"


def module_parts(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


@cache
def imports_of(path: Path) -> list[Import]:
    """Return every import of a module; those in functions and in TYPE_CHECKING blocks included."""
    return list(_imports_of(path))


def _imports_of(path: Path) -> Iterator[Import]:
    package = path.relative_to(ROOT.parent).parent.parts
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name.partition(".")[0], tuple(alias.name.split(".")[1:]))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            target = (*base, *(node.module.split(".") if node.module else ()))
            if target[0] != ROOT.name:
                yield Import(node.lineno, target[0], ())
            elif len(target) > 1:
                yield Import(node.lineno, target[0], target[1:])
            else:
                # "from . import x": x may be a module, or a name of the package itself.
                for alias in node.names:
                    here = (ROOT / f"{alias.name}.py").exists() or (ROOT / alias.name).is_dir()
                    yield Import(node.lineno, target[0], (alias.name,) if here else ())


def private_uses(path: Path) -> Iterator[str]:
    """Yield what a module imports or reads of the package beyond its public names; dunder names are public."""
    for node in ast.walk(tree_of(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.partition(".")[0] == ROOT.name]
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").partition(".")[0] == ROOT.name):
            module = (node.module or "").split(".")
            inside = module if node.level else module[1:]
            names = [".".join([*filter(None, inside), alias.name]) for alias in node.names]
            # What does not fit into one module is in others that begin with the same word.
            word = path.stem.partition("_")[0]
            others = {name for name in ADAPTERS if name.partition("_")[0] != word}
            yield from (f"{path.name}:{node.lineno} {name}" for name in names if name.partition(".")[0] in others)
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in _OWN):
            names = [node.attr]
        for name in names:
            if any(part.startswith("_") and not part.endswith("__") for part in name.split(".")):
                yield f"{path.name}:{node.lineno} {name}"


def edges() -> set[tuple[str, str]]:
    """Return which layer imports which other one; the adapters are left out."""
    return {
        (layer_of(module_parts(path)), layer_of(found.target))
        for path in FILES
        if layer_of(module_parts(path)) not in ADAPTERS
        for found in imports_of(path)
        if found.package == ROOT.name and layer_of(found.target) != layer_of(module_parts(path))
    }


def levels() -> dict[str, int]:
    """Return the level of each layer: one more than the highest that it imports."""
    found: dict[str, int] = {}
    imported = edges()
    for layer in LAYERS:
        found[layer] = 1 + max((found.get(below, 0) for above, below in imported if above == layer), default=0)
    return found


def functions(path: Path) -> Iterator[tuple[int, str]]:
    """Yield length and name of each function of a module; its docstring does not count."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            last = node.body[-1].end_lineno or node.lineno
            doc = node.body[0] if ast.get_docstring(node) is not None else None
            text = 0 if doc is None else (doc.end_lineno or doc.lineno) - doc.lineno + 1
            yield last - node.lineno + 1 - text, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def longest_functions() -> list[tuple[int, str]]:
    """Return every function of the written modules, the longest first."""
    return sorted((one for path in FILES if path not in GENERATED for one in functions(path)), reverse=True)


def largest_modules() -> list[tuple[int, str]]:
    """Return every written module with its number of lines, the largest first."""
    lines = [(len(path.read_text(encoding="utf-8").splitlines()), path) for path in FILES if path not in GENERATED]
    return sorted(((count, str(path.relative_to(ROOT))) for count, path in lines), reverse=True)


def main() -> int:
    """Print the shape and return how many limits are exceeded."""
    by_layer = levels()
    for level in range(1, max(by_layer.values()) + 1):
        print(f"level {level}: {', '.join(layer for layer in LAYERS if by_layer[layer] == level)}")
    function, module = longest_functions()[0], largest_modules()[0]
    figures = (
        ("modules and folders at the top", len(LAYERS), None),
        ("levels", max(by_layer.values()), MOST_LEVELS),
        ("import edges between them", len(edges()), MOST_EDGES),
        (f"longest function, lines ({function[1]})", function[0], LONGEST_FUNCTION),
        (f"largest module, lines ({module[1]})", module[0], LARGEST_MODULE),
    )
    exceeded = 0
    for what, value, limit in figures:
        too_much = limit is not None and value > limit
        exceeded += too_much
        print(f"{what}: {value}{'' if limit is None else f' (at most {limit})'}{'  TOO MUCH' if too_much else ''}")
    return exceeded


if __name__ == "__main__":
    sys.exit(main())
