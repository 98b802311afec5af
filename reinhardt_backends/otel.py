"""OpenTelemetry: spans and metrics of a backend's calls, and counts of what its components do.

Example::

    backend = RedisBackend("redis://localhost").observed(OpenTelemetryListener())

Every call becomes a span of kind ``CLIENT`` and a point of the histogram ``db.client.operation.duration``, by the
semantic conventions for databases. ``db.operation.name`` is the verb, such as ``get``, or the name of an atomic step of
a component. ``db.system.name`` is ``redis``, ``memory``, or the name of the class of a user's backend. The attributes
hold no key and no value. With ``observed(listener, keys=True)`` the spans have the keys as ``reinhardt_backends.keys``;
metrics never do.

What components report is counted in ``reinhardt_backends.outcomes``, by the attributes ``reinhardt_backends.component``
(such as ``cache``) and ``reinhardt_backends.outcome`` (such as ``hit``). Computations of a cache and waits are also
points of the histogram ``reinhardt_backends.duration``.

Needs the extra ``otel``, which has OpenTelemetry's API. The application chooses and configures the SDK.
"""

from __future__ import annotations

import time
from typing import Any, Final

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider  # noqa: TC002 - a public signature can be resolved
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

from . import Event, ResponseError, StoreInfo, __version__

__all__ = ["OpenTelemetryListener"]

_NAME: Final = "reinhardt_backends"
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.33.0"
_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
"""The bucket boundaries, in seconds, that the conventions recommend for ``db.client.operation.duration``."""

_NANO: Final = 1_000_000_000


class OpenTelemetryListener:
    """A listener for ``Backend.observed`` that makes spans and metrics of events.

    One listener may serve any number of backends.

    Args:
        tracer_provider: Where spans go; the global provider by default.
        meter_provider: Where metrics go; the global provider by default.
        spans: Whether calls become spans, or metrics only.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        spans: bool = True,
    ) -> None:
        """Make the instruments."""
        meter = metrics.get_meter(_NAME, __version__, meter_provider, _SCHEMA)
        self._tracer = trace.get_tracer(_NAME, __version__, tracer_provider, _SCHEMA) if spans else None
        self._calls = meter.create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._outcomes = meter.create_counter(
            "reinhardt_backends.outcomes",
            unit="{outcome}",
            description="What caches, throttles, sessions and locks did.",
        )
        self._durations = meter.create_histogram(
            "reinhardt_backends.duration",
            unit="s",
            description="Duration of computations of caches, and of waits.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )

    def __call__(self, event: Event) -> None:
        """Record one event."""
        if event.component == "backend":
            attributes = _call_attributes(event)
            if self._tracer is not None:
                self._add_span(event, attributes)
            self._calls.record(event.seconds, attributes)
            return
        outcome = {"reinhardt_backends.component": event.component, "reinhardt_backends.outcome": event.name}
        if event.error is not None:
            outcome["error.type"] = _error_type(event.error)
        self._outcomes.add(1, outcome)
        if event.seconds:
            self._durations.record(event.seconds, outcome)

    def _add_span(self, event: Event, attributes: dict[str, Any]) -> None:
        """Add a span for a call that has ended: a child of the caller's current span."""
        if self._tracer is None:
            return
        end = time.time_ns()
        start = end - round(event.seconds * _NANO)
        shown = {**attributes, "reinhardt_backends.keys": event.keys} if event.keys else attributes
        name = " ".join(filter(None, (event.name, _place(event.store))))
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=shown, start_time=start)
        if event.error is not None:
            # No description: the text of an error may name a key.
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)


def _call_attributes(event: Event) -> dict[str, Any]:
    store, error = event.store, event.error
    attributes: dict[str, Any] = {"db.system.name": store.system, "db.operation.name": event.name}
    if store.database is not None:
        attributes["db.namespace"] = str(store.database)
    if store.address is not None:
        attributes["server.address"] = store.address
        if store.port is not None:
            attributes["server.port"] = store.port
    if error is not None:
        attributes["error.type"] = _error_type(error)
        if isinstance(error, ResponseError) and error.code:
            attributes["db.response.status_code"] = error.code
    return attributes


def _error_type(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _place(store: StoreInfo) -> str | None:
    if store.address is None or store.port is None:
        return store.address
    return f"[{store.address}]:{store.port}" if ":" in store.address else f"{store.address}:{store.port}"
