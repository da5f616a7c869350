"""The Prometheus observer: what is exposed of real traffic, by the library's own parser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from test_measures import EVENTS

from authcache_middleware.events import Event, InvalidatedBy, LinkDown, Loaded, Refused, Stats, Unavailable
from authcache_middleware.observers.measures import OF_EVENTS, OF_STATS, OTHER
from authcache_middleware.observers.prometheus import PrometheusObserver
from authcache_middleware.reporter import Reporter


def parsed(exposition: str) -> dict[str, dict[tuple[str, ...], float]]:
    """From a sample's name to its numbers, by the values of the labels in the order of their names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(exposition):
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def test_the_numbers_are_those_of_stats_and_no_event_counts_twice(observed) -> None:
    said, stats = parsed(observed.exposition), observed.stats
    assert said["authcache_requests_total"] == {
        ("memory",): stats.memory_hits, ("redis",): stats.redis_hits, ("load",): stats.misses
    }  # fmt: skip
    assert min(said["authcache_requests_total"].values()) > 0
    for name, count in {
        "authcache_requests_refused_total": stats.refused,
        "authcache_requests_without_credentials_total": stats.without_credentials,
        "authcache_requests_unavailable_total": stats.unavailable,
        "authcache_requests_during_outage_total": stats.outage_answers,
        "authcache_load_duration_seconds_count": stats.loads,
        "authcache_fills_refused_total": stats.fills_refused,
        "authcache_invalidations_total": stats.invalidations,
        "authcache_outages_total": stats.outages,
        "authcache_links_lost_total": stats.links_lost,
    }.items():
        assert sum(said[name].values()) == count > 0, name
    failed = sum(count for labels, count in said["authcache_load_duration_seconds_count"].items() if "failed" in labels)
    assert failed == stats.failed_loads > 0
    assert said["authcache_outage_duration_seconds_count"] == {(): 1}
    assert sum(said["authcache_link_lag_seconds_count"].values()) == 2


def test_each_refusal_and_outage_is_told_by_its_reason(observed) -> None:
    said = parsed(observed.exposition)
    refusals = Counter((event.reason, str(event.status)) for event in observed.events if isinstance(event, Refused))
    told = {labels: count for labels, count in said["authcache_requests_refused_total"].items() if count}
    assert told == refusals
    assert {reason for reason, _ in refusals} >= {"scheme", "duplicate", "malformed", "expired", "audience", "revoked"}
    outages = Counter(event.reason.replace(" ", "_") for event in observed.events if isinstance(event, Unavailable))
    told = {labels[0]: count for labels, count in said["authcache_requests_unavailable_total"].items() if count}
    assert told == outages
    assert OTHER not in outages


def test_a_scrape_in_a_thread_of_its_own_sees_how_things_stand(observed) -> None:
    said = parsed(observed.trusted_exposition)
    assert said["authcache_memory_trusted"] == {(): 1}
    assert said["authcache_token_entries"][()] >= 1
    assert said["authcache_redis_may_evict"] == {(): 0}


def test_nothing_of_a_request_or_a_user_is_exposed(observed) -> None:
    assert len(observed.secrets) > 20
    for text in (observed.trusted_exposition, observed.exposition):
        assert not [secret for secret in observed.secrets if secret in text]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def exposed(registry: CollectorRegistry) -> dict[str, dict[tuple[str, ...], float]]:
    return parsed(generate_latest(registry).decode())


def test_names_follow_the_conventions(registry) -> None:
    observer = PrometheusObserver(registry=registry)
    for event, _ in EVENTS:
        observer(event)
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    names = {family.name: family.type for family in families if not family.name.endswith("_created")}
    assert len(names) == len({*OF_EVENTS, *OF_STATS})
    for name, kind in names.items():
        assert re.fullmatch(r"authcache(_[a-z]+)+", name)
        assert name.endswith("_seconds") == (kind == "histogram")


@pytest.mark.parametrize("odd", ["eyJhbGciOiJIUzI1NiJ9.e30.x", "user:4711", "redis://:hunter2@db:6379", ""])
def test_no_text_of_an_event_becomes_a_label(registry, odd) -> None:
    observer = PrometheusObserver(registry=registry)
    for event in (Refused(odd, odd), Unavailable(odd), LinkDown(odd, odd), Loaded(0.1, odd, odd)):
        observer(event)
    assert exposed(registry)["authcache_requests_refused_total"][OTHER, OTHER] == 1
    assert not odd or odd not in generate_latest(registry).decode()


