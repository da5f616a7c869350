"""``authcache watch``: what happens at services, seen from a terminal or by a machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from faces import driven

from authcache_middleware.cli.commands import authcache

GUARD_S = 60


def load(user_id: str) -> dict:
    return {"id": user_id}


@pytest.fixture
def stream(prefix) -> str:
    return prefix.replace("user:", "events")


@pytest.fixture
def run(redis_url, prefix, stream):
    def run(*arguments: str):
        environment = {
            "AUTHCACHE_REDIS_URL": redis_url,
            "AUTHCACHE_PREFIX": prefix,
            "AUTHCACHE_EVENT_STREAM": stream,
        }
        return CliRunner().invoke(authcache, arguments, env=environment)

    return run


@pytest.fixture
def service(redis_url, prefix, stream):
    with driven("blocking", redis_url, load_user=load, prefix=prefix, event_stream=stream) as driver:
        yield driver


def test_what_has_happened_is_shown_from_the_beginning_or_from_an_id(service, run) -> None:
    service.face.login("ada", sid="a", expires_at=time.time() + 60)
    service.face.logout_session("ada", "a")
    service.face.revoke_user("bob")
    service.face.invalidate("eve")
    said = run("watch", "--after", "0", "--count", "4", "--json")
    assert (said.exit_code, said.stderr) == (0, "")
    events = [json.loads(line) for line in said.stdout.splitlines()]
    assert [(each["type"], each["user_id"], each["sid"]) for each in events] == [
        ("login", "ada", "a"),
        ("logout", "ada", "a"),
        ("revoked", "bob", None),
        ("invalidated", "eve", None),
    ]
    assert all(abs(each["at"] - time.time()) < GUARD_S for each in events)
    later = run("watch", "--after", events[1]["id"], "--count", "2")
    first, second = later.stdout.splitlines()
    assert " revoked     user=bob id=" in first
    assert " invalidated user=eve id=" in second


def test_what_is_revoked_from_a_terminal_is_told_too(run) -> None:
    assert run("revoke", "ada", "--alias", "staff").exit_code == 0
    assert run("revoke", "ada", "--sid", "a").exit_code == 0
    said = run("watch", "--after", "0", "--count", "2", "--json")
    events = [json.loads(line) for line in said.stdout.splitlines()]
    assert [(each["type"], each["issuer"], each["sid"]) for each in events] == [
        ("revoked", "staff", None),
        ("logout", None, "a"),
    ]


def test_of_old_events_as_many_are_kept_as_is_said(run, client, stream) -> None:
    with client.pipeline() as pipeline:
        for _ in range(500):
            pipeline.xadd(stream, {"type": "x"})
        pipeline.execute()
    assert run("revoke", "ada").exit_code == 0
    assert client.xlen(stream) == 501
    assert run("revoke", "ada", "--event-stream-length", "1").exit_code == 0
    assert client.xlen(stream) < 300  # it is cut in portions


def test_a_line_is_a_line_whatever_stands_in_it(run, client, stream) -> None:
    client.xadd(stream, {"type": "x\x1b[2J", "user": "a\nb\u202e", "at_ms": "9" * 15})
    (line,) = run("watch", "--after", "0", "--count", "1").stdout.splitlines()
    assert line.startswith("? x\\u001b[2J ")
    assert "user=a\\u000ab\\u202e id=" in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_goes_on_until_it_is_told_to_end(redis_url, stream, client, number) -> None:
    process = subprocess.Popen(
        [f"{sys.exec_prefix}/bin/authcache", "watch", "--after", "0", "--json"],
        env={**os.environ, "AUTHCACHE_REDIS_URL": redis_url, "AUTHCACHE_EVENT_STREAM": stream},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for user in ("ada", "bob"):
            client.xadd(stream, {"type": "login", "user": user})
            assert json.loads(process.stdout.readline())["user_id"] == user
        process.send_signal(number)
        said, told = process.communicate(timeout=GUARD_S)
        assert (process.returncode, said, told) == (0, "", "")
    finally:
        process.kill()
        process.communicate(timeout=GUARD_S)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["watch", "--after", "yesterday"], "after: "),
        (["watch", "--event-stream", "a b"], "event_stream: "),
        (["watch", "--count", "0"], "--count"),
        (["watch", "--redis", "x"], "--redis"),
        (["revoke", "1", "--event-stream", ""], "event_stream: "),
    ],
)
def test_what_is_given_wrongly_is_named(run, arguments, why) -> None:
    ended = run(*arguments)
    assert ended.exit_code == 2
    assert why in ended.stderr


def test_the_stream_must_be_named(redis_url) -> None:
    ended = CliRunner().invoke(authcache, ["watch", "--redis", redis_url], env={"AUTHCACHE_EVENT_STREAM": None})
    assert ended.exit_code == 2
    assert "--event-stream" in ended.stderr
