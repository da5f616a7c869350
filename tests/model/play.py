"""One run: some processes, one Redis or two, and chance against them. ``python play.py 0 40`` plays forty seeds."""

from __future__ import annotations

import argparse
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from model_redis import Cluster, Server, SimClient, SimStore
from reference import Reference, Token, ViolationError
from scheduler import Place, Scheduler
from sim_runtime import SimRuntime

from authcache_middleware.engine import Engine
from authcache_middleware.errors import LoginRefusedError, UnavailableError
from authcache_middleware.options import Options
from authcache_middleware.redis.cluster import ClusterTopology
from authcache_middleware.redis.connect import Opened
from authcache_middleware.reporter import Reporter
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.users.keys import UserKeys
from authcache_middleware.users.policy import Verdict, is_active, is_settled, judge, session_mark, token_mark
from authcache_middleware.users.record import Record
from authcache_middleware.verification import KnownIssuer

MAX_STALENESS = 1.0
STEPS = 3000
QUIET = 45.0
"""Seconds after which everything has to be well again; a server that did not tell is left alone for 30."""


class World:
    """Everything there is in one run."""

    def __init__(self, seed: int, weak: str = "", replicas: float = 0.35) -> None:
        self.scheduler = scheduler = Scheduler(seed)
        self.chance = scheduler.chance
        self.max_sessions = self.chance.choice([None, 1, 2, 3])
        self.requires = self.chance.choice([0.0, 0.0, 0.5, 1.0])
        self.reference = Reference(scheduler, max_staleness=MAX_STALENESS, max_sessions=self.max_sessions)
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.subjects = [str(number) for number in range(1, self.chance.choice([1, 2, 3]) + 1)]
        threaded, slow = scheduler.likely(0.6), self.chance.choice([0.02, 0.1, 0.4])
        servers = [
            Server(scheduler, f"redis{number}", self.reference, threaded=threaded, slow=slow, weak=weak)
            for number in range(self.chance.choice([1, 1, 2]))
        ]
        self.cluster = Cluster(
            scheduler,
            servers,
            timeout=0.25,
            loss=self.chance.choice([0.0, 0.005, 0.03]),
            late=self.chance.choice([0.0, 0.02, 0.3]),
        )
        self.ttl = self.chance.choice([1.0, 5.0, 30.0])
        self.slow_loads = self.chance.choice([0.0, 0.1, 0.5])
        self.pace = self.chance.choice([0.004, 0.02, 0.1])
        self.saves = scheduler.likely(0.2)
        self.endings = self.chance.choice([0.05, 0.3, 1.0])
        self.failing_loads = self.chance.choice([0.0, 0.0, 0.03])
        self.has_replicas = scheduler.likely(replicas)
        self.actions = {name: often * self._often(name) for name, often in _ACTIONS.items()}
        self.tokens: dict[str, list[Token]] = {subject: [] for subject in self.subjects}
        self.foreigner = Place(scheduler, "foreigner")
        self.processes: list[Process] = []
        self._made = 0
        self._acting = True
        self.calm = False
        for subject in self.subjects:
            self.reference.commit(subject, {"active": True})
            self.new_token(subject)
            self.new_token(subject)
        for _ in range(self.chance.choice([2, 2, 3, 4])):
            self.new_process()

    def new_process(self) -> None:
        self._made += 1
        self.processes.append(Process(self, f"p{self._made}"))

    def new_token(self, subject: str) -> None:
        self._made += 1
        issued = 1_700_000_000.0 + self.scheduler.now + self.scheduler.between(-2, 2)
        token_id = f"{self._made}" if self.scheduler.likely(0.8) else None
        tokens = self.tokens[subject]
        sid = f"s{self._made}" if self.scheduler.likely(0.7) else None
        if tokens and self.scheduler.likely(0.3):  # one that was refreshed
            sid = self.chance.choice(tokens).claims.session_id
        tokens.append(Token(Claims(subject, None, issued + 3600, issued, token_id, sid, (), {}), self.scheduler.now))
        del tokens[:-4]

    def run(self, steps: int) -> None:
        self.scheduler.after(0.0, self._act)
        self.scheduler.run(steps=steps)
        self._acting = False
        self._calm_down()

    def _often(self, action: str) -> float:
        """Each run has troubles of its own: with a little of everything at all times, little would ever work."""
        if action == "failover" and not self.has_replicas:
            return 0.0
        if action in _TROUBLE:
            return self.chance.choice([0.0, 0.0, 0.3, 1.0, 4.0])
        return self.endings if action in _ENDINGS else 1.0

    def probe(self, subject: str, token: Token | None) -> None:
        """Something has ended: ask where it could be overlooked, at once and when memory has no excuse any more."""
        for process in self.processes:
            for least, most in ((0.0, 0.004), (MAX_STALENESS, MAX_STALENESS + 0.25)):
                if self._acting and self.scheduler.likely(0.4):
                    asked = token or self.chance.choice(self.tokens[subject])
                    self.scheduler.after(
                        self.scheduler.between(least, most),
                        lambda process=process, asked=asked: (
                            process.place.alive and process.place.spawn(process.request(subject, asked))
                        ),
                    )

    # -- what may happen

    def _act(self) -> None:
        if not self._acting:
            return
        (action,) = self.chance.choices(list(self.actions), list(self.actions.values()))
        getattr(self, f"_{action}")(self.chance.choice(self.processes), self.chance.choice(self.subjects))
        gap = self.chance.expovariate(1 / self.pace)
        self.scheduler.after(0.0 if self.scheduler.likely(0.3) else gap, self._act)

    def _request(self, process: Process, subject: str) -> None:
        task = process.place.spawn(process.request(subject, self.chance.choice(self.tokens[subject])))
        if self.scheduler.likely(0.03):
            self.scheduler.after(self.scheduler.between(0, 0.1), lambda: task in process.place.tasks and task.cancel())

    def _change(self, process: Process, subject: str) -> None:
        process.place.spawn(process.change(subject))

    def _logout(self, process: Process, subject: str) -> None:
        process.place.spawn(process.logout(subject, self.chance.choice(self.tokens[subject])))

    def _revoke(self, process: Process, subject: str) -> None:
        process.place.spawn(process.revoke(subject))

    def _issue(self, _process: Process, subject: str) -> None:
        self.new_token(subject)

    def _login(self, process: Process, subject: str) -> None:
        """With a token of this moment, as often as not; with one of before it is put off, or begins again."""
        if self.scheduler.likely(0.6):
            self.new_token(subject)
        token = self.tokens[subject][-1] if self.scheduler.likely(0.6) else self.chance.choice(self.tokens[subject])
        process.place.spawn(process.login(subject, token))

    def _logout_session(self, process: Process, subject: str) -> None:
        token = self.chance.choice(self.tokens[subject])
        if token.claims.session_id is not None:
            process.place.spawn(process.logout_session(subject, token))

    def _foreign(self, _process: Process, subject: str) -> None:
        self.foreigner.spawn(self._foreign_delete(subject))

    async def _foreign_delete(self, subject: str) -> None:
        if self.scheduler.likely(0.7):
            self.reference.commit(subject, {"active": self.scheduler.likely(0.7)})
        called = self.scheduler.now, self.reference.next_moment()
        key = f"user:{subject}"
        try:
            _, moment = await self.cluster.sent(self.foreigner, "delete", key)
        except UnavailableError:
            return
        self.scheduler.tell("foreigner", f"has deleted {key}")
        self.reference.ended(subject, None, called=called, executed_at=moment)
        self.probe(subject, None)

    def _garbage(self, _process: Process, subject: str) -> None:
        key = f"user:{subject}"
        self.cluster.server(key).execute("set", key, b"garbage", ttl_ms=1000)

    def _crash(self, process: Process, _subject: str) -> None:
        self.scheduler.tell(process.place.name, "crashes")
        process.place.crash()
        self.processes.remove(process)
        self.new_process()

    def _restart(self, process: Process, _subject: str) -> None:
        process.place.spawn(process.close())

    def _pause(self, process: Process, _subject: str) -> None:
        if not process.place.paused:
            seconds = self._a_while()
            self.scheduler.tell(process.place.name, f"is paused for {seconds:.3f}")
            process.place.paused = True
            self.scheduler.after(seconds, process.place.resume)

    def _stall(self, process: Process, _subject: str) -> None:
        server, way, seconds = self.chance.choice(self.cluster.servers), self.chance.choice(_WAYS), self._a_while()
        path = self.cluster.path(process.place, server)
        self.scheduler.tell(process.place.name, f"- {server.name}: nothing goes {way} for {seconds:.3f}")
        for each in ("there", "back") if way == "anywhere" else (way,):
            path.stall(each, seconds)

    def _soon(self, subject: str) -> None:
        """And then his row is changed, as long as little is known of him."""
        if self.scheduler.likely(0.5):
            self.scheduler.after(self.scheduler.between(0, 0.06), lambda: self._foreign(self.processes[0], subject))

    def _touch(self, _process: Process, subject: str) -> None:
        """Somebody changes how long the record lives: every memory lets go of it, and it is read again."""
        self.cluster.server(subject).changed(f"user:{subject}")

    def _kill(self, process: Process, subject: str) -> None:
        """In the middle of requests that Redis answers, as often as not."""
        if self.scheduler.likely(0.5):
            self._touch(process, subject)
            for each in self.processes:
                seconds = self.scheduler.between(0, 0.01)
                self.scheduler.after(seconds, lambda each=each: each.place.alive and self._request(each, subject))
        self.scheduler.after(self.scheduler.between(0, 0.02), lambda: self._cut(subject))

    def _cut(self, subject: str) -> None:
        server = self.cluster.server(subject)
        if server.links:
            told = self.scheduler.likely(0.6)
            self.scheduler.tell(server.name, f"loses a link, the client is {'' if told else 'not '}told")
            self.chance.choice(server.links).kill(told=told)
            self._soon(subject)

    def _evict(self, _process: Process, subject: str) -> None:
        key = self.chance.choice(["user", "user", "revoked"]) + ":" + subject
        self.scheduler.tell("redis", f"evicts {key}")
        self.cluster.server(key).evict(key)

    def _flush(self, _process: Process, subject: str) -> None:
        server = self.chance.choice(self.cluster.servers)
        self.scheduler.tell(server.name, "FLUSHALL")
        server.flush()
        self._soon(subject)

    def _lose(self, _process: Process, subject: str) -> None:
        server = self.chance.choice(self.cluster.servers)
        self.scheduler.tell(server.name, "is restarted with nothing")
        server.restart()
        self._soon(subject)

    def _failover(self, _process: Process, subject: str) -> None:
        self.counts["failover"] += 1
        self.cluster.fail_over(self.chance.randrange(len(self.cluster.servers)), word=0.19 * MAX_STALENESS)
        for process in self.processes:
            if self.scheduler.likely(0.5):
                self._hinder(process, times=3)
        self._soon(subject)

    def _hinder(self, process: Process, times: int) -> None:
        """Hold answers back, for longer than a look waits and for less than a link does."""
        server = self.chance.choice(self.cluster.servers)
        self.cluster.path(process.place, server).stall("back", self.scheduler.between(0.3, 0.7))
        if times > 1 and self._acting:
            self.scheduler.after(self.scheduler.between(0.5, 1.0), lambda: self._hinder(process, times - 1))

    def _a_while(self) -> float:
        return self.scheduler.between(0, self.chance.choice([0.02, 0.3, 0.3, 1.5, 4.0]))

    # -- when it is over

    def _calm_down(self) -> None:
        """All is well again: so must every process be, or the check would be of a thing that does not work."""
        self.cluster.heal()
        self.calm = True
        for process in self.processes:
            if process.place.paused:
                process.place.resume()
        self.scheduler.run(until=self.scheduler.now + QUIET)
        for subject in self.subjects:
            self.foreigner.spawn(self._foreign_delete(subject))
        self.scheduler.run(until=self.scheduler.now + 5.0)
        for _ in range(20):  # an answer of a slow server may be late just now: trust is lost for a moment
            if not all(process.engine.memory.is_trusted for process in self.processes):
                self.scheduler.run(until=self.scheduler.now + 0.1)
        for process in self.processes:
            process.look_back()
            for subject in self.subjects:
                process.place.spawn(process.ask_again(subject))
        self.scheduler.run(until=self.scheduler.now + 20.0)
        asked = len(self.processes) * len(self.subjects)
        if self.counts["quiet"] != asked:
            raise ViolationError(f"{asked - self.counts['quiet']} quiet requests of {asked} were not answered right")
        if self.faults:
            raise ViolationError(self.faults[0])


