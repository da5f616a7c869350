"""A Redis that answers, and refuses: it is not gone, and what it knows is not passed over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from faces import driven, headers, token_for, wait_until
from proxies import StallingProxy

from authcache_middleware.errors import InvalidTokenError, UnavailableError
from authcache_middleware.testing.server import EmbeddedServer

FACES = ["async", "blocking"]
PATIENT = {"store_timeout": 5.0, "connect_timeout": 5.0, "deadline": 30.0}


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    with EmbeddedServer() as one, EmbeddedServer() as other:
        yield one, other


@pytest.mark.parametrize("face", FACES)
def test_a_redis_that_is_full_does_not_undo_a_logout(face, servers, prefix) -> None:
    token = token_for("1")
    loads = []

    def load(user_id):
        loads.append(user_id)
        return {"id": user_id}

    with (
        redis.Redis.from_url(servers[0].url) as admin,
        driven(face, servers[0].url, load_user=load, prefix=prefix, on_outage="load", **PATIENT) as driver,
    ):
        driver("authenticate", headers(token))
        driver("logout", token)
        admin.config_set("maxmemory", 1)
        try:
            for _ in range(4):  # the breaker does not open either
                with pytest.raises(UnavailableError, match="refused"):
                    driver("authenticate", headers(token))
            assert loads == ["1"]
        finally:
            admin.config_set("maxmemory", 0)
        with pytest.raises(InvalidTokenError, match="revoked"):
            driver("authenticate", headers(token))


@pytest.mark.parametrize("face", FACES)
def test_an_address_that_leads_to_a_promoted_replica_is_followed(face, servers, prefix) -> None:
    """The connections that there are still lead to the old server, which lives on as a replica."""
    old, new = servers
    with (
        redis.Redis.from_url(old.url) as demoted,
        StallingProxy(old.port) as proxy,
        driven(face, proxy.url, load_user=lambda user_id: {"id": user_id}, prefix=prefix, **PATIENT) as driver,
    ):
        assert driver.enter("1").user.id == "1"
        demoted.replicaof("127.0.0.1", new.port)
        try:
            wait_until(lambda: demoted.info("replication")["role"] == "slave")
            proxy.lead_to(new.port)
            assert driver.enter("2").user.id == "2"
            driver("revoke_user", "2")
            with pytest.raises(InvalidTokenError, match="revoked"):
                driver.enter("2")
        finally:
            demoted.replicaof("NO", "ONE")
