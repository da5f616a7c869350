"""The issuers whose tokens a service takes: what is expected of each one's tokens, and where its users are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from ssl import SSLContext
from typing import Any, Final, Self, TypedDict, Unpack

from authcache_middleware.errors import ConfigurationError
from authcache_middleware.tokens.discovery import DiscoveredJWKS
from authcache_middleware.tokens.introspection import Introspection
from authcache_middleware.tokens.jwks import DAY, JWKS, MAX_BYTES, REFRESH, TIMEOUT
from authcache_middleware.tokens.keys import Keys
from authcache_middleware.tokens.profiles import USUAL_SCOPE_CLAIMS, Profile, RolesClaim

__all__ = ["USUAL_TYPES", "Issuer", "IssuerDict", "LoadUser", "SaveRevocation", "checked_issuers"]

LoadUser = Callable[[str], Mapping[str, Any] | None] | Callable[[str], Awaitable[Mapping[str, Any] | None]]
"""The application's loader: from a user's id to his row as plain data, ``None`` when there is no such user.

It reads *committed* data of the *primary* database, in a transaction begun inside the call: a replica that lags, or a
snapshot opened earlier, would put back what an invalidation has just thrown out. Who changes a row commits first and
invalidates then; who creates a user invalidates too, since it may be remembered that there was none.

What it raises is answered with 503 and stored nowhere. On the async face an ``async def`` is cancelled at
``loader_timeout``; a plain function runs in a worker thread, which nothing can interrupt, and keeps its place until it
returns. On the blocking face it runs in the thread of the request: give the database driver a timeout.
"""

SaveRevocation = Callable[[str, int], None] | Callable[[str, int], Awaitable[None]]
"""The application's way to write a log-out into the user's row: called with his id and whole seconds since 1970.

From then on the row's ``revoked_before`` is that moment, and never an earlier one than it was. ``async def`` or plain,
as ``load_user``; it commits before it returns.
"""

USUAL_TYPES: Final = ("JWT", "at+jwt", None)
"""The ``typ`` headers that access tokens have, ``None`` for none."""


class _RequiredRules(TypedDict):
    algorithms: Iterable[str]
    audience: str | Iterable[str] | None


class IssuerDict(_RequiredRules, total=False):
    """The options of ``Issuer`` beside its name and keys, as a type checker sees them."""

    alias: str | None
    load_user: LoadUser | None
    save_revocation: SaveRevocation | None
    typ: Iterable[str | None]
    required: Iterable[str]
    subject_claim: str
    reject_id_tokens: bool
    scope_claims: Iterable[str]
    roles_claim: RolesClaim
    profile: Profile
    introspection: Introspection | None


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Issuer:
    """``issuers=[Issuer(...), ...]``: one of those whose tokens a service takes. Says nothing of the others.

    A token is routed by its exact ``iss``, and only that issuer's keys are tried. The same subject of two issuers is
    two users: each issuer has its own loader, its own keys in Redis, and ``<alias>:<subject>`` for a user's identity.
    The options mean what they mean in ``Options``; the others hold for all issuers.
    """

    issuer: str | None
    _: KW_ONLY
    keys: Keys | JWKS | None
    algorithms: Iterable[str]
    audience: str | Iterable[str] | None
    alias: str | None = None
    """The issuer's name inside the keys (``user:<alias>:<id>``); of several, each needs one."""
    load_user: LoadUser | None = None
    """The loader of this issuer's users; of several, each needs one."""
    save_revocation: SaveRevocation | None = None
    typ: Iterable[str | None] = USUAL_TYPES
    required: Iterable[str] = ()
    subject_claim: str = "sub"
    reject_id_tokens: bool = False
    scope_claims: Iterable[str] = USUAL_SCOPE_CLAIMS
    roles_claim: RolesClaim = None
    profile: Profile = "jwt"
    introspection: Introspection | None = None
    """Of several, one may have it: an opaque token does not say whose it is, and must be shown to no other issuer."""

    @classmethod
    def discover(
        cls,
        issuer: str,
        *,
        refresh: float = REFRESH,
        max_stale: float = DAY,
        timeout: float = TIMEOUT,
        max_bytes: int = MAX_BYTES,
        ssl_context: SSLContext | None = None,
        trust_env: bool = False,
        **rules: Unpack[IssuerDict],
    ) -> Self:
        """An issuer that publishes where its keys are (OpenID Connect Discovery 1.0, section 4).

        ``issuer`` is its URL, exactly as in its tokens' ``iss``, and its document must say the same. The document and
        the keys are fetched when the first token needs them, and followed as ``JWKS`` does, whose options the others
        are; ``timeout`` and ``max_bytes`` hold for each of the two answers. Raises ``ConfigurationError``.
        """
        keys = DiscoveredJWKS(
            issuer,
            refresh=refresh,
            max_stale=max_stale,
            timeout=timeout,
            max_bytes=max_bytes,
            ssl_context=ssl_context,
            trust_env=trust_env,
        )
        return cls(issuer, keys=keys, **rules)

    def __repr__(self) -> str:
        return f"<Issuer: {self.issuer!r}>"


def checked_issuers(issuers: Iterable[Issuer]) -> tuple[Issuer, ...]:
    """The issuers, if they can be told from each other: by their names, and in Redis by their aliases."""
    listed = tuple(issuers)
    if not all(isinstance(each, Issuer) for each in listed):
        raise ConfigurationError("issuers", "must be a list of Issuer")
    if len(listed) == 1:
        return listed
    if sum(each.introspection is not None for each in listed) > 1:
        raise ConfigurationError("introspection", "is for one issuer: an opaque token does not say whose it is")
    if not all(isinstance(each.issuer, str) for each in listed):
        raise ConfigurationError("issuers", "of several each must have a name, which its tokens' iss is")
    if any(each.alias is None or each.load_user is None for each in listed):
        raise ConfigurationError("issuers", "of several each needs an alias and a load_user of its own")
    for names in ([each.issuer for each in listed], [each.alias for each in listed]):
        if len(set(names)) < len(names):
            raise ConfigurationError("issuers", "two have the same issuer or alias")
    return listed
