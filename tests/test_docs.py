"""The documentation tells the truth: its snippets run and print what they say, and its lists are those of the code."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import re
from functools import partial
from itertools import pairwise
from types import ModuleType

import anyio
import django.conf
import pytest

import reinhardt_backends
from reinhardt_backends import Backend, authoring

from .layers import ADAPTERS
from .snippets import REDIS, ROOT, Snippet, snippets_of

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPETS = [snippet for page in PAGES for snippet in snippets_of(page)]


@pytest.mark.parametrize("runtime", ["asyncio", "trio"])
@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.place)
def test_a_snippet_runs_and_prints_what_it_says(
    snippet: Snippet,
    runtime: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if REDIS in snippet.code:
        snippet = snippet._replace(code=snippet.code.replace(REDIS, request.getfixturevalue("server").url))
    with monkeypatch.context() as patch:
        patch.setattr(anyio, "run", partial(anyio.run, backend=runtime))
        # Litestar configures the root logger, whose records would appear in the output of later snippets.
        patch.setattr(logging.root, "handlers", list(logging.root.handlers))
        patch.setattr(logging.root, "level", logging.root.level)
        snippet.run(runtime)
    assert capsys.readouterr().out.splitlines() == snippet.promised()


def test_snippets_are_found() -> None:
    assert len(SNIPPETS) >= 10
    assert any(snippet.promised() for snippet in SNIPPETS)


DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def block_of(page: str, beginning: str) -> str:
    """Return the block of a page that begins with a line."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return next(block for block in BLOCK.findall(text) if block.startswith(beginning))


def test_the_modules_are_those_of_the_package() -> None:
    named = re.findall(r"^  ([\w.]+/?)", block_of("design.md", "reinhardt_backends/\n"), re.MULTILINE)
    package = ROOT / "reinhardt_backends"
    there = [entry.name + "/" if entry.is_dir() else entry.name for entry in package.iterdir()]
    assert sorted(named) == sorted(name for name in there if name != "__pycache__/")


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    above: list[str] = []
    named = set()
    for before, name in re.findall(r"^([│├└─ ]*)(\w+)", block_of("guides/outages.md", "BackendError\n"), re.MULTILINE):
        depth = len(before) // 4
        above[depth:] = [name]
        named.add(name)
        error = getattr(reinhardt_backends, name)
        assert (above[depth - 1] if depth else "Exception") in [base.__name__ for base in error.__bases__]
    assert named == {name for name in reinhardt_backends.__all__ if name.endswith("Error")}


def test_the_contract_names_every_verb() -> None:
    verbs = {name for name in dir(Backend) if not name.startswith("_")} - {"from_url", "never_suspends"}
    assert verbs <= set(re.findall(r"`(\w+)\(", (DOCS / "contract.md").read_text(encoding="utf-8")))


def test_the_reference_has_every_public_name() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    described = set(re.findall(r"^\.\. auto\w+:: (\w+)$", pages, re.MULTILINE))
    assert set(reinhardt_backends.__all__) <= described
    assert {name for name in authoring.__all__ if name.islower()} <= described
    for part in ("authoring", "asgi", "testing"):
        assert f".. automodule:: reinhardt_backends.{part}" in pages


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_the_reference_has_every_public_name_of_an_adapter(name: str) -> None:
    if not django.conf.settings.configured:
        django.conf.settings.configure()
    module = importlib.import_module(f"reinhardt_backends.{name}")
    public = getattr(module, "__all__", None)
    page = (DOCS / "reference" / "frameworks.md").read_text(encoding="utf-8")
    # A module without public names holds a part of another adapter.
    assert (public is not None) == (f".. automodule:: reinhardt_backends.{name}\n" in page)
    # What has no docstring is left out by automodule.
    assert set(public or []) <= documented(module, public or [])


def documented(module: ModuleType, names: list[str]) -> set[str]:
    """Return those of the names of a module that have a docstring: their own, or for data the one that follows it."""
    body = ast.parse(inspect.getsource(module)).body
    data = {
        target.id
        for statement, after in pairwise(body)
        if isinstance(statement, ast.Assign) and isinstance(after, ast.Expr)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    return data | {
        name
        for name, value in vars(module).items()
        # Others may be lazy objects that cannot be looked at here.
        if name in names and (inspect.isclass(value) or inspect.isfunction(value)) and value.__doc__
    }


def test_every_public_name_has_a_docstring() -> None:
    for name in reinhardt_backends.__all__:
        value = getattr(reinhardt_backends, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name