class Process:
    """One process with the package in it."""

    def __init__(self, world: World, name: str) -> None:
        scheduler = world.scheduler
        self.world = world
        self.place = Place(scheduler, name, skew=scheduler.between(-1, 1), uptime=scheduler.between(0, 1000))
        self.kind = world.chance.choice(["awaited", "threaded", "blocking"])
        self.reporter = Reporter()
        self.closing = False
        self.options = Options(
            load_user=self.load,
            keys="",
            algorithms=(),
            issuer=None,
            audience=None,
            ttl=world.ttl,
            negative_ttl=min(world.ttl, 3.0),
            loader_timeout=0.5,
            deadline=3.0,
            loader_concurrency=world.chance.choice([1, 2, 32]),
            max_staleness=MAX_STALENESS,
            save_revocation=self.save if world.saves else None,
            max_sessions=world.max_sessions,
            on_max_sessions="refuse" if world.max_sessions and scheduler.likely(0.3) else "end_oldest",
            require_session=scheduler.likely(world.requires),
            clock=self.place.clock,
        )
        # as one that has never heard of sessions, and fills records without them
        self.knows_sessions = self.options.require_session or scheduler.likely(0.8)
        self._open()

    def _open(self) -> None:
        store = SimStore(self.place, self.world.cluster, knows_sessions=self.knows_sessions)
        topology = store
        if self.world.has_replicas:
            client = SimClient(self.place, self.world.cluster)
            topology = ClusterTopology(client, client, now=self.place.clock.monotonic)
        issuers = {None: KnownIssuer(self.options.each_issuer[0], UserKeys(), None)}  # no token is verified here
        runtime = SimRuntime(self.place, self.kind)
        self.engine = Engine(runtime, Opened(store, topology), issuers, self.options, self.reporter)

    # -- the application's functions

    async def load(self, subject: str):
        chance, slow = self.world.chance, 0.0 if self.world.calm else self.world.slow_loads
        await self.place.sleep(chance.random() * (0.8 if self.world.scheduler.likely(slow) else 0.005))
        if not self.world.calm and self.world.scheduler.likely(self.world.failing_loads):
            raise OSError
        row = self.world.reference.current(subject)
        self._tell(f"reads {subject}: {row and row['version']}")
        await self.place.sleep(chance.random() * (0.8 if self.world.scheduler.likely(slow) else 0.005))
        return row

    async def save(self, subject: str, before_s: int) -> None:
        await self.place.sleep(self.world.chance.random() * 0.01)
        row = self.world.reference.current(subject)
        if row is not None:
            self.world.reference.commit(subject, {"active": row["active"], "revoked_before": before_s})

    # -- what is asked of the package

    def recall(self, subject: str) -> Record | None:
        entry = self.engine.memory.entry(UserKeys().record(subject))
        return None if entry is None else entry.record

    async def request(self, subject: str, token: Token) -> None:
        users = self.engine.of(None).users
        request = self.world.reference.request(self.place, users, subject, token)
        record, source = self.recall(subject), "memory"
        if record is None or not is_settled(self.judged(record, token)):
            source = "redis"
            self.world.counts["memory knew no session"] += record is not None
            try:
                record = await users.record(subject)
            except UnavailableError as exc:
                self.world.counts[f"unavailable: {exc.reason}"] += 1
                return
        verdict = self.judged(record, token)
        if self.options.require_session:
            self.world.counts[f"required, {verdict}"] += 1
            self.world.reference.required(request, verdict, self.place.clock.wall())
        self.world.counts[source] += 1
        self.world.counts[f"{source}, where replicas take over"] += self.world.has_replicas
        self.world.counts[verdict] += 1
        version = "nobody" if record.user is None else record.user["version"]
        self._tell(f"answers for {subject} from {source}: version {version}, {verdict} (asked {request.began:.4f})")
        self.world.reference.answered(request, record, verdict, source)

    def judged(self, record: Record, token: Token) -> Verdict:
        session_at = self.place.clock.wall() if self.options.require_session else None
        return judge(record, token.claims, is_active, session_at=session_at)

    async def change(self, subject: str) -> None:
        likely = self.world.scheduler.likely
        self.world.reference.commit(subject, None if likely(0.1) else {"active": likely(0.7)})
        await self._end(subject, "invalidate", self.engine.of(None).revoker.cached(subject))

    async def login(self, subject: str, token: Token) -> None:
        mark, logins = session_mark(token.claims), self.engine.of(None).logins
        if mark is None:
            return
        lasts = 3600.0 if self.world.scheduler.likely(0.7) else self.world.scheduler.between(5, 20)
        expires_s = math.ceil(self.place.clock.wall() + lasts)
        called_at = self.world.reference.next_moment()
        try:
            if await self._end(subject, "login", logins.begin(subject, mark, expires_s=expires_s), token):
                self.world.reference.logged_in(subject, mark, expires_s, called_at=called_at)
        except LoginRefusedError as exc:
            self.world.counts[f"login refused: {exc.reason}"] += 1

    async def logout_session(self, subject: str, token: Token) -> None:
        sid = token.claims.session_id
        assert sid is not None
        ended = self.engine.of(None).revoker.session(subject, sid)
        await self._end(subject, "logout_session", ended, token, mark=f"s:{sid}")

    async def logout(self, subject: str, token: Token) -> None:
        revoked = self.engine.of(None).revoker.token(token.claims, now=self.place.clock.wall())
        sid = token.claims.session_id
        mark = token_mark(token.claims) if sid is None else f"s:{sid}"
        await self._end(subject, "logout", revoked, token, mark=mark)

    async def revoke(self, subject: str) -> None:
        await self._end(subject, "revoke_user", self.engine.of(None).revoker.user(subject), everything=True)

    async def _end(self, subject: str, name: str, ending, token: Token | None = None, **what) -> bool:
        """Whether it was confirmed."""
        called, users = (self.world.scheduler.now, self.world.reference.next_moment()), self.engine.of(None).users
        try:
            await ending
        except UnavailableError:
            self.world.counts["not confirmed"] += 1
            return False
        task = self.world.scheduler.current
        assert task is not None
        self._tell(f"{name} {subject} is confirmed")
        self.world.counts[name] += 1
        self.world.reference.ended(subject, users, called=called, executed_at=task.deleted_at, **what)
        self.world.probe(subject, token)
        return True

    async def close(self) -> None:
        """Close as an application does, and begin anew."""
        if not self.closing:
            self.closing, engine = True, self.engine
            self._tell("is closed and opened again")
            self._open()
            await engine.aclose()
            self.closing = False

    # -- when all is quiet

    def look_back(self) -> None:
        """Nothing is left over of anything."""
        memory, of = self.engine.memory, self.engine.of(None)
        flights = of.users._flights
        for name, rest in (
            ("trust", not memory.is_trusted), ("readers", memory._readers), ("waiters", memory._waiters),
            ("flights", flights._open), ("places", of._works[0]._free != self.options.loader_concurrency),
        ):  # fmt: skip
            if rest:
                raise ViolationError(f"{self.place.name}, when all is quiet: {name} {rest}")

    async def ask_again(self, subject: str) -> None:
        record = self.recall(subject) or await self.engine.of(None).users.record(subject)
        self.world.counts["quiet"] += self.world.reference.knows(record)

    def _tell(self, what: str) -> None:
        self.world.scheduler.tell(self.place.name, what)


