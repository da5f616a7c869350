"""A Redis in virtual time, the network in front of it, and the ports of the package that lead there.

What may happen to a command: it takes long, it is executed and its reply is late or lost, it is sent again and the
first copy is executed as well, seconds later. What is told on a link comes in order, late, or never. An answer to a
PING may be queued just ahead of one message that belongs before it, as servers with I/O threads do.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from reference import Reference
from scheduler import Place, Promise, Scheduler

from authcache_middleware.cache.link import WireError
from authcache_middleware.cache.store import Begun, NotBegun
from authcache_middleware.errors import UnavailableError
from authcache_middleware.redis.cluster_client import name_of
from authcache_middleware.redis.cluster_view import slot_of
from authcache_middleware.runtime import finish
from authcache_middleware.testing import MemoryStore
from authcache_middleware.users.record import ForeignValueError

_WRITES_SESSIONS = frozenset({"begin_session", "revoke_id", "revoke_before"})


class MovedError(Exception):
    """Another server has the key now."""


class Path:
    """The network between one place and one server; each direction can stand still for a time."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.stalled = {"there": 0.0, "back": 0.0}
        self.healed = False

    def stall(self, way: str, seconds: float) -> None:
        self.stalled[way] = self.scheduler.now + seconds

    def heal(self) -> None:
        self.healed = True
        self.stalled = {"there": 0.0, "back": 0.0}

    def travel(self, way: str, arrive: Callable[[], None], late: float = 0.0) -> None:
        """One packet that has nothing to do with others; ``late`` is the share of those that take very long."""
        luck, chance = self.scheduler.chance.random(), self.scheduler.chance
        if late and not self.healed and self.scheduler.likely(late):
            latency = chance.random() * 0.25
        elif luck < 0.9 or self.healed:
            latency = min(chance.expovariate(1000), 0.01)
        else:
            latency = chance.random() * (0.1 if luck < 0.99 else 0.5)

        def there() -> None:
            if self.stalled[way] > self.scheduler.now:
                self.scheduler.at(self.stalled[way] + 0.01 * chance.random(), there)
            else:
                arrive()

        self.scheduler.after(latency, there)


class Stream:
    """One direction of one connection: in order, whatever happens."""

    def __init__(self, path: Path, way: str, arrive: Callable[[Any], None]) -> None:
        self._path = path
        self._way = way
        self._arrive = arrive
        self._queue: deque[Any] = deque()
        self._moving = False
        self.cut = False

    def put(self, item: Any) -> None:
        self._queue.append(item)
        if not self._moving:
            self._move()

    def _move(self) -> None:
        self._moving = bool(self._queue)
        if self._moving:
            self._path.travel(self._way, self._deliver)

    def _deliver(self) -> None:
        if self.cut:
            return
        self._arrive(self._queue.popleft())
        self._move()


class ServerStore(MemoryStore):
    """What a server does with a command. ``weak`` takes one of its promises away."""

    def __init__(self, clock: Any, weak: str) -> None:
        super().__init__(clock)
        self._weak = weak

    async def claim(self, key: str, lease: bytes, *, ttl_ms: int) -> bytes:
        if self._weak != "claim":
            return await super().claim(key, lease, ttl_ms=ttl_ms)
        standing = self._value(key)
        if standing is None:
            self._set(key, lease, ttl_ms)
        return standing or lease

    async def compare_and_set(self, key: str, expected: bytes, value: bytes, *, ttl_ms: int) -> bool:
        if self._weak != "set":
            return await super().compare_and_set(key, expected, value, ttl_ms=ttl_ms)
        self._set(key, value, ttl_ms)
        return True

    async def set(self, key: str, value: bytes, *, ttl_ms: int) -> None:
        self._set(key, value, ttl_ms)

    async def begin_session(self, key: str, mark: str, **options: Any) -> Begun | NotBegun:
        answer = await super().begin_session(key, mark, **options)
        if self._weak == "end" and isinstance(answer, Begun):
            for ended in answer.ended:
                del self._revocations[key].ids[ended]
        return answer

    def sessions_now(self, key: str) -> dict[str, int]:
        """Those that have not expired, with their ends."""
        held, now = self._revocations.get(key), math.ceil(self._clock.wall())
        return {mark: end for mark, end in held.revocations().sessions.items() if end > now} if held else {}


