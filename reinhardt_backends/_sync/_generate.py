"""The generator of the blocking faces beside it: ``python -m reinhardt_backends._sync._generate [--check]``.

Signatures, overloads, decorators and docstrings are cut out of the asynchronous source as they stand, at the positions
that ``ast`` gives, so that type checkers and editors see the real thing. Little changes: ``async`` goes, names such as
``aclose`` and ``AsyncIterator`` get their blocking counterparts, and the body drives the coroutine.

Over memory even that would cost more than the work. ``MemoryBackend`` is written as plain functions under coroutines,
so a subclass of the face calls the plain functions, and another does so for a namespace.

``OUTPUTS`` says which classes get a face. This file needs nothing but the standard library, and runs by its path.
"""

from __future__ import annotations

import ast
import difflib
import re
import sys
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

PACKAGE: Final = Path(__file__).resolve().parent.parent

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


class Target(NamedTuple):
    """A class that gets a blocking face, called ``Sync`` and its name: the file that it is in, and its name."""

    path: str
    name: str


BACKEND: Final = Target("_backend/_backend.py", "Backend")
OPTIONAL: Final = Target("_backend/_optional.py", "OptionalVerbs")
"""The base class of ``Backend`` with the verbs that a subclass may leave out. They are on its face."""
BASE: Final = Target("_blocking/_face.py", "BackendFace")
"""The written part of the face of ``Backend``: its constructor and its documentation."""
MEMORY: Final = Target("_memory/_backend.py", "MemoryBackend")
"""The class whose coroutines only call plain functions."""

OUTPUTS: Final = {
    "_sync/_backend.py": (BACKEND,),
    "_sync/_components.py": (
        Target("_throttle/_throttle.py", "Throttle"),
        Target("_cache/_cache.py", "Cache"),
        Target("_session/_store.py", "SessionStore"),
        Target("_lock/_lock.py", "Lock"),
    ),
}
"""What is written into which file. The components are apart, since not every program needs to load them."""

RENAMED: Final = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
"""Methods with another name on a face."""

SPECIAL: Final = frozenset({"__init__", *RENAMED})
"""Methods of a face whose names begin with an underscore."""

BLOCKING: Final = {
    "AsyncIterator": "Iterator",
    "AsyncFactory": "Factory",
    "CachedDecorator": "SyncCachedDecorator",
    "LimitDecorator": "SyncLimitDecorator",
}
"""Types with another name on a face, from the same modules."""

WHEN_GIVEN: Final = frozenset({"renew"})
"""Arguments that are passed on only where they are given: a user's backend need not take them."""

PASSED: Final = {
    "Backend": "blocking_target({0})",
    "Backend | None": "None if {0} is None else blocking_target({0})",
}
"""How an argument is passed on, by its type: a backend, which may be a face, as one that blocks."""

SECRET: Final = frozenset({"id"})
"""Arguments that no frame may keep while a call runs: a traceback may show the variables of its frames."""

PROVIDED: Final = {
    "BackendFace": "._blocking",
    "Face": "._blocking",
    "Iterator": "collections.abc",
    "MemoryBackend": "._memory._backend",
    "Namespace": "._backend._views",
    "SyncBackend": "._sync._backend",
    "SyncCachedDecorator": "._cache._cached",
    "SyncLimitDecorator": "._throttle._limit",
    "blocking_target": "._blocking",
    "cast": "typing",
    "drive": "._blocking",
    "drive_each": "._blocking",
}
"""Where what the faces use comes from, if the source does not import it."""


