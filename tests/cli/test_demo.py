"""The demo as its users run it: a process that plays a story, says what holds, and leaves nothing behind."""

from __future__ import annotations

import re
import shlex
import signal

import httpx
import pytest
import redis

from authcache_middleware.testing import EmbeddedServer

ACTS = [
    "The first request of a user",
    "200 requests of 10 users, over both services",
    "A logout",
    "A user is disabled: the row changes, then invalidate()",
    "Another program changes a row and deletes the key",
    "200 requests at once of one user whom the cache does not know",
    "Redis stops, and starts again",
]
CLAIMS = [
    "FastAPI, database reads: 1",
    "Flask, Redis commands: 1 x get",
    "each user's first, database reads: 10",
    "all others, at most 190 Redis commands: True",
    "answers: 200 x 200",
    "the same without the cache, database reads: 200",
    "the token, at both services: 401 and 401",
    "the user, at both services: 401 and 401",
    "DEL user:4, database reads: 1",
    "database reads: 1",
    "Redis is gone: a good token: 503 and 503",
    "Redis is back: the services answer: 200 and 200",
]


def test_the_whole_story_holds_and_the_services_stay_until_ctrl_c(demo) -> None:
    running = demo("--requests", "200", "--users", "10", "--loader-ms", "1", "--serve")
    running.read_until("Ctrl-C stops everything")
    curls = [shlex.split(running.read_until("curl")) for _ in range(4)]
    assert [line for line in running.lines if line in ACTS] == ACTS
    assert {f"  ok     {claim}" for claim in CLAIMS} <= set(running.lines)
    assert "FALSE" not in running.output
    assert "All 36 claims hold." in running.output
    assert "each database read takes 1 ms longer" in running.output.lower()
    for service in ("FastAPI, cache", "FastAPI, database", "Flask, cache", "Flask, database"):
        assert re.search(rf"^  {service} +[\d,]+ +[\d.]+ +[\d.]+$", running.output, re.MULTILINE)
    assert [answered(curl) for curl in curls] == [200, 200, 204, 204]
    assert [answered(curl) for curl in curls[:2]] == [401, 401]
    assert len(running.left_behind) > 5
    assert running.end(signal.SIGINT) == 0
    assert running.left_behind == []


def answered(curl: list[str]) -> int:
    """The status that the printed command would show."""
    method = "POST" if "POST" in curl else "GET"
    name, _, token = curl[curl.index("-H") + 1].partition(": ")
    return httpx.request(method, curl[-1], headers={name: token}, trust_env=False).status_code


def test_claims_that_do_not_hold_are_said_and_end_in_1(demo) -> None:
    with EmbeddedServer(maxmemory="1") as full, redis.Redis.from_url(full.url) as other:  # it refuses every write
        running = demo("--requests", "20", "--users", "2", "--redis-url", full.url)
        assert running.end() == 1
        assert "  FALSE  FastAPI answers: 503, and should be 200" in running.lines
        assert re.search(r"^\d+ of 24 claims do not hold:$", running.output, re.MULTILINE)
        assert "  The first request of a user: FastAPI answers: 503, and should be 200" in running.lines
        assert "  Left out: the Redis of --redis-url is not ours to stop." in running.lines
        assert other.keys() == []
    assert "Traceback" not in running.output
    assert running.left_behind == []


def test_another_redis_keeps_its_own_keys_and_loses_those_of_the_demo(demo) -> None:
    with EmbeddedServer() as server, redis.Redis.from_url(server.url) as other:
        other.set("user:1", "somebody else's")
        running = demo("--requests", "20", "--users", "2", "--redis-url", server.url)
        running.read_until("A logout")
        assert len(other.keys("authcache-demo-*:user:*")) >= 3
        assert running.end(signal.SIGTERM) == 128 + signal.SIGTERM
        assert running.lines[-1] == "authcache demo: stopped, and everything with it"
        assert "FALSE" not in running.output
        assert other.keys() == [b"user:1"]
    assert running.left_behind == []


def test_a_signal_ends_it_while_it_starts(demo) -> None:
    running = demo()
    running.read_until("Starting")
    assert running.end(signal.SIGHUP) == 128 + signal.SIGHUP
    assert running.left_behind == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--redis-url", "redis://:hushhush@127.0.0.1:1"], "no Redis answers at the URL given (ConnectionError)"),
        (["--redis-url", "http://:hushhush@127.0.0.1"], "no Redis answers at the URL given (ValueError)"),
        (["--requests", "20", "--users", "30"], "must be at least --users"),
        (["--loader-ms", "-1"], "--loader-ms"),
        (["--port", "0"], "--port"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(demo, arguments, said) -> None:
    running = demo(*arguments)
    assert running.end() in {1, 2}
    assert said in running.output
    assert "hushhush" not in running.output
    assert "Traceback" not in running.output
    assert running.left_behind == []
