"""Every option of the two faces, with its default, its unit and its limits."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, TypedDict

from authcache_middleware.activity import Activity
from authcache_middleware.errors import ConfigurationError
from authcache_middleware.events import Observer
from authcache_middleware.issuers import USUAL_TYPES, Issuer, LoadUser, SaveRevocation, checked_issuers
from authcache_middleware.runtime import Clock, SystemClock, is_async_callable
from authcache_middleware.tokens.introspection import Introspection
from authcache_middleware.tokens.jwks import JWKS
from authcache_middleware.tokens.keys import Keys
from authcache_middleware.tokens.profiles import USUAL_SCOPE_CLAIMS, Profile, RolesClaim
from authcache_middleware.tokens.verifier import USUAL_MAX_LIFETIME
from authcache_middleware.users.policy import ActiveRule, is_active
from authcache_middleware.users.session import MAX_SESSIONS
from authcache_middleware.users.typed import UserType

__all__ = ["CommonOptionsDict", "IssuersDict", "LoadUser", "Options", "OptionsDict", "SaveRevocation"]

_SHORTEST: Final = 0.001
_LONGEST: Final = 366 * 24 * 60 * 60.0
_MOST_JITTER: Final = 0.5
_DURATIONS: Final = (
    "ttl", "negative_ttl", "loader_timeout", "deadline", "store_timeout", "connect_timeout", "memory_ttl",
)  # fmt: skip
_COUNTS: Final = (
    ("loader_concurrency", 1, 10_000),
    ("max_connections", 1, 10_000),
    ("outage_concurrency", 1, 10_000),
    ("memory_entries", 0, 100_000_000),
    ("token_entries", 0, 100_000_000),
    ("token_bytes", 0, 1 << 40),
    ("wait_replicas", 0, 100),
    ("event_stream_length", 1, 1_000_000_000),
)


class _LeftOut:
    def __repr__(self) -> str:
        return "<must be given>"


_LEFT_OUT: Any = _LeftOut()
_SYSTEM_CLOCK: Final = SystemClock()


class _RequiredOptions(TypedDict):
    load_user: LoadUser
    keys: Keys | JWKS | None
    algorithms: Iterable[str]
    issuer: str | None
    audience: str | Iterable[str] | None


class _RequiredIssuers(TypedDict):
    issuers: Collection[Issuer]


class CommonOptionsDict(TypedDict, total=False):
    """The options that hold for one issuer or several; ``Options`` says what each one means."""

    leeway: float
    max_token_lifetime: float
    require_iat: bool
    is_active: ActiveRule
    prefix: str
    ttl: float
    negative_ttl: float
    loader_timeout: float
    loader_concurrency: int
    deadline: float
    store_timeout: float
    connect_timeout: float
    max_connections: int
    max_staleness: float
    memory_entries: int
    memory_ttl: float
    token_entries: int
    token_bytes: int
    ttl_jitter: float
    refresh_ahead: bool
    revoked_before: str
    save_revocation: SaveRevocation | None
    wait_replicas: int
    max_sessions: int | None
    on_max_sessions: Literal["end_oldest", "refuse"]
    require_session: bool
    activity: Activity | None
    event_stream: str | None
    event_stream_length: int
    on_outage: Literal["refuse", "load"]
    outage_concurrency: int
    serve_stale_for: float
    keep_open_for: float
    observers: Collection[Observer]
    clock: Clock


class OptionsDict(_RequiredOptions, CommonOptionsDict, total=False):
    """The options as a type checker sees them, for one issuer."""

    typ: Iterable[str | None]
    required: Iterable[str]
    subject_claim: str
    reject_id_tokens: bool
    scope_claims: Iterable[str]
    roles_claim: RolesClaim
    profile: Profile
    introspection: Introspection | None
    alias: str | None


class IssuersDict(_RequiredIssuers, CommonOptionsDict, total=False):
    """The options as a type checker sees them, with ``issuers``; ``load_user`` may be that of the only one."""

    load_user: LoadUser


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Options:
    """The options of ``AsyncAuthCache`` and ``AuthCache``. Durations are seconds."""

    load_user: LoadUser = _LEFT_OUT
    """From a user's id to his row; see ``LoadUser`` for its contract."""

    keys: Keys | JWKS | None = _LEFT_OUT
    """An HMAC secret, a public key (PEM, or an object of ``cryptography``), a JWK or JWK set, or for rotation a mapping
    of ``kid`` to key or a list of keys; or ``JWKS(url)``, where a provider publishes them. ``None``, with
    ``algorithms=()`` and ``introspection``: only opaque tokens."""
    algorithms: Iterable[str] = _LEFT_OUT
    """The ``alg`` values accepted, all of one family: ``HS…``, ``RS…``/``PS…``, ``ES…`` or ``EdDSA``."""
    issuer: str | None = _LEFT_OUT
    """What ``iss`` must be, exactly; ``None`` accepts only tokens without one."""
    audience: str | Iterable[str] | None = _LEFT_OUT
    """What ``aud`` must be or contain, one of several; ``None`` accepts only tokens without one."""
    issuers: Collection[Issuer] = ()
    """In place of the four above, and of ``load_user`` where there are several: whose tokens are taken; see ``Issuer``.
    What an ``Issuer`` says (``typ`` and the like) is then said there alone."""
    typ: Iterable[str | None] = USUAL_TYPES
    """The ``typ`` headers accepted; ``None`` stands for tokens without one."""
    required: Iterable[str] = ()
    """Further claims that must be present."""
    subject_claim: str = "sub"
    """The claim that names the user."""
    leeway: float = 5.0
    """How far clocks may differ, 0 to 60. Also how long after ``revoke_user`` a new login is still refused."""
    max_token_lifetime: float = USUAL_MAX_LIFETIME
    """The longest ``exp - iat`` accepted, and so how long a ``revoke_user`` is remembered: 30 days at least, since
    others that share the Redis may accept that much. Where one of them accepts more, give its value to all of them:
    one that knows of less would have its ``revoke_user`` forgotten while those tokens last."""
    require_iat: bool = True
    """``False`` accepts tokens without ``iat``: the operator vouches that they live no longer than
    ``max_token_lifetime``, after which a ``revoke_user`` is forgotten. Until then it refuses all of that user's."""
    reject_id_tokens: bool = False
    """Refuse tokens with ``nonce``, ``at_hash`` or ``c_hash``: for providers whose ID tokens look the same."""
    scope_claims: Iterable[str] = USUAL_SCOPE_CLAIMS
    """Where the scopes stand: the first of these that a token has. A text of words; but for ``scope``, also a list."""
    roles_claim: RolesClaim = None
    """Where roles or permissions stand, a list of them or one: ``"roles"``, ``"permissions"``, or a path into claims,
    ``"realm_access.roles"``; where names have dots, as a list of names: ``["https://app.example/roles"]``. A token that
    holds something else there is refused."""
    profile: Profile = "jwt"
    """``"rfc9068"`` takes only what that standard calls an access token: ``typ`` is ``at+jwt``, and ``iss``, ``exp``,
    ``aud``, ``sub``, ``client_id``, ``iat`` and ``jti`` are there."""
    introspection: Introspection | None = None
    """Whom to ask about tokens that are no JWTs; see ``Introspection``. Without it they are refused."""

    user_type: UserType[Any] | None = None
    """What a user becomes: a dataclass, a msgspec ``Struct``, a pydantic model or any callable; ``None``: ``User``."""
    is_active: ActiveRule = is_active
    """Whether a row may enter; returns ``True`` and nothing like it. See ``users.policy`` for the default rule."""

    prefix: str = "user:"
    """What the keys in Redis begin with; ends with a colon."""
    alias: str | None = None
    """The issuer's name inside the keys (``user:<alias>:<id>``), for every one of several issuers that share them."""
    ttl: float = 3600.0
    """How long a record stays in Redis, set when it is stored and never prolonged."""
    negative_ttl: float = 30.0
    """The same for the record that there is no such user."""

    loader_timeout: float = 2.0
    """How long a load may take before it is given up. ``loader_timeout`` + ``store_timeout`` is how long a holder that
    has died keeps the others waiting."""
    loader_concurrency: int = 32
    """How many loads may run at once in this process (on the async face: for each event loop)."""
    deadline: float = 5.0
    """The longest that a request waits for its user; longer than two loads and a store timeout."""
    store_timeout: float = 0.25
    """The longest that one command to Redis may take. A ready client of the blocking face keeps its own."""
    connect_timeout: float = 0.25
    """The longest that connecting to Redis may take, when it is given as a URL."""
    max_connections: int = 32
    """How many connections to Redis are opened at most, when it is given as a URL; more callers wait for one."""

    max_staleness: float = 1.0
    """How long after an invalidation a process may still answer from its own memory, at most: while its link to Redis
    is slow, or gone and not yet missed. Usually it is milliseconds. 0 switches memory off."""
    memory_entries: int = 10_000
    """How many users are kept in memory (on the async face: for each event loop); 0 keeps none."""
    memory_ttl: float = 60.0
    """How long a user is kept in memory before Redis is asked again, whatever the links say."""
    token_entries: int = 10_000
    """How many verified tokens are remembered; 0 remembers none."""
    token_bytes: int = 16 * 1024 * 1024
    """How many bytes of tokens are remembered at most; an opaque one weighs what was said of it as well."""
    ttl_jitter: float = 0.1
    """The share of ``ttl`` and ``negative_ttl`` by which each is shortened at most, at random, 0 to 0.5."""
    refresh_ahead: bool = True
    """Load a user who is asked for near his record's end in the background, while the record still answers."""

    revoked_before: str = "revoked_before"
    """The field of a row that says up to when its user's tokens are refused: a ``datetime`` or seconds since 1970."""
    save_revocation: SaveRevocation | None = None
    """Called by ``revoke_user``, so that the row knows too and no loss of Redis's data brings the tokens back."""
    wait_replicas: int = 0
    """How many replicas must confirm what ends somebody's access before the call returns."""

    max_sessions: int | None = None
    """How many sessions ``login`` puts on record of one user, 1 to 256; ``None`` is 256, of which the oldest ends."""
    on_max_sessions: Literal["end_oldest", "refuse"] = "end_oldest"
    """What ``login`` does about one more: it ends the oldest, or raises ``LoginRefusedError``."""
    require_session: bool = False
    """Refuse tokens whose session (``sid``, else ``jti``) is not on record: who has not logged in, or has expired."""

    activity: Activity | None = None
    """``Activity()`` remembers when each user was last seen, for ``presence`` and ``online``; ``None`` does not."""
    event_stream: str | None = None
    """The key of a Redis Stream to which ``login``, ``logout``, ``revoke_user`` and ``invalidate`` add an event."""
    event_stream_length: int = 10_000
    """About how many events it keeps."""

    on_outage: Literal["refuse", "load"] = "refuse"
    """While Redis is gone: 503, or ask the database; then the row alone decides, and tokens logged out singly pass."""
    outage_concurrency: int = 8
    """How many loads may run at once while Redis is gone, with ``on_outage="load"``."""
    serve_stale_for: float = 0.0
    """While Redis is gone: how long users in memory go on, though what happens to them is no longer heard."""

    keep_open_for: float = 60.0
    """How long an open connection is kept while nobody can say whether its user may still enter; 0: not at all.

    An answer that is being waited for has a second in any case. When everything is read anew, as after ``FLUSHALL``,
    those end as well who could not be read in this time.
    """

    observers: Collection[Observer] = ()
    """Called with every event; see ``events``, and ``observers`` for those that are ready-made."""

    clock: Clock = _SYSTEM_CLOCK
    """The time; tests turn it by hand."""

    def __post_init__(self) -> None:
        if self.issuers:
            self._refuse_what_issuers_say()
        for name in ("load_user", "keys", "algorithms", "issuer", "audience"):
            if getattr(self, name) is _LEFT_OUT and not self.issuers:
                raise ConfigurationError(name, f"must be given{_OR_NONE.get(name, '')}")
        for each in self.each_issuer:
            if not callable(each.load_user):
                raise ConfigurationError("load_user", "must be given, and callable")
            if each.save_revocation is not None and not callable(each.save_revocation):
                raise ConfigurationError("save_revocation", "must be callable")
            _refuse_bad_introspection(each)
        if not callable(self.is_active) or is_async_callable(self.is_active):
            raise ConfigurationError("is_active", "must be a plain function: it decides, it does not wait")
        if self.user_type is not None and (not callable(self.user_type) or is_async_callable(self.user_type)):
            raise ConfigurationError("user_type", "must be a type or a plain callable")
        self._refuse_bad_numbers()
        self._refuse_bad_choices()
        if self.deadline <= self.lease + self.loader_timeout:
            raise ConfigurationError(
                "deadline", f"must be over 2 * loader_timeout + store_timeout = {self.lease + self.loader_timeout:g} s"
            )

    def _refuse_bad_numbers(self) -> None:
        for name in _DURATIONS:
            _refuse_bad_seconds(name, getattr(self, name))
        for name in ("max_staleness", "serve_stale_for", "keep_open_for"):
            if getattr(self, name) is False or getattr(self, name) != 0:
                _refuse_bad_seconds(name, getattr(self, name))
        for name, least, most in _COUNTS:
            _refuse_bad_count(name, getattr(self, name), least, most)
        jitter = self.ttl_jitter
        if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter <= _MOST_JITTER:
            raise ConfigurationError("ttl_jitter", f"must be a number from 0 to {_MOST_JITTER:g}")

    def _refuse_bad_choices(self) -> None:
        if not isinstance(self.refresh_ahead, bool):
            raise ConfigurationError("refresh_ahead", "must be True or False")
        if not isinstance(self.require_session, bool):
            raise ConfigurationError("require_session", "must be True or False")
        if self.max_sessions is not None:
            _refuse_bad_count("max_sessions", self.max_sessions, 1, MAX_SESSIONS)
        if self.on_max_sessions not in ("end_oldest", "refuse"):
            raise ConfigurationError("on_max_sessions", 'must be "end_oldest" or "refuse"')
        if self.on_max_sessions == "refuse" and self.max_sessions is None:
            raise ConfigurationError("on_max_sessions", "needs max_sessions")
        if not isinstance(self.revoked_before, str) or not self.revoked_before:
            raise ConfigurationError("revoked_before", "must be the name of a field")
        if self.on_outage not in ("refuse", "load"):
            raise ConfigurationError("on_outage", 'must be "refuse" or "load"')
        if self.serve_stale_for and not (self.max_staleness and self.memory_entries):
            raise ConfigurationError("serve_stale_for", "needs memory: max_staleness and memory_entries above 0")

    def _refuse_what_issuers_say(self) -> None:
        if not isinstance(self.issuers, Collection):
            raise ConfigurationError("issuers", "must be a list of Issuer")
        several = len(checked_issuers(self.issuers)) > 1
        for field in fields(self):
            is_theirs = field.name in _OF_AN_ISSUER or (several and field.name in _OF_ONE_ISSUER)
            if is_theirs and getattr(self, field.name) is not field.default:
                raise ConfigurationError(field.name, "stands beside issuers: each Issuer has its own")

    @property
    def each_issuer(self) -> tuple[Issuer, ...]:
        """Whose tokens are taken, with all that is said of each."""
        if not self.issuers:
            said = {name: getattr(self, name) for name in (*_OF_AN_ISSUER[1:], *_OF_ONE_ISSUER)}
            return (Issuer(self.issuer, **said),)
        if len(self.issuers) > 1:
            return tuple(self.issuers)
        (only,) = self.issuers
        return (
            replace(
                only,
                load_user=only.load_user or self.load_user,
                save_revocation=only.save_revocation or self.save_revocation,
            ),
        )

    @property
    def lease(self) -> float:
        """How long a holder may keep a user to itself."""
        return self.loader_timeout + self.store_timeout


