"""``Observed``: a view that reports each call of its parent to a listener."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Self

from .._types import check_keys, check_mapping
from ._backend import Backend
from ._events import Component, Observer, Reporter
from ._pages import PagedKeys, close_iterator
from ._views import View

_STEPS: Final = ("_run_step", "_run_key_step")
_KEYLESS: Final = frozenset({"clear", "ping", "time", "wait_until_ready", "aclose", "_clear_prefix"})


class Observed(View):
    """A view that reports each call, with its duration and error. A scan is reported once, at its end.

    An atomic step is passed on as one call, so components need as many calls as without the view.

    Args:
        parent: The backend that does the work.
        observer: Whom it reports to.
    """

    def __init__(self, parent: Backend, observer: Observer) -> None:
        super().__init__(parent)
        self._observer = observer

    def __repr__(self) -> str:
        return f"<{self._parent!r} observed>"

    async def _call(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        name: str = args[0].name if verb in _STEPS else verb.removeprefix("_").removesuffix("_prefix")
        keys: Any = ()
        error: BaseException | None = None
        begun = perf_counter()
        try:
            keys, args = _keys_in(verb, args)
            return await getattr(self._parent, verb)(*args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._observer.report("backend", name, perf_counter() - begun, error, keys)
            # No cycle of error, traceback and frame.
            del error

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        keys = self._parent.scan(prefix)
        if isinstance(keys, PagedKeys):
            return _ObservedPages(keys, self._observer)
        return _ObservedKeys(keys, self._observer)

    def _with_timeout(self, seconds: float) -> Backend:
        return Observed(self._parent._with_timeout(seconds), self._observer)

    def _blocking_twin(self) -> Backend | None:
        twin = self._parent._blocking_twin()
        if twin is None or twin is self._parent:
            return None if twin is None else self
        return Observed(twin, self._observer)


def reporter_for(backend: Backend, component: Component) -> Reporter | None:
    """Return what a component reports to, ``None`` if its backend has no listener."""
    observers: list[Observer] = []
    while isinstance(backend, View):
        if isinstance(backend, Observed):
            observers.append(backend._observer)
        backend = backend._parent
    return Reporter(component, observers) if observers else None


def _keys_in(verb: str, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Return the keys of a call, and its arguments, in which an iterator over keys has become a list."""
    if verb in _KEYLESS:
        return (), args
    if verb in _STEPS:
        return args[1] if verb == "_run_step" else args[1:], args
    if verb == "set_many":
        pairs = dict(check_mapping(args[0]))
        return tuple(pairs), (pairs, *args[1:])
    if verb in ("get_many", "delete_many"):
        keys = check_keys(args[0])
        return keys, (keys, *args[1:])
    return args[:1], args


class _ObservedPages(PagedKeys):
    """The keys of an observed scan, where they come in pages."""

    def __init__(self, keys: PagedKeys, observer: Observer) -> None:
        super().__init__()
        self._keys = keys
        self._report = _ScanReport(observer)

    async def next_page(self) -> list[str]:
        with self._report as report:
            page = await self._keys.next_page()
            report.count += len(page)
        if not page:
            report.end()
        return page

    def leave_out(self, prefix: str) -> None:
        self._keys.leave_out(prefix)

    async def aclose(self) -> None:
        await super().aclose()
        self._report.end()
        await self._keys.aclose()


class _ObservedKeys:
    """The keys of an observed scan. Not an async generator: trio warns of one that is left before its end."""

    def __init__(self, keys: AsyncIterator[str], observer: Observer) -> None:
        self._keys = keys
        self._report = _ScanReport(observer)

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        with self._report as report:
            key = await anext(self._keys)
            report.count += 1
        return key

    async def aclose(self) -> None:
        self._report.end()
        await close_iterator(self._keys)


class _ScanReport:
    """How long a scan has waited for the store, and how many keys it has yielded. Reported once."""

    def __init__(self, observer: Observer) -> None:
        self.count = 0
        self._observer = observer
        self._seconds = 0.0
        self._begun = 0.0
        self._ended = False

    def __enter__(self) -> Self:
        self._begun = perf_counter()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._seconds += perf_counter() - self._begun
        if exc is not None:
            self.end(None if isinstance(exc, StopAsyncIteration) else exc)

    def end(self, error: BaseException | None = None) -> None:
        """Report the scan, unless that was done."""
        if not self._ended:
            self._ended = True
            self._observer.report("backend", "scan", self._seconds, error, (), self.count)
