"""A TCP proxy that can hold back what the server says, without closing anything."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Self

__all__ = ["StallingProxy"]


class StallingProxy:
    """A port of 127.0.0.1 that leads to another one; a context manager."""

    def __init__(self, target_port: int) -> None:
        self._server = _Server(target_port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:<port>``."""
        return f"redis://127.0.0.1:{self._server.server_address[1]}"

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Nothing comes back from the server meanwhile; at the end all of it does."""
        self._server.flowing.clear()
        try:
            yield
        finally:
            self._server.flowing.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, target_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.target = "127.0.0.1", target_port
        self.flowing = threading.Event()
        self.flowing.set()


class _Connection(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        with socket.create_connection(self.server.target) as onwards:
            back = threading.Thread(target=self._bring_back, args=(onwards,), daemon=True)
            back.start()
            _pump(self.request, onwards)
            back.join()

    def _bring_back(self, onwards: socket.socket) -> None:
        _pump(onwards, self.request, self.server.flowing)


def _pump(source: socket.socket, target: socket.socket, flowing: threading.Event | None = None) -> None:
    with contextlib.suppress(OSError):  # one of them is gone
        while chunk := source.recv(65536):
            if flowing is not None:
                flowing.wait()
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
