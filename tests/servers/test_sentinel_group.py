"""The Sentinels of the tests are Sentinels: they name the primary, and another one when it is gone."""

import contextlib
import os

import pytest
import redis.asyncio.sentinel
import redis.sentinel
from faces import wait_until
from servers.sentinel_group import SentinelGroup


def test_clients_find_the_primary():
    with SentinelGroup() as group, contextlib.ExitStack() as clients:
        assert (group.primary(), group.replica()) == tuple(group.data)
        for one in group.sentinels:
            assert group.ask(one, "SENTINEL", "CKQUORUM", group.name).startswith("OK 3 usable")
        sentinel = redis.sentinel.Sentinel(group.addresses)
        client = clients.enter_context(sentinel.master_for(group.name))
        for one in sentinel.sentinels:
            clients.enter_context(one)
        assert sentinel.discover_slaves(group.name) == [("127.0.0.1", group.replica().port)]
        client.set("a", "1")
        assert group.ask(group.data[0], "GET", "a") == "1"
        wait_until(lambda: group.ask(group.data[1], "GET", "a") == "1")


@pytest.mark.parametrize(("fault", "mend"), [("kill", "start"), ("freeze", "thaw")])
async def test_the_replica_takes_over_and_clients_follow(fault, mend):
    with SentinelGroup() as group:
        primary, replica = group.primary(), group.replica()
        getattr(primary, fault)()
        group.settle()
        assert (group.primary(), group.replica()) == (replica, primary)

        sentinel = redis.asyncio.sentinel.Sentinel(group.addresses)
        async with sentinel.master_for(group.name) as client:
            await client.set("a", "1")
        for one in sentinel.sentinels:
            await one.aclose()
        assert group.ask(replica, "GET", "a") == "1"

        getattr(primary, mend)()
        group.settle()
        assert (group.primary(), group.ask(primary, "ROLE")[0]) == (replica, "slave")
        assert group.ask(primary, "GET", "a") == "1"


def test_nothing_is_left_of_it(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with SentinelGroup() as group:
        pids = [group.ask(server, "INFO", "server")["process_id"] for server in group.servers]
        assert any(tmp_path.iterdir())
        group.sentinels[0].freeze()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not list(tmp_path.iterdir())
