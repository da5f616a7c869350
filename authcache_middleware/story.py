"""The story of a request, from its headers to a user: told once, for both faces."""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from authcache_middleware.backchannel import ProviderCalls
from authcache_middleware.bearer.header import NAMES, credentials_of, token_of
from authcache_middleware.cache.memory import Entry, Memory
from authcache_middleware.cache.store import Store
from authcache_middleware.engine import Engine
from authcache_middleware.errors import (
    InvalidRequestError,
    InvalidTokenError,
    MissingTokenError,
    RefusedError,
    UnavailableError,
    frames_of,
)
from authcache_middleware.events import Stats, Unavailable, WatchingObserver
from authcache_middleware.options import Options
from authcache_middleware.presence import PresenceCalls, checked_activity
from authcache_middleware.redis.breaker import Breaker
from authcache_middleware.redis.connect import Opened, RedisTarget
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import AsyncRuntime, BlockingRuntime, finish
from authcache_middleware.streams.marks import Marks
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.remembered import KnownToken
from authcache_middleware.users.policy import Verdict, is_active, is_revoked, is_settled, judge
from authcache_middleware.users.record import Record
from authcache_middleware.users.typed import user_factory
from authcache_middleware.users.user import NOBODY, Credentials, Identity, identity_of
from authcache_middleware.verification import Providers, Verification, known_issuers

__all__ = ["Headers", "Story"]

UserT = TypeVar("UserT")
Headers = Iterable[tuple[str | bytes, str | bytes]]
"""Header fields as they came, names in any case; one that came twice stands there twice."""

_log = logging.getLogger("authcache_middleware")


