"""The Python snippets of the README and the documentation, and how the tests run them."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import anyio

ROOT = Path(__file__).resolve().parent.parent
REDIS = "redis://localhost:6379/0"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMISED = re.compile(r"\bprint\(.*\)  # (.+)$", re.MULTILINE)


class Snippet(NamedTuple):
    """A Python block of a page: where it begins, and its code."""

    place: str
    code: str

    def promised(self) -> list[str]:
        """Return the lines that the snippet says it prints."""
        return _PROMISED.findall(self.code)

    def run(self, runtime: str) -> None:
        """Run the snippet as a program; one that awaits at the top level runs in an event loop."""
        code = compile(self.code, self.place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        names: dict[str, Any] = {"__name__": "__main__"}
        if not code.co_flags & inspect.CO_COROUTINE:
            exec(code, names)
            return

        async def awaited() -> None:
            await eval(code, names)

        anyio.run(awaited, backend=runtime)


def snippets_of(page: Path) -> list[Snippet]:
    """Return the Python snippets of a Markdown page."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    return [
        Snippet(f"{name}:{text.count(chr(10), 0, found.start(1)) + 1}", found[1]) for found in _BLOCK.finditer(text)
    ]
