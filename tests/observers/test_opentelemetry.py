"""The OpenTelemetry observer: what the SDK gets of real traffic, as metrics and as spans."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faces import headers, settings, token_for
from opentelemetry.trace import SpanKind, StatusCode
from test_measures import EVENTS

from authcache_middleware import AsyncAuthCache, AuthCache
from authcache_middleware.events import LinkDown, Loaded, Refused, Stats, Unavailable
from authcache_middleware.observers.measures import OF_EVENTS, OF_STATS
from authcache_middleware.testing import MemoryStore


def metrics(data: Any) -> dict[str, Any]:
    return {
        metric.name: metric
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if scope.scope.name == "authcache_middleware"
    }


def numbers(metric: Any) -> dict[tuple[Any, ...], float]:
    """From the attributes' values to the number: of a histogram, how many."""
    return {
        tuple(point.attributes.values()): getattr(point, "count", None) or getattr(point, "value", 0)
        for point in metric.data.data_points
    }


def test_the_numbers_are_those_of_stats_and_no_event_counts_twice(observed) -> None:
    said, stats = metrics(observed.metrics), observed.stats
    assert numbers(said["authcache.requests"]) == {
        ("memory",): stats.memory_hits, ("redis",): stats.redis_hits, ("load",): stats.misses
    }  # fmt: skip
    for name, count in {
        "authcache.requests.refused": stats.refused,
        "authcache.requests.without_credentials": stats.without_credentials,
        "authcache.requests.unavailable": stats.unavailable,
        "authcache.requests.during_outage": stats.outage_answers,
        "authcache.load.duration": stats.loads,
        "authcache.fills.refused": stats.fills_refused,
        "authcache.invalidations": stats.invalidations,
        "authcache.outages": stats.outages,
        "authcache.links.lost": stats.links_lost,
    }.items():
        assert sum(numbers(said[name]).values()) == count > 0, name
    assert (401, "expired") in numbers(said["authcache.requests.refused"])


def test_a_reader_in_a_thread_of_its_own_sees_how_things_stand(observed) -> None:
    said = metrics(observed.trusted_metrics)
    assert numbers(said["authcache.memory.trusted"]) == {(): 1}
    assert numbers(said["authcache.token.entries"])[()] >= 1


def test_each_load_is_a_span_and_a_failed_one_an_error(observed) -> None:
    loads = [event for event in observed.events if isinstance(event, Loaded)]
    assert {event.cause for event in loads} == {"miss", "refresh", "outage"}
    assert len(observed.spans) == len(loads) == observed.stats.loads
    for span, load in zip(observed.spans, loads, strict=True):
        assert (span.name, span.kind) == ("authcache.load", SpanKind.INTERNAL)
        assert span.end_time - span.start_time == pytest.approx(load.seconds * 1e9, abs=1)
        failed = load.outcome == "failed"
        assert span.attributes == {
            "authcache.cause": load.cause,
            "authcache.outcome": load.outcome,
            **({"error.type": "load_failed"} if failed else {}),
        }
        assert span.status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)


def test_nothing_of_a_request_or_a_user_is_exported(observed) -> None:
    exported = [observed.metrics.to_json(), observed.trusted_metrics.to_json(), *map(_as_json, observed.spans)]
    for text in exported:
        assert not [secret for secret in observed.secrets if secret in text]


def _as_json(span: Any) -> str:
    return span.to_json()


def test_instruments_have_units_and_words_and_buckets_for_seconds(sdk) -> None:
    sdk.observer.watch(Stats)
    for event, _ in EVENTS:
        sdk.observer(event)
    said = metrics(sdk.reader.get_metrics_data())
    assert set(said) == {f"authcache.{measure.name}" for measure in {*OF_EVENTS, *OF_STATS}}
    for metric in said.values():
        assert metric.description
        assert metric.unit == "s" or metric.unit.strip("{}").isalpha()
    (lag,) = said["authcache.link.lag"].data.data_points
    assert {0.001, 0.01, 1.0} < set(lag.explicit_bounds)


@pytest.mark.parametrize("odd", ["eyJhbGciOiJIUzI1NiJ9.e30.x", "user:4711", "redis://:hunter2@db:6379"])
def test_no_text_of_an_event_becomes_an_attribute(sdk, odd) -> None:
    for event in (Refused(odd, odd), Unavailable(odd), LinkDown(odd, odd), Loaded(0.1, odd, odd)):
        sdk.observer(event)
    (span,) = sdk.exporter.get_finished_spans()
    for text in (sdk.reader.get_metrics_data().to_json(), span.to_json()):
        assert odd not in text
        assert "other" in text


def test_an_event_that_is_not_known_is_passed_over(sdk) -> None:
    sdk.observer(object())
    assert not metrics(sdk.reader.get_metrics_data())
    assert not sdk.exporter.get_finished_spans()


def test_faces_that_share_an_observer_are_added(sdk) -> None:
    sdk.observer.watch(lambda: Stats(memory_hits=2, memory_trusted=True))
    sdk.observer.watch(lambda: Stats(memory_hits=3, memory_trusted=True))
    said = metrics(sdk.reader.get_metrics_data())
    assert numbers(said["authcache.requests"])["memory",] == 5
    assert numbers(said["authcache.memory.trusted"]) == {(): 2}


@pytest.mark.parametrize("face", ["async", "blocking"])
def test_a_load_stands_in_the_trace_of_its_request(sdk, face) -> None:
    async def request() -> None:
        cls = AsyncAuthCache if face == "async" else AuthCache
        auth = cls(MemoryStore(), **settings(load_user=lambda _user_id: {"id": 1}, observers=[sdk.observer]))
        with sdk.tracers.get_tracer("test").start_as_current_span("request"):
            found = auth.authenticate(headers(token_for("1")))
            if face == "async":
                await found
        ended = auth.aclose() if face == "async" else auth.close()
        if ended is not None:
            await ended

    asyncio.run(request())
    load, request_span = sdk.exporter.get_finished_spans()
    assert load.parent.span_id == request_span.context.span_id


def test_without_an_sdk_nothing_happens() -> None:
    from authcache_middleware.observers.opentelemetry import OpenTelemetryObserver

    observer = OpenTelemetryObserver()
    for event, _ in EVENTS:
        observer(event)