class Source:
    """One file of the asynchronous source."""

    def __init__(self, directory: Path, path: str) -> None:
        *self._package, module = path.removesuffix(".py").split("/")
        self.module = "." + ".".join([*self._package, module])
        self.path = path
        self._bytes = (directory / path).read_bytes()
        self.tree = ast.parse(self._bytes)
        self._starts = [0]
        for line in self._bytes.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def find(self, name: str) -> ast.ClassDef:
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node
        raise ValueError(f"{self.path} has no class {name}")

    def span(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        """Return where a node begins and ends; ``ast`` counts columns in bytes."""
        # What was parsed from text has an end.
        stop = self._starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        return self._starts[node.lineno - 1] + node.col_offset, stop

    def cut(self, start: int, end: int, edits: dict[tuple[int, int], str] | None = None) -> str:
        """Return a piece of the source with some spans replaced."""
        parts: list[bytes] = []
        for (begin, stop), text in sorted((edits or {}).items()):
            parts += [self._bytes[start:begin], text.encode()]
            start = stop
        return b"".join([*parts, self._bytes[start:end]]).decode()

    def docstring(self, node: ast.ClassDef | Function, indent: str) -> str:
        has_one = ast.get_docstring(node) is not None
        return f"{indent}{self.cut(*self.span(node.body[0]))}\n" if has_one else ""

    def names(self) -> dict[str, tuple[str, bool]]:
        """Return where each name of the module can be imported from, and whether for type checkers only."""
        found: dict[str, tuple[str, bool]] = {}
        nodes = [(node, False) for node in self.tree.body]
        # The only ``if`` of a module is that of TYPE_CHECKING.
        nodes += [(inner, True) for node in self.tree.body if isinstance(node, ast.If) for inner in node.body]
        for node, checking in nodes:
            if isinstance(node, ast.ImportFrom):
                above = self._package[: len(self._package) + 1 - node.level]
                module = "." + ".".join([*above, *filter(None, [node.module])]) if node.level else str(node.module)
                found |= {alias.name: (module, checking) for alias in node.names}
            elif isinstance(node, ast.ClassDef):
                found[node.name] = (self.module, checking)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {name.id: (self.module, checking) for name in targets if isinstance(name, ast.Name)}
        return found


class Method:
    """One method of the asynchronous source, and what becomes of it.

    Args:
        source: The file that it is in.
        node: The method.
        owner: The name of its class.
        faces: Classes that the face replaces, in annotations, by their faces.
    """

    def __init__(self, source: Source, node: Function, owner: str, faces: dict[str, str]) -> None:
        self.node = node
        self.name = node.name
        self.faces = faces
        self.source = source
        self.owner = owner
        self.decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        # What it returns, without arguments: ``AsyncIterator`` of ``AsyncIterator[str]``.
        self.returns = ast.unparse(node.returns).partition("[")[0] if node.returns else ""

    def text(self) -> str:
        """Return the method of the face."""
        if "overload" in self.decorators:
            return f"{self.signature()} ...\n"
        return f"{self.signature()}\n{self.source.docstring(self.node, ' ' * 8)}        {self.body()}\n\n"

    def signature(self) -> str:
        """Return the decorators and the statement up to its colon."""
        old = f"{'async ' if isinstance(self.node, ast.AsyncFunctionDef) else ''}def {self.name}"
        start, stop = self.source.span(self.node)[0], self.source.span(self.node.body[0])[0]
        edits = {(start, start + len(old)): f"def {RENAMED.get(self.name, self.name)}"}
        annotations = [item.annotation for item in ast.walk(self.node.args) if isinstance(item, ast.arg)]
        for annotation in filter(None, [*annotations, self.node.returns]):
            for name in ast.walk(annotation):
                if isinstance(name, ast.Name) and (new := BLOCKING.get(name.id) or self.faces.get(name.id)):
                    edits[self.source.span(name)] = new
        kept = [text for text in self.decorators if not text.startswith("abstract")]
        header = self.source.cut(start, stop, edits).rstrip()
        return "".join(f"    @{decorator}\n" for decorator in kept) + "    " + header

    def arguments(self, without: frozenset[str] = frozenset()) -> str:
        """Return the arguments as a call passes them on."""
        given = self.node.args
        plain = [(item.arg, item.annotation and ast.unparse(item.annotation)) for item in given.args[1:]]
        parts = [PASSED.get(annotation or "", "{0}").format(name) for name, annotation in plain]
        parts += [f"*{given.vararg.arg}"] if given.vararg else []
        parts += [f"{item.arg}={item.arg}" for item in given.kwonlyargs if item.arg not in without]
        parts += [f"**{given.kwarg.arg}"] if given.kwarg else []
        return ", ".join(parts)

    def body(self) -> str:
        """Return the statements of the method."""
        arguments = self.arguments()
        given = {item.arg for item in ast.walk(self.node.args) if isinstance(item, ast.arg)}
        if self.name == "__init__":
            return f"super().__init__({self.owner}({arguments}))"
        if self.name == "__aenter__":
            return f"{self.call(arguments)}\n        return self"
        if "property" in self.decorators:
            return f"return self._target.{self.name}"
        if "classmethod" in self.decorators:
            # A url or an option may hold a password.
            return self.hiding(given - {"cls"}, f"return cls({self.owner}.{self.name}({{}}))")
        if self.returns in self.faces:
            return f"return {self.faces[self.returns]}(self._backend.{self.name}({arguments}), runtime=self._runtime)"
        if given & SECRET:
            return self.hiding(given & SECRET, f"return {self.call('{}')}")
        if optional := given & WHEN_GIVEN:
            missing = " and ".join(f"{name} is None" for name in optional)
            short = f"return {self.call(self.arguments(WHEN_GIVEN))}"
            return f"if {missing}:\n            {short}\n        return {self.call(arguments)}"
        return f"return {self.call(arguments)}"

    def hiding(self, names: set[str], call: str) -> str:
        """Return the statements that pass these arguments on and keep them out of the frame while ``call`` runs."""
        given = self.arguments().split(", ")
        passed = [re.sub(r"\w+", "hidden.pop()", one) if one.strip("*") in names else one for one in given]
        kept = [one.strip("*") for one in given if one.strip("*") in names]
        return (
            f"hidden: list[Any] = [{', '.join(reversed(kept))}]\n        del {', '.join(kept)}\n"
            f"        {call.format(', '.join(passed))}"
        )

    def call(self, arguments: str) -> str:
        """Return the expression that calls the asynchronous method and drives what it returns."""
        call = f"self._target.{self.name}({arguments})"
        if isinstance(self.node, ast.AsyncFunctionDef):
            return f"drive({call})"
        if self.returns == "AsyncIterator":
            return f"drive_each({call})"
        # What it returns was made for the calling thread, and the asynchronous source cannot say so.
        return f'cast("{BLOCKING[self.returns]}", {call})' if self.returns in BLOCKING else call

    def plain_call(self) -> ast.Call | None:
        """Return the call of a plain function of the object, if that is all this method does.

        A method that returns an asynchronous iterator may wrap the call in one class that makes it asynchronous.
        """
        statement = self.node.body[0]
        call = statement.value if len(self.node.body) == 1 and isinstance(statement, ast.Return) else None
        if self.returns == "AsyncIterator" and isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            call = call.args[0]
        if not isinstance(call, ast.Call) or not ast.unparse(call.func).startswith("self."):
            return None
        return call if all(isinstance(argument, ast.Name) for argument in call.args) else None


def methods(source: Source, node: ast.ClassDef, faces: dict[str, str]) -> list[Method]:
    """Return the methods of a class that its face has."""
    functions = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [
        Method(source, item, node.name, faces)
        for item in functions
        if item.name in SPECIAL or not item.name.startswith("_")
    ]


def write_class(name: str, bases: list[str], docstring: str, parts: list[str]) -> str:
    """Return a class without attributes of its own."""
    doc = docstring and f"{docstring}\n"
    return f"class {name}({', '.join(bases)}):\n{doc}    __slots__ = ()\n\n{''.join(parts).rstrip()}\n"


def component_face(source: Source, node: ast.ClassDef, faces: dict[str, str]) -> str:
    """Return the face of a component. It is made as the component is, also with a ``SyncBackend``."""
    verbs = methods(source, node, {**faces, "Backend": "Backend | SyncBackend"})
    if not any(verb.name == "__init__" and "blocking_target(" in verb.arguments() for verb in verbs):
        raise ValueError(f"{node.name} has no constructor that takes a backend")
    generic = [text for base in node.bases if (text := ast.unparse(base)).startswith("Generic[")]
    wrapped = node.name + "".join(generic).removeprefix("Generic")
    doc = source.docstring(node, " " * 4)
    return write_class(f"Sync{node.name}", [f"Face[{wrapped}]", *generic], doc, [verb.text() for verb in verbs])


def backend_faces(directory: Path, verbs: list[Method]) -> list[str]:
    """Return the face of ``Backend``, and the two that call the plain functions of the memory backend."""
    base = Source(directory, BASE.path)
    source = Source(directory, MEMORY.path)
    names = {verb.name for verb in verbs}
    plain = [(method, method.plain_call()) for method in methods(source, source.find(MEMORY.name), {})]
    calls = [(method, ast.unparse(call)) for method, call in plain if call is not None and method.name in names]
    inside = [
        (method, call.replace("(key", "(self._namespace._full(key)"))
        for method, call in calls
        if "key" in method.arguments().split(", ")
    ]
    face = f"Sync{BACKEND.name}"
    doc = base.docstring(base.find(BASE.name), " " * 4)
    return [
        write_class(face, [BASE.name, f"over={BACKEND.name}"], doc, [verb.text() for verb in verbs]),
        write_class("SyncMemory", [face, f"over={MEMORY.name}"], "", [direct(*one) for one in calls]),
        write_class("SyncMemoryNamespace", [face, "over=Namespace"], "", [direct(*one) for one in inside]),
    ]


def direct(method: Method, call: str) -> str:
    """Return a verb that calls the plain function of the memory backend."""
    method.decorators = []
    return f"{method.signature()}\n        return {call.replace('self.', 'self._memory.', 1)}\n\n"


def write_imports(body: str, known: dict[str, tuple[str, bool]]) -> str:
    """Return an import statement for each name that ``body`` uses and does not define."""
    tree = ast.parse(body)
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - defined
    lines: dict[bool, list[str]] = {False: ["from typing import TYPE_CHECKING"], True: []}
    for name in used & known.keys():
        module, checking = known[name]
        # As a file in the folder ``_sync`` spells it.
        here = module.removeprefix("._sync") if module.startswith("._sync.") else re.sub(r"^\.", "..", module)
        lines[checking].append(f"{'    ' * checking}from {here} import {name}")
    return "\n".join([*sorted(lines[False]), "", "if TYPE_CHECKING:", *sorted(lines[True])])


def generate(directory: Path = PACKAGE, targets: tuple[Target, ...] = (BACKEND,)) -> str:
    """Return the text of a file of faces for the source in ``directory``."""
    faces = {target.name: f"Sync{target.name}" for target in targets}
    known = {name: (module, False) for name, module in PROVIDED.items()}
    paths: list[str] = []
    classes: list[str] = []
    for target in targets:
        source = Source(directory, target.path)
        paths.append(target.path)
        known = source.names() | known
        if target == BACKEND:
            optional = Source(directory, OPTIONAL.path)
            paths += [OPTIONAL.path, MEMORY.path]
            known = optional.names() | known
            verbs = methods(source, source.find(target.name), faces)
            verbs += methods(optional, optional.find(OPTIONAL.name), faces)
            classes += backend_faces(directory, verbs)
        else:
            classes.append(component_face(source, source.find(target.name), faces))
    body = "\n\n".join(classes)
    return (
        f"# Generated from {', '.join(paths)}. Do not edit.\n"
        "# Change those, and run python -m reinhardt_backends._sync._generate\n"
        '"""The blocking faces: what is asynchronous elsewhere, for code that does not await."""\n\n'
        f"from __future__ import annotations\n\n{write_imports(body, known)}\n\n\n{body}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with ``--check`` show what would change, and return the exit status."""
    check = "--check" in (sys.argv[1:] if arguments is None else arguments)
    status = 0
    for name, targets in OUTPUTS.items():
        path, new = PACKAGE / name, generate(PACKAGE, targets)
        old = path.read_bytes().decode() if path.exists() else ""
        if not check:
            path.write_text(new, encoding="utf-8", newline="\n")
        elif old != new:
            both = old.splitlines(keepends=True), new.splitlines(keepends=True)
            sys.stdout.writelines(difflib.unified_diff(*both, name, f"{name}, generated"))
            sys.stderr.write(f"{name} is not what the source makes: run python -m reinhardt_backends._sync._generate\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
