"""The README marks its two commands, and its links lead somewhere."""

from __future__ import annotations

import re

import pytest

from .snippets import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("part", ["run", "test"])
def test_the_two_commands_are_marked(part: str) -> None:
    assert re.search(rf"^<!-- fresh:{part} -->\n```bash\n.+\n```$", README, re.MULTILINE)


def test_links_lead_to_files_that_are_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_it_is_short() -> None:
    assert README.count("\n") <= 250
