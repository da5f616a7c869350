"""An open loop over HTTP: requests are sent at a fixed rate, whatever becomes of those before.

Latency counts from the moment a request was *scheduled*: one that had to wait for a connection because the server was
busy has waited, and so has one that this generator sent late. How late it was by itself, and how busy, is reported
beside. As a script it reads a plan from standard input and prints what it found, both JSON.
"""

from __future__ import annotations

import json
import random
import selectors
import socket
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass

from reported import percentile

__all__ = ["Outcome", "Plan", "run"]

_DRAIN_S = 3.0
_POLL_S = 0.05
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be sent."""

    port: int
    tokens: list[str]
    """Drawn at random, each as likely as the others."""
    rate: float
    """A second."""
    seconds: float
    connections: int
    """At most so many requests are under way at once; others wait for their turn, and their latency grows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it."""

    scheduled: int
    answered: int
    """With whatever status, until 3 s after the last one was scheduled."""
    statuses: dict[str, int]
    rate: float
    """Answers a second, until the last one."""
    p50_ms: float
    p99_ms: float
    p999_ms: float
    late_p99_ms: float
    """How late the generator itself was, for requests that found a free connection."""
    busy: float
    """The generator's own processor time as a share of one core. Near 1 it measures itself."""


class _Connection:
    """One kept-alive connection; at most one request is under way on it."""

    def __init__(self, port: int, selector: selectors.BaseSelector) -> None:
        self._address = ("127.0.0.1", port)
        self._selector = selector
        self.scheduled = 0.0
        self._open()

    def _open(self) -> None:
        self._received = b""
        self._socket = socket.create_connection(self._address, timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(self._socket, selectors.EVENT_READ, self)

    def send(self, request: bytes, scheduled: float) -> None:
        self.scheduled = scheduled
        try:
            self._socket.sendall(request)  # some hundred bytes: they fit in
        except OSError:
            self.reopen()
            self._socket.sendall(request)

    def receive(self) -> str | None:
        """The status, once the answer is there as a whole; ``"closed"`` if it will not come."""
        try:
            chunk = self._socket.recv(65536)
        except OSError:
            chunk = b""
        if not chunk:
            return "closed"
        self._received += chunk
        head, end, body = self._received.partition(_END)
        if not end or len(body) < _length(head):
            return None
        self._received = b""
        return head[9:12].decode()

    def reopen(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        self._selector.unregister(self._socket)
        self._socket.close()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError("an answer without Content-Length: the applications here all have one")


def run(plan: Plan) -> Outcome:
    """Carry it out."""
    # select() alone of them all takes a timeout finer than a millisecond
    with selectors.SelectSelector() as selector:
        loop = _Loop(plan, selector)
        loop.run()
    # Who was never answered has waited until the end at least, which is the pause after the last one was scheduled.
    latencies = loop.latencies + [_DRAIN_S] * (loop.count - len(loop.latencies))
    p50, p99, p999 = (percentile(latencies, percent) * 1000 for percent in (50, 99, 99.9))
    late_p99 = percentile(loop.late or [0.0], 99) * 1000
    answered = len(loop.latencies)
    rate = answered / max(loop.took, plan.seconds)
    return Outcome(loop.count, answered, dict(loop.statuses), rate, p50, p99, p999, late_p99, loop.busy)


class _Loop:
    def __init__(self, plan: Plan, selector: selectors.BaseSelector) -> None:
        self.count = int(plan.rate * plan.seconds)
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.took = self.busy = 0.0
        self._plan = plan
        self._selector = selector
        self._requests = [_request(token) for token in plan.tokens]
        self._connections = [_Connection(plan.port, selector) for _ in range(plan.connections)]
        self._free = deque(self._connections)
        self._waiting: deque[float] = deque()
        self._scheduled = 0

    def run(self) -> None:
        cpu, self._began = time.process_time(), time.perf_counter()
        while self._now() < self._plan.seconds + _DRAIN_S and len(self.latencies) < self.count:
            self._schedule()
            while self._free and self._waiting:
                self._free.popleft().send(random.choice(self._requests), self._waiting.popleft())
            pause = self._next() - self._now() if self._scheduled < self.count else _POLL_S
            for key, _ in self._selector.select(max(0.0, pause)):
                self._receive(key.data)
        self.took = self._now()
        self.busy = (time.process_time() - cpu) / self.took
        for connection in self._connections:
            connection.close()

    def _schedule(self) -> None:
        """Whatever is due by now."""
        now = self._now()
        while self._scheduled < self.count and self._next() <= now:
            if len(self._waiting) < len(self._free):
                self.late.append(now - self._next())
            self._waiting.append(self._next())
            self._scheduled += 1

    def _receive(self, connection: _Connection) -> None:
        status = connection.receive()
        if status is None:
            return
        if status == "closed":
            connection.reopen()
            if connection in self._free:
                return  # nobody had asked for anything
        self.statuses[status] += 1
        self.latencies.append(self._now() - connection.scheduled)
        self._free.append(connection)

    def _next(self) -> float:
        return self._scheduled / self._plan.rate

    def _now(self) -> float:
        return time.perf_counter() - self._began


def _request(token: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


if __name__ == "__main__":
    print(json.dumps(asdict(run(Plan(**json.load(sys.stdin))))))  # noqa: T201 - for whoever started it
