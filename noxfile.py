"""Development tasks: ``nox -s tests``, ``lint``, ``typing``, ``layout``, ``coverage``, ``sync``, ``docs``, ``bench``.

``nox -s lowest`` runs the tests with the lowest versions of the dependencies.

The Pythons are those of the classifiers in ``pyproject.toml``. One that is not installed is skipped, and the summary at
the end says so.
"""

from __future__ import annotations

from pathlib import Path

import nox

PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))
PACKAGE = "reinhardt_backends"
# The extras that add something to the package; the others are for working on it.
ADDING = ("redis", "trio", "fastapi", "django", "litestar", "flask", "flask-caching", "keyvalue", "limits", "otel")
BENCHMARKS = Path(__file__).parent / "tests" / "bench"

nox.needs_version = ">=2025.2"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "typing", "tests"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests; arguments after -- go to pytest."""
    session.install("-e", ".[test]")
    session.run("pytest", *(session.posargs or ["-n", "auto"]))


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions of the dependencies that ``pyproject.toml`` allows."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for name in ADDING for line in extras[name])]
    pins = [line.replace(">=", "==") for line in wanted if not line.startswith(project["name"])]
    # The oldest plugin of anyio uses what pytest 9 deprecates.
    session.install("-e", ".[test]", "pytest<9", *pins)
    session.run("pytest", *(session.posargs or ["-q", "-n", "auto"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, layout and the generated face; with -- --fix, mend the style."""
    session.install("ruff>=0.17")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--check"]))
    session.run("python", f"{PACKAGE}/_sync/_generate.py", "--check")


@nox.session
def layout(session: nox.Session) -> None:
    """Print layers, import edges, the longest function and the largest module; fail beyond their limits."""
    session.run("python", "-m", "tests.layers")


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the tests under coverage, subprocesses included, and fail below the minimum in pyproject.toml."""
    session.install("-e", ".[test]", "coverage>=7.10")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-n", "auto", *session.posargs)
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types with mypy and pyright, and what five checkers infer of the public API."""
    checkers = ("mypy==2.4.1", "pyright[nodejs]==1.1.414", "basedpyright==1.40.2", "pyrefly==1.5.0", "ty==0.0.108")
    session.install("-e", ".[test]", *checkers)
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", PACKAGE, "--ignoreexternal")
    session.run("python", "-m", "tests.type_checkers")


@nox.session
def sync(session: nox.Session) -> None:
    """Regenerate the blocking faces; with -- --check, only compare."""
    session.run("python", f"{PACKAGE}/_sync/_generate.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into docs/_build/html; a warning is an error."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "docs/_build/html", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed and memory, each line beside its limit; arguments after -- name some of the benchmarks."""
    session.install("-e", ".[bench]")
    for name in session.posargs or sorted(path.stem.removeprefix("bench_") for path in BENCHMARKS.glob("bench_*.py")):
        session.run("python", f"tests/bench/bench_{name}.py")