class Story(PresenceCalls, ProviderCalls, Generic[UserT]):
    """The flow from headers to a user, and what ends it; as coroutines that suspend only where the runtime does."""

    def __init__(self, runtime: type[AsyncRuntime | BlockingRuntime], redis: object, options: dict[str, Any]) -> None:
        self._options = Options(**options)
        self._issuers = known_issuers(self._options)
        self._tokens = Verification(self._issuers, self._options, runtime)
        self._aliases = None
        if self._options.issuers:
            self._aliases = {name: known.says.alias for name, known in self._issuers.items()}
        # What is not remembered would be verified again by whoever has to wait for its user.
        self._verifies_here = (
            self._tokens.has_all_keys and self._options.token_entries > 0 and self._options.token_bytes > 0
        )
        self._make_user = user_factory(self._options.user_type)
        # A session may expire before its token does: where one is required, each request looks.
        self._is_settled = (
            self._options.is_active is is_active
            and self._options.user_type is None
            and not self._options.require_session
        )
        self._wall = self._options.clock.wall
        self._monotonic = self._options.clock.monotonic
        self._place = runtime.place
        self._runtime = runtime
        self._store = redis if isinstance(redis, Store) else None
        self._target = (
            None
            if self._store is not None
            else RedisTarget(
                redis,
                asynchronous=runtime is AsyncRuntime,
                timeout=self._options.store_timeout,
                connect_timeout=self._options.connect_timeout,
                max_connections=self._options.max_connections,
                wait_replicas=self._options.wait_replicas,
            )
        )
        self._source = None if self._target is None else redis
        self._activity = checked_activity(
            self._options, asynchronous=runtime is AsyncRuntime, has_redis=self._target is not None
        )
        for known in self._issuers.values():
            for name in ("load_user", "save_revocation"):
                function = getattr(known.says, name)
                if function is not None:
                    runtime.refuse(name, function)
        self._begin()
        _begin_anew_in_children(self)
        if self._activity is not None and runtime is BlockingRuntime:  # nobody tells a WSGI application of its end
            atexit.unregister(_flush_at_exit)
            atexit.register(_flush_at_exit)
        for observer in self._options.observers:
            if isinstance(observer, WatchingObserver):
                observer.watch(self.stats)

    def _begin(self) -> None:
        """Nothing known, nothing open: also in a forked child, whose copies belong to its parent."""
        self._engines: dict[object, Engine] = {}
        self._memory: Memory | None = None
        """That of the only engine there is; ``None`` where there are several, or one of them has been closed."""
        self._starting: dict[str, AbstractContextManager[Any]] = {}
        self._reporter = Reporter(self._options.observers)
        self._tokens.begin_anew(self._reporter)
        self._peek = self._tokens.peek
        self._seen = None if self._activity is None else Marks(self._activity.entries, self._activity.write_every)
        self._hits_are_told = self._reporter.is_observed or self._seen is not None

    def recall(self, headers: Headers) -> Identity[UserT] | None:
        """What ``authenticate`` would return, if this process can say it without asking anyone; else ``None``.

        A plain function that never waits: ask it first, and ``authenticate`` where it does not know. Raises what
        ``authenticate`` raises where there are no credentials or two of them, for a user who may not enter, and for a
        token that is refused by keys which are at hand.
        """
        identity = self.recall_or_nobody(headers)
        if identity is NOBODY:
            raise MissingTokenError
        return identity

    def recall_or_nobody(self, headers: Headers) -> Identity[UserT] | None:  # noqa: C901, PLR0912 - in one frame
        """The same for a middleware: ``NOBODY`` where there are no credentials, since an exception costs too much."""
        # Nearly every request ends in here, so this is ``credentials_of``, ``find``, ``_recalled`` and ``Memory.entry``
        # once more, in one frame and in as few steps as can be.
        credentials: str | bytes | None = None
        try:
            for name, field in headers:
                if len(name) == 13 and (name == b"authorization" or name.lower() in NAMES):  # noqa: PLR2004
                    if credentials is not None:
                        raise InvalidRequestError("duplicate")
                    credentials = field
        except RefusedError as exc:
            self._report(exc)
            raise
        if credentials is None:
            self._reporter.nobody()
            return NOBODY
        peek, wall = self._peek, self._wall  # named first: CPython 3.11 looks twice for a function in an attribute
        token = peek(credentials)
        if token is None:
            return self._newcomer(credentials) if self._verifies_here else None
        now, source = wall(), token.source
        if now >= token.until or now < token.earliest or (source is not None and source.settled() is not token.keys):
            return None
        token.asked = True
        memory = self._memory
        if memory is not None:
            monotonic, find = self._monotonic, memory.peek
            at = monotonic()
            if at <= memory.trusted_until:  # first, as in ``Memory.entry``
                entry = find(token.record_key)
                if entry is not None and at < entry.until:
                    ready: tuple[Claims, Identity[UserT]] | None = entry.ready
                    if ready is not None and ready[0] is token.claims:
                        entry.asked = True
                        if self._hits_are_told:
                            self._tell_of_hit(token)
                        else:  # a call less
                            self._reporter.memory_hits += 1
                        return ready[1]
        return self._recalled(token)

    def _newcomer(self, credentials: str | bytes) -> Identity[UserT] | None:
        """The same for a token that is not remembered, where its keys are at hand: nobody has to be waited for."""
        verify, wall = self._tokens.verify_new, self._wall
        try:
            token = verify(token_of(credentials), credentials, wall())
        except RefusedError as exc:
            self._report(exc)
            raise
        return self._recalled(token)

    def _recalled(self, token: KnownToken) -> Identity[UserT] | None:
        """The same for a token that is good now; what is found is kept ready where it cannot change its mind.

        Our own rule looks at nothing but the record and the token, and our own ``User`` is read-only: requests may
        share him. What is ready goes with its entry. Where there are several memories, each event loop asks its own.
        """
        engine = self._engines.get(self._place())
        entry = None if engine is None else engine.memory.entry(token.record_key)
        if engine is None or entry is None:
            return None
        try:
            identity = self._remembered(entry, token.claims)
        except (RefusedError, UnavailableError) as exc:
            self._report(exc)
            raise
        if identity is not None:
            if self._is_settled:
                entry.ready = token.claims, identity
            if self._seen is not None:
                self._seen.mark(token.record_key, self._wall())
        return identity

    def _tell_of_hit(self, token: KnownToken) -> None:
        self._reporter.memory_hit()
        if self._seen is not None:
            self._seen.mark(token.record_key, self._wall())

    def _report(self, error: RefusedError | UnavailableError) -> None:
        if isinstance(error, RefusedError):
            self._reporter.refusal(error)
        else:
            self._reporter.tell(Unavailable(error.reason))

    async def authenticate(self, headers: Headers) -> Identity[UserT]:
        """The user whom the ``Authorization`` header of a request speaks for, and his credentials.

        Waits for Redis and perhaps the loader, ``deadline`` seconds at most; where its key must be fetched or its
        issuer asked first, also for the provider, at most twice the ``timeout`` of ``JWKS`` or ``Introspection``.
        Raises ``MissingTokenError`` (401, nothing there), ``InvalidRequestError`` (400, malformed or twice),
        ``InvalidTokenError`` (401, forged, expired, revoked, or of a user who is unknown or not active) or
        ``UnavailableError`` (503, one of these did not answer).
        """
        try:
            credentials = credentials_of(headers)
            if credentials is not None:
                token = self._tokens.find(credentials, self._wall())
                if token is None:
                    text = token_of(credentials)
                    if self._tokens.has_all_keys:
                        token = self._tokens.check(text, credentials)
                    else:
                        token = await self._tokens.verify(text, credentials, self._providers)
                identity = await self._resolved(token.claims, token.record_key)
                if self._seen is not None:
                    self._seen.mark(token.record_key, self._wall())
                return identity
        except (RefusedError, UnavailableError) as exc:
            self._report(exc)
            raise
        self._reporter.nobody()
        raise MissingTokenError

    async def resolve(self, claims: Claims) -> Identity[UserT]:
        """The user of claims that were verified before, as he is *now*: for a connection that has been open for long.

        Raises and waits as ``authenticate`` does; claims whose time has passed are ``InvalidTokenError``.
        """
        if claims.expires_at + self._options.leeway <= self._options.clock.wall():
            raise InvalidTokenError("expired")
        if claims.issuer not in self._issuers:
            raise InvalidTokenError("issuer")
        return await self._resolved(claims, self._issuers[claims.issuer].keys.record(claims.subject))

    async def _resolved(self, claims: Claims, record_key: str) -> Identity[UserT]:
        engine = self._engine()
        entry = engine.memory.entry(record_key)
        identity = None if entry is None else self._remembered(entry, claims)
        if identity is not None:
            return identity
        users = engine.of(claims.issuer).users
        record = await users.record(claims.subject)
        read = users.find_read(record_key) if self._is_settled else None
        if read is None or read.record is not record:
            return self._identity(record, claims)
        ready: tuple[Claims, Identity[UserT]] | None = read.ready  # as in ``_recalled``: these two decide, and no other
        if ready is None or ready[0] is not claims:
            ready = read.ready = claims, self._identity(record, claims)
        return ready[1]

    async def aclose(self) -> None:
        """Wait for loads under way and close the connections; a ready client stays open. May be used again after."""
        engine = self._engines.pop(self._runtime.place(), None)
        self._memory = None
        if engine is not None:
            await engine.aclose()
        if self._followed is not None:
            await self._followed.aclose()

    def stats(self) -> Stats:
        """Counts of this process since it started, and how things stand where it is called (event loop or process).

        May be called in any thread: outside of the event loops it tells of all of them together, whose memory is
        trusted if each one's is.
        """
        try:
            engine = self._engines.get(self._runtime.place())
            engines = [] if engine is None else [engine]
        except RuntimeError:
            engines = [engine for engine in list(self._engines.values()) if not engine.runtime.is_over()]
        return Stats(
            **self._reporter.counts(),
            memory_entries=sum(len(engine.memory) for engine in engines),
            token_entries=len(self._tokens),
            memory_trusted=bool(engines) and all(engine.memory.is_trusted for engine in engines),
            redis_may_evict=self._reporter.redis_may_evict,
        )

    def _remembered(self, entry: Entry, claims: Claims) -> Identity[UserT] | None:
        """The same as ``_identity``, by a record in memory.

        Whom our own rule lets in is kept as he is made, so that of his other tokens only a revocation is looked for.
        ``None`` where Redis must be asked, since a login of a moment ago may not be known here yet.
        """
        if entry.user is not None and not is_revoked(entry.record.revocations, claims):
            self._reporter.memory_hit()
            return identity_of(entry.user, claims, self._alias(claims))
        judged = self._judged(entry.record, claims)
        if isinstance(judged, str) and not is_settled(judged):
            return None
        self._reporter.memory_hit()
        identity = _let_in(judged)
        if self._is_settled:
            entry.user = identity.user
        return identity

    def _identity(self, record: Record, claims: Claims) -> Identity[UserT]:
        return _let_in(self._judged(record, claims))

    def _judged(self, record: Record, claims: Claims) -> Identity[UserT] | Verdict | None:
        """What a record says of a token's bearer; ``None`` where the application's own functions have failed."""
        session_at = self._wall() if self._options.require_session else None
        try:
            verdict = judge(record, claims, self._options.is_active, session_at=session_at)
            if verdict != "active" or record.user is None:
                return verdict
            auth = Credentials(claims, claims.scopes, claims.roles, self._alias(claims))
            return Identity(self._make_user(auth.identity, record.user), auth)
        except Exception as exc:  # noqa: BLE001 - the application's own, whose message may hold values of the row
            _log.error("is_active or user_type raised %s\n%s", type(exc).__name__, frames_of(exc))
        return None  # and raised where no exception is handled, whose context would keep the values

    def _alias(self, claims: Claims) -> str | None:
        return None if self._aliases is None else self._aliases[claims.issuer]

    def _providers(self) -> Providers:
        return self._engine().providers

    def _engine(self) -> Engine:
        place = self._runtime.place()
        return self._engines.get(place) or self._started(place)

    def _started(self, place: object) -> Engine:
        for other, engine in list(self._engines.items()):  # a closed loop's, or a forked child's parent's
            if engine.runtime.is_over():
                self._engines.pop(other, None)
        # The lock is made when it is first wanted. One that was made before gevent patched threads, as it does in
        # gunicorn's preloaded workers, would block all greenlets: making an engine lets others run.
        with self._starting.setdefault("lock", self._runtime.mutex()):  # an engine has links: there must be one
            if place not in self._engines:
                runtime, opened = self._runtime(), self._opened()
                self._engines[place] = Engine(
                    runtime,
                    opened,
                    self._issuers,
                    self._options,
                    self._reporter,
                    providers=self._tokens.providers(runtime, opened.store, self._reporter),
                    seen=self._seen,
                )
                self._memory = self._engines[place].memory if len(self._engines) == 1 else None
            return self._engines[place]

    def _opened(self) -> Opened:
        if self._store is not None:
            return Opened(self._store, getattr(self._store, "topology", None))
        assert self._target is not None  # noqa: S101 - one of the two was made in the constructor
        return self._target.open(Breaker(self._options.clock.monotonic, self._reporter))

    def __repr__(self) -> str:
        keys = ", ".join(known.keys.record("…") for known in self._issuers.values())
        return f"<{type(self).__name__}: {self._tokens!r}, keys {keys}>"


_stories: weakref.WeakSet[Story[Any]] = weakref.WeakSet()


def _begin_anew_in_children(story: Story[Any]) -> None:
    if not _stories and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_begin_anew)
    _stories.add(story)


def _flush_at_exit() -> None:
    for story in list(_stories):
        engine = story._engines.get(os.getpid())  # noqa: SLF001 - a blocking one's, the others are under their loops
        if engine is not None and engine.activity is not None:
            finish(engine.activity.flush(all_of_them=True))


def _begin_anew() -> None:
    for inherited in _stories:
        inherited._begin()  # noqa: SLF001


def _let_in(judged: Identity[UserT] | Verdict | None) -> Identity[UserT]:
    if judged is None:
        raise UnavailableError("is_active or user_type")
    if isinstance(judged, str):
        raise InvalidTokenError(judged)
    return judged
