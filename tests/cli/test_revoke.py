"""``authcache sessions`` and ``authcache revoke``, on a real server, beside a service that knows nothing of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from faces import Driver, driven, token_for

from authcache_middleware import InvalidTokenError
from authcache_middleware.cli.commands import authcache
from authcache_middleware.testing.server import EmbeddedServer, free_port


def load(user_id: str) -> dict:
    return {"id": user_id}


@pytest.fixture
def service(redis_url, prefix) -> Iterator[Driver]:
    with driven("blocking", redis_url, load_user=load, prefix=prefix) as driver:
        yield driver


@pytest.fixture
def run(redis_url, prefix):
    def run(*arguments: str, said: str | None = None):
        environment = {"AUTHCACHE_REDIS_URL": redis_url, "AUTHCACHE_PREFIX": prefix, "COLUMNS": "250"}
        return CliRunner().invoke(authcache, arguments, input=said, env=environment)

    return run


def enters(service: Driver, token: str) -> bool:
    try:
        service.face.authenticate([("Authorization", f"Bearer {token}")])
    except InvalidTokenError:
        return False
    return True


def token(sid: str | None = None, subject: str = "1", **claims) -> str:
    return token_for(subject, claims={"sid": sid, **claims})


def test_a_user_is_ended(service, run) -> None:
    tokens = [token(), token("a"), token(subject="2")]
    service.face.login("1", sid="a", expires_at=time.time() + 60)
    assert [enters(service, each) for each in tokens] == [True, True, True]
    ended = run("revoke", "1")
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert "refused" in ended.stdout
    assert [enters(service, each) for each in tokens] == [False, False, True]
    assert service.face.sessions("1") == []


def test_one_session_is_ended(service, run) -> None:
    tokens = [token("a"), token("b"), token()]
    ended = run("revoke", "1", "--sid", "a", "--json")
    assert (ended.exit_code, json.loads(ended.stdout)) == (0, {"revoked": "session"})
    assert [enters(service, each) for each in tokens] == [False, True, True]


def test_a_token_is_ended_by_its_sid_its_jti_or_its_iat(service, run) -> None:
    with_sid, of_the_same = token("a"), token("a")
    with_jti, another = token(), token()
    with_iat = token(jti=None, iat=time.time() - 3.5)
    for each, revoked in ((with_sid, "session"), (with_jti, "token"), (with_iat, "token")):
        assert enters(service, each)
        ended = run("revoke", "--token", "-", "--json", said=f"Bearer {each}\n")
        assert (ended.exit_code, json.loads(ended.stdout)) == (0, {"revoked": revoked})
    assert [enters(service, each) for each in (with_sid, of_the_same, with_jti, another, with_iat)] == [
        *(False, False, False, True, False)
    ]
    assert run("revoke", "--token", another).exit_code == 0
    assert not enters(service, another)


def test_a_user_may_be_named_by_another_claim(run, client, prefix) -> None:
    assert run("revoke", "--token", token(uid="7", subject="1"), "--subject-claim", "uid").exit_code == 0
    assert [key.decode() for key in client.scan_iter(prefix.replace("user:", "revoked:") + "*")] == [
        prefix.replace("user:", "revoked:") + "7"
    ]


def test_a_revocation_lives_as_long_as_the_services_say(run, client, prefix) -> None:
    assert run("revoke", "1", "--max-token-lifetime", "7776000", "--alias", "staff").exit_code == 0
    key = prefix.replace("user:", "revoked:staff:") + "1"
    assert client.ttl(key) > 7_776_000
    assert run("revoke", "2", "--leeway", "60").exit_code == 0
    seconds, _ = client.time()
    assert int(client.hget(prefix.replace("user:", "revoked:") + "2", "before")) >= seconds + 59


def test_sessions_are_listed(service, run) -> None:
    assert run("sessions", "1").stdout == "no session on record\n"
    assert run("sessions", "1", "--json").stdout == ""
    end = time.time() + 3600
    first = service.face.login("1", sid="a", expires_at=end, address="192.0.2.7", user_agent="x\x1b[31m", label="[b]")
    second = service.face.login("1", sid="b\u202e", expires_at=end)
    listed = run("sessions", "1", "--json")
    assert (listed.exit_code, listed.stderr) == (0, "")
    assert [json.loads(line) for line in listed.stdout.splitlines()] == [
        {
            "sid": session.sid,
            "created_at": session.created_at,
            "expires_at": session.expires_at,
            "address": session.address,
            "user_agent": session.user_agent,
            "label": session.label,
        }
        for session in (first, second)
    ]
    table = run("sessions", "1").stdout
    for text in ("192.0.2.7", "x\\u001b[31m", "[b]", "b\\u202e", "ago)", "(in "):
        assert text in table
    assert run("revoke", "1", "--sid", "a").exit_code == 0
    assert len(run("sessions", "1", "--json").stdout.splitlines()) == 1


def test_a_session_at_a_time_that_no_calendar_has_is_listed(run, client, prefix) -> None:
    client.hset(prefix.replace("user:", "revoked:") + "1", "+s:a", f"{'9' * 15} {'9' * 12} {{}}")
    ended = run("sessions", "1")
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[1].split() == ["a", "?", "?"]


@pytest.mark.parametrize("arguments", [["revoke", "1"], ["sessions", "1"]])
def test_where_redis_is_gone_or_holds_something_else_it_says_so(run, client, prefix, arguments) -> None:
    client.set(prefix.replace("user:", "revoked:") + "1", "x")
    for url in ([], ["--redis", f"redis://:sesame@127.0.0.1:{free_port()}"]):
        ended = run(*arguments, *url)
        assert (ended.exit_code, ended.stdout) == (1, "")
        assert "not confirmed it" in ended.stderr
        assert "sesame" not in ended.stderr


def test_replicas_that_do_not_confirm_are_missed(run) -> None:
    ended = run("revoke", "1", "--wait-replicas", "1")
    assert ended.exit_code == 1
    assert "replicas" in ended.stderr


def test_with_a_password_it_finds_its_way(prefix) -> None:
    with EmbeddedServer(requirepass="sesame") as server:
        url = server.url.replace("://", "://:sesame@")
        ended = CliRunner().invoke(authcache, ["revoke", "1", "--redis", url])
        assert ended.exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--sid", "a"],
        ["1", "--token", "a.b.c"],
        ["--sid", "a", "--token", token()],
        ["--token", "a.b.c"],
        ["--token", token(exp=None)],
        ["--token", token(subject="")],
        ["--token", token(jti=None, iat=None)],
        [""],
        ["a\nb"],
        ["1", "--sid", ""],
        ["1", "--redis", "x"],
        ["1", "--prefix", "x"],
        ["1", "--wait-replicas", "-1"],
    ],
)
def test_what_is_given_wrongly_ends_nothing(run, client, prefix, arguments) -> None:
    ended = run("revoke", *arguments)
    assert ended.exit_code == 2
    assert "Error: " in ended.stderr
    assert list(client.scan_iter(prefix.replace("user:", "*"))) == []
