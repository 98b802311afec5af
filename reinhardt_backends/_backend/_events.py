"""What a listener is told: one ``Event`` for each call of a backend, and for each outcome of a component.

``Backend.observed`` makes the view that reports (``_observed.py``). Components find the listeners of their backend with
``reporter_for``; without one they report nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from ._logs import WARNING, LimitedRecord

Component: TypeAlias = Literal["backend", "cache", "throttle", "session", "lock"]


class StoreInfo(NamedTuple):
    """Which store a backend uses, as far as it says.

    Attributes:
        system: The kind of store: ``"redis"``, ``"memory"``, or the name of the class of a user's backend.
        address: Host name, IP address or socket path; ``None`` for a store in the process.
        port: The TCP port, if there is one.
        database: The number of the database, if there is one.
    """

    system: str
    address: str | None = None
    port: int | None = None
    database: int | None = None


UNKNOWN_STORE: Final = StoreInfo("unknown")


@dataclass(frozen=True, slots=True)
class Event:
    """One call of a backend, or one outcome of a component.

    Attributes:
        component: Who reports it: ``"backend"``, ``"cache"``, ``"throttle"``, ``"session"`` or ``"lock"``.
        name: The verb of a backend's call, such as ``"get"``, or the name of an atomic step; otherwise the outcome of a
            component, such as ``"hit"``.
        seconds: How long the call or the computation took; 0 for an outcome that takes no time of its own.
        error: What was raised, cancellation included; ``None`` if nothing was.
        count: The number of keys.
        keys: The keys themselves, if the listener was registered with ``keys=True``; otherwise empty.
        store: The store of the backend.
    """

    component: Component
    name: str
    seconds: float = 0.0
    error: BaseException | None = None
    count: int = 1
    keys: tuple[str, ...] = ()
    store: StoreInfo = UNKNOWN_STORE


Listener: TypeAlias = Callable[[Event], object]
"""Called after each call, in the task or thread of the caller. It must not block. What it raises is logged."""

_LISTENER_FAILED: Final = LimitedRecord(None, WARNING, "a listener raised %s")


class Observer:
    """A listener and what it asked for.

    Args:
        listener: The listener.
        keys: Whether it is told keys.
        store: The store of the backend.
    """

    __slots__ = ("_keys", "_listener", "_store")

    def __init__(self, listener: Listener, keys: bool, store: StoreInfo) -> None:
        self._listener = listener
        self._keys = keys
        self._store = store

    def report(
        self,
        component: Component,
        name: str,
        seconds: float,
        error: BaseException | None,
        keys: Sequence[str],
        count: int | None = None,
    ) -> None:
        """Call the listener. Never raises an ``Exception``."""
        shown = tuple(keys) if self._keys else ()
        try:
            self._listener(
                Event(component, name, seconds, error, len(keys) if count is None else count, shown, self._store)
            )
        except Exception as failure:
            _LISTENER_FAILED.write(type(failure).__name__)


class Reporter:
    """Reports the outcomes of one component to every observer of its backend."""

    __slots__ = ("_component", "_observers")

    def __init__(self, component: Component, observers: Sequence[Observer]) -> None:
        self._component: Component = component
        self._observers = observers

    def report(self, name: str, *keys: str, seconds: float = 0.0, error: BaseException | None = None) -> None:
        """Report one outcome."""
        for observer in self._observers:
            observer.report(self._component, name, seconds, error, keys)


def check_listener(listener: Any) -> Listener:
    """Return what ``Backend.observed`` takes as a listener.

    Raises:
        TypeError: It cannot be called, or is a coroutine function, which nothing would await.
    """
    if not callable(listener):
        raise TypeError(f"a listener must be a function that takes an Event, not {type(listener).__name__}")
    if inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(getattr(listener, "__call__", None)):  # noqa: B004
        raise TypeError("a listener must be a plain function: nothing awaits what a coroutine function returns")
    checked: Listener = listener
    return checked
