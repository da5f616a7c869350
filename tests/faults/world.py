"""Four services over real HTTP, a Redis of their own, and a database; started together, and none left behind."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from proxies import StallingProxy

from authcache_middleware.testing.server import EmbeddedServer

TESTS = Path(__file__).parent.parent
KINDS = {"asyncio-1": "asyncio", "threads-1": "threads", "asyncio-2": "asyncio", "threads-2": "threads"}
BY_PROXY = ("asyncio-1", "threads-1")
USERS = [f"user-{number}" for number in range(24)]
VICTIM = "victim"
"""Whose load takes so long in one service that it can be killed meanwhile."""


class Service:
    """A process of ``faults.service``."""

    def __init__(self, name: str, told: dict[str, Any], directory: Path) -> None:
        self.name = name
        self.is_dead = False
        with (directory / f"{name}.log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "faults.service", KINDS[name]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=TESTS,
            )
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        self.url = ""

    def ready(self) -> None:
        self.url = f"http://127.0.0.1:{json.loads(self.process.stdout.readline())['port']}"

    def kill(self) -> None:
        self.is_dead = True
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()


class Database:
    """The users' table, as the one who changes it sees it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("CREATE TABLE users (id TEXT PRIMARY KEY, is_active INTEGER, revoked_before REAL)")
        self._connection.executemany("INSERT INTO users VALUES (?, 1, NULL)", [(user,) for user in [*USERS, VICTIM]])

    def enable(self, user_id: str, is_active: bool) -> None:
        """Committed when it returns."""
        self._connection.execute("UPDATE users SET is_active = ? WHERE id = ?", (is_active, user_id))

    def close(self) -> None:
        self._connection.close()


class World:
    def __init__(self, server: EmbeddedServer, proxy: StallingProxy, database: Database, *, sessions: bool) -> None:
        self.server = server
        self.proxy = proxy
        self.database = database
        self.sessions = sessions
        """Whether one must be on record, and no more than one may be."""
        self.services: dict[str, Service] = {}

    @property
    def living(self) -> list[Service]:
        return [service for service in self.services.values() if not service.is_dead]

    @property
    def is_loading(self) -> bool:
        """Whether the victim's load has begun."""
        return self.database.path.with_name("loading").exists()


@contextmanager
def world(
    directory: Path,
    *,
    names: Iterable[str] = KINDS,
    max_staleness: float = 1.0,
    by_proxy: bool = False,
    saves: bool = False,
    trust_fence: bool = True,
    holder: str = "",
    sessions: bool = False,
) -> Iterator[World]:
    """``by_proxy``: two services, one of each kind, reach Redis through the proxy; ``holder`` loads the victim."""
    with ExitStack() as held:
        server = held.enter_context(EmbeddedServer())
        proxy = held.enter_context(StallingProxy(server.port))
        database = Database(directory / "users.sqlite")
        held.callback(database.close)
        made = World(server, proxy, database, sessions=sessions)
        for name in names:
            told = {
                "url": proxy.url if by_proxy and name in BY_PROXY else server.url,
                "database": str(database.path),
                "max_staleness": max_staleness,
                "saves": saves,
                "sessions": sessions,
                "trust_fence": trust_fence,
                "held": VICTIM if name == holder else "",
            }
            made.services[name] = Service(name, told, directory)
            held.callback(made.services[name].close)
        for service in made.services.values():
            service.ready()
        yield made
