"""What type checkers report in ``typing``: an error in each line that is marked ``# error``, and in no other.

``python -m tests.type_checkers [CHECKER...]`` runs the checkers, all five by default.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "tests" / "typing").glob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

COMMANDS: dict[str, list[str]] = {
    "mypy": ["-m", "mypy", "--strict", "--warn-unused-ignores", *NAMES],
    "pyright": ["-m", "pyright", "--pythonpath", sys.executable, "-p", "tests/typing"],
    "basedpyright": ["-m", "basedpyright", "--pythonpath", sys.executable, "-p", "tests/typing"],
    "ty": ["-m", "ty", "check", "--output-format", "concise", *NAMES],
    "pyrefly": ["-m", "pyrefly", "check", "--output-format", "min-text", *NAMES],
}

_ERROR = re.compile(r"(\w+\.py):(\d+)\b.*\berror\b|\bERROR .*?(\w+\.py):(\d+)\b", re.MULTILINE)


def marked() -> set[str]:
    """Return the lines that must be reported, as ``file:line``."""
    return {
        f"{path.name}:{number}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.endswith("  # error")
    }


def reported(checker: str, *options: str) -> tuple[set[str], str]:
    """Return the lines in which a checker reports an error, and all that it says."""
    command = [sys.executable, *COMMANDS[checker], *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    return {f"{a or c}:{b or d}" for a, b, c, d in _ERROR.findall(said)}, said


def main(checkers: list[str]) -> int:
    """Run checkers, print where they differ from the marks, and return how many do."""
    wrong = 0
    for checker in checkers or COMMANDS:
        found, said = reported(checker)
        if found != marked():
            wrong += 1
            print(f"{checker}: not reported {sorted(marked() - found)}, not marked {sorted(found - marked())}\n{said}")
        else:
            print(f"{checker}: as marked")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
