"""The generator of the blocking faces beside it: ``python -m reinhardt_backends._sync._generate [--check]``.

Signatures, overloads, decorators and docstrings are cut out of the asynchronous source as they stand, at the positions
that ``ast`` gives, so that type checkers and editors see the real thing. What changes is little: ``async`` goes, names
such as ``aclose`` and ``AsyncIterator`` get their blocking counterparts, and the body becomes a call through the runner
of the face. Where a backend's verb does nothing but return a call of a plain function of its own, a subclass of the
face makes that call itself.

``FACES`` says which classes get a face. The file needs nothing but the standard library, and can be run by its path.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

PACKAGE: Final = Path(__file__).resolve().parent.parent
WIDTH: Final = 120

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Face:
    """A class that gets a blocking face, which is called ``Sync`` and its name.

    Attributes:
        room: The file that it is in.
        name: Its name.
        head: The class statement of the face, its documentation and what is not cut out of the source. Without it, the
            face is built from the constructor of the class, in which a parameter is a ``Backend``.
        plain: The file and the name of a subclass whose verbs do nothing but call a plain function, if there is one.
        plain_head: The class statement of the face that calls these, and the attribute that holds the backend.
    """

    room: str
    name: str
    head: str | None = None
    plain: tuple[str, str] | None = None
    plain_head: tuple[str, str] | None = None


SYNC_MEMORY: Final = '''\
class _SyncMemory(SyncBackend, over=MemoryBackend):
    """The face of a ``MemoryBackend``: it calls the plain functions. Driving a coroutine costs three times as much.

    A ``SyncBackend`` becomes one of these; a subclass of ``SyncBackend`` drives.
    """

    __slots__ = ()
'''

BACKEND_FACE: Final = "_blocking/_face.py"

FACES: Final = (
    Face(
        "_backend/_backend.py",
        "Backend",
        BACKEND_FACE,
        ("_memory/_backend.py", "MemoryBackend"),
        (SYNC_MEMORY, "_memory"),
    ),
)
COMPONENTS: Final = (
    Face("_throttle/_throttle.py", "Throttle"),
    Face("_cache/_cache.py", "Cache"),
    Face("_session/_store.py", "SessionStore"),
    Face("_lock/_lock.py", "Lock"),
)

OUTPUTS: Final = {"_sync/_backend.py": FACES, "_sync/_components.py": COMPONENTS}
"""What is written into which file. The components are apart, so that who does not use them need not load them."""

RENAMED: Final = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
"""Methods that are called otherwise on a face."""

BLOCKING: Final = {
    "AsyncIterator": "Iterator",
    "AsyncIterable": "Iterable",
    "AbstractAsyncContextManager": "AbstractContextManager",
    "AsyncFactory": "Factory",
    "CachedDecorator": "SyncCachedDecorator",
}
"""Types that are others on a face, from the same modules."""

RUNNERS: Final = {"AsyncIterator": "drive_each"}
"""What runs a method that is not ``async`` itself, by the type that it returns."""

WHEN_GIVEN: Final = frozenset({"renew"})
"""Arguments that are passed on only where they are given: a backend that knows nothing of them need not take them."""

SECRET: Final = frozenset({"id"})
"""Arguments that no frame may keep while a call runs: a traceback may show the variables of its frames."""

PROVIDED: Final = {
    "BackendFace": "._blocking._face",
    "Face": "._blocking._face",
    "MemoryBackend": "._memory._backend",
    "drive": "._component",
    "drive_each": "._blocking._face",
    "SyncCachedDecorator": "._cache._cached",
    "SyncBackend": "._sync._backend",
    "cast": "typing",
    "Runtime": "._blocking._portal",
}
"""What the heads need and the source does not import."""


class GeneratorError(Exception):
    """The source is not written in a way that can be cut."""


class Source:
    """One file of the asynchronous source."""

    def __init__(self, directory: Path, room: str) -> None:
        parts = room.removesuffix(".py").split("/")
        self._package = parts[:-1]
        self.directory = directory
        self.module = "." + ".".join(parts if parts[-1] != "__init__" else self._package)
        self._name = room
        self._bytes = (directory / room).read_bytes()
        self.tree = ast.parse(self._bytes)
        self._starts = [0]
        for line in self._bytes.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def find(self, name: str) -> ast.ClassDef:
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node
        raise GeneratorError(f"{self._name} has no class {name}")

    def at(self, line: int, column: int) -> int:
        """Return the offset of a position; columns are counted in bytes, as ``ast`` does."""
        return self._starts[line - 1] + column

    def span(self, node: ast.stmt | ast.expr | ast.arg) -> tuple[int, int]:
        if node.end_lineno is None or node.end_col_offset is None:
            raise GeneratorError(f"{self._name}:{node.lineno}: no end")
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)

    def cut(self, start: int, end: int, edits: dict[tuple[int, int], str] | None = None) -> str:
        """Return a piece of the source with some spans replaced."""
        parts: list[bytes] = []
        for (begin, stop), text in sorted((edits or {}).items()):
            if start <= begin and stop <= end:
                parts += [self._bytes[start:begin], text.encode()]
                start = stop
        return b"".join([*parts, self._bytes[start:end]]).decode()

    def imports(self) -> dict[str, tuple[str, bool]]:
        """Return where each name of the module can be imported from, and whether for type checkers only."""
        found: dict[str, tuple[str, bool]] = {}
        for node, checking in _statements(self.tree.body):
            if isinstance(node, ast.ImportFrom):
                module = node.module or ""
                if node.level:
                    above = self._package[: len(self._package) + 1 - node.level]
                    module = "." + ".".join([*above, *filter(None, [module])])
                found |= {alias.asname or alias.name: (module, checking) for alias in node.names}
            elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found[node.name] = (self.module, checking)
            elif isinstance(node, ast.Assign):
                found |= {name.id: (self.module, checking) for name in node.targets if isinstance(name, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = (self.module, checking)
        return found


def _statements(body: list[ast.stmt], checking: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    for node in body:
        yield node, checking
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from _statements(node.body, checking=True)


class Method:
    """One method of the asynchronous source, and what becomes of it."""

    def __init__(self, source: Source, node: Function, faces: dict[str, str]) -> None:
        self.source = source
        self.node = node
        self.name = node.name
        self.faces = faces
        self.is_async = isinstance(node, ast.AsyncFunctionDef)
        self.decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        # What a method returns, without its arguments: ``AsyncIterator`` of ``AsyncIterator[str]``.
        returns = node.returns.value if isinstance(node.returns, ast.Subscript) else node.returns
        self.returns = returns.id if isinstance(returns, ast.Name) else ""

    @property
    def is_stub(self) -> bool:
        return "overload" in self.decorators

    def signature(self) -> str:
        """Return the decorators and the statement up to its colon, for the face."""
        start, _ = self.source.span(self.node)
        stop, _ = self.source.span(self.node.body[0])
        header = self.source.cut(start, stop, self._edits(start)).rstrip()
        kept = [ast.unparse(node) for node in self.node.decorator_list]
        kept = [text for text in kept if text != "abstractmethod" and not text.startswith("typed_as(")]
        return "".join(f"    @{decorator}\n" for decorator in kept) + "    " + joined(header)

    def docstring(self) -> str:
        if ast.get_docstring(self.node) is None:
            return ""
        return f"        {self.source.cut(*self.source.span(self.node.body[0]))}\n"

    def _edits(self, start: int) -> dict[tuple[int, int], str]:
        old = f"async def {self.name}" if self.is_async else f"def {self.name}"
        if self.source.cut(start, start + len(old)) != old:
            raise GeneratorError(f"{self.source.module}:{self.node.lineno}: expected {old!r}")
        edits = {(start, start + len(old)): f"def {RENAMED.get(self.name, self.name)}"}
        arguments = self.node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        annotations = [argument.annotation for argument in every if argument] + [self.node.returns]
        for annotation in annotations:
            for name in ast.walk(annotation) if annotation else ():
                if isinstance(name, ast.Name) and (new := BLOCKING.get(name.id) or self.faces.get(name.id)):
                    edits[self.source.span(name)] = new
        return edits

    def arguments(self, without: frozenset[str] = frozenset()) -> str:
        """Return the arguments as a call passes them on."""
        given = self.node.args
        static = "staticmethod" in self.decorators
        parts = [argument.arg for argument in [*given.posonlyargs, *given.args][0 if static else 1 :]]
        parts += [f"*{given.vararg.arg}"] if given.vararg else []
        parts += [f"{name}={name}" for name in (argument.arg for argument in given.kwonlyargs) if name not in without]
        parts += [f"**{given.kwarg.arg}"] if given.kwarg else []
        return ", ".join(parts)

    def plain_call(self) -> ast.Call | None:
        """Return the call of a plain function of the object that is all this method does, if that is so.

        A method that returns an asynchronous iterator may wrap the call in one class that makes it asynchronous.
        """
        body = self.node.body
        if len(body) != 1 or not isinstance(body[0], ast.Return) or not isinstance(call := body[0].value, ast.Call):
            return None
        if self.returns in RUNNERS and isinstance(call.func, ast.Name) and len(call.args) == 1 and not call.keywords:
            inner = call.args[0]
            call = inner if isinstance(inner, ast.Call) else call
        own = isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "self"
        names = [*call.args, *(keyword.value for keyword in call.keywords)]
        return call if own and all(isinstance(name, ast.Name) for name in names) else None


def joined(header: str) -> str:
    """Return a signature on one line if it fits there, as the formatter would have it."""
    lines = [line.strip() for line in header.splitlines()]
    if len(lines) < 3 or lines[-2].endswith(",") or "#" in header:
        return header
    line = lines[0] + " ".join(lines[1:-1]) + lines[-1]
    return line if len(line) + 4 <= WIDTH else header


def public(source: Source, node: ast.ClassDef, faces: dict[str, str]) -> list[Method]:
    """Return the methods of a class that its face has."""
    functions = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [Method(source, item, faces) for item in functions if not item.name.startswith("_") or item.name in RENAMED]


def statement(face: Face, method: Method) -> str:
    """Return the body of a method of a face."""
    name, arguments = method.name, method.arguments()
    if name == "__aenter__":
        return "drive(self._target.__aenter__())\n        return self"
    if name == "__aexit__":
        return f"return drive(self._target.__aexit__({arguments}))"
    if "property" in method.decorators:
        return f"return self._target.{name}"
    if returned := method.faces.get(method.returns):
        if "staticmethod" in method.decorators:
            return f"return {returned}({method.returns}.{name}({arguments}))"
        if face.head:
            return f"return {returned}(self._backend.{name}({arguments}), runtime=self._runtime)"
        raise GeneratorError(f"{face.name}.{name} returns another face")
    secret = [item.arg for item in method.node.args.args if item.arg in SECRET]
    if secret:
        hidden = ", ".join("hidden.pop()" if name in secret else name for name in arguments.split(", "))
        return f"hidden = [{secret[0]}]\n        del {secret[0]}\n        return {_run(method, hidden)}"
    optional = [item.arg for item in method.node.args.kwonlyargs if item.arg in WHEN_GIVEN]
    if not optional:
        return f"return {_run(method, arguments)}"
    missing = " and ".join(f"{argument} is None" for argument in optional)
    return (
        f"if {missing}:\n            return {_run(method, method.arguments(WHEN_GIVEN))}\n"
        f"        return {_run(method, arguments)}"
    )


def _run(method: Method, arguments: str) -> str:
    """Return the expression that calls a method of what is behind the face, through the runner where it takes one."""
    runner = "drive" if method.is_async else RUNNERS.get(method.returns)
    call = f"self._target.{method.name}({arguments})"
    if runner is None:
        # What it returns was made for the calling thread, and the asynchronous source cannot say so.
        return fitted("cast", f'"{BLOCKING[method.returns]}"', call) if method.returns in BLOCKING else call
    return fitted(runner, call)


def fitted(function: str, *arguments: str) -> str:
    """Return a call that a ``return`` statement makes, wrapped as the formatter would have it."""
    line = f"{function}({', '.join(arguments)})"
    if len(f"        return {line}") <= WIDTH:
        return line
    indented = [f"            {argument}{',' if len(arguments) > 1 else ''}\n" for argument in arguments]
    return f"{function}(\n{''.join(indented)}        )"


def constructor(face: Face, source: Source, node: ast.ClassDef) -> str:
    """Return the head of a face that is constructed as its class is, with a backend or a face of one."""
    inits = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    if not inits:
        raise GeneratorError(f"{face.name} has no constructor that takes a backend")
    method = Method(source, inits[0], {"Backend": "Backend | SyncBackend"})
    given = inits[0].args
    positional = [*given.posonlyargs, *given.args][1:]
    backends = [item.arg for item in positional if item.annotation and ast.unparse(item.annotation) == "Backend"]
    if len(backends) != 1:
        raise GeneratorError(f"the constructor of {face.name} takes {len(backends)} backends, not one")
    (backend,) = backends
    documentation = ast.get_docstring(node, clean=False)
    doc = f"    {source.cut(*source.span(node.body[0]))}\n\n" if documentation else ""
    passed = method.arguments().replace(backend, "face._target", 1)
    generic = next((ast.unparse(base) for base in node.bases if ast.unparse(base).startswith("Generic[")), "")
    target = face.name + generic.removeprefix("Generic")
    return (
        f"class Sync{face.name}(Face[{target}]{generic and f', {generic}'}):\n{doc}    __slots__ = ()\n\n"
        f"{method.signature()}\n{method.docstring()}"
        f"        face = {backend} if isinstance({backend}, SyncBackend) else SyncBackend({backend})\n"
        f"{construction(face.name, passed)}"
    )


def construction(name: str, arguments: str) -> str:
    """Return the statement that makes what is behind a face, wrapped as the formatter would have it."""
    line = f"        super().__init__({name}({arguments}))\n"
    if len(line) <= WIDTH + 1:
        return line
    line = f"            {name}({arguments})\n"
    if len(line) > WIDTH + 1:
        inner = f"                {arguments}\n"
        if len(inner) > WIDTH + 1:
            inner = "".join(f"                {argument},\n" for argument in arguments.split(", "))
        line = f"            {name}(\n{inner}            )\n"
    return f"        super().__init__(\n{line}        )\n"


def write_face(face: Face, source: Source, faces: dict[str, str]) -> str:
    node = source.find(face.name)
    if face.head:
        base = Source(source.directory, face.head)
        doc = base.cut(*base.span(base.find("BackendFace").body[0]))
        text = f"class SyncBackend(BackendFace, over=Backend):\n    {doc}\n\n    __slots__ = ()\n\n"
    else:
        text = constructor(face, source, node) + "\n"
    for method in public(source, node, faces):
        if method.is_stub:
            text += f"{method.signature()} ...\n"
        else:
            text += f"{method.signature()}\n{method.docstring()}        {statement(face, method)}\n\n"
    return text.removesuffix("\n")


def write_plain(face: Face, directory: Path, verbs: set[str], faces: dict[str, str]) -> str:
    if face.plain is None or face.plain_head is None:
        return ""
    room, name = face.plain
    head, attribute = face.plain_head
    source = Source(directory, room)
    parts = [head]
    for method in public(source, source.find(name), faces):
        call = method.plain_call()
        if method.name in verbs and call is not None:
            plain = ast.unparse(call).replace("self.", f"self.{attribute}.", 1)
            parts.append(f"{method.signature()}\n        return {plain}\n")
    return "\n".join(parts)


def write_imports(body: str, known: dict[str, tuple[str, bool]]) -> str:
    """Return the import statements for what ``body`` uses, in the order that ruff wants."""
    tree = ast.parse("from __future__ import annotations\n" + body)
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - defined
    checked = {name for name in used if name in known and known[name][1]}
    wanted = {name: known[name][0] for name in used if name in known}
    if checked:
        wanted["TYPE_CHECKING"] = "typing"
    runtime = _import_lines({name: module for name, module in wanted.items() if name not in checked})
    if not checked:
        return runtime
    lines = _import_lines({name: wanted[name] for name in checked}).splitlines()
    return runtime + "\nif TYPE_CHECKING:\n" + "".join(f"    {line}\n" if line else "\n" for line in lines)


def _import_lines(wanted: dict[str, str]) -> str:
    modules: dict[str, list[str]] = {}
    for name, module in wanted.items():
        modules.setdefault(_from_here(module), []).append(name)
    sections: dict[int, list[str]] = {}
    for module in sorted(modules, key=str.lower):
        names = sorted(modules[module], key=lambda name: (_rank(name), name))
        section = 2 if module.startswith(".") else int(module.partition(".")[0] not in sys.stdlib_module_names)
        sections.setdefault(section, []).append(f"from {module} import {', '.join(names)}\n")
    return "\n".join("".join(sections[section]) for section in sorted(sections))


def _from_here(module: str) -> str:
    """Return a relative module name as a generated file spells it, which is in the folder ``_sync``."""
    if module.startswith("._sync."):
        return module.removeprefix("._sync")
    return f".{module}" if module.startswith(".") else module


def _rank(name: str) -> int:
    if name.isupper() and len(name) > 1:
        return 0
    return 1 if name[0].isupper() else 2


def generate(directory: Path = PACKAGE, faces: tuple[Face, ...] = FACES) -> str:
    """Return the text of a file of faces for the source in ``directory``."""
    renames = {face.name: f"Sync{face.name}" for face in faces}
    sources = [Source(directory, face.room) for face in faces]
    known = {name: (module, False) for name, module in PROVIDED.items()}
    classes: list[str] = []
    for face, source in zip(faces, sources, strict=True):
        node = source.find(face.name)
        classes.append(write_face(face, source, renames))
        plain = write_plain(face, directory, {method.name for method in public(source, node, renames)}, renames)
        classes += [plain] if plain else []
        for room in [face.room, *(face.plain or ())[:1]]:
            known = {**Source(directory, room).imports(), **known}
    body = "\n\n".join(classes)
    rooms = ", ".join(dict.fromkeys(room for face in faces for room in [face.room, *(face.plain or ())[:1]]))
    return (
        f"# Generated from {rooms}. Do not edit.\n"
        "# Change those, and run python -m reinhardt_backends._sync._generate\n"
        '"""The blocking faces: what is asynchronous elsewhere, for code that does not await."""\n\n'
        f"from __future__ import annotations\n\n{write_imports(body, known)}\n\n{body}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with ``--check`` compare them, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m reinhardt_backends._sync._generate", description=f"Generate {' and '.join(OUTPUTS)}."
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a file is not up to date")
    check: bool = parser.parse_args(arguments).check
    stale = [name for name, faces in OUTPUTS.items() if not _settle(name, generate(PACKAGE, faces), check=check)]
    for name in stale:
        sys.stderr.write(f"{name} is not what the source makes: run python -m reinhardt_backends._sync._generate\n")
    return int(bool(stale))


def _settle(name: str, new: str, *, check: bool) -> bool:
    """Write one file, or only look whether it is up to date; show the difference if it is not."""
    path = PACKAGE / name
    if not check:
        path.write_text(new, encoding="utf-8", newline="\n")
        return True
    old = path.read_bytes().decode() if path.exists() else ""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), name, f"{name}, generated anew"
    )
    sys.stdout.writelines(lines)
    return old == new


if __name__ == "__main__":
    sys.exit(main())
