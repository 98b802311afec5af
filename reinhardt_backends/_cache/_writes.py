"""Writing a value that is not missing: ``Cache.set`` and ``Cache.refresh``.

``set`` writes over whatever there is, a lease included, so that what is computed at the moment is not stored after it.

``refresh`` leaves the old value where it is while it computes the new one. An invalidation in between must win, also if
another caller has then stored the very same value again. So the old value is first written in a form that no other
write can equal, with a random number in its header, and the new value replaces that form or nothing. Of several
refreshes the latest one stores its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

from .._types import KEEP_TTL, MISSING
from .._values._codec import encode
from ._engine import Engine, computed, read_back
from ._lookup import Lookup, Request
from ._single_flight import Computation, computing
from ._stored import EntryOptions, new_token, stored_form


async def write(engine: Engine, request: Request, value: Any) -> None:
    """Store a value, unless the options say that it is not kept.

    Raises:
        SerializationError: It cannot be stored, or could not be read back as its type.
        BackendError: The store could not be reached, or refused.
    """
    data = encode(value)
    options = request.options.for_value(read_back(request, data))
    if not engine.enabled:
        return
    if options is None:
        return
    request = request._replace(options=options)
    engine.flights.outdate(lambda name, _: name == request.name)
    lookup = await engine.reader.look(request, typed=False)
    ids = await engine.tags.ids(request, lookup)
    fresh = await _fresh_token(engine, request.name, options)
    await engine.reader.backend.set(request.name, stored_form(value, data, ids, fresh), options.keep)


async def refresh(engine: Engine, request: Request) -> Any:
    """Compute a value, store it, and return it. Until then the old one is served; if that fails, it stays."""
    if not engine.enabled:
        return await engine.serve(request)
    engine.flights.refuse_recursion(request.name)
    lookup: Lookup | None = None
    with engine.reports.tolerating():
        lookup = await engine.reader.look(request, typed=False)
        if lookup.value is MISSING:
            await engine.invalidate(request.name)
    if lookup is not None and lookup.value is MISSING:
        return await engine.serve(request)
    computation = engine.flights.watch(request)
    try:
        return await _replace(engine, request, lookup, computation)
    finally:
        engine.flights.unwatch(computation)


async def _replace(engine: Engine, request: Request, lookup: Lookup | None, computation: Computation) -> Any:
    guard: Any = MISSING
    ids: Mapping[str, str] | None = None
    if lookup is not None:
        with engine.reports.tolerating():
            guard = await _guarded(engine, request, lookup)
            ids = await engine.tags.ids(request, lookup)
    began = monotonic()
    with computing(computation):
        value = await computed(request, engine.waiting)
    data = encode(value)
    own = read_back(request, data)
    options = request.options.for_value(own)
    if ids is not None and options is not None and not computation.outdated:
        with engine.reports.tolerating():
            settled = request._replace(options=options)
            if await engine.tags.live_on(settled, ids, request.options.keep, began):
                fresh = await _fresh_token(engine, request.name, options)
                await _store(engine, settled, guard, stored_form(value, data, ids, fresh), computation)
    return own


async def _guarded(engine: Engine, request: Request, lookup: Lookup) -> Any:
    """Give the old value a form of its own, and return it; ``MISSING`` if it has changed, or there are no leases."""
    entry = lookup.entry
    if engine.lease is None or entry.data is None:
        return MISSING
    form = stored_form(entry.found, entry.data, entry.tags, entry.fresh, new_token())
    done = await engine.reader.backend.compare_and_set(request.name, entry.found, form, KEEP_TTL)
    return form if done else MISSING


async def _store(engine: Engine, request: Request, guard: Any, form: Any, computation: Computation) -> None:
    backend, name, keep = engine.reader.backend, request.name, request.options.keep
    if engine.lease is None:
        await backend.set(name, form, keep)
        if computation.outdated:
            await backend.delete(name)
    elif guard is not MISSING:
        await backend.compare_and_set(name, guard, form, keep)


async def _fresh_token(engine: Engine, name: str, options: EntryOptions) -> str | None:
    """Return the freshness token of a new value, which is stored before it; ``None`` if it needs none."""
    if not options.stale:
        return None
    fresh = new_token()
    await engine.reader.backend.set(engine.reader.keys.fresh_name(name), fresh, options.ttl)
    return fresh
