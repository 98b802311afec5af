"""Every lock and every table of the package that changes at run time, and why each survives a fork and re-entry.

Re-entry: a signal handler or finalizer runs in the middle of any line and may call the backend, so a lock that the same
thread may hold already must be re-entrant, or must never be waited for. Fork: a thread of the parent may hold any lock
at that moment, so in the child each must be new, or must be one that the child does not use.
"""

from __future__ import annotations

import ast
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import reinhardt_backends
from reinhardt_backends._backend._locks import RLock

ROOT = Path(reinhardt_backends.__file__).parent
LOCKS = {"Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier"}
QUEUES = {"SimpleQueue", "Queue", "LifoQueue"}
CACHES = {"lru_cache", "cache", "cached_property"}
CHANGING = {"add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "put", "remove", "setdefault",
            "update", "__setitem__"}  # fmt: skip

HANDLED = {
    "_backend/_logs.py _lock": "re-entrant; new after a fork",
    "_backend/_schemes.py _registered": "single steps of a dict",
    "_blocking/_face.py BackendFace._classes": "filled at import",
    "_blocking/_portal.py Portal._ready": "waited for only until the portal runs; the child makes other portals",
    "_blocking/_portal.py Strand._answers": "SimpleQueue is re-entrant; the child's strands have others",
    "_blocking/_portal.py Strand._first": "never waited for; the child's strands have others",
    "_blocking/_portal.py _inherited": "appended to in the child of a fork only",
    "_blocking/_portal.py _lock": "re-entrant; new after a fork",
    "_blocking/_portal.py _portals": "single steps of a dict; emptied after a fork",
    "_blocking/_portal_backend.py PortalIterator._turn": "never waited for; an iteration does not survive a fork",
    "_cache/_lease.py _kept": "single steps of a dict; emptied after a fork",
    "_cache/_lease.py _pace": "single steps of a list; reset after a fork",
    "_cache/_lease.py _running": "never waited for; new after a fork",
    "_cache/_lease.py _wakes": "SimpleQueue is re-entrant; new after a fork",
    "_cache/_single_flight.py _instances": "changed under the lock; single flights of the child are emptied",
    "_cache/_single_flight.py _lock": "re-entrant; new after a fork",
    "_cache/_stored.py _is_typed_cached": "lru_cache of pure functions: atomic, or computed twice",
    "_component.py _InThread.wait": "a lock of one call, released by others and never waited for by them",
    "_io/_blocking.py BlockingPort._closing": "re-entrant; the child only closes descriptors, by another method",
    "_io/_connect.py call_in_thread": "a lock of one call, released by its thread",
    "_memory/_bounded.py Frequency._changing": "taken only if it is free; new after a fork",
    "_memory/_items.py Items._lock": "re-entrant; new after a fork",
    "_memory/_items.py _instances": "read as a copy after a fork",
    "_redis/_connections.py Node.lock": "re-entrant; new after a fork",
    "_redis/_connections.py _forkable": "single steps of a dict, read as a copy after a fork",
    "_redis/_options.py _redis_py": "cache of a pure function: atomic, or computed twice",
    "_redis/_pool.py Pool._lock": "re-entrant; the child makes another pool",
    "_redis/_pool.py Pool._wait_for_place": "a lock of one call, released by others and never waited for by them",
    "_redis/_cluster_map.py ClusterMap._lock": "re-entrant, and made again in the child",
    "_redis/_health.py Outage._lock": "re-entrant; the child makes another outage",
    "_redis/_sentinel.py Locator._lock": "re-entrant; the child makes another locator",
    "_redis/_scripts.py _SOURCES": "filled at import and by pure functions: written twice is the same",
    "_redis/_scripts.py _STEPS": "filled by a pure function: written twice is the same",
    "_redis/_scripts.py template_of": "lru_cache of a pure function: atomic, or computed twice",
    "_throttle/_lua.py script_for": "lru_cache of a pure function: atomic, or computed twice",
    "_values/_compile.py check_of": "lru_cache of a pure function: atomic, or computed twice",
    "_values/_readers.py _cached_reader": "lru_cache of a pure function: atomic, or computed twice",
    "_values/_untyped.py _cached_check": "lru_cache of a pure function: atomic, or computed twice",
    "_values/_untyped.py is_flat": "lru_cache of a pure function: atomic, or computed twice",
    "django.py _backends": "one setdefault, so the first backend stays; each backend survives a fork by itself",
    "testing/_clock.py FakeClock._lock": "re-entrant; held for one addition",
    "testing/_runner.py ConformanceRunner._withheld": "changed at import only",
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        if "__pycache__" not in path.parts and path.name != "_generate.py":
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def called(node: ast.AST | None) -> str:
    """The name of what a call calls, without its module."""
    function = node.func if isinstance(node, ast.Call) else node
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    found = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [part for one in found for part in (one.elts if isinstance(one, ast.Tuple) else [one])]


def scoped(node: ast.AST, scope: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], ast.AST]]:
    """Every node below ``node`` with the classes and functions that it is in."""
    for child in ast.iter_child_nodes(node):
        yield scope, child
        inner = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        yield from scoped(child, (*scope, child.name) if inner else scope)  # type: ignore[attr-defined]