class Server:
    """Keys, and the links that want to hear of them. Commands are executed one after the other."""

    def __init__(
        self, scheduler: Scheduler, name: str, reference: Reference, *, threaded: bool, slow: float, weak: str
    ) -> None:
        self.scheduler = scheduler
        self.slow = slow
        """The share of messages that it does not send at once."""
        self.name = name
        self.reference = reference
        self.threaded = threaded
        self.place = Place(scheduler, name, skew=scheduler.between(-1, 1))
        self.store = ServerStore(self.place.clock, weak)
        self.links: list[Connection] = []
        self.view: list[Any] = []
        """Its answer to ``CLUSTER SLOTS``."""
        self.is_retired = False

    @property
    def address(self) -> tuple[str, int]:
        return self.name, 6379

    def promoted(self, name: str) -> Server:
        """Its replica, which takes over with all that was acknowledged. Of this one only its links are left.

        It goes on answering their PINGs, and tells of nothing any more.
        """
        replica = Server(self.scheduler, name, self.reference, threaded=self.threaded, slow=self.slow, weak="")
        replica.place, replica.store = self.place, self.store
        self.is_retired = True
        return replica

    def execute(self, command: str, key: str, *arguments: Any, **options: Any) -> Any:
        """The reply, and the moment of the execution."""
        if self.is_retired:
            return MovedError(), self.reference.next_moment()
        self.expire(key)
        before, sessions = self.store._values.get(key), self.store.sessions_now(key)
        try:
            answer = finish(getattr(self.store, command)(key, *arguments, **options))
        except ForeignValueError as exc:
            answer = exc
        self.store.calls.clear()
        moment = self.reference.next_moment()
        after = self.store._values.get(key)
        if command in _WRITES_SESSIONS:
            self.reference.sessions_changed(key, sessions, self.store.sessions_now(key), moment)
        if command == "delete":
            self.reference.deleted(key, moment)
        if after is not before:
            if after is not None:
                self.reference.stored(key, after[0])
                self.scheduler.at(
                    self.scheduler.now + after[1] - self.place.clock.wall() + 0.001, lambda: self.expire(key)
                )
            self.changed(key)
        return answer, moment

    def expire(self, key: str) -> None:
        value = self.store._values.get(key)
        if value is not None and value[1] <= self.place.clock.wall():
            del self.store._values[key]
            self.changed(key)

    def changed(self, key: str) -> None:
        if self.is_retired:
            return
        for link in self.links:
            if link.prefix is not None and key.startswith(link.prefix):
                link.push(key)

    def evict(self, key: str) -> None:
        if self.store._values.pop(key, None) is not None:
            self.changed(key)
        if self.store._revocations.pop(key, None) is not None:
            self.reference.forgotten(key)

    def flush(self) -> None:
        self.store._values.clear()
        for key in list(self.store._revocations):
            self.evict(key)
        for link in self.links:
            if link.prefix is not None:
                link.push(None)

    def restart(self) -> None:
        """With nothing: every connection is lost, and nothing is told of what was there."""
        for link in list(self.links):
            link.kill(told=True)
        self.flush()


