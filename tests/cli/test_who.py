"""``authcache who``: what services have written down of who was seen."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner
from faces import driven

from authcache_middleware.activity import Activity
from authcache_middleware.cli.commands import authcache
from authcache_middleware.testing.server import free_port


def load(user_id: str) -> dict:
    return {"id": user_id}


@pytest.fixture
def run(redis_url, prefix):
    def run(*arguments: str):
        environment = {"AUTHCACHE_REDIS_URL": redis_url, "AUTHCACHE_PREFIX": prefix}
        return CliRunner().invoke(authcache, ["who", *arguments], env=environment)

    return run


def seen(client, prefix: str, **ago: float) -> None:
    key = prefix.replace("user:", "seen:")
    client.zadd(key, {name: time.time() - seconds for name, seconds in ago.items()})


def test_nobody(run) -> None:
    ended = run("--json")
    assert (ended.exit_code, ended.stderr) == (0, "")
    (line,) = ended.stdout.splitlines()
    counts = [{"within": within, "users": 0} for within in (60, 300, 3600, 86400)]
    assert json.loads(line) == {"counts": counts, "online": []}
    assert "online" not in run().stdout


def test_who_a_service_has_seen_is_online(run, redis_url, prefix) -> None:
    with driven("blocking", redis_url, load_user=load, prefix=prefix, activity=Activity()) as driver:
        driver.enter("ada")
    assert json.loads(run("--json").stdout)["online"] == ["ada"]


def test_counts_by_window_and_names_of_the_first(run, client, prefix) -> None:
    seen(client, prefix, a=1, b=100, c=50, d=1000, e=5000)
    said = json.loads(run("--json", "--within", "200", "--within", "30", "--within", "2000").stdout)
    assert said["counts"] == [{"within": w, "users": n} for w, n in ((200, 3), (30, 1), (2000, 4))]
    assert said["online"] == ["a", "c", "b"]
    assert json.loads(run("--json", "--within", "200", "--limit", "1").stdout)["online"] == ["a"]
    assert json.loads(run("--json", "--limit", "0").stdout)["online"] == []
    shown = run().stdout
    assert "online: a, c" in shown
    assert "1 day, 0:00:00" in shown


def test_names_are_shown_without_what_a_terminal_would_obey(run, client, prefix) -> None:
    seen(client, prefix, **{"x\x1b[2J": 1})
    assert "x\\u001b[2J" in run().stdout


def test_a_name_that_is_no_text_is_shown_as_far_as_it_can_be(run, client, prefix) -> None:
    client.zadd(prefix.replace("user:", "seen:"), {b"ada\xff": time.time()})
    assert json.loads(run("--json").stdout)["online"] == ["ada\ufffd"]
    assert run().exit_code == 0


def test_each_issuer_has_users_of_its_own(run, client, prefix) -> None:
    client.zadd(prefix.replace("user:", "seen:") + "staff", {"ada": time.time()})
    assert json.loads(run("--json").stdout)["online"] == []
    assert json.loads(run("--json", "--alias", "staff").stdout)["online"] == ["ada"]


def test_what_cannot_be_said(run, client, prefix) -> None:
    assert run("--within", "0").exit_code == 2
    assert run("--redis", f"redis://127.0.0.1:{free_port()}").exit_code == 1
    client.set(prefix.replace("user:", "seen:"), "x")
    ended = run()
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "another type of value" in ended.stderr
