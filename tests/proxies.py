"""TCP proxies of one's own: what networks do to connections, and TLS in front of a server that speaks none."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self

import trustme

UP = "client to server"
DOWN = "server to client"


class StallingProxy:
    """A port of 127.0.0.1 that leads to another one: ``with StallingProxy(server.port) as proxy:``.

    It runs in a thread of its own, and each method returns when what it says holds. Where the target refuses a
    connection, the client's is reset.
    """

    scheme = "redis"

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._open = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        self._accepting: asyncio.Task[None] | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many lead through it now."""
        return len(self._connections)

    def lead_to(self, target_port: int) -> None:
        """From the next connection on it leads to another port; those that there are go on."""
        self._target_port = target_port

    def stall(self, *directions: str) -> None:
        """Let nothing through ``UP``, ``DOWN`` or, if none is named, either way. No byte is lost; one may connect."""
        self._do(self._set(directions or (UP, DOWN), open_=False))

    def resume(self) -> None:
        """Deliver what was held back, and whatever comes."""
        self._do(self._set((UP, DOWN), open_=True))

    def cut(self) -> None:
        """Reset all connections; what was held back is lost. New ones are accepted."""
        self._do(self._cut())

    def refuse(self) -> None:
        """Refuse new connections; those that there are stay."""
        self._do(self._refuse())

    def accept(self) -> None:
        """Accept new connections again, on the same port."""
        self._do(self._accept())

    def start(self) -> None:
        self._thread.start()
        self.resume()
        self.accept()

    def close(self) -> None:
        self.refuse()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _context(self) -> ssl.SSLContext | None:
        return None

    def _do(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(10)

    async def _set(self, directions: tuple[str, ...], *, open_: bool) -> None:
        for direction in directions:
            gate = self._open[direction]
            gate.set() if open_ else gate.clear()

    async def _accept(self) -> None:
        if self._accepting is None:
            listening = socket.create_server(("127.0.0.1", self.port))
            listening.setblocking(False)
            self.port = listening.getsockname()[1]
            self._accepting = asyncio.create_task(self._accept_all(listening))

    async def _refuse(self) -> None:
        if self._accepting is not None:
            await _cancelled([self._accepting])
            self._accepting = None

    async def _cut(self) -> None:
        await _cancelled(list(self._connections))

    async def _accept_all(self, listening: socket.socket) -> None:
        with listening:
            while True:
                client, _ = await self._loop.sock_accept(listening)
                connection = asyncio.create_task(self._lead(client))
                self._connections.add(connection)
                connection.add_done_callback(self._connections.discard)

    async def _lead(self, client: socket.socket) -> None:
        ends: list[asyncio.StreamWriter] = []
        try:
            here, back = await _streams(client, self._context())
            ends.append(back)
            there, onwards = await asyncio.open_connection("127.0.0.1", self._target_port)
            ends.append(onwards)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(UP, here, onwards, back))
                both.create_task(self._pump(DOWN, there, back, onwards))
        except (OSError, ExceptionGroup, asyncio.CancelledError):  # one end is gone, or both are cut
            if client.fileno() >= 0:  # its transport closes it
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its close is a reset
            for end in ends:
                end.transport.abort()
        finally:
            for end in ends:
                end.close()

    async def _pump(
        self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        """Lead one direction on; ``back`` is the other one's writer, for proxies that answer by themselves."""
        del back
        gate = self._open[direction]
        while True:
            chunk = await reader.read(65536)
            while not gate.is_set():
                await gate.wait()
            if not chunk:
                break
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        else:  # TLS knows no half of a connection
            writer.close()


class TlsProxy(StallingProxy):
    """A ``StallingProxy`` that speaks TLS to its clients, for ``localhost`` and 127.0.0.1, by a CA of its own."""

    scheme = "rediss"

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self._ca = trustme.CA()
        self._directory = tempfile.TemporaryDirectory(prefix="authcache-ca-")
        self.ca_certs = str(Path(self._directory.name) / "ca.pem")
        self._ca.cert_pem.write_to_path(self.ca_certs)

    def close(self) -> None:
        super().close()
        self._directory.cleanup()

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        return context


async def _streams(
    client: socket.socket, context: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, client, ssl=context)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
