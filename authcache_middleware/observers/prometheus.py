"""The observer for Prometheus, over ``prometheus_client``.

    observer = PrometheusObserver()
    auth = AuthCache(..., observers=[observer])

The metrics and their labels are those of ``measures``, in base units, with ``authcache_`` before them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Final, final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.values import MutexValue, ValueClass

from authcache_middleware.events import Event, Stats
from authcache_middleware.observers.measures import (
    IN_STATS,
    OF_EVENTS,
    OF_STATS,
    REQUESTS,
    Measure,
    measured,
    standing,
)

__all__ = ["PrometheusObserver"]


@final
class PrometheusObserver:
    """Gives events and counts to a registry of ``prometheus_client``, the usual one unless it is told another.

    One observer serves all faces of a process, whose numbers are added: a registry takes these metrics only once, a
    second observer raises ``ValueError``. Its faces live as long as it does. It waits for nothing but
    ``prometheus_client``'s own locks, and is good for any thread.

    Requests and how things stand are read from ``stats()`` when Prometheus asks, in whatever thread that is. In
    ``prometheus_client``'s multi-process mode (``PROMETHEUS_MULTIPROC_DIR``) only numbers in its files reach the
    process that is asked: there each request is counted by its event, memory hits included, and there are no gauges.
    """

    def __init__(self, *, registry: CollectorRegistry = REGISTRY) -> None:
        is_multi_process = ValueClass is not MutexValue
        self._passes_over = () if is_multi_process else IN_STATS
        self._metrics: dict[Measure, Any] = {
            measure: _metric(measure, registry) for measure in OF_EVENTS if is_multi_process or measure not in OF_STATS
        }
        self._counts = _Counts()
        if not is_multi_process:
            registry.register(self._counts)

    def watch(self, stats: Callable[[], Stats]) -> None:
        """See ``WatchingObserver``: a face does this by itself."""
        self._counts.sources.append(stats)

    def __call__(self, event: Event) -> None:
        """See ``Observer``."""
        if isinstance(event, self._passes_over):
            return
        sample = measured(event)
        if sample is None:
            return
        metric = self._metrics[sample.measure]
        if sample.labels:
            metric = metric.labels(*sample.labels)
        if sample.measure.kind == "histogram":
            metric.observe(sample.amount)
        else:
            metric.inc(sample.amount)


class _Counts(Collector):
    """What is read when Prometheus asks."""

    def __init__(self) -> None:
        self.sources: list[Callable[[], Stats]] = []

    def collect(self) -> Iterator[Metric]:
        families = {measure: _family(measure) for measure in OF_STATS}
        for sample in standing([stats() for stats in list(self.sources)]):
            families[sample.measure].add_metric(sample.labels, sample.amount)
        yield from families.values()

    def describe(self) -> Iterator[Metric]:
        """The names alone, by which a registry notices who else has them."""
        return map(_family, OF_STATS)


_MOST_KNOWN: Final = 12


def _metric(measure: Measure, registry: CollectorRegistry) -> Counter | Histogram:
    name, labels = _name(measure), list(measure.labels)
    if measure.kind == "histogram":
        return Histogram(name, measure.help, labels, registry=registry, buckets=measure.bounds)
    counter = Counter(name, measure.help, labels, registry=registry)
    if labels:
        series = list(product(*measure.labels.values()))
        for values in series if len(series) <= _MOST_KNOWN else ():
            counter.labels(*values)  # there from the start, so that the first of its kind is seen to rise from 0
    return counter


def _family(measure: Measure) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if measure is REQUESTS else GaugeMetricFamily
    return kind(_name(measure), measure.help, labels=list(measure.labels))


def _name(measure: Measure) -> str:
    words = ["authcache", *measure.name.split(".")]
    return "_".join([*words, "seconds"] if measure.unit == "s" else words)
