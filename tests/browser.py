"""A page in headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 30.0


class Page:
    """An open page.

    Attributes:
        thrown: What scripts of the page threw and did not catch.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._sent = 0
        self.thrown: list[str] = []
        self._command("Runtime.enable")

    def run(self, script: str) -> Any:
        """Run the body of an async function in the page and return what it returns."""
        wrapped = f"(async () => {{ {script} }})()"
        result = self._command("Runtime.evaluate", expression=wrapped, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        deadline = time.monotonic() + PATIENCE
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < deadline, condition
            time.sleep(0.02)

    def picture(self, width: int, height: int) -> bytes:
        """Return the page as a PNG, as a window of this size shows it."""
        self._command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        return base64.b64decode(self._command("Page.captureScreenshot")["data"])

    def _command(self, method: str, **params: Any) -> dict[str, Any]:
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("method") == "Runtime.exceptionThrown":
                self.thrown.append(str(message["params"]["exceptionDetails"]))
            if message.get("id") == self._sent:
                result: dict[str, Any] = message["result"]
                return result


@contextlib.contextmanager
def open_page(browser: str, address: str, directory: Path) -> Iterator[Page]:
    """Open a page in a browser of its own and wait until it is loaded."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={directory}"]
    process = subprocess.Popen([browser, *flags, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connect(_debugger(directory, address), max_size=None) as socket:
            page = Page(socket)
            page.wait_for("document.getElementById('place')?.textContent.includes('·')")
            yield page
    finally:
        process.kill()
        process.wait(10)


def _debugger(directory: Path, address: str) -> str:
    """Return the address of the page's debugger, once the browser has started."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError, IndexError, httpx.HTTPError):
            port = (directory / "DevToolsActivePort").read_text().splitlines()[0]
            targets = httpx.get(f"http://127.0.0.1:{port}/json", verify=False).json()
            for target in targets:
                if target["type"] == "page" and target["url"].startswith(address):
                    return str(target["webSocketDebuggerUrl"])
        assert time.monotonic() < deadline, "the browser did not start"
        time.sleep(0.05)
