"""Queues on a cluster, where each stream may be on another node, and behind Sentinels."""

from __future__ import annotations

import pytest
from servers.on_groups import client_of
from streams.queues import ready_queue, tell

pytestmark = pytest.mark.slow


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


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
