"""Every option of the two faces, with its default, its unit and its limits."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from authcache_middleware.errors import ConfigurationError
from authcache_middleware.runtime import Clock, SystemClock, is_async_callable
from authcache_middleware.tokens.keys import Keys
from authcache_middleware.tokens.verifier import USUAL_MAX_LIFETIME
from authcache_middleware.users.policy import ActiveRule, is_active
from authcache_middleware.users.typed import UserType

__all__ = ["LoadUser", "Options", "OptionsDict"]

LoadUser = Callable[[str], Mapping[str, Any] | None] | Callable[[str], Awaitable[Mapping[str, Any] | None]]
"""The application's loader: from a user's id to his row as plain data, ``None`` when there is no such user.

It reads *committed* data of the *primary* database, in a transaction begun inside the call: a replica that lags, or a
snapshot opened earlier, would put back what an invalidation has just thrown out. Who changes a row commits first and
invalidates then; who creates a user invalidates too, since it may be remembered that there was none.

What it raises is answered with 503 and stored nowhere. On the async face an ``async def`` is cancelled at
``loader_timeout``; a plain function runs in a worker thread, which nothing can interrupt, and keeps its place until it
returns. On the blocking face it runs in the thread of the request: give the database driver a timeout.
"""

_SHORTEST: Final = 0.001
_LONGEST: Final = 366 * 24 * 60 * 60.0
_MOST: Final = 10_000


class _LeftOut:
    def __repr__(self) -> str:
        return "<must be given>"


_LEFT_OUT: Any = _LeftOut()
_SYSTEM_CLOCK: Final = SystemClock()


class _RequiredOptions(TypedDict):
    load_user: LoadUser
    keys: Keys
    algorithms: Iterable[str]
    issuer: str | None
    audience: str | Iterable[str] | None


class OptionsDict(_RequiredOptions, total=False):
    """The options as a type checker sees them; ``Options`` says what each one means."""

    typ: Iterable[str | None]
    required: Iterable[str]
    subject_claim: str
    leeway: float
    max_token_lifetime: float
    require_iat: bool
    reject_id_tokens: bool
    is_active: ActiveRule
    prefix: str
    alias: str | None
    ttl: float
    negative_ttl: float
    loader_timeout: float
    loader_concurrency: int
    deadline: float
    store_timeout: float
    max_connections: int
    clock: Clock


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Options:
    """The options of ``AsyncAuthCache`` and ``AuthCache``. Durations are seconds."""

    load_user: LoadUser = _LEFT_OUT
    """From a user's id to his row; see ``LoadUser`` for its contract."""

    keys: Keys = _LEFT_OUT
    """An HMAC secret, a public key (PEM, or an object of ``cryptography``), a JWK or JWK set, or for rotation a mapping
    of ``kid`` to key or a list of keys."""
    algorithms: Iterable[str] = _LEFT_OUT
    """The ``alg`` values accepted, all of one family: ``HS…``, ``RS…``/``PS…``, ``ES…`` or ``EdDSA``."""
    issuer: str | None = _LEFT_OUT
    """What ``iss`` must be, exactly; ``None`` accepts only tokens without one."""
    audience: str | Iterable[str] | None = _LEFT_OUT
    """What ``aud`` must be or contain, one of several; ``None`` accepts only tokens without one."""
    typ: Iterable[str | None] = ("JWT", "at+jwt", None)
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
    """The longest that one command to Redis may take, and a connection to it. A ready client of the blocking face keeps
    its own."""
    max_connections: int = 32
    """How many connections to Redis are opened at most, when it is given as a URL; more callers wait for one."""

    clock: Clock = _SYSTEM_CLOCK
    """The time; tests turn it by hand."""

    def __post_init__(self) -> None:
        for name in ("load_user", "keys", "algorithms", "issuer", "audience"):
            if getattr(self, name) is _LEFT_OUT:
                raise ConfigurationError(name, f"must be given{_OR_NONE.get(name, '')}")
        if not callable(self.load_user):
            raise ConfigurationError("load_user", "must be callable")
        if not callable(self.is_active) or is_async_callable(self.is_active):
            raise ConfigurationError("is_active", "must be a plain function: it decides, it does not wait")
        if self.user_type is not None and (not callable(self.user_type) or is_async_callable(self.user_type)):
            raise ConfigurationError("user_type", "must be a type or a plain callable")
        for name in ("ttl", "negative_ttl", "loader_timeout", "deadline", "store_timeout"):
            _refuse_bad_seconds(name, getattr(self, name))
        for name in ("loader_concurrency", "max_connections"):
            _refuse_bad_count(name, getattr(self, name))
        if self.deadline <= self.lease + self.loader_timeout:
            raise ConfigurationError(
                "deadline", f"must be over 2 * loader_timeout + store_timeout = {self.lease + self.loader_timeout:g} s"
            )

    @property
    def lease(self) -> float:
        """How long a holder may keep a user to itself."""
        return self.loader_timeout + self.store_timeout


_OR_NONE: Final = {
    "issuer": "; None accepts only tokens without iss",
    "audience": "; None accepts only tokens without aud",
}


def _refuse_bad_seconds(name: str, seconds: object) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise ConfigurationError(name, "must be a number of seconds")
    if not _SHORTEST <= seconds <= _LONGEST:
        raise ConfigurationError(name, "must be at least a millisecond and at most a year")


def _refuse_bad_count(name: str, count: object) -> None:
    if type(count) is not int or not 1 <= count <= _MOST:
        raise ConfigurationError(name, f"must be a whole number from 1 to {_MOST:,}")
