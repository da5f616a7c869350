"""Flask, FastAPI and a plain Redis client see the same events, and a service that was down resumes without a gap."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
from faces import token_for, wait_until

from authcache_middleware.testing.server import free_ports

PROGRAM = Path(__file__).with_name("services.py")


class Service:
    """A process that serves over HTTP, and its notes."""

    def __init__(self, kind: str, directory: Path, *arguments: str) -> None:
        (self._port,) = free_ports(1)
        self._notes = directory / f"{kind}.jsonl"
        self._command = [sys.executable, str(PROGRAM), kind, *arguments, str(self._notes), str(self._port)]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Killed at the end, without a chance to say goodbye."""
        with subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait_until(lambda: self.asked("/nothing", "nonsense") == 401, guard=60)
                yield
            finally:
                process.send_signal(signal.SIGKILL)

    def asked(self, path: str, token: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            connection.request("POST", path, headers={"Authorization": f"Bearer {token}"})
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def noted(self) -> list[list[str | None]]:
        return [json.loads(line) for line in self._notes.read_text().splitlines()] if self._notes.exists() else []


def test_all_see_the_same_and_who_was_down_resumes_without_a_gap(redis_url, client, prefix, tmp_path) -> None:
    stream = prefix.removesuffix("user:") + "events"
    arguments = (redis_url, prefix, stream)
    fast, flask = Service("fastapi", tmp_path, *arguments), Service("flask", tmp_path, *arguments)
    plain = follow_as_any_client(client, stream)

    def log_in_and_out(service: Service, user: str) -> None:
        token = token_for(user, claims={"sid": f"session of {user}"})
        assert service.asked("/login", token) == 200
        assert service.asked("/logout", token) == 200
        assert service.asked("/logout", token) == 401

    def expected(*users: str) -> list[tuple[str, str, str]]:
        return [(kind, user, f"session of {user}") for user in users for kind in ("login", "logout")]

    with ExitStack() as services:
        services.enter_context(fast.running())
        with flask.running():
            log_in_and_out(fast, "1")
            log_in_and_out(flask, "2")
            wait_until(lambda: len(flask.noted()) == 4)
        log_in_and_out(fast, "3")  # while the other is down
        with flask.running():
            log_in_and_out(flask, "4")
            wait_until(lambda: len(flask.noted()) >= 8 and len(fast.noted()) >= 8)
    assert [tuple(note[1:]) for note in fast.noted()] == expected("1", "2", "3", "4")
    assert flask.noted() == fast.noted() == plain()


def follow_as_any_client(client: redis.Redis, stream: str) -> Callable[[], list[list[str | None]]]:
    """What a client sees that knows nothing of this package, and asks with ``XREAD``."""

    def read() -> list[list[str | None]]:
        ((_, entries),) = client.xread({stream: "0"})
        return [
            [entry_id.decode(), *(fields[name].decode() for name in (b"type", b"user", b"sid"))]
            for entry_id, fields in entries
        ]

    return read
