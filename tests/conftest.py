"""What all tests share: how they run asynchronously, the real servers, and how hypothesis searches."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import sys
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from reinhardt_backends._backend import LimitedRecord

from .extent import LONG
from .scheduling import name_groups
from .servers import Server, available, running

if TYPE_CHECKING:
    from .topologies import Cluster, Sentinels

# The tests start hundreds of interpreters, which would mostly compile what another one has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

pytest.register_assert_rewrite("reinhardt_backends.testing")

settings.register_profile("local", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.register_profile("long", settings.get_profile("local"), max_examples=LONG)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="search longer, and run tests marked as long")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: runs only with --long")
    settings.load_profile("long" if is_long(config) else "ci" if os.environ.get("CI") else "local")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Let the tests of one ``xdist_group`` share a worker: they share servers that are slow to start."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "loadgroup"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Run four more workers than there are cores with ``-n auto``, since many tests wait for a server or a clock."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)) + 4


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from .scheduling import scheduling

    return scheduling()(config, log) if config.option.dist == "loadgroup" else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Report a test without its group, so that ``--last-failed`` finds it when it runs without workers too."""
    if "PYTEST_XDIST_WORKER" not in os.environ and not report.nodeid.endswith("]"):
        report.nodeid = report.nodeid.rpartition("@")[0] or report.nodeid


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from looking at thousands of tests again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def is_long(config: pytest.Config) -> bool:
    """Whether ``--long`` was given."""
    return bool(config.getoption("--long"))


@pytest.fixture(scope="session")
def long(pytestconfig: pytest.Config) -> bool:
    """Whether to search longer than the default run can."""
    return is_long(pytestconfig)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not is_long(config):
        left_out = [item for item in items if item.get_closest_marker("long") is not None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker("long") is None]
    items.sort(key=lambda item: item.path.stem not in LENGTHY)
    if hasattr(config, "workerinput"):
        name_groups(items)


# Modules whose tests each take seconds. They begin early, so that no worker is left alone with one in the end.
LENGTHY = {"test_typing", "test_web_app", "test_examples", "test_forks_and_signals", "test_portal", "test_served"}

RUNTIMES = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@pytest.fixture(params=RUNTIMES)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run every test marked ``anyio`` on each runtime that is installed."""
    if request.param != "asyncio" and importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return RUNTIMES[request.param]


@pytest.fixture(autouse=True)
def _unlimited_records(request: pytest.FixtureRequest) -> None:
    """Let a test of logs see its own records, however many of the same kind the tests before it have written."""
    if "caplog" not in request.fixturenames:
        return
    for name, module in list(sys.modules.items()):
        if name.startswith("reinhardt_backends."):
            for value in list(vars(module).values()):
                if isinstance(value, LimitedRecord):
                    value._due, value._left_out = float("-inf"), 0


@pytest.fixture(scope="session")
def started() -> Iterator[Callable[[str], Server]]:
    """Start each server binary at most once for the whole run, and not before a test asks for it."""
    servers: dict[str, Server] = {}
    with contextlib.ExitStack() as stack:

        def start(name: str) -> Server:
            if name not in servers:
                servers[name] = stack.enter_context(running(name))
            return servers[name]

        yield start


@pytest.fixture
def server(started: Callable[[str], Server]) -> Server:
    """The preferred server, shared by all tests: a test leaves its settings alone and uses a prefix of its own."""
    return started(_preferred())


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that the test may stop, restart or reconfigure."""
    with running(_preferred()) as server:
        yield server


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    from .topologies import running_cluster

    with running_cluster(name=_preferred()) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster of 3 primaries and 3 replicas, without keys. Tests may reshard, fail over, stop and kill."""
    _cluster.flush()
    yield _cluster
    _cluster.heal()


@pytest.fixture(scope="session")
def _sentinels() -> Iterator[Sentinels]:
    from .topologies import running_sentinels

    with running_sentinels(name=_preferred()) as sentinels:
        yield sentinels


@pytest.fixture
def sentinels(_sentinels: Sentinels) -> Iterator[Sentinels]:
    """A primary, 2 replicas and 3 Sentinels. Tests may fail over, stop and kill."""
    yield _sentinels
    _sentinels.heal()


def _preferred() -> str:
    if not available():
        pytest.skip("no server binary found")
    return next(iter(available()))
