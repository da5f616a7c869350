"""A service's side of being started: its settings come in on standard input, its port goes out on standard output.

The input stays open as long as the demo runs. Its end, whatever the reason, is the order to stop: so that no service
outlives a demo that was killed.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable

from authcache_middleware.cli.demo.settings import Settings

__all__ = ["announce", "listener", "read_settings", "when_told_to_stop"]

_BACKLOG = 1024


def read_settings() -> Settings:
    """The first line of standard input."""
    return Settings.from_line(sys.stdin.readline())


def listener(port: int) -> socket.socket:
    """A listening socket; where there is none to be had, the reason is told and the process ends."""
    # Said to be TCP: asyncio switches Nagle's algorithm off for such sockets alone, and uvicorn's answers took 40 ms.
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind(("127.0.0.1", port))
        opened.listen(_BACKLOG)
    except OSError as exc:
        opened.close()
        _tell(error=f"port {port} cannot be used: {exc.strerror}")
        sys.exit(1)
    return opened


def announce(opened: socket.socket) -> None:
    """Says that requests are taken from here on, and where."""
    _tell(port=opened.getsockname()[1])


def when_told_to_stop(stop: Callable[[], None]) -> None:
    """Calls ``stop`` in a thread once the input has ended."""

    def wait() -> None:
        sys.stdin.read()
        stop()

    threading.Thread(target=wait, name="demo-stop", daemon=True).start()


def _tell(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
