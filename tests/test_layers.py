"""A module imports only from layers below its own, and foreign packages only where they belong."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from . import layers
from .layers import ADAPTERS, FILES, LAYERS, ROOT, imports_of, layer_of, module_parts, private_uses, tree_of

STDLIB_ONLY = {"_errors"}
# Which layers may import these. The portal asks asyncio whether it is called from its own loop.
FOREIGN = {
    "redis": {"_redis/"},
    "hiredis": {"_redis/"},
    "asyncio": {"_io/", "_blocking/"},
    "trio": {"_io/", "_blocking/"},
    "pytest": {"testing/"},
    "cachetools": {"_memory/"},
}


LAYERED = [path for path in FILES if layer_of(module_parts(path)) not in ADAPTERS]


def test_a_module_imports_only_from_layers_below() -> None:
    for path in LAYERED:
        assert_imports_from_below(path)


def assert_imports_from_below(path: Path) -> None:
    layer = layer_of(module_parts(path))
    assert layer in LAYERS, f"{layer} is not in the list of layers"
    for line, package, target in imports_of(path):
        if package == ROOT.name:
            wanted = layer_of(target)
            assert wanted in LAYERS, f"{wanted} is not in the list of layers"
            allowed = LAYERS.index(wanted) < LAYERS.index(layer) or (wanted == layer and layer.endswith("/"))
            assert allowed, f"{path.name}:{line} imports {wanted} from {layer}"
        if package in FOREIGN:
            assert layer in FOREIGN[package], f"{path.name}:{line} imports {package}"
        if layer in STDLIB_ONLY:
            assert package in sys.stdlib_module_names, f"{path.name}:{line} imports {package}"


def test_adapters_of_frameworks_use_public_names_only() -> None:
    adapters = [path for path in FILES if path not in LAYERED]
    assert [use for path in adapters for use in private_uses(path)] == []
    assert [path for path in adapters if path.parent != ROOT] == [], "an adapter is a single module"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from . import Backend, __version__", []),
        ("from reinhardt_backends import Backend", []),
        ("from .asgi import SessionMiddleware\nfrom .authoring import check_ttl", []),
        ("import redis._private\nfrom django._x import y", []),
        ("class A:\n    def f(self):\n        return self._x", []),
        ("from ._redis import RedisBackend", ["_redis.RedisBackend"]),
        ("from . import _errors", ["_errors"]),
        ("from reinhardt_backends._redis import RedisBackend", ["_redis.RedisBackend"]),
        ("import reinhardt_backends._redis", ["reinhardt_backends._redis"]),
        ("def f(backend):\n    return backend._core", ["_core"]),
        ("from .django import Cache", ["django.Cache"]),
    ],
)
def test_private_names_in_an_adapter_are_found(source: str, found: list[str], tmp_path: Path) -> None:
    path = tmp_path / "adapter.py"
    path.write_text(source)
    assert [use.partition(" ")[2] for use in private_uses(path)] == found


@pytest.mark.parametrize(
    "path",
    # `_io` has the seam, and `testing` imports what needs pytest on first use.
    sorted(path for path in ROOT.glob("*/__init__.py") if path.parent.name not in ("_io", "testing")),
    ids=lambda path: path.parent.name,
)
def test_a_folders_init_only_re_exports(path: Path) -> None:
    for node in tree_of(path).body:
        names = [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert is_text or isinstance(node, ast.ImportFrom) or names == ["__all__"], f"{path}:{node.lineno}"


def test_only_tables_of_ours_import_by_name() -> None:
    """importlib, which could go round the order, is used by tables of ours; others only ask what is installed."""
    users = {path.name for path in FILES for _, package, _ in imports_of(path) if package == "importlib"}
    assert users <= {"__init__.py", "_schemes.py", "_portal_backend.py", "_runner.py", "_urls.py"}


def test_the_shape_stays_within_its_limits() -> None:
    """Levels, edges, and the lengths of functions and modules, as ``python -m tests.layers`` prints them."""
    assert max(layers.levels().values()) <= layers.MOST_LEVELS
    assert len(layers.edges()) <= layers.MOST_EDGES
    assert [one for one in layers.longest_functions() if one[0] > layers.LONGEST_FUNCTION] == []
    assert [one for one in layers.largest_modules() if one[0] > layers.LARGEST_MODULE] == []
