"""A proxy in front of a real server that injects network faults.

    with faulty(server.port) as proxy:
        backend = RedisBackend(proxy.url)
        proxy.strike(Fault.SWALLOW)
        ...
        proxy.heal()

One thread relays every connection. ``strike`` and ``heal`` return once the fault is in force, or over. A fault that
breaks the byte stream of a connection (swallowed, half or corrupt bytes) breaks it for good: healing helps the
connections that are made afterwards, as with a path that has forgotten its connections.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import queue
import re
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from math import inf

#: How long ``Fault.SLOW`` delays what the server says, and between two resets of ``Fault.RESET``.
DELAY = 0.1
RESET_EVERY = 0.08
#: How many bytes a second ``Fault.THIN_UPLINK`` takes.
THIN = 8_000_000

_FIRST_LINE = re.compile(rb"[^\r\n]*\r\n")


class Fault(Enum):
    """What can happen to the bytes of a connection."""

    SWALLOW = "swallowed packets"
    """Every byte, in both directions, is lost. New connections are accepted and hear nothing."""

    SILENT_PATH = "silent path"
    """Likewise, for the connections that exist when the fault strikes; new ones work."""

    NEW_SILENT = "silent new connections"
    """Likewise, for the connections made while the fault lasts; existing ones work."""

    HALF = "half reply"
    """The first half of the next reply arrives, and nothing after it."""

    CORRUPT = "corrupt header"
    """The header of the next reply announces a megabyte."""

    HOLD = "held bytes"
    """What the existing connections send is held back and delivered on healing; new connections work."""

    RESET = "reset"
    """Every connection is reset, again and again."""

    THIN_UPLINK = "thin uplink"
    """What clients send is taken at 8 MB a second."""

    SLOW = "slow"
    """What the server says arrives late, in pieces."""


@dataclass(eq=False)
class _Pair:
    client: socket.socket
    server: socket.socket
    number: int
    silent: bool = False
    holding: bool = False
    corrupted: bool = False
    client_gone: bool = False
    held: bytearray = field(default_factory=bytearray)
    #: What the server said, in pieces, and when each is due.
    delayed: deque[tuple[float, bytes]] = field(default_factory=deque)


class FaultProxy:
    """Relays connections to a server on the loopback interface. Use ``faulty`` to make one."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._wake_up, self._woken = socket.socketpair()
        self._requests: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count(1)
        self._pairs: set[_Pair] = set()
        self._fault: Fault | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        #: When each connection was accepted, and what each sent and when: (time, number of the connection, bytes).
        self.accepted: list[float] = []
        self.requests: list[tuple[float, int, bytes]] = []
        #: How clients ended their connections: "reset" or "closed".
        self.endings: list[str] = []

    @property
    def sent(self) -> bytes:
        """Everything that clients have sent."""
        return self.requests_since(0.0)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def strike(self, fault: Fault) -> None:
        """Begin a fault."""
        self._ask(lambda: self._strike(fault))

    def heal(self) -> None:
        """End the fault. Held bytes are delivered."""
        self._ask(self._heal)

    def reset(self) -> None:
        """Reset every connection that is open now, once."""
        self._ask(self._reset_all)

    def requests_since(self, moment: float) -> bytes:
        """Everything that was sent by clients since a point on ``time.monotonic()``."""
        return b"".join(data for when, _, data in list(self.requests) if when >= moment)

    def start(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._obey)
        self._thread.start()

    def stop(self) -> None:
        self._ask(self._end)
        self._thread.join(10)

    # In the thread of the proxy.

    def _ask(self, request: Callable[[], None]) -> None:
        done = threading.Event()
        self._requests.put((request, done))
        self._wake_up.send(b"!")
        assert done.wait(10), "the proxy does not answer"

    def _obey(self) -> None:
        self._woken.recv(4096)
        with contextlib.suppress(queue.Empty):
            while True:
                request, done = self._requests.get_nowait()
                request()
                done.set()

    def _run(self) -> None:
        while not self._ended:
            timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for key, _ in self._selector.select(timeout):
                if key.fileobj.fileno() >= 0:  # type: ignore[union-attr]  # only sockets are registered
                    key.data()
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()

    def _later(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (when, next(self._numbers), action))

    def _end(self) -> None:
        self._ended = True
        for pair in list(self._pairs):
            self._close(pair)
        self._selector.close()
        for one in (self._listener, self._woken, self._wake_up):
            one.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self.accepted.append(time.monotonic())
        try:
            server = socket.create_connection(self._target, 5)
        except OSError:
            client.close()
            return
        for one in (client, server):
            one.settimeout(5)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = _Pair(client, server, len(self.accepted), silent=self._fault in {Fault.SWALLOW, Fault.NEW_SILENT})
        self._pairs.add(pair)
        self._selector.register(client, selectors.EVENT_READ, lambda: self._upwards(pair))
        self._selector.register(server, selectors.EVENT_READ, lambda: self._downwards(pair))

    def _upwards(self, pair: _Pair) -> None:
        data, ending = b"", "closed"
        try:
            data = pair.client.recv(65536)
        except OSError:
            ending = "reset"
        if not data:
            self.endings.append(ending)
            self._client_gone(pair)
            return
        if self._fault is Fault.THIN_UPLINK:
            self._selector.unregister(pair.client)
            self._later(time.monotonic() + len(data) / THIN, lambda: self._resume(pair))
        self.requests.append((time.monotonic(), pair.number, data))
        if pair.holding:
            pair.held += data
        elif not pair.silent:
            self._send(pair, pair.server, data)

    def _resume(self, pair: _Pair) -> None:
        if pair in self._pairs:
            self._selector.register(pair.client, selectors.EVENT_READ, lambda: self._upwards(pair))

    def _client_gone(self, pair: _Pair) -> None:
        # Held bytes are delivered even if their sender is gone.
        if pair.holding and pair.held:
            pair.client_gone = True
            self._selector.unregister(pair.client)
            pair.client.close()
        else:
            self._close(pair)

    def _downwards(self, pair: _Pair) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = pair.server.recv(65536)
        if not data:
            self._close(pair)
        elif pair.silent or pair.client_gone:
            pass
        elif self._fault is Fault.HALF:
            pair.silent = True
            self._send(pair, pair.client, data[: len(data) // 2])
        elif self._fault is Fault.CORRUPT and not pair.corrupted:
            pair.corrupted = True
            self._send(pair, pair.client, _FIRST_LINE.sub(b"$1000000\r\n", data, count=1))
        elif self._fault is Fault.SLOW:
            self._delay(pair, data)
        else:
            self._send(pair, pair.client, data)

    def _delay(self, pair: _Pair, data: bytes) -> None:
        when = time.monotonic() + DELAY
        for piece in filter(None, (data[:1], data[1 : len(data) // 2], data[max(1, len(data) // 2) :])):
            pair.delayed.append((when, piece))
            self._later(when, lambda: self._deliver(pair, time.monotonic()))
            when += 0.003

    def _deliver(self, pair: _Pair, now: float) -> None:
        while pair.delayed and pair.delayed[0][0] <= now:
            self._send(pair, pair.client, pair.delayed.popleft()[1])

    def _send(self, pair: _Pair, target: socket.socket, data: bytes) -> None:
        if pair in self._pairs:
            try:
                target.sendall(data)
            except OSError:
                self._close(pair)

    def _strike(self, fault: Fault) -> None:
        self._fault = fault
        for pair in self._pairs:
            pair.silent = pair.silent or fault in {Fault.SWALLOW, Fault.SILENT_PATH}
            pair.holding = fault is Fault.HOLD
        if fault is Fault.RESET:
            self._keep_resetting()

    def _keep_resetting(self) -> None:
        if self._fault is Fault.RESET:
            self._reset_all()
            self._later(time.monotonic() + RESET_EVERY, self._keep_resetting)

    def _heal(self) -> None:
        self._fault = None
        for pair in list(self._pairs):
            pair.holding = False
            self._deliver(pair, inf)
            if pair.held:
                self._send(pair, pair.server, bytes(pair.held))
                pair.held.clear()

    def _reset_all(self) -> None:
        for pair in list(self._pairs):
            if not pair.client_gone:
                pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._close(pair)

    def _close(self, pair: _Pair) -> None:
        if pair not in self._pairs:
            return
        self._pairs.discard(pair)
        for one in (pair.client, pair.server):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(one)
            one.close()


@contextlib.contextmanager
def faulty(port: int) -> Iterator[FaultProxy]:
    """A proxy in front of the server on this port of the loopback interface."""
    proxy = FaultProxy(port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
