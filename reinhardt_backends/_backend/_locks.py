"""The lock that the library uses: re-entrant, and sound whatever line a signal handler interrupts by raising.

From Python 3.14 on, signal handlers may run between taking the lock of a ``with`` statement and entering its block.
What they raise there leaves the lock taken for good. Earlier versions run none there.
"""

from __future__ import annotations

import _thread
import sys
import threading

__all__ = ["RLock"]

if sys.version_info >= (3, 14):

    class RLock(_thread.RLock):  # type: ignore[misc]
        """A ``threading.RLock`` that an exception out of ``with`` never leaves taken."""

        __slots__ = ()

        def __enter__(self) -> bool:  # type: ignore[override]
            try:
                self.acquire()
            except BaseException:
                try:  # noqa: SIM105 - a call of suppress() could be interrupted itself
                    self.release()
                except RuntimeError:
                    pass  # Interrupted while it waited for the lock.
                raise
            return True
else:
    RLock = threading.RLock