_WAYS = ("there", "back", "anywhere")
_ACTIONS = {
    "request": 70, "change": 6, "foreign": 4, "logout": 2, "logout_session": 1.5, "revoke": 0.7, "issue": 2, "login": 4,
    "garbage": 0.3, "touch": 1,
    "crash": 0.5, "restart": 0.3, "pause": 1, "stall": 1.5, "kill": 2, "evict": 0.6, "flush": 0.4, "lose": 0.2,
    "failover": 0.4,
}  # fmt: skip
_ENDINGS = frozenset({"change", "foreign", "logout", "logout_session", "revoke"})
_TROUBLE = frozenset({"crash", "restart", "pause", "stall", "kill", "evict", "flush", "lose", "garbage", "failover"})


class _Listener(logging.Handler):
    """What the package logs as a fault of its own is one."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__()
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        if "unexpectedly" in record.msg:
            self._faults.append(record.getMessage())


@contextmanager
def _prepared(world: World, seed: int) -> Iterator[None]:
    """The package's own chance comes from the seed too, and what it logs stays here."""
    log, before = logging.getLogger("authcache_middleware"), random.getstate()
    listener, propagates = _Listener(world.faults), log.propagate
    log.addHandler(listener)
    log.propagate = False
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        log.propagate = propagates
        log.removeHandler(listener)


