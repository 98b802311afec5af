"""The documentation tells the truth: its snippets run and print what they say."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

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
        snippet.run(runtime)
    assert capsys.readouterr().out.splitlines() == snippet.promised()


def test_snippets_are_found() -> None:
    assert len(SNIPPETS) >= 10
    assert any(snippet.promised() for snippet in SNIPPETS)
