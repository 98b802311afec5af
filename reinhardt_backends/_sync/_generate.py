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
from collections.abc import Iterator
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

BLOCKING: Final = {
    "AsyncIterator": "Iterator",
    "AsyncFactory": "Factory",
    "CachedDecorator": "SyncCachedDecorator",
    "LimitDecorator": "SyncLimitDecorator",
}
"""Types with another name on a face, from the same modules."""

WHEN_GIVEN: Final = frozenset({"renew"})
"""Arguments that are passed on only where they are given: a user's backend need not take them."""

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


class GeneratorError(Exception):
    """The source is not written in a way that can be cut."""


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
        raise GeneratorError(f"{self.path} has no class {name}")

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
        for node, checking in _statements(self.tree.body):
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


def _statements(body: list[ast.stmt], checking: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    for node in body:
        yield node, checking
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _statements(node.body, checking=True)


class Method:
    """One method of the asynchronous source, and what becomes of it.

    Args:
        source: The file that it is in.
        node: The method.
        faces: Classes that the face replaces, in annotations, by their faces.
    """

    def __init__(self, source: Source, node: Function, faces: dict[str, str]) -> None:
        self.node = node
        self.name = node.name
        self.faces = faces
        self.source = source
        self.source_class = next(iter(faces), "")
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
        if self.source.cut(start, start + len(old)) != old:
            raise GeneratorError(f"{self.source.module}:{self.node.lineno}: expected {old!r}")
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
        parts = [self.passed(item) for item in given.args if item.arg not in {"self", "cls"}]
        parts += [f"*{given.vararg.arg}"] if given.vararg else []
        parts += [f"{item.arg}={item.arg}" for item in given.kwonlyargs if item.arg not in without]
        parts += [f"**{given.kwarg.arg}"] if given.kwarg else []
        return ", ".join(parts)

    def passed(self, item: ast.arg) -> str:
        """Return an argument as it is passed on: a backend, which may be a face, as one that blocks."""
        annotation = ast.unparse(item.annotation) if item.annotation else ""
        if annotation == "Backend":
            return f"blocking_target({item.arg})"
        if annotation == "Backend | None":
            return f"None if {item.arg} is None else blocking_target({item.arg})"
        return item.arg

    def body(self) -> str:
        arguments = self.arguments()
        if self.name == "__aenter__":
            return f"{self.call(arguments)}\n        return self"
        if "property" in self.decorators:
            return f"return self._target.{self.name}"
        if "classmethod" in self.decorators:
            # A url or an option may hold a password.
            names = arguments.replace("*", "").split(", ")
            hidden = re.sub(r"\w+", "hidden.pop()", arguments)
            return (
                f"hidden: list[Any] = [{', '.join(reversed(names))}]\n        del {', '.join(names)}\n"
                f"        return cls({self.source_class}.{self.name}({hidden}))"
            )
        if self.returns in self.faces:
            return f"return {self.faces[self.returns]}(self._backend.{self.name}({arguments}), runtime=self._runtime)"
        given = {item.arg for item in ast.walk(self.node.args) if isinstance(item, ast.arg)}
        if secret := given & SECRET:
            (name,) = secret
            hidden = ", ".join("hidden.pop()" if one == name else one for one in arguments.split(", "))
            return f"hidden = [{name}]\n        del {name}\n        return {self.call(hidden)}"
        if optional := given & WHEN_GIVEN:
            missing = " and ".join(f"{name} is None" for name in optional)
            short = f"return {self.call(self.arguments(WHEN_GIVEN))}"
            return f"if {missing}:\n            {short}\n        return {self.call(arguments)}"
        return f"return {self.call(arguments)}"

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
    return [Method(source, item, faces) for item in functions if not item.name.startswith("_") or item.name in RENAMED]


def component_face(target: Target, source: Source, node: ast.ClassDef) -> str:
    """Return the face of a component up to its methods. It is made as the component is, also with a ``SyncBackend``."""
    init = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    if init is None:
        raise GeneratorError(f"{target.name} has no constructor that takes a backend")
    method = Method(source, init, {"Backend": "Backend | SyncBackend"})
    if method.node.args.args[1:2] == [] or "blocking_target" not in method.arguments():
        raise GeneratorError(f"the constructor of {target.name} takes no backend")
    passed = "".join(f"                {argument},\n" for argument in method.arguments().split(", "))
    generic = next((text for base in node.bases if (text := ast.unparse(base)).startswith("Generic[")), "")
    doc = source.docstring(node, " " * 4)
    head = f"{doc}\n    __slots__ = ()\n\n" if doc else "    __slots__ = ()\n\n"
    return (
        f"class Sync{target.name}(Face[{target.name}{generic.removeprefix('Generic')}]{generic and f', {generic}'}):\n"
        f"{head}{method.signature()}\n{source.docstring(init, ' ' * 8)}"
        f"        super().__init__(\n            {target.name}(\n{passed}            )\n        )\n\n"
    )


def backend_faces(directory: Path, verbs: list[Method]) -> str:
    """Return the face of ``Backend``, and the two that call the plain functions of the memory backend."""
    base = Source(directory, BASE.path)
    doc = base.docstring(base.find(BASE.name), " " * 4)
    source = Source(directory, MEMORY.path)
    names = {verb.name for verb in verbs}
    plain = [(method, method.plain_call()) for method in methods(source, source.find(MEMORY.name), {})]
    calls = [(method, ast.unparse(call)) for method, call in plain if call is not None and method.name in names]
    head = "    __slots__ = ()\n\n"
    parts = [
        f"class Sync{BACKEND.name}({BASE.name}, over={BACKEND.name}):\n{doc}\n{head}",
        *(verb.text() for verb in verbs),
        f"\nclass SyncMemory(Sync{BACKEND.name}, over={MEMORY.name}):\n{head}",
        *(direct(method, call) for method, call in calls),
        f"\nclass SyncMemoryNamespace(Sync{BACKEND.name}, over=Namespace):\n{head}",
        *(
            direct(method, call.replace("(key", "(self._namespace._full(key)"))
            for method, call in calls
            if "key" in method.arguments().split(", ")
        ),
    ]
    return "".join(parts)


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
    parts: list[str] = []
    for target in targets:
        source = Source(directory, target.path)
        node = source.find(target.name)
        verbs = methods(source, node, faces if target == BACKEND else {**faces, "Backend": "Backend | SyncBackend"})
        known = source.names() | known
        if target == BACKEND:
            optional = Source(directory, OPTIONAL.path)
            verbs += methods(optional, optional.find(OPTIONAL.name), faces)
            known = optional.names() | known
            parts.append(backend_faces(directory, verbs))
        else:
            parts.append(component_face(target, source, node) + "".join(verb.text() for verb in verbs))
    body = "\n\n".join(part.rstrip("\n") + "\n" for part in parts)
    further = {BACKEND: (OPTIONAL.path, MEMORY.path)}
    paths = [path for target in targets for path in (target.path, *further.get(target, ()))]
    return (
        f"# Generated from {', '.join(paths)}. Do not edit.\n"
        "# Change those, and run python -m reinhardt_backends._sync._generate\n"
        '"""The blocking faces: what is asynchronous elsewhere, for code that does not await."""\n\n'
        f"from __future__ import annotations\n\n{write_imports(body, known)}\n\n\n{body}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with ``--check`` compare them, and return the exit status."""
    check = "--check" in (sys.argv[1:] if arguments is None else arguments)
    stale = [name for name, targets in OUTPUTS.items() if not _settle(name, generate(PACKAGE, targets), check=check)]
    for name in stale:
        sys.stderr.write(f"{name} is not what the source makes: run python -m reinhardt_backends._sync._generate\n")
    return int(bool(stale))


def _settle(name: str, new: str, *, check: bool) -> bool:
    """Write one file, or only compare it and show the difference. Return whether it is up to date."""
    path = PACKAGE / name
    if not check:
        path.write_text(new, encoding="utf-8", newline="\n")
        return True
    old = path.read_bytes().decode() if path.exists() else ""
    both = old.splitlines(keepends=True), new.splitlines(keepends=True)
    sys.stdout.writelines(difflib.unified_diff(*both, name, f"{name}, generated"))
    return old == new


if __name__ == "__main__":
    sys.exit(main())
