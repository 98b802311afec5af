"""Spans and metrics of a backend in the terminal, without a collector.

    pip install "reinhardt-backends[otel]" opentelemetry-sdk
    python examples/observed.py
    python examples/observed.py --url redis://localhost

A real program leaves the exporters to its OpenTelemetry configuration; all that it does itself is ``observed``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import anyio
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from reinhardt_backends import Backend, Cache, Throttle
from reinhardt_backends.otel import OpenTelemetryListener


def span_line(span: ReadableSpan) -> str:
    milliseconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
    return f"span    {span.name:<40} {milliseconds:8.3f} ms\n"


def metric_lines(data: MetricsData) -> Iterable[str]:
    for metrics in (scope.metrics for resource in data.resource_metrics for scope in resource.scope_metrics):
        for metric in metrics:
            for point in metric.data.data_points:
                number: Any = getattr(point, "value", None) or getattr(point, "count", 0)
                named = ", ".join(str(value) for value in (point.attributes or {}).values())
                yield f"metric  {metric.name:<30} {number:>5}  {named}\n"


async def weather(city: str) -> str:
    await anyio.sleep(0.01)
    return f"{city}: -3°, snow"


async def work(backend: Backend) -> None:
    cache = Cache(backend, ttl=60)
    throttle = Throttle(backend, "2/min", algorithm="gcra")
    report = cache.cached(key="weather:{city}")(weather)
    for _ in range(3):
        await report("Oslo")
        await throttle.hit("ada")
    await backend.aclose()


async def main(url: str) -> None:
    spans = TracerProvider()
    spans.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=span_line)))
    exporter = ConsoleMetricExporter(formatter=lambda data: "".join(metric_lines(data)))
    metrics = MeterProvider([PeriodicExportingMetricReader(exporter)])

    listener = OpenTelemetryListener(tracer_provider=spans, meter_provider=metrics)
    async with Backend.from_url(url) as backend:
        await work(backend.observed(listener).namespace("example"))
        await backend.namespace("example").clear()

    metrics.shutdown()
    spans.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="memory://", help="where the values are kept (default: %(default)s)")
    parser.add_argument("--trio", action="store_true", help="run on trio instead of asyncio")
    arguments = parser.parse_args()
    anyio.run(main, arguments.url, backend="trio" if arguments.trio else "asyncio")
