"""Memory where there is more than one Redis: what is heard from each primary, and what changes of them do to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faces import wait_until
from live import Live, living
from servers.on_groups import client_of
from servers.valkey_cluster import SLOTS

IDS = [str(number) for number in range(12)]
PATIENT = {"store_timeout": 2.0, "deadline": 20.0}


class Rows:
    """A version for each user."""

    def __init__(self) -> None:
        self.version = 1

    def load(self, user_id: str) -> dict:
        return {"id": user_id, "version": self.version}


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def live(kind, cluster, prefix, rows) -> Iterator[Live]:
    with living(kind, client_of(kind, cluster), prefix=prefix, load_user=rows.load, **PATIENT) as live:
        yield live


def remembered(live: Live) -> None:
    for user_id in IDS:
        live.remember(user_id)


def test_a_del_on_any_primary_of_a_cluster_is_heard(live, cluster, rows) -> None:
    remembered(live)
    for first, _ in SLOTS:
        owner = cluster.owner(first)
        user_id = next(one for one in IDS if cluster.owner(cluster.slot(live.face.key(one))) is owner)
        assert cluster.ask(owner, "DEL", live.face.key(user_id)) == 1
        rows.version += 1
        wait_until(lambda one=user_id: live.recall(one) is None)
        assert live.enter(user_id)["version"] == rows.version
    assert live.stats().links_lost == 0


def test_memory_is_off_while_one_primary_of_a_cluster_has_no_link(live, cluster) -> None:
    remembered(live)
    owner = cluster.owner(0)
    other = next(one for one in IDS if cluster.owner(cluster.slot(live.face.key(one))) is not owner)
    assert live.recall(other)
    assert cluster.ask(owner, "CLIENT", "KILL", "TYPE", "pubsub") == 1
    wait_until(lambda: live.stats().links_lost == 1)
    wait_until(live.is_trusted)
    assert live.recall(other) is None


def test_a_slot_that_moves_takes_its_users_along(live, cluster, rows) -> None:
    remembered(live)
    slot = cluster.slot(live.face.key("1"))
    source, target = cluster.owner(slot), next(one for one in cluster.primaries() if one is not cluster.owner(slot))
    try:
        cluster.migrate_slot(slot, target)
        live.remember()
        rows.version += 1
        assert cluster.ask(target, "DEL", live.face.key("1")) == 1
        wait_until(lambda: live.recall() is None)
        assert live.enter()["version"] == rows.version
    finally:
        cluster.migrate_slot(slot, source)


def test_a_del_behind_sentinels_is_heard(kind, group, prefix, rows) -> None:
    with living(kind, client_of(kind, group), prefix=prefix, load_user=rows.load, **PATIENT) as live:
        live.remember()
        rows.version += 1
        assert group.ask(group.primary(), "DEL", live.face.key("1")) == 1
        wait_until(lambda: live.recall() is None)
        assert live.enter()["version"] == rows.version
        assert live.stats().links_lost == 0
