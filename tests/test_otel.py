"""Spans and metrics by the semantic conventions for databases."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from reinhardt_backends import Backend, MemoryBackend, RedisBackend, ResponseError, SyncBackend, SyncCache, SyncThrottle
from reinhardt_backends._component import drive
from reinhardt_backends.otel import OpenTelemetryListener
from reinhardt_backends.testing import FailingBackend

from .servers import Server


class Telemetry:
    """What a program has sent to a collector."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader])
        self.listener = self.make()

    def make(self, **options: Any) -> OpenTelemetryListener:
        return OpenTelemetryListener(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider, **options
        )

    @property
    def spans(self) -> tuple[Any, ...]:
        return self._exporter.get_finished_spans()

    def metrics(self) -> dict[str, Any]:
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name: metric for scope in scopes for metric in scope.metrics}


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


def test_calls_of_redis(telemetry: Telemetry, server: Server) -> None:
    with SyncBackend(RedisBackend(server.url, prefix="otel:")) as face:
        view = face.observed(telemetry.listener)
        with telemetry.tracer_provider.get_tracer("test").start_as_current_span("request"):
            view.set("s3cret", "s3cret")
        view.get("s3cret")
        view.clear()
    expected = {
        "db.system.name": "redis", "db.operation.name": "set", "db.namespace": "0",
        "server.address": "127.0.0.1", "server.port": server.port,
    }  # fmt: skip
    written, request, read, _ = telemetry.spans
    assert written.name == f"set 127.0.0.1:{server.port}"
    assert (written.kind, written.status.status_code) == (SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(written.attributes) == expected
    assert written.parent.span_id == request.context.span_id
    assert request.start_time <= written.start_time < written.end_time <= request.end_time
    assert read.parent is None
    duration = telemetry.metrics()["db.client.operation.duration"]
    assert duration.unit == "s"
    point = next(one for one in duration.data.data_points if one.attributes["db.operation.name"] == "set")
    assert dict(point.attributes) == expected
    assert (point.count, point.explicit_bounds[0]) == (1, 0.001)
    assert 0 < point.sum < 5
    assert "s3cret" not in str([span.to_json() for span in telemetry.spans])


def test_errors_have_a_type_and_no_text(telemetry: Telemetry) -> None:
    failing = FailingBackend(MemoryBackend())
    view = failing.observed(telemetry.listener)
    drive(view.set("s3cret", "text"))
    for call, error in ((view.increment, None), (view.get, ResponseError("NOPERM s3cret", code="NOPERM"))):
        if error is not None:
            failing.fail("get", error=error)
        with pytest.raises(Exception, match="s3cret"):
            drive(call("s3cret"))
    counter, refused = telemetry.spans[1:]
    assert counter.attributes["error.type"] == "reinhardt_backends.CounterError"
    assert refused.attributes["error.type"] == "reinhardt_backends.ResponseError"
    assert refused.attributes["db.response.status_code"] == "NOPERM"
    for span in (counter, refused):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
        assert span.name in ("increment", "get")
        assert "s3cret" not in span.to_json()


def test_keys_are_in_spans_by_choice_and_never_in_metrics(telemetry: Telemetry) -> None:
    backend = MemoryBackend()
    drive(backend.observed(telemetry.listener, keys=True).get_many(["a", "b"]))
    assert telemetry.spans[0].attributes["reinhardt_backends.keys"] == ("a", "b")
    (point,) = telemetry.metrics()["db.client.operation.duration"].data.data_points
    assert dict(point.attributes) == {"db.system.name": "memory", "db.operation.name": "get_many"}


def test_outcomes_of_components_are_counted(telemetry: Telemetry) -> None:
    backend: Backend = MemoryBackend().observed(telemetry.make(spans=False))
    cache, throttle = SyncCache(backend, ttl=60), SyncThrottle(backend, "1/min")
    for _ in range(3):
        cache.get_or_set("k", lambda: 1, int)
        throttle.hit("k")
    assert telemetry.spans == ()
    metrics = telemetry.metrics()
    counted = {
        tuple(one.attributes.values()): one.value for one in metrics["reinhardt_backends.outcomes"].data.data_points
    }
    assert counted == {
        ("cache", "miss"): 1, ("cache", "computed"): 1, ("cache", "hit"): 2,
        ("throttle", "allowed"): 1, ("throttle", "denied"): 2,
    }  # fmt: skip
    (computed,) = metrics["reinhardt_backends.duration"].data.data_points
    assert dict(computed.attributes) == {
        "reinhardt_backends.component": "cache", "reinhardt_backends.outcome": "computed",
    }  # fmt: skip


def test_the_global_providers_are_used_by_default() -> None:
    """Without an SDK they do nothing."""
    backend = MemoryBackend().observed(OpenTelemetryListener())
    assert drive(backend.increment("k")) == 1
