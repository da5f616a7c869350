"""``authcache doctor``: each finding made on a real server, and named; and nothing found where nothing is wrong."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgpack
import pytest
import redis
from cli.command_proxy import CommandProxy
from click.testing import CliRunner
from faces import driven, wait_until

from authcache_middleware.cli.commands import authcache
from authcache_middleware.cli.doctor import Asked, examine
from authcache_middleware.cli.doctor.findings import FINDINGS
from authcache_middleware.cli.doctor.rights import FEATURES
from authcache_middleware.testing import ManualClock
from authcache_middleware.testing.server import EmbeddedServer, free_port
from authcache_middleware.users.keys import UserKeys

RIGHTS = (
    "~user:*", "~revoked:*", "~refresh:*", "+get", "+mget", "+set", "+del", "+eval", "+hgetall",
    "+hget", "+hset", "+hdel", "+time", "+ttl", "+expire",
)  # fmt: skip
LINK = ("+client|id", "+client|tracking", "+subscribe", "+ping", "&__redis__:invalidate")


@pytest.fixture(scope="module")
def own() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def admin(own) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(own.url) as client:
        client.flushall()
        yield client
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 0)
        client.replicaof("NO", "ONE")


def run(*arguments: str, **environment: str | None):
    return CliRunner().invoke(authcache, ["doctor", *arguments], env={"AUTHCACHE_REDIS_URL": None, **environment})


def seen(url: str, *arguments: str) -> dict:
    ended = run("--redis", url, "--json", *arguments)
    (line,) = ended.stdout.splitlines()
    said = json.loads(line)
    assert said["status"] == ended.exit_code
    assert said["seconds"] < 5
    return said


def names(said: dict) -> list[str]:
    return [finding["name"] for finding in said["findings"]]


@contextmanager
def limited(admin: redis.Redis, rights: Collection[str]) -> Iterator[str]:
    admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">pw", "resetchannels", "-@all", *rights)
    try:
        yield f"redis://limited:pw@127.0.0.1:{admin.connection_pool.connection_kwargs['port']}"
    finally:
        admin.execute_command("ACL", "DELUSER", "limited")


def test_where_nothing_is_wrong_nothing_is_found(own, admin) -> None:
    with driven("blocking", own.url, load_user=lambda user_id: {"id": user_id}) as driver:
        driver.enter("1")
        driver("revoke_user", "2")
        driver.face.login("3", expires_at=time.time() + 60, label="x")
    before = sorted(admin.keys())
    said = seen(own.url)
    assert (said["status"], said["findings"], said["unknown"]) == (0, [], [])
    assert said["host"]["server"] == "valkey"
    wait_until(lambda: sorted(admin.keys()) == before)  # its own keys end by themselves
    ended = run(AUTHCACHE_REDIS_URL=own.url)
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert "fine" in ended.stdout


def test_another_server_too(every_redis_url) -> None:
    assert not set(names(seen(every_redis_url, "--prefix", "doctor-test:user:"))) - {"evicting-policy"}


def test_with_the_rights_of_the_readme_nothing_is_missing(admin) -> None:
    with limited(admin, [*RIGHTS, *LINK]) as url:
        said = seen(url)
    assert said["findings"] == []
    # what it has no right to look at is named
    assert {unknown["name"] for unknown in said["unknown"]} == {"evicting-policy", "foreign-values"}


def test_a_server_too_old(own) -> None:
    version = seen(own.url)["host"]["version"]
    with CommandProxy(own.port, instead={version: "7.1.9"}) as proxy:
        said = seen(proxy.url)
    assert names(said) == ["server-too-old"]
    assert "Valkey 7.1" in said["findings"][0]["what"]


@pytest.mark.parametrize("hangs_up", [False, True])
def test_hello_refused_by_a_proxy(own, hangs_up) -> None:
    with CommandProxy(own.port, refused=["HELLO"], hangs_up=hangs_up) as proxy:
        said = seen(proxy.url)
    assert names(said) == ["hello-refused"]
    assert said["host"]["version"]


@pytest.mark.parametrize("hangs_up", [False, True])
def test_client_refused_by_a_proxy(own, hangs_up) -> None:
    with CommandProxy(own.port, refused=["CLIENT"], hangs_up=hangs_up) as proxy:
        if hangs_up:  # redis-py sends CLIENT SETINFO with every connection
            assert run("--redis", proxy.url).exit_code == 2
        else:
            assert names(seen(proxy.url)) == ["client-refused"]


def test_invalidations_that_a_proxy_keeps_to_itself(own) -> None:
    with CommandProxy(own.port, keeps_messages=True) as proxy:
        assert names(seen(proxy.url)) == ["invalidations-lost"]


@pytest.mark.parametrize("missing", LINK)
def test_tracking_not_permitted(admin, missing) -> None:
    with limited(admin, [*RIGHTS, *(right for right in LINK if right != missing)]) as url:
        said = seen(url)
    assert names(said) == ["tracking-refused"]
    assert missing in said["findings"][0]["do"]


@pytest.mark.parametrize("missing", RIGHTS)
def test_each_missing_right(admin, missing) -> None:
    with limited(admin, [*(right for right in RIGHTS if right != missing), *LINK]) as url:
        said = seen(url)
        assert names(said) == ["missing-rights"]
        assert f"ACL SETUSER limited {missing}" == said["findings"][0]["do"]


def test_nothing_is_left_where_little_is_permitted(admin) -> None:
    with limited(admin, [right for right in RIGHTS if right not in ("+set", "+del", "+hdel", "+expire")]) as url:
        assert "missing-rights" in names(seen(url))
    assert admin.dbsize() == 0


def test_an_evicting_policy(own, admin) -> None:
    admin.config_set("maxmemory-policy", "allkeys-lru")
    said = seen(own.url)
    assert names(said) == ["evicting-policy"]
    assert "allkeys-lru" in said["findings"][0]["what"]
    with limited(admin, [*RIGHTS, *LINK, "+config|get"]) as url:  # without INFO
        assert names(seen(url)) == ["evicting-policy"]


def looked(server: EmbeddedServer, leeway: float, clock: ManualClock):
    return examine(Asked(url=server.url, keys=UserKeys(), leeway=leeway, clock=clock))


@pytest.mark.parametrize("ahead", [-20, 20])
def test_a_clock_that_differs_by_more_than_the_leeway(own, admin, ahead) -> None:
    seconds, _ = admin.time()
    here = ManualClock(wall=seconds + ahead)
    assert [each.name for each in looked(own, 5, here).findings] == ["clock-skew"]
    assert looked(own, 30, here).findings == []


def test_a_replica(own, admin) -> None:
    with EmbeddedServer() as primary:
        admin.replicaof("127.0.0.1", str(primary.port))
        assert names(seen(own.url)) == ["replica"]


def test_a_node_of_a_cluster() -> None:
    with EmbeddedServer(cluster_enabled=True, cluster_port=free_port()) as node:
        assert names(seen(node.url)) == ["cluster-node", "writes-refused"]  # it has no slots yet
        assert names(seen(node.url, "--cluster")) == ["writes-refused"]


def test_a_sentinel() -> None:
    with EmbeddedServer(sentinel=True) as sentinel:
        assert names(seen(sentinel.url)) == ["sentinel"]


def test_a_server_that_does_not_write(own, admin) -> None:
    admin.config_set("maxmemory", 1)
    said = seen(own.url)
    assert names(said) == ["writes-refused"]
    assert [unknown["name"] for unknown in said["unknown"]] == ["invalidations-lost"]


def test_foreign_values(own, admin) -> None:
    admin.set("user:1", '{"id": 1}')
    admin.hset("user:2", "id", 2)
    admin.set("user:3", record(subject="4"))
    admin.set("revoked:5", "x")
    admin.hset("revoked:6", "before", "yesterday")
    admin.hset("revoked:8", "+s:a", "for ever")
    for good in ("7", "staff:7"):
        admin.set(f"user:{good}", record(subject="7"))
    said = seen(own.url)
    assert names(said) == ["foreign-values"]
    assert said["findings"][0]["what"].startswith("6 of 8 ")


def test_a_record_under_a_key_that_is_no_text_is_foreign(own, admin) -> None:
    admin.set(b"user:\xff\xfe", record(subject="1"))
    assert names(seen(own.url)) == ["foreign-values"]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("HELLO", ":1"),
        ("INFO", ":1"),
        ("INFO", "$-1"),
        ("TIME", "*1\r\n$1\r\n1"),
        ("TIME", "*2\r\n$1\r\n1\r\n$1\r\nx"),
        ("TIME", "+OK"),
        ("SCAN", "*1\r\n$1\r\n0"),
        ("SCAN", "*2\r\n$1\r\n0\r\n*1\r\n:1"),
        ("TYPE", ":1"),
        ("GETRANGE", ":1"),
        ("HGETALL", "*1\r\n$1\r\n0"),
        ("HGETALL", "*2\r\n$1\r\n0\r\n:1"),
        ("SUBSCRIBE", "+OK"),
        ("PING", "$4\r\npong"),
        ("PING", "*0"),
    ],
)
def test_an_answer_of_another_shape_is_a_finding(own, admin, command, answer) -> None:
    admin.set("user:1", record(subject="1"))
    admin.hset("revoked:1", "before", "1")
    with CommandProxy(own.port, answers={command: answer}) as proxy:
        said = seen(proxy.url)
    (finding,) = (each for each in said["findings"] if each["name"] == "odd-answer")
    assert f" {command} " in finding["what"]


def test_records_of_another_version(own, admin) -> None:
    admin.set("user:1", record(subject="1", v=2))
    assert names(seen(own.url)) == ["other-version"]


def test_a_prefix_is_taken_as_it_is_and_the_sample_is_bounded(own, admin) -> None:
    admin.mset({"[ab]:user:1": "x", "[ab]:user:2": "x"})
    admin.set("a:user:1", "x")
    said = seen(own.url, "--prefix", "[ab]:user:")
    assert said["findings"][0]["what"].startswith("2 of 2 ")
    admin.mset({f"user:{number}": "x" for number in range(3000)})
    assert seen(own.url)["findings"][0]["what"].startswith("200 of 200 ")


def test_each_issuer_has_keys_of_its_own(own, admin) -> None:
    admin.set("user:staff:1", "x")
    assert names(seen(own.url, "--alias", "staff")) == ["foreign-values"]
    assert names(seen(own.url, "--alias", "shop")) == []


def record(*, subject: str, v: int = 1) -> bytes:
    return msgpack.packb({"v": v, "iss": None, "sub": subject})


@pytest.mark.parametrize("state", ["nobody there", "frozen", "password"])
def test_no_answer(state) -> None:
    if state == "nobody there":
        assert seen(f"redis://127.0.0.1:{free_port()}")["status"] == 2
        return
    with EmbeddedServer(**({"requirepass": "sesame"} if state == "password" else {})) as server:
        if state == "frozen":
            server.freeze()
            assert seen(server.url)["status"] == 2
            server.thaw()
            return
        for ended in (run("--redis", server.url), run("--redis", server.url.replace("://", "://:open-barley@"))):
            assert ended.exit_code == 2
            assert "no answer: AuthenticationError" in ended.stdout
            assert "barley" not in ended.output


def test_a_name_that_is_not_resolved_in_time(monkeypatch) -> None:
    released = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: released.wait(60) and [])
    examined = examine(Asked(url="redis://redis.example", keys=UserKeys(), leeway=5), within=0.2)
    released.set()
    assert (examined.status, examined.no_answer) == (2, "no answer in time")


def test_a_fault_of_its_own_is_not_hidden(own) -> None:
    with pytest.raises(AttributeError):
        examine(Asked(url=own.url, keys=None, leeway=5))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--redis", "http://x:secret@y"], "--redis"),
        (["--redis", "redis://x:secret@y?max_connections=a"], "--redis"),
        (["--prefix", "no colon"], "--prefix"),
        (["--alias", "A"], "--alias"),
        (["--leeway", "61"], "--leeway"),
    ],
)
def test_what_is_given_wrongly_is_named(arguments, named) -> None:
    ended = run(*arguments)
    assert ended.exit_code == 2
    assert named in ended.stderr
    assert "secret" not in ended.output


def test_the_readme_names_every_finding() -> None:
    readme = Path(__file__).parents[2] / "README.md"
    if not readme.exists():
        pytest.skip("no README beside these tests")
    assert not set(FINDINGS) - set(re.findall(r"`([a-z-]+)`", readme.read_text()))


# What the README asks for beside the usual rights.
FURTHER = {
    "activity": ("~seen:*", "+zadd", "+zremrangebyscore", "+zscore", "+zrange", "+zcount"),
    "logout-tokens": ("~logout:*",),
    "opaque-tokens": ("~token:*",),
    "queue": (
        "~queue:*", "~parked:*", "+xadd", "+xlen", "+xrange", "+xread", "+xreadgroup", "+xpending", "+xclaim", "+xack",
        "+xdel", "+xgroup|create", "+xgroup|delconsumer", "+xinfo|stream", "+xinfo|consumers",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("feature", "missing"), [(name, right) for name, all_ in FURTHER.items() for right in all_])
def test_what_a_feature_needs_more(admin, feature, missing) -> None:
    rights = [*RIGHTS, *LINK, *FURTHER[feature]]
    with limited(admin, rights) as url:
        assert names(seen(url, "--with", feature)) == []
    with limited(admin, [right for right in rights if right != missing]) as url:
        (finding,) = seen(url, "--with", feature)["findings"]
        assert finding["do"] == f"ACL SETUSER limited {missing}"
        assert names(seen(url)) == []
    assert [key for key in admin.scan_iter() if admin.pttl(key) < 0] == []


@pytest.mark.parametrize("missing", ["~authcache:events", "+xadd", "+xrange", "+xrevrange", "+xread"])
def test_what_an_event_stream_needs_more(admin, missing) -> None:
    rights = [*RIGHTS, *LINK, "~authcache:events", "+xadd", "+xrange", "+xrevrange", "+xread"]
    with limited(admin, rights) as url:
        assert names(seen(url, "--event-stream", "authcache:events")) == []
    with limited(admin, [right for right in rights if right != missing]) as url:
        (finding,) = seen(url, "--event-stream", "authcache:events")["findings"]
        assert finding["do"] == f"ACL SETUSER limited {missing}"
    assert not admin.exists("authcache:events")


def test_every_feature_can_be_named() -> None:
    assert sorted(FURTHER) == sorted(FEATURES)
