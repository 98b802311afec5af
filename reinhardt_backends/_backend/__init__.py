"""The contract as an abstract class, and views of a backend."""

from __future__ import annotations

from ._about import NAME, VERSION
from ._backend import Backend
from ._clock import ManualClock
from ._deadline import Deadline
from ._events import Event, Listener, Reporter, StoreInfo
from ._gather import gather
from ._logs import INFO, WARNING, LimitedRecord, write_record
from ._observed import Observed, reporter_for
from ._overloads import D, T, typed_as
from ._pages import ListedKeys, PagedKeys, close_iterator
from ._schemes import register_scheme, url_text
from ._slots import in_slot_of, slot_of
from ._stats import BackendStats
from ._views import READS, Namespace, View

__all__ = [
    "INFO", "NAME", "READS", "VERSION", "WARNING", "Backend", "BackendStats", "D", "Deadline", "Event", "LimitedRecord",
    "ListedKeys", "Listener", "ManualClock", "Namespace", "Observed", "PagedKeys", "Reporter", "StoreInfo", "T", "View",
    "close_iterator", "gather", "in_slot_of", "register_scheme", "reporter_for", "slot_of", "typed_as", "url_text",
    "write_record",
]  # fmt: skip