_OF_AN_ISSUER: Final = (
    "issuer", "keys", "algorithms", "audience", "typ", "required", "subject_claim", "reject_id_tokens",
    "scope_claims", "roles_claim", "profile", "introspection", "alias",
)  # fmt: skip
_OF_ONE_ISSUER: Final = ("load_user", "save_revocation")
_OR_NONE: Final = {
    "issuer": "; None accepts only tokens without iss",
    "audience": "; None accepts only tokens without aud",
}


def _refuse_bad_introspection(issuer: Issuer) -> None:
    if issuer.introspection is not None and not isinstance(issuer.introspection, Introspection):
        raise ConfigurationError("introspection", "must be an Introspection")
    if issuer.keys is None and issuer.introspection is None:
        raise ConfigurationError("keys", "must be given; None takes opaque tokens only, and needs introspection")
    if issuer.keys is None and tuple(issuer.algorithms):
        raise ConfigurationError("algorithms", "must be () where keys is None: there is nothing to verify with")


def _refuse_bad_seconds(name: str, seconds: object) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise ConfigurationError(name, "must be a number of seconds")
    if not _SHORTEST <= seconds <= _LONGEST:
        raise ConfigurationError(name, "must be at least a millisecond and at most a year")


def _refuse_bad_count(name: str, count: object, least: int, most: int) -> None:
    if type(count) is not int or not least <= count <= most:
        raise ConfigurationError(name, f"must be a whole number from {least} to {most:,}")
