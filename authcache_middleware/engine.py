"""What lives and dies with one event loop, or with one process: everything put together, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import final

from authcache_middleware.cache.flow import UserFlow, Waits
from authcache_middleware.cache.link import Link, Primary
from authcache_middleware.cache.links import Links
from authcache_middleware.cache.loads import Loads, RecordLife, to_ms
from authcache_middleware.cache.memory import Memory
from authcache_middleware.cache.outage import OutagePolicy
from authcache_middleware.cache.refresh import Refresher
from authcache_middleware.options import Options
from authcache_middleware.queue import story_of
from authcache_middleware.redis.connect import Opened
from authcache_middleware.redis.event_stream import EventStreamKey
from authcache_middleware.redis.last_seen import LastSeen
from authcache_middleware.redis.store import Commands
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import Runtime
from authcache_middleware.sessions.eviction import tell_of_eviction
from authcache_middleware.sessions.logins import Logins
from authcache_middleware.sessions.orders import Orders
from authcache_middleware.sessions.revocation import Announce, Revoker
from authcache_middleware.sessions.watches import Admit, End, Watch, Watches
from authcache_middleware.streams.activity import ActivityFlow, SeenUsers
from authcache_middleware.streams.announcing import Announcer
from authcache_middleware.streams.marks import Marks
from authcache_middleware.streams.presence import PresenceOf
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.users.record import Record
from authcache_middleware.verification import NO_PROVIDERS, KnownIssuer, Providers

__all__ = ["Engine"]


@final
class Engine:
    """Connections, links and memory, which all issuers share, and the users of each."""

    def __init__(
        self,
        runtime: Runtime,
        opened: Opened,
        issuers: Mapping[str | None, KnownIssuer],
        options: Options,
        reporter: Reporter,
        *,
        providers: Providers = NO_PROVIDERS,
        seen: Marks | None = None,
    ) -> None:
        self.runtime = runtime
        self.providers = providers
        self.watches: Watches | None = None
        self._options = options
        self._store = opened.store
        self.memory = Memory(
            entries=options.memory_entries,
            ttl=options.memory_ttl,
            max_staleness=options.max_staleness,
            now=options.clock.monotonic,
            mutex=runtime.mutex(),
        )
        # One issuer's keys all begin with its alias; those of several have the first part alone in common.
        prefix = next(iter(issuers.values())).keys.prefix if len(issuers) == 1 else options.prefix
        links = self._links(opened, prefix, options, reporter)
        self._of = {
            name: UsersOfIssuer(
                known, opened, runtime=runtime, memory=self.memory, links=links, options=options, reporter=reporter
            )
            for name, known in issuers.items()
        }
        self.presence: Mapping[str | None, PresenceOf] = {}
        self.activity = self._activity(opened.commands, seen, issuers, options, reporter)
        if links is not None:
            links.start()
        if self.activity is not None:
            runtime.background(self.activity.run, "authcache-activity")

    def of(self, issuer: str | None) -> UsersOfIssuer:
        """The users of that issuer, which must be one of those that are known."""
        return self._of[issuer]

    def watch(self, claims: Claims, key: str, end: End, *, admit: Admit, mark: Callable[[str], None] | None) -> Watch:
        """Watch a connection; ``admit`` is the same for all of them, ``mark`` what marks a user as seen."""
        if self.watches is None:
            self.watches = Watches(
                runtime=self.runtime,
                memory=self.memory,
                clock=self._options.clock,
                read=self._read,
                admit=admit,
                leeway=self._options.leeway,
                max_staleness=self._options.max_staleness,
                keep_open_for=self._options.keep_open_for,
            )
        return self.watches.begin(claims, key, end, mark)

    async def _read(self, claims: Claims) -> Record:
        return await self.of(claims.issuer).users.record(claims.subject)

    def _links(self, opened: Opened, prefix: str, options: Options, reporter: Reporter) -> Links | None:
        if opened.topology is None or not (options.max_staleness and options.memory_entries):
            return None

        def make_link(primary: Primary) -> Link:
            return Link(
                primary,
                memory=self.memory,
                prefix=prefix,
                now=options.clock.monotonic,
                max_staleness=options.max_staleness,
                reporter=reporter,
            )

        return Links(
            opened.topology,
            runtime=self.runtime,
            memory=self.memory,
            make_link=make_link,
            at_start=partial(tell_of_eviction, opened.store, reporter),
            now=options.clock.monotonic,
            max_staleness=options.max_staleness,
        )

    def _activity(
        self,
        commands: Commands | None,
        seen: Marks | None,
        issuers: Mapping[str | None, KnownIssuer],
        options: Options,
        reporter: Reporter,
    ) -> ActivityFlow | None:
        if options.activity is None or seen is None or commands is None:
            return None
        sets = {name: LastSeen(commands, known.keys.last_seen) for name, known in issuers.items()}
        self.presence = {name: PresenceOf(last, seen, wall=options.clock.wall) for name, last in sets.items()}
        return ActivityFlow(
            seen,
            [SeenUsers(known.keys.prefix, known.says.alias, sets[name]) for name, known in issuers.items()],
            flush_every=options.activity.flush_every,
            keep=options.activity.keep,
            most=options.activity.entries,
            put=None if options.activity.queue is None else story_of(options.activity.queue).put,
            wall=options.clock.wall,
            runtime=self.runtime,
            reporter=reporter,
        )

    async def aclose(self) -> None:
        """End what is in the background, wait for loads under way, write who was seen, and close what was opened.

        Connections that are still watched end as well: nobody would hear what happens to their users.
        """
        try:
            if self.watches is not None:
                await self.watches.aclose()
            await self.runtime.aclose()
            if self.activity is not None:
                await self.activity.flush(all_of_them=True)
        finally:  # also where this is cancelled
            for users in self._of.values():
                users.close()
            await self._store.aclose()


@final
class UsersOfIssuer:
    """One issuer's flights, and the places at the application's functions for it."""

    def __init__(
        self,
        known: KnownIssuer,
        opened: Opened,
        *,
        runtime: Runtime,
        memory: Memory,
        links: Links | None,
        options: Options,
        reporter: Reporter,
    ) -> None:
        assert known.says.load_user is not None  # noqa: S101 - the options have seen to it
        self._runtime = runtime
        self._store = store = opened.store
        self._memory = memory
        self._says = known.says
        self._keys = keys = known.keys
        self._works = [
            runtime.work(known.says.load_user, places=options.loader_concurrency, timeout=options.loader_timeout)
        ]
        loads = Loads(
            store,
            clock=options.clock,
            keys=keys,
            issuer=known.says.issuer,
            life=RecordLife(options.ttl, options.negative_ttl, options.ttl_jitter),
            revoked_before=options.revoked_before,
            reporter=reporter,
        )
        self.users = UserFlow(
            store,
            runtime=runtime,
            clock=options.clock,
            loader=self._works[0],
            loads=loads,
            memory=memory,
            links=links,
            refresher=self._refresher(loads, options, reporter),
            outage=self._outage(loads, options, reporter),
            keys=keys,
            issuer=known.says.issuer,
            waits=Waits(options.lease, options.deadline),
            needs_sessions=options.require_session,
            reporter=reporter,
        )
        self.revoker = self._revoker(options, reporter, self._announce(opened.commands, options, reporter))
        self.logins = Logins(
            store,
            keys=keys,
            most=options.max_sessions,
            ends_oldest=options.on_max_sessions == "end_oldest",
            revoker=self.revoker,
            now=options.clock.wall,
        )
        self.orders = Orders(store, keys=keys, revoker=self.revoker)

    def _refresher(self, loads: Loads, options: Options, reporter: Reporter) -> Refresher | None:
        if not options.refresh_ahead:
            return None
        return Refresher(
            self._store,
            runtime=self._runtime,
            loader=self._works[0],
            loads=loads,
            keys=self._keys,
            lease_ms=to_ms(options.lease),
            reporter=reporter,
        )

    def _outage(self, loads: Loads, options: Options, reporter: Reporter) -> OutagePolicy:
        loader = None
        if options.on_outage == "load" and self._says.load_user is not None:
            loader = self._runtime.work(
                self._says.load_user, places=options.outage_concurrency, timeout=options.loader_timeout
            )
            self._works.append(loader)
        return OutagePolicy(
            runtime=self._runtime,
            clock=options.clock,
            memory=self._memory,
            loads=loads,
            loader=loader,
            serve_stale_for=options.serve_stale_for,
            reporter=reporter,
        )

    def _announce(self, commands: Commands | None, options: Options, reporter: Reporter) -> Announce | None:
        if options.event_stream is None or commands is None:
            return None
        return Announcer(
            EventStreamKey(commands, options.event_stream),
            alias=self._says.alias,
            length=options.event_stream_length,
            wall=options.clock.wall,
            reporter=reporter,
        ).announce

    def _revoker(self, options: Options, reporter: Reporter, announce: Announce | None) -> Revoker:
        save = None
        if self._says.save_revocation is not None:
            save = self._runtime.work(
                self._says.save_revocation, places=options.loader_concurrency, timeout=options.loader_timeout
            )
            self._works.append(save)
        return Revoker(
            self._store,
            keys=self._keys,
            max_token_lifetime=options.max_token_lifetime,
            leeway=options.leeway,
            forget=self._memory.drop,
            save=save,
            clock=options.clock,
            reporter=reporter,
            announce=announce,
        )

    def close(self) -> None:
        """Call none of the application's functions any more."""
        for work in self._works:
            work.close()