def test_an_event_that_is_not_known_is_passed_over(registry) -> None:
    observer = PrometheusObserver(registry=registry)
    before = generate_latest(registry)
    observer(object())
    assert generate_latest(registry) == before


def test_what_has_not_happened_yet_stands_at_0(registry) -> None:
    PrometheusObserver(registry=registry)
    said = exposed(registry)
    assert said["authcache_invalidations_total"] == {(by,): 0 for by in get_args(InvalidatedBy)}
    assert said["authcache_requests_total"] == {("memory",): 0, ("redis",): 0, ("load",): 0}


def test_faces_that_share_an_observer_are_added(registry) -> None:
    observer = PrometheusObserver(registry=registry)
    observer.watch(lambda: Stats(memory_hits=2, memory_trusted=True))
    observer.watch(lambda: Stats(memory_hits=3, memory_trusted=True))
    said = exposed(registry)
    assert said["authcache_requests_total"]["memory",] == 5
    assert said["authcache_memory_trusted"] == {(): 2}


def test_a_second_observer_of_one_registry_is_refused(registry) -> None:
    PrometheusObserver(registry=registry)
    with pytest.raises(ValueError, match="authcache_"):
        PrometheusObserver(registry=registry)


def test_a_memory_hit_is_no_event_for_it(registry) -> None:
    observer = PrometheusObserver(registry=registry)
    reporter = Reporter([observer])
    reporter.memory_hit()
    observer.watch(lambda: Stats(**reporter.counts()))
    assert exposed(registry)["authcache_requests_total"]["memory",] == 1


PROCESS = """
import sys
sys.path[:0] = sys.argv[1:]
from faces import driven
from prometheus_client import CollectorRegistry
from authcache_middleware.events import Loaded
from authcache_middleware.observers.prometheus import PrometheusObserver
from authcache_middleware.testing import MemoryStore

observer = PrometheusObserver(registry=CollectorRegistry())
with driven("blocking", MemoryStore(), load_user=lambda _: {"id": 1}, observers=[observer]) as driver:
    driver.enter()
    driver.enter()
    for _ in range(3):
        driver.face._story._reporter.memory_hit()
    observer(object())
"""
COLLECT = """
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def test_in_multi_process_mode_every_process_counts_and_none_twice(tmp_path) -> None:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", PROCESS, *sys.path], check=True, env=environment, timeout=120)
    collected = subprocess.run(
        [sys.executable, "-c", COLLECT], check=True, env=environment, timeout=120, capture_output=True, text=True
    )
    said = parsed(collected.stdout)
    assert said["authcache_requests_total"] == {("memory",): 6, ("redis",): 2, ("load",): 2}
    assert said["authcache_load_duration_seconds_count"] == {("miss", "found"): 2}
    assert "authcache_memory_trusted" not in said


FORK = """
import os, sys
sys.path[:0] = sys.argv[1:]
from faces import driven
from prometheus_client import CollectorRegistry, generate_latest
from authcache_middleware.observers.prometheus import PrometheusObserver
from authcache_middleware.testing import MemoryStore

registry = CollectorRegistry()
options = {"load_user": lambda _: {"id": 1}, "observers": [PrometheusObserver(registry=registry)]}
with driven("blocking", MemoryStore(), **options) as driver:
    driver.enter()
    driver.enter()
    if os.fork() == 0:
        driver.enter()
        print(generate_latest(registry).decode(), flush=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
"""


def test_in_a_forked_child_requests_are_those_of_the_child() -> None:
    told = subprocess.run(
        [sys.executable, "-c", FORK, *sys.path], check=True, timeout=120, capture_output=True, text=True
    )
    assert parsed(told.stdout)["authcache_requests_total"] == {("memory",): 0, ("redis",): 1, ("load",): 0}


def test_every_event_there_is_can_be_told(registry) -> None:
    observer = PrometheusObserver(registry=registry)
    heard: list[Event] = []
    reporter = Reporter([observer, heard.append])
    for event, _ in EVENTS:
        reporter.tell(event)
    assert heard == [event for event, _ in EVENTS]
