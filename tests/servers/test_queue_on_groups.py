"""Queues, events and last activity on a cluster, where each key may be on another node, and behind Sentinels."""

from __future__ import annotations

from typing import Any

import pytest
from faces import wait_until
from live import living
from servers.on_groups import client_of
from streams.queues import ready_queue, tell

from authcache_middleware.activity import Activity

pytestmark = pytest.mark.slow


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


def load(user_id: str) -> dict[str, Any]:
    return {"id": user_id}


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_cluster_has_queues_on_all_its_nodes(kind, cluster, prefix, protocol) -> None:
    owners = set()
    for number in range(12):
        name = f"{prefix}{number}"
        owners.add(cluster.owner(cluster.slot(f"queue:{name}")).port)
        with ready_queue(kind, client_of(kind, cluster, protocol=protocol), name, redeliver_after=0.02) as driver:
            tell(driver)
    assert len(owners) == 3


def test_a_queue_follows_its_slot(kind, cluster, prefix) -> None:
    slot = cluster.slot(f"queue:{prefix}")
    source = cluster.owner(slot)
    with ready_queue(kind, client_of(kind, cluster), prefix, redeliver_after=0.02) as driver:
        driver("put", {"number": "1"})
        cluster.migrate_slot(slot, cluster.owner((slot + 8000) % 16384))
        try:
            assert [entry.fields["number"] for entry in driver("read", wait=5.0)] == [b"1"]
        finally:
            cluster.migrate_slot(slot, source)


def test_behind_sentinels_it_is_the_same(kind, group, prefix) -> None:
    with ready_queue(kind, client_of(kind, group), prefix, redeliver_after=0.02) as driver:
        tell(driver)


def use_activity_and_events(kind: str, group, prefix: str) -> None:
    stream = prefix.removesuffix("user:") + "events"
    options = {"load_user": load, "prefix": prefix, "activity": Activity(flush_every=0.02), "event_stream": stream}
    with living(kind, client_of(kind, group), store_timeout=2.0, deadline=10.0, **options) as live:
        live.enter("1")
        wait_until(lambda: live.stats().activity_writes)
        assert live("presence", "1").last_seen is not None
        assert live("online") == ["1"]
        assert live("count_online") == 1
        live("invalidate", "1")
        if live.is_async:

            async def first() -> Any:
                return await anext(live.face.events("0"))

            assert live.run(first()).type == "invalidated"
        else:
            assert next(live.face.events("0")).type == "invalidated"
        assert (live.stats().activity_failures, live.stats().events_lost) == (0, 0)


def test_last_activity_and_events_on_a_cluster(kind, cluster, prefix) -> None:
    for number in range(6):
        use_activity_and_events(kind, cluster, f"{number}{prefix}")


def test_last_activity_and_events_behind_sentinels(kind, group, prefix) -> None:
    use_activity_and_events(kind, group, prefix)
