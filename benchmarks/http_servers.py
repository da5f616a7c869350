"""Real servers with one worker on a free port, and what they cost: processor time, commands to Redis, loads."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

import redis

from authcache_middleware.testing.server import free_port

__all__ = ["SERVERS", "Costs", "Kind", "Meter", "Served", "Users", "wrk"]

_HERE = Path(__file__).resolve().parent
_START_S = 30.0
_STOP_S = 10.0
_NOT_OF_REQUESTS = ("ping", "info", "client", "config", "hello")  # heartbeats, and what this benchmark asks itself


@dataclass(frozen=True, slots=True)
class Kind:
    """One server program."""

    name: str
    protocol: str
    command: Sequence[str]

    @property
    def is_installed(self) -> bool:
        """Whether it can be started."""
        return _program(self.command[0]) is not None


@dataclass(frozen=True, slots=True)
class Users:
    """fastapi-users: the interpreter of its environment, and its database."""

    python: Path
    database: Path


# One worker each, no access log, otherwise as they come.
SERVERS = [
    Kind("uvicorn", "asgi", ["uvicorn", "--port={port}", "--no-access-log", "--log-level=warning", "{app}"]),
    Kind(
        "granian",
        "asgi",
        ["granian", "--interface=asgi", "--port={port}", "--no-access-log", "--log-level=warning", "{app}"],
    ),
    Kind(
        "gunicorn",
        "wsgi",
        [
            "gunicorn", "--bind=127.0.0.1:{port}", "--worker-class=gthread", "--threads=8", "--keep-alive=60",
            "--log-level=warning", "{app}",
        ],
    ),
]  # fmt: skip


def _program(name: str, python: Path = Path(sys.executable)) -> str | None:
    beside = python.parent / name  # of the same environment, whether it is activated or not
    return str(beside) if beside.exists() else shutil.which(name)


def wrk() -> str | None:
    """Where wrk is; ``None`` where it is not installed."""
    return shutil.which("wrk")


class Served:
    """A server that runs one of ``http_apps``, as a context manager; ``loads`` counts those of its loader.

    With ``users`` it runs fastapi-users, in the environment and with the database named there.
    """

    def __init__(self, kind: Kind, app: str, url: str, users: Users | None = None) -> None:
        self.port = free_port()
        self._users = users
        self._kind, self._app, self._url = kind, app, url
        self._closing = contextlib.ExitStack()

    @property
    def loads(self) -> int:
        """Since it was started."""
        return self._counted.stat().st_size

    @property
    def cpu_s(self) -> float | None:
        """Of all its processes; ``None`` where there is no ``/proc``. It goes by steps of 10 ms."""
        if not Path("/proc/self/stat").exists():
            return None
        return sum(map(_cpu_of, _family(self._process.pid))) / os.sysconf("SC_CLK_TCK")

    def ask_all(self, tokens: Sequence[str]) -> set[int]:
        """The statuses of one request after the other."""
        statuses = set()
        with contextlib.closing(HTTPConnection("127.0.0.1", self.port, timeout=_START_S)) as connection:
            for token in tokens:
                connection.request("GET", "/", headers={"Authorization": f"Bearer {token}"})
                with connection.getresponse() as answer:
                    answer.read()
                    statuses.add(answer.status)
        return statuses

    def wait_until_it_answers(self) -> None:
        """Servers are started side by side, and waited for afterwards."""
        end = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError):
                self.ask_all(["none"])
                return
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self._kind.name} did not start:\n{self._log.read_text(errors='replace')}")
            time.sleep(0.02)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as closing:
            home = Path(closing.enter_context(tempfile.TemporaryDirectory()))
            self._counted = home / "loads"
            self._counted.touch()
            self._log = home / "log"
            output = closing.enter_context(self._log.open("wb"))
            module = "http_apps:app" if self._users is None else "peers_apps.fastapi_users_served:app"
            program, *arguments = (word.format(port=self.port, app=module) for word in self._kind.command)
            python = Path(sys.executable) if self._users is None else self._users.python
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                [_program(program, python) or program, *arguments],
                cwd=_HERE,
                env={
                    **os.environ,
                    "AUTHCACHE_BENCHMARK_APP": self._app,
                    "AUTHCACHE_BENCHMARK_PROTOCOL": self._kind.protocol,
                    "AUTHCACHE_BENCHMARK_URL": self._url,
                    "AUTHCACHE_BENCHMARK_LOADS": str(self._counted),
                    "AUTHCACHE_BENCHMARK_DATABASE": "" if self._users is None else str(self._users.database),
                    "PYTHONPATH": os.pathsep.join((str(_HERE), str(_HERE.parent))),
                },
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            closing.callback(self._stop)
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._closing.close()

    def _stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # it leads a group of its own, workers included
            self._process.wait()


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def _cpu_of(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0  # it has ended meanwhile
    return int(fields[11]) + int(fields[12])


@dataclass(frozen=True, slots=True)
class Costs:
    """What something has cost."""

    cpu_s: float | None
    commands: int
    """That Redis was sent because of requests: an MGET is one."""
    redis_cpu_s: float
    loads: int


class Meter:
    """Reads what a server and its Redis have cost, from one call to the next."""

    def __init__(self, served: Served, client: redis.Redis) -> None:
        self._served, self._client = served, client
        self._before = self._read()

    def since(self) -> Costs:
        """Since the last call, or since it was made."""
        before, self._before = self._before, self._read()
        now = self._before
        cpu = None if now.cpu_s is None or before.cpu_s is None else now.cpu_s - before.cpu_s
        return Costs(
            cpu,
            now.commands - before.commands,
            now.redis_cpu_s - before.redis_cpu_s,
            now.loads - before.loads,
        )

    def _read(self) -> Costs:
        sent: Any = self._client.info("commandstats")
        names = {name: name.removeprefix("cmdstat_").partition("|")[0] for name in sent}
        commands = sum(sent[name]["calls"] for name, short in names.items() if short not in _NOT_OF_REQUESTS)
        cpu: Any = self._client.info("cpu")
        return Costs(self._served.cpu_s, commands, cpu["used_cpu_sys"] + cpu["used_cpu_user"], self._served.loads)
