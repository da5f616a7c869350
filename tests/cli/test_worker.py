"""``authcache worker``: a process that hands last activity to a function of the application."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from faces import driven, wait_until

from authcache_middleware.activity import Activity
from authcache_middleware.cli.commands import authcache
from authcache_middleware.queue import Queue

GUARD_S = 60
MODULE = """
import asyncio

def write(rows):
    with open("rows", "a") as file:
        file.writelines(f"{row.user_id}\\n" for row in rows)

class There:
    save = staticmethod(write)

async def save_async(rows):
    await asyncio.sleep(0)
    write(rows)

def fails(rows):
    open("failed", "a").write("x")
    raise OSError("ame".join(["ses", ""]))

no_function = 5
"""


def load(user_id: str) -> dict:
    return {"id": user_id}


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def queue(redis_url, name) -> Iterator[Queue]:
    there = Queue(redis_url, name)
    yield there
    there.close()


@pytest.fixture
def start(tmp_path, redis_url, name):
    (tmp_path / "app.py").write_text(MODULE)
    started = []

    def start(target: str, *options: str) -> subprocess.Popen:
        started.append(
            subprocess.Popen(
                [f"{sys.exec_prefix}/bin/authcache", "worker", target, "--queue", name, *options],
                cwd=tmp_path,
                env={**os.environ, "AUTHCACHE_REDIS_URL": redis_url},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=GUARD_S)


@pytest.fixture
def see(redis_url, prefix, queue):
    """A service that has activity switched on."""

    def see(*users: str) -> None:
        activity = Activity(queue=queue)
        with driven("blocking", redis_url, load_user=load, prefix=prefix, activity=activity) as driver:
            for user in users:
                driver.enter(user)

    return see


def rows(directory: Path) -> list[str]:
    file = directory / "rows"
    return sorted(file.read_text().split()) if file.exists() else []


@pytest.mark.parametrize(("target", "number"), [("app:There.save", signal.SIGINT), ("app:save_async", signal.SIGTERM)])
def test_every_row_arrives_and_it_ends_when_it_is_told(start, see, tmp_path, target, number) -> None:
    see("1", "2", "3")
    process = start(target, "--json")
    wait_until(lambda: rows(tmp_path) == ["1", "2", "3"], guard=GUARD_S)
    process.send_signal(number)
    said, told = process.communicate(timeout=GUARD_S)
    assert process.returncode == 0
    assert json.loads(said) == {"saved": 1}
    assert told.startswith("working on the queue ")


def test_what_the_function_raises_is_told_without_its_words_and_nothing_is_lost(start, see, tmp_path) -> None:
    see("1")
    failing = start("app:fails")
    wait_until((tmp_path / "failed").exists, guard=GUARD_S)
    failing.send_signal(signal.SIGINT)
    said, told = failing.communicate(timeout=GUARD_S)
    assert (failing.returncode, said) == (0, "0 batches saved\n")
    assert "save_activity raised OSError" in told
    assert "sesame" not in told
    start("app:write", "--redeliver-after", "0.1")
    wait_until(lambda: rows(tmp_path) == ["1"], guard=GUARD_S)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["app"], "module:function"),
        (["app:"], "module:function"),
        ([":save"], "module:function"),
        (["no_such_module:save"], "there is no module no_such_module"),
        (["json:no_such"], "json has no function no_such"),
        (["sys:path"], "sys has no function path"),
        (["json:dumps", "--queue", ""], "name"),
        (["json:dumps", "--max-deliveries", "0"], "--max-deliveries"),
        (["json:dumps", "--redeliver-after", "0"], "--redeliver-after"),
        (["json:dumps", "--redis", "x"], "--redis"),
    ],
)
def test_what_is_given_wrongly_is_named(redis_url, arguments, why) -> None:
    ended = CliRunner().invoke(authcache, ["worker", "--queue", "q", "--redis", redis_url, *arguments])
    assert ended.exit_code == 2
    assert why in ended.stderr


def test_what_a_module_itself_misses_is_not_hidden(tmp_path, monkeypatch) -> None:
    (tmp_path / "broken_application.py").write_text("import no_such_module_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    ended = CliRunner().invoke(authcache, ["worker", "broken_application:save", "--queue", "q"])
    assert isinstance(ended.exception, ModuleNotFoundError)
    assert ended.exception.name == "no_such_module_at_all"
