"""One play of traffic for each face, observed by everybody at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.request import urlopen

import pytest
import redis
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, start_http_server
from proxies import StallingProxy
from traffic import Traffic

from authcache_middleware.observers.opentelemetry import OpenTelemetryObserver
from authcache_middleware.observers.prometheus import PrometheusObserver


class Sdk:
    """OpenTelemetry's SDK, in memory."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.exporter = InMemorySpanExporter()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.observer = OpenTelemetryObserver(meter_provider=self.meters, tracer_provider=self.tracers)

    def close(self) -> None:
        self.meters.shutdown()
        self.tracers.shutdown()


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    sdk = Sdk()
    yield sdk
    sdk.close()


@pytest.fixture(scope="session", params=["async", "blocking"])
def observed(request, server) -> SimpleNamespace:
    """What the traffic was, and what was seen of it by way of each library."""
    registry, sdk, seen = CollectorRegistry(), Sdk(), SimpleNamespace()
    prometheus = PrometheusObserver(registry=registry)
    serving, thread = start_http_server(0, "127.0.0.1", registry)

    def scrape() -> str:
        with urlopen(f"http://127.0.0.1:{serving.server_port}/metrics", timeout=30) as answer:
            return answer.read().decode()

    def when_trusted() -> None:
        seen.trusted_exposition = scrape()
        seen.trusted_metrics = sdk.reader.get_metrics_data()

    def when_over() -> None:
        seen.exposition = scrape()
        seen.metrics = sdk.reader.get_metrics_data()
        seen.spans = sdk.exporter.get_finished_spans()

    try:
        with StallingProxy(server.port) as proxy, redis.Redis.from_url(server.url) as other:
            prefix = f"{uuid.uuid4().hex}:user:"
            traffic = Traffic(request.param, proxy, other, prefix, [prometheus, sdk.observer])
            asyncio.run(traffic.play(when_trusted, when_over))
    finally:
        sdk.close()
        serving.shutdown()
        serving.server_close()
        thread.join()
    seen.events, seen.stats, seen.secrets = traffic.events, traffic.stats(), traffic.secrets
    return seen
