"""What lives and dies with one event loop, or with one process: everything put together, once."""

from __future__ import annotations

from functools import partial
from typing import final

from authcache_middleware.cache.flow import UserFlow, Waits
from authcache_middleware.cache.link import Link, Primary
from authcache_middleware.cache.links import Links
from authcache_middleware.cache.loads import Loads, RecordLife, to_ms
from authcache_middleware.cache.memory import Memory
from authcache_middleware.cache.outage import OutagePolicy
from authcache_middleware.cache.refresh import Refresher
from authcache_middleware.events import Reporter
from authcache_middleware.options import Options
from authcache_middleware.redis.connect import Opened
from authcache_middleware.runtime import Runtime
from authcache_middleware.sessions.eviction import tell_of_eviction
from authcache_middleware.sessions.revocation import Revoker
from authcache_middleware.users.keys import UserKeys

__all__ = ["Engine"]


@final
class Engine:
    """Connections, links, memory, flights, and the places at the application's functions."""

    def __init__(self, runtime: Runtime, opened: Opened, keys: UserKeys, options: Options, reporter: Reporter) -> None:
        self.runtime = runtime
        self._store = store = opened.store
        self._works = [
            runtime.work(options.load_user, places=options.loader_concurrency, timeout=options.loader_timeout)
        ]
        self.memory = Memory(
            entries=options.memory_entries,
            ttl=options.memory_ttl,
            max_staleness=options.max_staleness,
            now=options.clock.monotonic,
            mutex=runtime.mutex(),
        )
        loads = Loads(
            store,
            clock=options.clock,
            keys=keys,
            issuer=options.issuer,
            life=RecordLife(options.ttl, options.negative_ttl, options.ttl_jitter),
            revoked_before=options.revoked_before,
            reporter=reporter,
        )
        links = self._links(opened, keys, options, reporter)
        self.users = UserFlow(
            store,
            runtime=runtime,
            clock=options.clock,
            loader=self._works[0],
            loads=loads,
            memory=self.memory,
            links=links,
            refresher=self._refresher(loads, keys, options, reporter),
            outage=self._outage(loads, options, reporter),
            keys=keys,
            issuer=options.issuer,
            waits=Waits(options.lease, options.deadline),
            reporter=reporter,
        )
        self.revoker = self._revoker(keys, options, reporter)
        if links is not None:
            links.start()

    def _links(self, opened: Opened, keys: UserKeys, options: Options, reporter: Reporter) -> Links | None:
        if opened.topology is None or not (options.max_staleness and options.memory_entries):
            return None

        def make_link(primary: Primary) -> Link:
            return Link(
                primary,
                memory=self.memory,
                prefix=keys.prefix,
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
        )

    def _refresher(self, loads: Loads, keys: UserKeys, options: Options, reporter: Reporter) -> Refresher | None:
        if not options.refresh_ahead:
            return None
        return Refresher(
            self._store,
            runtime=self.runtime,
            loader=self._works[0],
            loads=loads,
            keys=keys,
            lease_ms=to_ms(options.lease),
            reporter=reporter,
        )

    def _outage(self, loads: Loads, options: Options, reporter: Reporter) -> OutagePolicy:
        loader = None
        if options.on_outage == "load":
            loader = self.runtime.work(
                options.load_user, places=options.outage_concurrency, timeout=options.loader_timeout
            )
            self._works.append(loader)
        return OutagePolicy(
            runtime=self.runtime,
            clock=options.clock,
            memory=self.memory,
            loads=loads,
            loader=loader,
            serve_stale_for=options.serve_stale_for,
            reporter=reporter,
        )

    def _revoker(self, keys: UserKeys, options: Options, reporter: Reporter) -> Revoker:
        save = None
        if options.save_revocation is not None:
            save = self.runtime.work(
                options.save_revocation, places=options.loader_concurrency, timeout=options.loader_timeout
            )
            self._works.append(save)
        return Revoker(
            self._store,
            keys=keys,
            max_token_lifetime=options.max_token_lifetime,
            leeway=options.leeway,
            forget=self.memory.drop,
            save=save,
            clock=options.clock,
            reporter=reporter,
        )

    async def aclose(self) -> None:
        """End what is in the background, wait for loads under way, and close what was opened."""
        await self.runtime.aclose()
        for work in self._works:
            work.close()
        await self._store.aclose()
