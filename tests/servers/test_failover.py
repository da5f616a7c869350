"""A primary that is killed or hangs, a slot that moves: nobody is let in whom a confirmed call has thrown out.

Every test prints what was answered. They are slow, as a failover is; ``python -m pytest -m slow tests/servers -s``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from faces import wait_until
from live import Live, living
from servers.group import Group
from servers.history import History, Report
from servers.on_groups import client_of
from servers.sentinel_group import SentinelGroup
from servers.valkey_cluster import Cluster

BOUND = 0.4  # s: below the time after which the groups of the tests take a server for gone
AFTER = 3.0

pytestmark = pytest.mark.slow


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


@contextmanager
def watched(kind: str, group: Group, **options) -> Iterator[tuple[Live, History]]:
    """A face in use, whose memory is trusted."""
    history: History
    options = {
        "max_staleness": BOUND,
        "store_timeout": 0.25,
        "deadline": 8.0,
        "wait_replicas": 1,
        "leeway": 0.0,
        "load_user": lambda user_id: history.load(user_id),
        **options,
    }
    with living(kind, client_of(kind, group, socket_timeout=0.25, socket_connect_timeout=0.25), **options) as live:
        history = History(live, BOUND)
        live.remember("0")
        history.start()
        try:
            wait_until(lambda: history.report.revocations >= 3 and history.report.invalidations >= 20)
            yield live, history
        finally:
            history.stop()


def judged(what: str, history: History, fault: float) -> Report:
    report = history.stop()
    late = [moment - fault for moment in report.unavailable if moment >= fault]
    trusted = [moment - fault for moment in report.trusted if moment >= fault + BOUND]
    print(
        f"\n{what}: {report.answers} answers, {report.stale} stale, {report.from_memory} from memory; "
        f"{report.invalidations} + {report.revocations} confirmed, {report.unconfirmed} not; {len(late)} times 503"
        f"{f', from {min(late):.2f} to {max(late):.2f} s' if late else ''} after the fault; "
        f"memory trusted again after {next(iter(trusted), float('nan')):.2f} s; {dict(report.others)}"
    )
    assert report.stale == 0
    assert report.wrongly_refused == 0
    assert not report.others
    assert report.from_memory > 100
    assert report.revocations >= 3
    assert not [moment for moment in report.unavailable if moment < fault], "503 before anything was wrong"
    return report


def play(what: str, live: Live, history: History, *steps: Callable[[], object]) -> None:
    """The fault and what follows it, while callers call; then some quiet time, in which memory must be trusted."""
    fault = time.monotonic()
    for step in steps:
        step()
    wait_until(live.is_trusted, guard=60)
    quiet = time.monotonic()
    time.sleep(AFTER)
    report = judged(what, history, fault)
    assert [moment for moment in report.trusted if moment > quiet + AFTER / 2]
    assert not [moment for moment in report.unavailable if moment > quiet + AFTER / 2], "503 long after the fault"


@pytest.mark.parametrize(("fault", "mend"), [("kill", "start"), ("freeze", "thaw")])
def test_a_primary_of_a_cluster_is_lost(kind, fault, mend) -> None:
    with Cluster() as cluster, watched(kind, cluster) as (live, history):
        primary = cluster.owner(cluster.slot(live.face.key("0")))
        play(
            f"cluster {fault} {kind}",
            live,
            history,
            getattr(primary, fault),
            cluster.settle,
            lambda: time.sleep(1.0),
            getattr(primary, mend),
            cluster.settle,
        )


@pytest.mark.parametrize(("fault", "mend"), [("kill", "start"), ("freeze", "thaw")])
def test_sentinels_promote_the_replica(kind, fault, mend) -> None:
    with SentinelGroup() as group, watched(kind, group) as (live, history):
        primary = group.primary()
        play(
            f"sentinel {fault} {kind}",
            live,
            history,
            getattr(primary, fault),
            group.settle,
            lambda: time.sleep(1.0),
            getattr(primary, mend),
            group.settle,
        )


@pytest.mark.parametrize("how", ["at_once", "key_by_key"])
def test_slots_move(kind, how) -> None:
    with Cluster() as cluster, watched(kind, cluster) as (live, history):

        def move() -> None:
            for user_id in map(str, range(8)):
                slot = cluster.slot(live.face.key(user_id))
                target = next(one for one in cluster.primaries() if one is not cluster.owner(slot))
                if how == "at_once":
                    cluster.migrate_slot(slot, target)
                else:
                    cluster.move_keys(slot, target, between=lambda: time.sleep(0.3))

        play(f"slots move {how} {kind}", live, history, move)


def test_what_a_node_without_a_link_has_answered_is_not_remembered(kind) -> None:
    """A slot that moves, key by key, to a node that has none yet: nobody there would tell of a ``DEL``."""
    rows = {"1": 1}
    options = {"load_user": lambda user_id: {"version": rows[user_id]}, "store_timeout": 2.0, "deadline": 20.0}
    with Cluster() as cluster, living(kind, client_of(kind, cluster), **options) as live:
        live.remember()
        joined = cluster.join()
        seen = []

        def ask_and_delete() -> None:
            live("invalidate", "1")  # from here on the source knows nothing of the key, and names the other node
            for _ in range(3):
                for _ in range(2):  # a load, and a GET whose answer could be kept
                    assert live.enter()["version"] == rows["1"]
                seen.append((live.is_trusted(), live.recall()))
                rows["1"] += 1
                assert cluster.ask_importing(joined, "DEL", live.face.key("1")) == 1

        cluster.move_keys(cluster.slot(live.face.key("1")), joined, between=ask_and_delete)
        assert all(recalled is None for _, recalled in seen)
        assert any(trusted for trusted, _ in seen)
        live("invalidate", "1")
        live.remember()
        rows["1"] += 1
        assert cluster.ask(joined, "DEL", live.face.key("1")) == 1
        wait_until(lambda: live.recall() is None)
        assert live.enter()["version"] == rows["1"]
