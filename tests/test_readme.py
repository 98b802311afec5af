"""The lists of the README are those of the code, its links lead somewhere, and its commands are marked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import reinhardt_backends
from reinhardt_backends import Backend

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("part", ["run", "test"])
def test_the_two_commands_are_marked(part: str) -> None:
    assert re.search(rf"^<!-- fresh:{part} -->\n```bash\n.+\n```$", README, re.MULTILINE)


def test_links_lead_to_files_that_are_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_modules_are_those_of_the_package() -> None:
    listed = next(block for _, block in BLOCKS if block.startswith("reinhardt_backends/\n"))
    named = re.findall(r"^  ([\w.]+/?)", listed, re.MULTILINE)
    package = ROOT / "reinhardt_backends"
    there = [entry.name + "/" if entry.is_dir() else entry.name for entry in package.iterdir()]
    assert sorted(named) == sorted(name for name in there if name != "__pycache__/")


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    tree = next(block for _, block in BLOCKS if block.startswith("BackendError\n"))
    above: list[str] = []
    named = set()
    for before, name in re.findall(r"^([│├└─ ]*)(\w+)", tree, re.MULTILINE):
        depth = len(before) // 4
        above[depth:] = [name]
        named.add(name)
        error = getattr(reinhardt_backends, name)
        assert (above[depth - 1] if depth else "Exception") in [base.__name__ for base in error.__bases__]
    assert named == {name for name in reinhardt_backends.__all__ if name.endswith("Error")}


def test_the_table_of_verbs_names_them_all() -> None:
    verbs = {name for name in vars(Backend) if not name.startswith("_")} - {"from_url", "never_suspends"}
    table = README[README.index("| verb |") : README.index("## Errors")]
    assert verbs <= set(re.findall(r"`(\w+)\(", table))
