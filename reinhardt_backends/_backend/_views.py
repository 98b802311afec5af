"""Views of a backend: the same store, reached in another way.

``View`` passes every call on to its parent through one method, ``_call``. A subclass that changes how all calls are
made overrides that method. ``Namespace`` changes the keys, and can be closed without closing its parent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from .._errors import BackendClosedError
from .._types import TTL, KeepTTL, check_key, check_keys, check_mapping, check_name, check_prefix, check_seconds
from ._backend import Backend
from ._clock import ManualClock
from ._events import Listener, StoreInfo, check_listener
from ._pages import PagedKeys, close_iterator
from ._stats import BackendStats

if TYPE_CHECKING:
    from ._atomic import KeyStep, Step


READS: Final = frozenset({"get", "exists", "ttl", "get_many", "get_json", "time", "ping", "scan"})
"""The verbs that change nothing, unless ``get`` renews."""


class View(Backend):
    """A backend that passes every call on to its parent.

    Args:
        parent: The backend that does the work.
    """

    def __init__(self, parent: Backend) -> None:
        self._parent = parent

    async def _call(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Call a coroutine of the parent by its name."""
        return await getattr(self._parent, verb)(*args, **kwargs)

    async def set(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> None:
        await self._call("set", key, value, ttl)

    async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: TTL | None = None) -> Any:
        # A parent that knows nothing of `renew` need not take it.
        if renew is None:
            return await self._call("get", key, type, default=default)
        return await self._call("get", key, type, default=default, renew=renew)

    async def delete(self, key: str) -> Any:
        return await self._call("delete", key)

    async def exists(self, key: str) -> Any:
        return await self._call("exists", key)

    async def increment(self, key: str, ttl: TTL | None = None, *, by: int = 1) -> Any:
        return await self._call("increment", key, ttl, by=by)

    async def clear(self) -> None:
        await self._call("clear")

    async def add(self, key: str, value: Any, ttl: TTL | None = None) -> Any:
        return await self._call("add", key, value, ttl)

    async def replace(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> Any:
        return await self._call("replace", key, value, ttl)

    async def pop(self, key: str, type: Any = Any, *, default: Any = None) -> Any:
        return await self._call("pop", key, type, default=default)

    async def ttl(self, key: str) -> Any:
        return await self._call("ttl", key)

    async def touch(self, key: str, ttl: TTL | None) -> Any:
        return await self._call("touch", key, ttl)

    async def get_many(self, keys: Iterable[str], type: Any = Any) -> Any:
        return await self._call("get_many", keys, type)

    async def set_many(self, mapping: Mapping[str, Any], ttl: TTL | KeepTTL | None = None) -> None:
        await self._call("set_many", mapping, ttl)

    async def delete_many(self, keys: Iterable[str]) -> Any:
        return await self._call("delete_many", keys)

    async def compare_and_set(self, key: str, expected: Any, value: Any, ttl: TTL | KeepTTL | None = None) -> Any:
        return await self._call("compare_and_set", key, expected, value, ttl)

    async def compare_and_delete(self, key: str, expected: Any) -> Any:
        return await self._call("compare_and_delete", key, expected)

    async def increment_existing(self, key: str, *, by: int = 1) -> Any:
        return await self._call("increment_existing", key, by=by)

    async def get_and_renew(self, key: str, ttl: TTL, type: Any = Any, *, default: Any = None) -> Any:
        return await self._call("get_and_renew", key, ttl, type, default=default)

    async def set_json(self, key: str, text: str | bytes, ttl: TTL | KeepTTL | None = None) -> None:
        await self._call("set_json", key, text, ttl)

    async def get_json(self, key: str) -> Any:
        return await self._call("get_json", key)

    async def time(self) -> Any:
        return await self._call("time")

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        return self._parent.scan(prefix)

    async def ping(self) -> None:
        await self._call("ping")

    async def wait_until_ready(self, timeout: float) -> None:
        await self._call("wait_until_ready", timeout)

    async def aclose(self) -> None:
        await self._call("aclose")

    def stats(self) -> BackendStats:
        return self._parent.stats()

    def _manual_clock(self) -> ManualClock | None:
        return self._parent._manual_clock()

    def _store_info(self) -> StoreInfo:
        return self._parent._store_info()

    async def _clear_prefix(self, prefix: str) -> None:
        await self._call("_clear_prefix", prefix)

    def _runs_steps(self) -> bool:
        return self._parent._runs_steps()

    async def _run_step(self, step: Step, keys: Sequence[str], args: Sequence[str | int | float | bytes]) -> Any:
        return await self._call("_run_step", step, keys, args)

    async def _run_key_step(self, step: KeyStep, key: str) -> Any:
        return await self._call("_run_key_step", step, key)


class _Closing:
    """Whether a view is closed; shared with its blocking twin."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False


class Namespace(View):
    """A view whose keys all begin with one prefix, which may be empty. Closing it closes the view only."""

    def __init__(self, parent: Backend, prefix: str, closing: _Closing | None = None) -> None:
        super().__init__(parent)
        self._prefix = prefix
        self._closing = closing or _Closing()
        # Over memory a coroutine in between would cost as much as the rest.
        self._plain_get = parent._plain_verb("get")

    def __repr__(self) -> str:
        return f"<{f'namespace {self._prefix!r}' if self._prefix else 'view'} of {self._parent!r}>"

    def _full(self, key: str) -> str:
        if self._closing.done:
            raise BackendClosedError("this view of the backend is closed")
        if key.__class__ is not str or not key.isascii():
            key = check_key(key)
        return self._prefix + key

    async def set(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> None:
        await self._parent.set(self._full(key), value, ttl)

    async def get(self, key: str, type: Any = Any, *, default: Any = None, renew: TTL | None = None) -> Any:
        if self._plain_get is not None:
            return self._plain_get(self._full(key), type, default, renew)
        if renew is None:
            return await self._parent.get(self._full(key), type, default=default)
        return await self._parent.get(self._full(key), type, default=default, renew=renew)

    async def delete(self, key: str) -> bool:
        return await self._parent.delete(self._full(key))

    async def exists(self, key: str) -> bool:
        return await self._parent.exists(self._full(key))

    async def increment(self, key: str, ttl: TTL | None = None, *, by: int = 1) -> int:
        return await self._parent.increment(self._full(key), ttl, by=by)

    async def clear(self) -> None:
        prefix = self._full("")
        await (self._parent._clear_prefix(prefix) if prefix else self._parent.clear())

    async def add(self, key: str, value: Any, ttl: TTL | None = None) -> bool:
        return await self._parent.add(self._full(key), value, ttl)

    async def replace(self, key: str, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        return await self._parent.replace(self._full(key), value, ttl)

    async def pop(self, key: str, type: Any = Any, *, default: Any = None) -> Any:
        return await self._parent.pop(self._full(key), type, default=default)

    async def ttl(self, key: str) -> float | None:
        return await self._parent.ttl(self._full(key))

    async def touch(self, key: str, ttl: TTL | None) -> bool:
        return await self._parent.touch(self._full(key), ttl)

    async def get_many(self, keys: Iterable[str], type: Any = Any) -> dict[str, Any]:
        cut = len(self._full(""))
        found = await self._parent.get_many([self._full(key) for key in check_keys(keys)], type)
        return {key[cut:]: value for key, value in found.items()}

    async def set_many(self, mapping: Mapping[str, Any], ttl: TTL | KeepTTL | None = None) -> None:
        self._full("")
        await self._parent.set_many({self._full(key): value for key, value in check_mapping(mapping)}, ttl)

    async def delete_many(self, keys: Iterable[str]) -> int:
        self._full("")
        return await self._parent.delete_many([self._full(key) for key in check_keys(keys)])

    async def compare_and_set(self, key: str, expected: Any, value: Any, ttl: TTL | KeepTTL | None = None) -> bool:
        return await self._parent.compare_and_set(self._full(key), expected, value, ttl)

    async def compare_and_delete(self, key: str, expected: Any) -> bool:
        return await self._parent.compare_and_delete(self._full(key), expected)

    async def increment_existing(self, key: str, *, by: int = 1) -> int | None:
        return await self._parent.increment_existing(self._full(key), by=by)

    async def get_and_renew(self, key: str, ttl: TTL, type: Any = Any, *, default: Any = None) -> Any:
        return await self._parent.get_and_renew(self._full(key), ttl, type, default=default)

    async def set_json(self, key: str, text: str | bytes, ttl: TTL | KeepTTL | None = None) -> None:
        await self._parent.set_json(self._full(key), text, ttl)

    async def get_json(self, key: str) -> str | None:
        return await self._parent.get_json(self._full(key))

    async def time(self) -> float:
        self._full("")
        return await self._parent.time()

    def scan(self, prefix: str = "") -> AsyncIterator[str]:
        keys = self._parent.scan(self._full(check_prefix(prefix)))
        return _StrippedPages(keys, self) if isinstance(keys, PagedKeys) else _Stripped(keys, self)

    def namespace(self, name: str) -> Backend:
        return Namespace(self._parent, self._full(check_name(name)) + ":")

    def with_timeout(self, seconds: float) -> Backend:
        return Namespace(self._parent._with_timeout(check_seconds(seconds)), self._full(""))

    def observed(self, listener: Listener, *, keys: bool = False) -> Backend:
        return Namespace(self._parent._observed(check_listener(listener), keys), self._full(""))

    def stats(self) -> BackendStats:
        self._full("")
        return self._parent.stats()

    async def ping(self) -> None:
        self._full("")
        await self._parent.ping()

    async def wait_until_ready(self, timeout: float) -> None:
        self._full("")
        await self._parent.wait_until_ready(timeout)

    async def aclose(self) -> None:
        self._closing.done = True

    async def _clear_prefix(self, prefix: str) -> None:
        await self._parent._clear_prefix(self._full(prefix))

    async def _run_step(self, step: Step, keys: Sequence[str], args: Sequence[str | int | float | bytes]) -> Any:
        return await self._parent._run_step(step, [self._full(key) for key in keys], args)

    async def _run_key_step(self, step: KeyStep, key: str) -> Any:
        return await self._parent._run_key_step(step, self._full(key))

    def _with_timeout(self, seconds: float) -> Backend:
        return Namespace(self._parent._with_timeout(seconds), self._prefix, self._closing)

    def _observed(self, listener: Listener, keys: bool) -> Backend:
        return Namespace(self._parent._observed(listener, keys), self._prefix, self._closing)

    def _blocking_twin(self) -> Backend | None:
        twin = self._parent._blocking_twin()
        if twin is None or twin is self._parent:
            return None if twin is None else self
        return Namespace(twin, self._prefix, self._closing)


class _StrippedPages(PagedKeys):
    """The keys of a namespace's scan, without its prefix, where they come in pages."""

    def __init__(self, keys: PagedKeys, namespace: Namespace) -> None:
        super().__init__()
        self._keys = keys
        self._namespace = namespace
        keys.leave_out(namespace._full(""))

    async def next_page(self) -> list[str]:
        self._namespace._full("")  # raises if the view was closed
        return await self._keys.next_page()

    def leave_out(self, prefix: str) -> None:
        self._keys.leave_out(prefix)

    async def aclose(self) -> None:
        await super().aclose()
        await self._keys.aclose()


class _Stripped:
    """The keys of a namespace's scan, without its prefix.

    Not an async generator: one that is left before its end would make trio warn.
    """

    def __init__(self, keys: AsyncIterator[str], namespace: Namespace) -> None:
        self._keys = keys
        self._namespace = namespace

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        cut = len(self._namespace._full(""))
        return (await anext(self._keys))[cut:]

    async def aclose(self) -> None:
        await close_iterator(self._keys)
