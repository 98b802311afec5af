"""What one backend object has open: the connections of every loop that used it, and those of blocking callers.

A ``Core`` is shared by a client and its blocking twin, from any number of loops and threads. It keeps no loop alive;
the connections of a loop go with it. Closing closes the connections of each loop in that loop. After a fork the child
begins anew: what it inherited is closed without a byte being sent, and its locks, which may be held for ever, are
replaced.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from typing import Any, Final

from .._errors import BackendClosedError
from .._io import runtime_for
from .._io._current import current_loop
from ._lanes import Hub
from ._options import Options
from ._outage import Outage
from ._pool import Pool

#: From how many bytes on a command or a reply is large.
LARGE: Final = 256 * 1024

#: How many commands with a large reply are remembered.
REMEMBERED: Final = 256


class Core:
    """What a client and its blocking twin share."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.outage = Outage(options.timeout)
        self.closed = False
        self.lock = threading.Lock()
        self.hubs: dict[int, Hub] = {}
        self.pool: Pool | None = None
        #: Commands, word for word, whose last reply was large.
        self.large: OrderedDict[bytes, None] = OrderedDict()
        _cores[id(self)] = weakref.ref(self)

    def new_hub(self) -> Hub:
        """The hub of the running loop, which has none yet."""
        loop = current_loop()
        runtime = runtime_for(loop)
        with self.lock:
            self.check_open()
            hub = self.hubs.get(id(loop))
            if hub is None or hub.loop() is not loop:
                # A copy: a loop that is freed meanwhile takes itself out.
                for key, other in list(self.hubs.items()):
                    if other.loop() is None or other.runtime.is_over():
                        self.hubs.pop(key, None)
                        other.abandon()
                hub = Hub(self._watch(loop), runtime, self.options, self.outage)
                self.hubs[id(loop)] = hub
        return hub

    def _watch(self, loop: Any) -> weakref.ref[Any]:
        """A weak reference to a loop, which takes the connections of the loop with it."""
        hubs, key = self.hubs, id(loop)

        def gone(reference: weakref.ref[Any]) -> None:
            # Called whenever and wherever memory is freed, perhaps by who holds the lock, so without it. Until this
            # returns no other loop can have the same address.
            hub = hubs.get(key)
            if hub is not None and hub.loop is reference:
                hubs.pop(key, None)
                hub.abandon()

        return weakref.ref(loop, gone)

    def get_pool(self) -> Pool:
        """The pool for blocking callers."""
        with self.lock:
            self.check_open()
            if self.pool is None:
                self.pool = Pool(self.options, self.outage)
            return self.pool

    def check_open(self) -> None:
        """Raise ``BackendClosedError`` if the client is closed."""
        if self.closed:
            raise BackendClosedError("the backend is closed")

    def close(self) -> None:
        """Close every connection where it lives. From any thread; idempotent."""
        with self.lock:
            self.closed = True
            hubs, self.hubs = self.hubs, {}
            pool, self.pool = self.pool, None
        here = _loop_or_none() if hubs else None
        for hub in hubs.values():
            if here is not None and hub.loop() is here:
                hub.close()
            else:
                hub.close_in_its_loop()
        if pool is not None:
            pool.close()

    def after_fork(self) -> None:
        """In the child: locks may be held for ever, and connections are the parent's."""
        self.lock = threading.Lock()
        hubs, self.hubs = self.hubs, {}
        pool, self.pool = self.pool, None
        for hub in hubs.values():
            hub.abandon()
        if pool is not None:
            pool.abandon()

    def __del__(self) -> None:
        _cores.pop(id(self), None)
        for hub in self.hubs.values():
            hub.close_in_its_loop()
        if self.pool is not None:
            self.pool.close()

    def note_size(self, data: bytes, reply: Any) -> None:
        """Remember whether the reply to this very command is large."""
        if _size(reply) > LARGE:
            self.large[data] = None
            if len(self.large) > REMEMBERED:
                self.large.popitem(last=False)
        elif self.large:
            self.large.pop(data, None)


def _loop_or_none() -> Any:
    try:
        return current_loop()
    except RuntimeError:
        return None


def _size(reply: Any) -> int:
    """How many bytes a reply carries."""
    if reply.__class__ is bytes:
        return len(reply)
    return sum(len(one) for one in reply if one.__class__ is bytes) if reply.__class__ is list else 0


#: Every core that is alive, for the child of a fork.
_cores: dict[int, weakref.ref[Core]] = {}


def _after_fork() -> None:
    for reference in list(_cores.values()):
        core = reference()
        if core is not None:
            core.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