def locks_in(tree: ast.Module) -> Iterator[str]:
    """Locks and queues, by class and attribute, by name in the module, or by the function that makes them."""
    named: dict[ast.AST, str] = {}
    global_names = {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    for scope, node in scoped(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for target, value in zip(targets(node), values, strict=False):
                if isinstance(target, ast.Attribute) and value is not None:
                    named[value] = f"{scope[0]}.{target.attr}"
                elif isinstance(target, ast.Name) and value is not None and not scope:
                    named[value] = target.id
                elif isinstance(target, ast.Name) and value is not None and target.id in global_names:
                    named[value] = target.id
        elif isinstance(node, ast.Call) and called(node) in LOCKS | QUEUES and _module(node) in {"threading", "queue"}:
            yield named.get(node) or ".".join(scope)


def _module(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        return node.func.value.id
    # Those without a module are ours (``_backend._locks``), or imported by name.
    return {"RLock": "threading"}.get(called(node), "queue" if called(node) in QUEUES else "")


def tables_in(tree: ast.Module) -> Iterator[str]:
    """Names of a module, and attributes of its classes' bodies, whose values are changed; cached functions."""
    level = {name.id for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)
             for name in targets(node) if isinstance(name, ast.Name)}  # fmt: skip
    for cls in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for node in cls.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict | ast.List | ast.Set):
                yield from (f"{cls.name}.{name.id}" for name in targets(node) if isinstance(name, ast.Name))
    for _, node in scoped(tree):
        if isinstance(node, ast.FunctionDef) and {called(one) for one in node.decorator_list} & CACHES:
            yield node.name
        changed: ast.AST | None = None
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            changed = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
            changed = node.func.value
        elif isinstance(node, ast.Global):
            yield from node.names
        if isinstance(changed, ast.Name) and changed.id in level:
            yield changed.id


def test_every_lock_and_table_is_known_and_handled() -> None:
    found = {f"{path} {name}" for path, tree in sources() for name in (*locks_in(tree), *tables_in(tree))}
    assert found - HANDLED.keys() == set(), "say how these survive a fork and re-entry, and test it"
    assert HANDLED.keys() - found == set(), "these are gone"


def test_a_new_one_would_be_found() -> None:
    lock = "import threading\nclass A:\n    def f(self):\n        self.x = threading.Lock()"
    assert list(locks_in(ast.parse(lock))) == ["A.x"]
    table = "names = {}\ndef f(name):\n    names[name] = 1"
    assert set(tables_in(ast.parse(table))) == {"names"}


def test_no_lock_is_used_that_an_interrupt_can_leave_taken() -> None:
    """``with`` over a plain ``threading.RLock`` is not safe from Python 3.14 on."""
    plain = {
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "threading.RLock"
    }
    # It takes its lock without ``with``.
    assert plain == {"_io/_blocking.py"}
    closing = ast.parse((ROOT / "_io/_blocking.py").read_text(encoding="utf-8"))
    used = {
        ast.unparse(item.context_expr)
        for node in ast.walk(closing)
        if isinstance(node, ast.With)
        for item in node.items
    }
    assert not any("_closing" in text for text in used)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer")
def test_an_interrupt_never_leaves_a_lock_taken() -> None:
    class TimeLimit(Exception):
        pass

    def handler(*_: object) -> None:
        raise TimeLimit

    lock = RLock()
    interrupts = 0
    previous = signal.signal(signal.SIGALRM, handler)
    try:
        while interrupts < 200:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002)
                while True:
                    with lock:
                        pass
            except TimeLimit:
                interrupts += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, previous)
    taken: list[bool] = []
    other = threading.Thread(target=lambda: taken.append(lock.acquire(blocking=False)))
    other.start()
    other.join()
    assert taken == [True]
