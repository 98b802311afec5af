"""The contract as an abstract class, and views of a backend."""

from __future__ import annotations

from ._backend import Backend
from ._deadline import Deadline
from ._overloads import D, T, typed_as
from ._pages import PagedKeys, close_iterator
from ._slots import in_slot_of, slot_of
from ._views import READS, Namespace, View

__all__ = [
    "READS", "Backend", "D", "Deadline", "Namespace", "PagedKeys", "T", "View",
    "close_iterator", "in_slot_of", "slot_of", "typed_as",
]  # fmt: skip