class Connection:
    """A link's connection, seen from both ends."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server = server
        self.prefix: str | None = None
        self.inbox: deque[Any] = deque()
        self.arrived = Promise()
        self.reset = False
        self.up = Stream(path, "there", self._received)
        self._down = Stream(path, "back", self._delivered)
        self._out: deque[Any] = deque()
        self._flushing = False
        server.links.append(self)

    def kill(self, *, told: bool) -> None:
        """The server forgets it; the client hears of that, or does not."""
        self.up.cut = self._down.cut = True
        if self in self.server.links:
            self.server.links.remove(self)
        if told:
            self.server.scheduler.after(self.server.scheduler.between(0, 0.02), self._told)

    def push(self, key: str | None) -> None:
        self._queue({"keys": None if key is None else [key.encode()], "passed": False}, slow=self.server.slow)

    def _told(self) -> None:
        self.reset = True
        self._wake()

    def _wake(self) -> None:
        arrived, self.arrived = self.arrived, Promise()
        arrived.put()

    def _received(self, command: tuple[Any, ...]) -> None:
        match command:
            case ("CLIENT", "ID"):
                self._queue(7)
            case ("SET", key, _, "PX", ttl_ms):
                answer, _ = self.server.execute("set", key, b"", ttl_ms=ttl_ms)
                self._queue(answer or b"OK")
            case ("CLIENT", "TRACKING", "ON", "REDIRECT", 7, "BCAST", "PREFIX", prefix):
                self.prefix = prefix
                self._queue(b"OK")
            case ("SUBSCRIBE", "__redis__:invalidate"):
                self._queue([b"subscribe", b"__redis__:invalidate", 1])
            case ("CLUSTER", "SLOTS"):
                self._queue(list(self.server.view))
            case ("PING",):
                self._pong()
            case _:
                raise AssertionError(command)

    def _pong(self) -> None:
        """Behind everything, or just ahead of one message; no message is passed twice."""
        scheduler, last = self.server.scheduler, self._out[-1] if self._out else None
        if self.server.threaded and isinstance(last, dict) and not last["passed"] and scheduler.likely(0.7):
            last["passed"] = True
            self._out.insert(len(self._out) - 1, [b"pong", b""])
        else:
            self._queue([b"pong", b""])

    def _queue(self, item: Any, slow: float = 0.01) -> None:
        self._out.append(item)
        if not self._flushing:
            self._flush_later(slow)

    def _flush_later(self, slow: float) -> None:
        self._flushing = True
        scheduler = self.server.scheduler
        scheduler.after(scheduler.between(0, 0.4 if scheduler.likely(slow) else 0.0005), self._flush)

    def _flush(self) -> None:
        item = self._out.popleft()
        self._down.put(item)
        self._flushing = bool(self._out)
        if self._flushing and isinstance(self._out[0], dict) and self._out[0]["passed"]:
            scheduler = self.server.scheduler
            scheduler.after(scheduler.between(0.7, 1.7) if scheduler.likely(0.6) else 0.0, self._flush)
        elif self._flushing:
            self._flush_later(0.05)

    def _delivered(self, item: Any) -> None:
        if isinstance(item, dict):
            item = [b"message", b"__redis__:invalidate", item["keys"]]
        self.inbox.append(item)
        self._wake()


class SimWire:
    """The ``Wire`` port."""

    def __init__(self, place: Place, server: Server, path: Path, timeout: float) -> None:
        self._place = place
        self._server = server
        self._path = path
        self._timeout = timeout
        self.connection: Connection | None = None

    async def open(self) -> None:
        connected = Promise()
        self._path.travel("there", lambda: self._path.travel("back", connected.put))
        try:
            await self._place.wait(connected, self._timeout)
        except TimeoutError:
            raise WireError("no connection") from None
        self.connection = Connection(self._server, self._path)

    async def call(self, *command: str | int) -> Any:
        await self.send(*command)
        reply = await self.read(self._timeout)
        if reply is None:
            raise WireError("timeout")
        if isinstance(reply, MovedError):
            raise WireError("moved")
        return reply

    async def send(self, *command: str | int) -> None:
        self._place.check()
        if self.connection is None or self.connection.reset:
            raise WireError("reset")
        self.connection.up.put(command)

    async def read(self, timeout: float) -> Any:
        connection, until = self.connection, self._place.scheduler.now + timeout
        assert connection is not None
        while not connection.inbox:
            if connection.reset:
                raise WireError("reset")
            left = until - self._place.scheduler.now
            try:
                await self._place.wait(connection.arrived, max(left, 0.0))
            except TimeoutError:
                return None
        return connection.inbox.popleft()

    async def close(self) -> None:
        if self.connection is not None:
            self.connection.kill(told=False)


class SimPrimary:
    """The ``Primary`` port."""

    def __init__(self, place: Place, server: Server, cluster: Cluster) -> None:
        self.name = server.name
        self._place = place
        self._server = server
        self._cluster = cluster
        self._beacons = 0

    def wire(self, timeout: float) -> SimWire:
        return SimWire(self._place, self._server, self._cluster.path(self._place, self._server), timeout)

    def beacon(self, prefix: str) -> str:
        self._beacons += 1
        return f"{prefix}\x00beacon:{self._place.name}:{self._beacons}"

    async def touch(self, key: str, *, ttl_ms: int) -> None:
        await self._cluster.command(self._place, self._server, "set", key, b"", ttl_ms=ttl_ms)


class Cluster:
    """One server or several, and the paths to them. In a cluster with replicas, others take over from time to time."""

    def __init__(
        self, scheduler: Scheduler, servers: list[Server], timeout: float, *, loss: float, late: float
    ) -> None:
        self.scheduler = scheduler
        self.servers = servers
        self.timeout = timeout
        self.loss = loss
        self.late = late
        self.well = False
        self._maps: dict[Place, list[Server]] = {}
        self._everyone = list(servers)
        for server in servers:
            server.view = self._view()
        self._paths: dict[tuple[Place, Server], Path] = {}

    def path(self, place: Place, server: Server) -> Path:
        path = self._paths.get((place, server))
        if path is None:
            path = self._paths[place, server] = Path(self.scheduler)
            path.healed = self.well
        return path

    def heal(self) -> None:
        """From here on nothing is late or lost."""
        self.well = True
        for path in self._paths.values():
            path.heal()

    def server(self, key: str) -> Server:
        return self.servers[self._shard(key)]

    def _shard(self, key: str) -> int:
        if "\x00" in key:  # a beacon, of a primary that knows its slots
            return next(at for at, (first, last, _) in enumerate(self._view()) if first <= slot_of(key) <= last)
        return int(key.rpartition(":")[2]) % len(self.servers)

    def _view(self) -> list[Any]:
        share = 16384 // len(self.servers)
        return [
            [share * at, share * (at + 1) - 1, [server.name.encode(), server.address[1], server.name.encode()]]
            for at, server in enumerate(self.servers)
        ]

    def fail_over(self, shard: int, word: float) -> None:
        """A replica takes over; within ``word`` seconds the others have heard of it, and the old one too."""
        old = self.servers[shard]
        new = old.promoted(f"redis{len(self._everyone)}")
        self.servers[shard] = new
        self.scheduler.tell(new.name, f"takes over from {old.name}")
        new.view = self._view()
        for server in self._everyone:  # those that were primaries once too: they are replicas now
            self.scheduler.after(self.scheduler.between(0, word), lambda server=server: self._hear(server))
        self._everyone.append(new)
        if self.scheduler.likely(0.3):
            for link in list(old.links):
                link.kill(told=self.scheduler.likely(0.5))

    def _hear(self, server: Server) -> None:
        server.view = self._view()

    def at(self, address: tuple[str, int]) -> Server:
        return next(server for server in self._everyone if server.address == address)

    def owner(self, place: Place, key: str) -> Server:
        """Whom the client of that place takes for the owner."""
        return self._maps.setdefault(place, list(self.servers))[self._shard(key)]

    def moved(self, place: Place, key: str) -> None:
        """The client has been told of another one."""
        self._maps[place][self._shard(key)] = self.server(key)

    async def sent(self, place: Place, command: str, key: str, *arguments: Any, **options: Any) -> tuple[Any, int]:
        """By way of the client, which follows redirections."""
        for _ in range(3):
            with suppress(MovedError):
                return await self.command(place, self.owner(place, key), command, key, *arguments, **options)
            self.moved(place, key)
        raise UnavailableError("redis")

    async def command(
        self, place: Place, server: Server, command: str, key: str, *arguments: Any, **options: Any
    ) -> tuple[Any, int]:
        """Its reply within the timeout; of one copy, where it is sent again."""
        place.check()
        scheduler, reply, path = self.scheduler, Promise(), self.path(place, server)
        copies = 2 if not self.well and scheduler.likely(0.08) else 1
        heard = scheduler.chance.randrange(copies)

        def arrive(copy: int) -> None:
            answer = server.execute(command, key, *arguments, **options)
            shown_key = key.partition("\x00")[0]  # what follows in a beacon is no choice of the seed
            scheduler.tell(server.name, f"{command} {shown_key} of {place.name}{' again' * copy} -> {shown(answer[0])}")
            if copy == heard and (self.well or not scheduler.likely(self.loss)):
                path.travel("back", lambda: reply.put(answer), self.late)

        for copy in range(copies):
            extra = 0.0 if copy == heard else scheduler.between(0, 0.1 if scheduler.likely(0.5) else 3.0)
            if self.well or not scheduler.likely(self.loss):
                scheduler.after(extra, lambda copy=copy: path.travel("there", lambda: arrive(copy)))
        try:
            answer = await place.wait(reply, self.timeout)
        except TimeoutError:
            raise UnavailableError("redis") from None
        if isinstance(answer[0], Exception):
            raise answer[0]
        return answer


class SimStore:
    """The ``Store`` port of one place, with its ``Topology``."""

    changes = False

    def __init__(self, place: Place, cluster: Cluster, *, knows_sessions: bool = True) -> None:
        self._place = place
        self._cluster = cluster
        self._knows_sessions = knows_sessions

    async def _ask(self, command: str, key: str, *arguments: Any, **options: Any) -> tuple[Any, int]:
        return await self._cluster.sent(self._place, command, key, *arguments, **options)

    async def get(self, key: str) -> bytes | None:
        return (await self._ask("get", key))[0]

    async def claim(self, key: str, lease: bytes, *, ttl_ms: int) -> bytes:
        return (await self._ask("claim", key, lease, ttl_ms=ttl_ms))[0]

    async def compare_and_set(self, key: str, expected: bytes, value: bytes, *, ttl_ms: int) -> bool:
        return (await self._ask("compare_and_set", key, expected, value, ttl_ms=ttl_ms))[0]

    async def compare_and_delete(self, key: str, expected: bytes) -> bool:
        return (await self._ask("compare_and_delete", key, expected))[0]

    async def elect(self, key: str, *, ttl_ms: int) -> bool:
        return (await self._ask("elect", key, ttl_ms=ttl_ms))[0]

    async def delete(self, key: str) -> None:
        _, moment = await self._ask("delete", key)
        task = self._place.scheduler.current
        assert task is not None
        task.deleted_at = moment

    async def revocations(self, key: str) -> Any:
        answer = (await self._ask("revocations", key))[0]
        return answer if self._knows_sessions else replace(answer, sessions=None)

    async def revoke_id(self, key: str, mark: str, *, lifetime: int, leeway: int) -> None:
        await self._ask("revoke_id", key, mark, lifetime=lifetime, leeway=leeway)

    async def revoke_before(self, key: str, *, lifetime: int, leeway: int) -> None:
        await self._ask("revoke_before", key, lifetime=lifetime, leeway=leeway)

    async def sessions(self, key: str) -> Any:
        return (await self._ask("sessions", key))[0]

    async def begin_session(self, key: str, mark: str, **options: Any) -> Any:
        return (await self._ask("begin_session", key, mark, **options))[0]

    async def may_evict(self) -> bool | None:
        return False

    async def aclose(self) -> None:
        """Nothing was opened."""

    def is_sent_to(self, names: Any, key: str) -> bool:
        return True

    async def close(self) -> None:
        """Nothing was opened."""

    async def primaries(self, timeout: float) -> list[SimPrimary]:
        return [SimPrimary(self._place, server, self._cluster) for server in self._cluster.servers]


class SimClient:
    """What ``ClusterTopology`` needs of a cluster's client, and of commands; of one place."""

    def __init__(self, place: Place, cluster: Cluster) -> None:
        self._place = place
        self._cluster = cluster
        self._known = [server.address for server in cluster.servers]

    def wire(self, address: tuple[str, int], timeout: float) -> SimWire:
        server = self._cluster.at(address)
        return SimWire(self._place, server, self._cluster.path(self._place, server), timeout)

    def known(self) -> list[tuple[str, int]]:
        return self._known

    def mapped(self, address: tuple[str, int]) -> tuple[str, int]:
        return address

    async def learn(self, alive: frozenset[str]) -> None:
        """Redirections teach it enough."""

    def owner_name(self, key: str) -> str:
        return name_of(self._cluster.owner(self._place, key).address)

    def redirected_to(self, key: str) -> None:
        return None

    async def insist(self, _set: str, key: str, _value: str, _px: str, ttl_ms: int) -> None:
        await self._cluster.sent(self._place, "set", key, b"", ttl_ms=ttl_ms)


def shown(answer: Any) -> str:
    """A reply as a reader of a trace wants it."""
    if isinstance(answer, bytes):
        if answer.startswith(b"\xc1"):
            return f"lease{answer[39:].decode()}"  # the rest is no choice of the seed
        found = answer.find(b"version")
        return f"version {answer[found + 7]}" if found >= 0 and answer[found + 7] < 128 else f"{len(answer)} bytes"
    return str(answer)
