"""The chores: ``nox -s tests``, ``lint``, ``typing``, ``sync``, ``bench``; ``nox -l`` lists them.

The Pythons are those of the classifiers in ``pyproject.toml``. One that is not installed is skipped, and the summary at
the end says so.
"""

from __future__ import annotations

import nox

PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))
PACKAGE = "reinhardt_backends"

nox.needs_version = ">=2025.2"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "typing", "tests"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests; what follows -- goes to pytest."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, layout and the generated face; with -- --fix, mend the style."""
    session.install("ruff>=0.17")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--check"]))
    session.run("python", f"{PACKAGE}/_sync/_generate.py", "--check")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types with mypy and pyright."""
    session.install("-e", ".[test]")
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", PACKAGE, "--ignoreexternal")


@nox.session
def sync(session: nox.Session) -> None:
    """Generate the blocking face anew; with -- --check, only say whether it is up to date."""
    session.run("python", f"{PACKAGE}/_sync/_generate.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed and memory; what follows -- names some of the benchmarks: memory, redis, components, cache."""
    session.install("-e", ".[bench]")
    for name in session.posargs or ["memory", "redis", "components", "cache"]:
        session.run("python", f"tests/bench/bench_{name}.py")
