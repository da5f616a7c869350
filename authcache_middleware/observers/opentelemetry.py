"""The observer for OpenTelemetry, over its API alone: what becomes of the numbers is the business of the SDK.

    auth = AuthCache(..., observers=[OpenTelemetryObserver()])

The instruments and their attributes are those of ``measures`` with ``authcache.`` before them, but for the attributes
that OpenTelemetry's semantic conventions have a name for: ``http.response.status_code``, ``error.type``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, final

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, MeterProvider, Observation, get_meter
from opentelemetry.trace import SpanKind, StatusCode, TracerProvider, get_tracer
from opentelemetry.util.types import AttributeValue

from authcache_middleware.events import Event, Loaded, Stats
from authcache_middleware.observers.measures import (
    IN_STATS,
    LOADS,
    OF_EVENTS,
    OF_STATS,
    REQUESTS,
    Measure,
    Sample,
    measured,
    standing,
)

__all__ = ["OpenTelemetryObserver"]

_SCOPE: Final = "authcache_middleware"
_FAILED: Final = "load_failed"


@final
class OpenTelemetryObserver:
    """Gives events and counts to a meter, and each load to a tracer as a span; of the global providers by default.

    One observer serves all faces of a process, whose numbers are added; its faces live as long as it does. It waits for
    nothing, and is good for any thread.

    Requests and how things stand are read from ``stats()`` when a reader collects, in whatever thread that is.

    The span ``authcache.load`` is made when a load is over, beside the spans that the loader made itself: in the trace
    of the request that began it, or in one of its own where it refreshed a record ahead of its end.
    """

    def __init__(
        self, *, meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None
    ) -> None:
        self._sources: list[Callable[[], Stats]] = []
        self._tracer = get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = get_meter(_SCOPE, meter_provider=meter_provider)
        self._counters: dict[Measure, Counter] = {}
        self._histograms: dict[Measure, Histogram] = {}
        for measure in OF_EVENTS:
            if measure.kind == "histogram":
                self._histograms[measure] = meter.create_histogram(
                    _name(measure), measure.unit, measure.help, explicit_bucket_boundaries_advisory=measure.bounds
                )
            elif measure not in OF_STATS:
                self._counters[measure] = meter.create_counter(_name(measure), measure.unit, measure.help)
        for measure in OF_STATS:
            self._observe(meter, measure)

    def watch(self, stats: Callable[[], Stats]) -> None:
        """See ``WatchingObserver``: a face does this by itself."""
        self._sources.append(stats)

    def __call__(self, event: Event) -> None:
        """See ``Observer``."""
        if isinstance(event, IN_STATS):
            return
        sample = measured(event)
        if sample is None:
            return
        attributes = _attributes(sample)
        if sample.measure.kind == "histogram":
            self._histograms[sample.measure].record(sample.amount, attributes)
        else:
            self._counters[sample.measure].add(sample.amount, attributes)
        if isinstance(event, Loaded):
            self._trace(event.seconds, attributes)

    def _trace(self, seconds: float, attributes: dict[str, AttributeValue]) -> None:
        ended = time.time_ns()
        span = self._tracer.start_span(
            "authcache.load",
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            start_time=ended - round(seconds * 1_000_000_000),
        )
        if "error.type" in attributes:
            span.set_status(StatusCode.ERROR)
        span.end(end_time=ended)

    def _observe(self, meter: Meter, measure: Measure) -> None:
        # numbers that can be added over processes, which the conventions do not want as gauges
        create = meter.create_observable_counter if measure is REQUESTS else meter.create_observable_up_down_counter
        create(_name(measure), [partial(self._observed, measure)], measure.unit, measure.help)

    def _observed(self, measure: Measure, _options: CallbackOptions) -> Iterable[Observation]:
        if not self._sources:
            return
        for sample in standing([stats() for stats in list(self._sources)]):
            if sample.measure is measure:
                yield Observation(sample.amount, _attributes(sample))


def _name(measure: Measure) -> str:
    return f"authcache.{measure.name}"


def _attributes(sample: Sample) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {}
    for label, word in zip(sample.measure.labels, sample.labels, strict=True):
        if label == "status" and word.isdecimal():
            attributes["http.response.status_code"] = int(word)
        else:
            attributes[f"authcache.{label}"] = word
    if sample.measure is LOADS and attributes["authcache.outcome"] == "failed":
        attributes["error.type"] = _FAILED
    return attributes
