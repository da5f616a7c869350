"""Three ways in which a Redis is gone, each on a port of its own, and every attempt to connect to a port."""

from __future__ import annotations

import asyncio
import socketserver
import sys
import threading
import time
from typing import ClassVar, NamedTuple, Self

from authcache_middleware.testing import EmbeddedServer

__all__ = ["WAYS", "Absent", "Attempt", "Attempts", "BlackHole", "Killed", "Way"]


class Way:
    """A Redis that goes with ``begin`` and is back, on the same port and empty, when ``end`` returns."""

    name: ClassVar[str]
    was_there: ClassVar[bool] = False
    """Whether it answers before ``begin``."""

    def __init__(self) -> None:
        self.server = EmbeddedServer()

    def begin(self) -> None:
        """Be gone."""

    def end(self) -> None:
        """Be back."""
        self.server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.server.stop()


class Killed(Way):
    """The server is killed, and with it the connections that were in use."""

    name = "killed"
    was_there = True

    def begin(self) -> None:
        """See ``Way``."""
        self.server.kill()

    def __enter__(self) -> Self:
        self.server.start()
        return self


class Absent(Way):
    """Nothing has ever listened: connections are refused."""

    name = "absent"


class BlackHole(Way):
    """Whatever connects is accepted, and never answered."""

    name = "black-hole"

    def begin(self) -> None:
        """See ``Way``."""
        self._hole = _Hole(self.server.port)

    def end(self) -> None:
        """See ``Way``."""
        self._hole.close()
        super().end()

    def __exit__(self, *_exc: object) -> None:
        self._hole.close()  # does nothing the second time
        super().__exit__()


WAYS: dict[str, type[Way]] = {way.name: way for way in (Killed, Absent, BlackHole)}


class _Hole(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Silence)
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


class _Silence(socketserver.BaseRequestHandler):
    server: _Hole

    def handle(self) -> None:
        self.server.over.wait()


class Attempt(NamedTuple):
    """One call of ``connect``."""

    port: int
    moment: float
    """By ``time.perf_counter``."""
    by_link: bool
    """Made by the link, which no request waits for."""


class Attempts:
    """Every TCP connection that this process has tried to open. Made once: an audit hook cannot be taken back."""

    def __init__(self) -> None:
        self.seen: list[Attempt] = []
        sys.addaudithook(self._hear)

    def count(self, port: int, since: float, until: float, *, by_link: bool) -> int:
        """How many there were."""
        return sum(
            one.port == port and since <= one.moment < until and one.by_link is by_link for one in list(self.seen)
        )

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.connect":
            _, address = arguments
            if isinstance(address, tuple):
                self.seen.append(Attempt(address[1], time.perf_counter(), _who().startswith("authcache-link")))


def _who() -> str:
    """The name of what runs: a task or, on the blocking face, a thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return threading.current_thread().name
    return "" if task is None else task.get_name()
