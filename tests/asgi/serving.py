"""Real servers for applications: each a process of its own on a free port, ended by that process."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..servers import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
START_TIMEOUT = 30.0
# To uvicorn a header of 1 MB makes no request, and a handshake that is answered by a response is not complete.
HARMLESS = {
    "WARNING:  Invalid HTTP request received.",
    "ERROR:    ASGI callable returned without completing handshake.",
}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def serving(*command: str) -> Iterator[str]:
    """Run a program of ours that serves at the port that its last argument says, and yield its address.

    In the end it must have said nothing on stderr: no traceback, and no warning that is to be heeded.
    """
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            [sys.executable, *command, str(port)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=said
        )
        try:
            deadline = time.monotonic() + START_TIMEOUT
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    raise RuntimeError(f"{command} did not start: {said.read()}")
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(15)
        said.seek(0)
        errors = [line for line in said.read().splitlines() if line not in HARMLESS]
        assert errors == [], errors