def play(seed: int, *, steps: int = STEPS, weak: str = "", replicas: float = 0.35) -> World:
    """One run; what is found is raised with its seed and the last of what happened."""
    world = World(seed, weak, replicas)
    with _prepared(world, seed):
        try:
            world.run(steps)
        except AssertionError as exc:
            trace = "\n".join(f"{now:9.4f}  {who:9}  {what}" for now, who, what in world.scheduler.trace[-120:])
            raise ViolationError(f"{trace}\n{exc}\nreplay with AUTHCACHE_SEED={seed}") from exc
        finally:
            for process in world.processes:
                process.place.crash()
    return world


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("first", type=int)
    arguments.add_argument("seeds", type=int)
    arguments.add_argument("--steps", type=int, default=STEPS)
    arguments.add_argument("--weak", default="", help="claim: no suffix; set: it does not compare; end: no mark")
    arguments.add_argument("--replicas", type=float, default=0.35, help="in which share of the seeds there are some")
    chosen = arguments.parse_args()
    counts: Counter[str] = Counter()
    steps, began = 0, time.perf_counter()
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        try:
            world = play(seed, steps=chosen.steps, weak=chosen.weak, replicas=chosen.replicas)
        except ViolationError as exc:
            print(exc)
            raise SystemExit(f"found with seed {seed}, after {seed - chosen.first + 1} seeds") from None
        steps += world.scheduler.steps
        counts.update(world.counts)
        for process in world.processes:
            counts.update({name: count for name, count in process.reporter.counts().items() if count})
    took = time.perf_counter() - began
    print(f"{chosen.seeds} seeds, {steps} steps, {steps / took:.0f} a second, nothing found")
    print(dict(counts.most_common()))


if __name__ == "__main__":
    main()
