"""Servers with two worker processes: what ends a user's access from outside is obeyed by each of them."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from faces import settings, token_for

from authcache_middleware import AuthCache
from authcache_middleware.testing.server import EmbeddedServer

TESTS = Path(__file__).parent.parent
WORKERS = 2
AT_ONCE = 6
MAX_STALENESS = 0.5
STORE_TIMEOUT = 2.5
GUARD = 30.0

if sys.platform == "win32":
    pytest.skip("gunicorn needs fork", allow_module_level=True)


@dataclass(frozen=True)
class Answer:
    begun: float
    status: int
    body: str
    worker: int
    hits: int
    is_trusted: bool
    gap: float


class Site:
    """A server with its workers, asked by ever new connections."""

    def __init__(self, port: int, row: Path, token: str) -> None:
        self.answers: list[Answer] = []
        self._port = port
        self._row = row
        self._token = token

    def name(self, name: str) -> None:
        """What the user's row says from here on."""
        self._row.with_suffix(".new").write_text(name)
        self._row.with_suffix(".new").replace(self._row)

    def ask(self) -> Answer:
        begun = time.monotonic()
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=GUARD)) as connection:
            connection.request("GET", "/", headers={"Authorization": f"Bearer {self._token}", "Connection": "close"})
            got = connection.getresponse()
            said = [got.headers[f"X-{name}"] for name in ("Pid", "Hits", "Trusted", "Gap")]
            answer = Answer(
                begun, got.status, got.read().decode(), int(said[0]), int(said[1]), said[2] == "True", float(said[3])
            )
        self.answers.append(answer)
        return answer

    def ask_until_each(self, is_so: Callable[[Answer], bool]) -> dict[int, Answer]:
        """Ask, some at a time, until each worker has given such an answer; its first one."""
        end = time.monotonic() + GUARD
        found: dict[int, Answer] = {}
        with ThreadPoolExecutor(AT_ONCE) as threads:
            while len(found) < WORKERS:
                assert time.monotonic() < end, f"only {len(found)} workers, at last {self.answers[-AT_ONCE:]}"
                for answer in threads.map(lambda _: self.ask(), range(AT_ONCE)):
                    if is_so(answer):
                        found.setdefault(answer.worker, answer)
        return found

    def obeys(self, since: float, is_so: Callable[[Answer], bool]) -> None:
        """Each worker says so, and none says otherwise when asked later than ``max_staleness`` after ``since``."""
        self.ask_until_each(lambda answer: answer.begun > since + MAX_STALENESS)
        assert all(is_so(answer) for answer in self.answers if answer.begun > since + MAX_STALENESS)


@contextmanager
def site(command: list[str], redis_url: str, prefix: str, directory: Path, **environment: str) -> Iterator[Site]:
    row = directory / "row"
    environment = {
        **os.environ,
        "REDIS": redis_url,
        "PREFIX": prefix,
        "ROW": str(row),
        "MAX_STALENESS": str(MAX_STALENESS),
        "STORE_TIMEOUT": str(STORE_TIMEOUT),
        **environment,
    }
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening, (directory / "log").open("w") as log:
        made = Site(listening.getsockname()[1], row, token_for("1"))
        made.name("Ann")
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(fd=listening.fileno()) for part in command)],
            pass_fds=[listening.fileno()],
            env=environment,
            stdout=log,
            stderr=log,
            cwd=TESTS,
        )
        listening.close()  # so that a server that has ended refuses
        try:
            yield made
        except BaseException:
            print((directory / "log").read_text())
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def gunicorn(worker_class: str, *options: str) -> list[str]:
    import gunicorn.config

    # newer ones listen for orders too, by a file in the home directory
    quiet = ["--no-control-socket"] if hasattr(gunicorn.config, "ControlSocketDisable") else []
    return [
        "gunicorn", "--workers", str(WORKERS), "--worker-class", worker_class, "--bind", "fd://{fd}", *quiet, *options,
        "prefork.wsgi_app:application",
    ]  # fmt: skip


UVICORN = ["uvicorn", "--workers", str(WORKERS), "--fd", "{fd}", "prefork.asgi_app:application"]
SERVERS = {
    "gunicorn, sync, --preload": (gunicorn("sync", "--preload"), {"WARM": "1"}),
    "gunicorn, gevent": (gunicorn("gevent"), {}),
    "gunicorn, gthread, --preload": (gunicorn("gthread", "--threads", "4", "--preload"), {"WARM": "1"}),
    "gunicorn, gevent, --preload": (gunicorn("gevent", "--preload"), {"WARM": "1"}),
    "uvicorn": (UVICORN, {}),
}
SOON = {"gunicorn, sync, --preload", "gunicorn, gevent"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SOON else pytest.mark.slow) for name in SERVERS]
)
def test_each_worker_obeys_what_comes_from_outside(name, redis_url, prefix, client, tmp_path) -> None:
    command, environment = SERVERS[name]
    with (
        AuthCache(redis_url, load_user=lambda _: None, **settings(prefix=prefix, leeway=0.0)) as outside,
        site(command, redis_url, prefix, tmp_path, **environment) as workers,
    ):
        remembered = workers.ask_until_each(lambda answer: answer.is_trusted and answer.hits > 0)
        assert {answer.body for answer in workers.answers} == {"Ann"}

        workers.name("Bob")
        client.delete(outside.key("1"))  # as any program may
        workers.obeys(time.monotonic(), lambda answer: answer.body == "Bob")

        workers.name("Cid")
        outside.invalidate("1")
        workers.obeys(time.monotonic(), lambda answer: answer.body == "Cid")
        workers.ask_until_each(lambda answer: answer.hits > remembered[answer.worker].hits + 5)

        outside.revoke_user("1")
        workers.obeys(time.monotonic(), lambda answer: answer.status == 401)
    told(name, workers)


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_nothing_blocks_a_worker_while_the_server_is_frozen(name, prefix, tmp_path) -> None:
    """Its requests wait for Redis as long as they may; a ticker beside them goes on.

    Under gevent or on an event loop a single wait that blocks would stop it for the whole of ``store_timeout``.
    """
    command, environment = SERVERS[name]
    with EmbeddedServer() as server, site(command, server.url, prefix, tmp_path, **environment) as workers:
        workers.ask_until_each(lambda answer: answer.is_trusted and answer.hits > 0)
        server.freeze()
        frozen = time.monotonic()
        waited = workers.ask_until_each(lambda answer: answer.status == 503)
        assert {answer.status for answer in workers.answers} == {200, 503}
        assert time.monotonic() - frozen > STORE_TIMEOUT, "nobody has waited"
        server.thaw()
        thawed = time.monotonic()
        before = {worker: answer.hits for worker, answer in waited.items()}
        workers.ask_until_each(lambda answer: answer.is_trusted and answer.hits > before[answer.worker])
        recovery = time.monotonic() - thawed
    told(name, workers)
    print(f"  memory answers again in each worker {recovery:.2f} s after the server (goal 2 s)")
    assert max(answer.gap for answer in workers.answers) < STORE_TIMEOUT


def told(name: str, workers: Site) -> None:
    print(f"\n{name}: {len(workers.answers)} answers, longest gap {max(each.gap for each in workers.answers):.3f} s")
