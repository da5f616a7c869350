"""The fewest rights: with exactly these all works, and each of them is needed. They are the README's."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis
from faces import wait_until
from live import Live, living
from servers.on_groups import client_of

from authcache_middleware import InvalidTokenError, UnavailableError
from authcache_middleware.redis.scripts import MAX_REVOKED_IDS
from authcache_middleware.testing.server import EmbeddedServer

COMMANDS = ("+get", "+mget", "+set", "+del", "+eval", "+hgetall", "+hset", "+hdel", "+time", "+ttl", "+expire")
LINK = ("+client|id", "+client|tracking", "+subscribe", "+ping", "&__redis__:invalidate")
KEYS = ("~user:*", "~revoked:*", "~refresh:*")
CLUSTER = ("+cluster|slots", "+command", "+asking")
SENTINEL = ("+sentinel|masters", "+sentinel|get-master-addr-by-name")
PATIENT = {"store_timeout": 4.0, "deadline": 20.0, "max_staleness": 2.0}


def load(user_id: str) -> dict:
    return {"id": user_id}


def allow(admin, rights: Collection[str]) -> None:
    admin("ACL", "SETUSER", "limited", "reset", "on", ">pw", "resetchannels", "-@all", *rights)


@contextmanager
def limited(server: EmbeddedServer, rights: Collection[str], kind: str = "blocking", **options) -> Iterator[Live]:
    with redis.Redis.from_url(server.url) as admin:
        admin.flushall()
        allow(admin.execute_command, rights)
    url = server.url.replace("://", "://limited:pw@")
    with living(kind, url, load_user=load, **{**PATIENT, **options}) as live:
        yield live


@pytest.fixture(scope="module")
def own() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture(params=["async", "blocking"])
def kind(request) -> str:
    return request.param


def story(live: Live) -> None:
    """All that this package asks of a Redis; memory is asked for last."""
    assert live.enter("1")["id"] == "1"
    if live.is_async:

        async def both() -> list:
            return await asyncio.gather(*(live.face.authenticate(live.headers(one)) for one in ("1", "2")))

        assert len(live.run(both())) == 2
    live("invalidate", "1")
    for number in range(2):
        live("logout", token_of(live, f"out{number}"))
        live("revoke_user", f"out{number}")
        with pytest.raises(InvalidTokenError):
            live.enter(f"out{number}")
    wait_until(lambda: live.is_trusted() or memory_is_off(), guard=30)
    assert live.is_trusted()
    wait_until(lambda: live.enter("1") and live.recall("1"))
    live("invalidate", "1")


def token_of(live: Live, user_id: str) -> str:
    return live.headers(user_id)[1][1].removeprefix("Bearer ")


def memory_is_off() -> bool:
    return any("memory is off" in record.getMessage() for record in SAID.records)


class Said(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


SAID = Said()


@pytest.fixture(autouse=True)
def _said() -> Iterator[None]:
    SAID.records.clear()
    logger = logging.getLogger("authcache_middleware")
    logger.addHandler(SAID)
    yield
    logger.removeHandler(SAID)


def said() -> list[str]:
    return [record.getMessage() for record in SAID.records if record.levelno >= logging.WARNING]


def test_with_exactly_these_all_works(own, kind) -> None:
    with limited(own, [*COMMANDS, *LINK, *KEYS], kind) as live:
        story(live)
        assert live.stats().redis_may_evict is None
    assert said() == [], "something was refused"
    with limited(own, [*COMMANDS, *LINK, *KEYS, "+info"], kind) as live:
        story(live)
        wait_until(lambda: live.stats().redis_may_evict is False)


@pytest.mark.slow
def test_the_script_that_forgets_needs_no_more(own) -> None:
    with limited(own, [*COMMANDS, *LINK, *KEYS]) as live:
        with redis.Redis.from_url(own.url) as admin:
            until = {f"t:{number}": 1 if number < 5 else 2**40 for number in range(MAX_REVOKED_IDS + 5)}
            admin.hset("revoked:many", mapping=until)
        live("logout", token_of(live, "many"))
        with redis.Redis.from_url(own.url) as admin:
            assert admin.hlen("revoked:many") == MAX_REVOKED_IDS + 1
            assert admin.hexists("revoked:many", "before")


@pytest.mark.slow
@pytest.mark.parametrize("missing", [*COMMANDS, *LINK, *KEYS])
def test_each_of_them_is_needed(own, missing) -> None:
    rights = [right for right in (*COMMANDS, *LINK, *KEYS) if right != missing]
    if missing == "~refresh:*":
        with limited(own, rights, refresh_ahead=True, ttl=1.0) as live:
            wait_until(lambda: live.enter("1") and denied(own, "refresh:"))
        return
    if missing == "+hdel":
        with limited(own, rights) as live, redis.Redis.from_url(own.url) as admin:
            admin.hset("revoked:1", "t:1", 1)
            with pytest.raises(UnavailableError):
                live("logout", token_of(live, "1"))
        return
    kind = "async" if missing == "+mget" else "blocking"  # which alone gathers requests that come together
    with pytest.raises((UnavailableError, AssertionError)), limited(own, rights, kind) as live:
        story(live)


def denied(server: EmbeddedServer, what: str) -> bool:
    with redis.Redis.from_url(server.url, decode_responses=True) as admin:
        return any(str(entry["object"]).startswith(what) for entry in admin.acl_log())


@contextmanager
def limited_group(servers: list[EmbeddedServer], rights: Collection[str]) -> Iterator[dict]:
    """The servers know the user while this lasts; gives the settings of his clients."""
    with ExitStack() as admins:
        asked = [admins.enter_context(redis.Redis(port=server.port)).execute_command for server in servers]
        try:
            for ask in asked:
                allow(ask, rights)
            yield {"username": "limited", "password": "pw"}
        finally:
            for ask in asked:
                ask("ACL", "DELUSER", "limited")


def cluster_story(live: Live, cluster) -> None:
    """The same, and a slot that moves key by key."""
    story(live)
    slot = cluster.slot(live.face.key("1"))
    source, target = cluster.owner(slot), cluster.owner((slot + 8000) % 16384)
    try:
        cluster.move_keys(slot, target, between=lambda: (live("invalidate", "1"), live.enter("1")))
        live.enter("1")
    finally:
        if cluster.owner(slot) is source:  # it was interrupted
            cluster.move_keys(slot, target)
        cluster.move_keys(slot, source)


@pytest.mark.slow
@pytest.mark.parametrize("wait", [(), ("+wait",)], ids=["alone", "with replicas"])
def test_a_cluster_takes_a_few_more(cluster, kind, wait) -> None:
    with limited_group(cluster.servers, [*COMMANDS, *LINK, *KEYS, *CLUSTER, *wait]) as user:
        options = {**PATIENT, "wait_replicas": len(wait)}
        with living(kind, client_of(kind, cluster, **user), load_user=load, **options) as live:
            cluster_story(live, cluster)
    assert not [line for line in said() if "refused" in line or "NoPerm" in line]


@pytest.mark.slow
@pytest.mark.parametrize("missing", CLUSTER)
def test_and_each_of_those_is_needed(cluster, missing) -> None:
    rights = [right for right in (*COMMANDS, *LINK, *KEYS, *CLUSTER) if right != missing]
    of_redis_py = (redis.exceptions.RedisClusterException, redis.exceptions.NoPermissionError)
    with (
        limited_group(cluster.servers, rights) as user,
        pytest.raises((UnavailableError, AssertionError, *of_redis_py)),
    ):
        tell("blocking", cluster, user)


def tell(kind: str, cluster, user: dict) -> None:
    with living(kind, client_of(kind, cluster, **user), load_user=load, **PATIENT) as live:
        cluster_story(live, cluster)


@pytest.mark.slow
def test_behind_sentinels_it_is_the_same(group, kind) -> None:
    with (
        limited_group(group.data, [*COMMANDS, *LINK, *KEYS]) as user,
        limited_group(group.sentinels, SENTINEL) as asker,
    ):
        source = client_of(kind, group, primary=user, sentinels=asker)
        with living(kind, source, load_user=load, **PATIENT) as live:
            story(live)
            live("invalidate", "1")
    assert said() == []


@pytest.mark.slow
@pytest.mark.parametrize("missing", SENTINEL)
def test_and_sentinels_are_asked_both_ways(group, missing) -> None:
    with limited_group(group.sentinels, [right for right in SENTINEL if right != missing]) as asker:
        with pytest.raises((UnavailableError, AssertionError)):
            with living("blocking", client_of("blocking", group, sentinels=asker), load_user=load, **PATIENT) as live:
                story(live)


def test_the_readme_names_them() -> None:
    readme = Path(__file__).parents[2] / "README.md"
    if not readme.exists():
        pytest.skip("no README beside these tests")
    named = set(re.findall(r"[+&~][a-z_:|*-]+", readme.read_text().replace("\\|", "|")))
    assert not {*COMMANDS, *LINK, *KEYS, *CLUSTER, *SENTINEL, "+wait", "+info"} - named
