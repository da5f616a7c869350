"""What the cache is compared with: the same verification, and the database asked at every request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from authcache_middleware.authcache import Headers
from authcache_middleware.bearer.header import bearer_token
from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.runtime import SystemClock
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.verifier import TokenVerifier
from authcache_middleware.users.policy import is_active
from authcache_middleware.users.user import Credentials, Identity, User

__all__ = ["AsyncDatabaseEachTime", "DatabaseEachTime"]

Row = Mapping[str, Any]


class DatabaseEachTime:
    """Stands where an ``AuthCache`` would, without one: no Redis, no logout."""

    def __init__(self, load_user: Callable[[str], Row | None], tokens: Mapping[str, Any]) -> None:
        self._load_user = load_user
        self._verifier = TokenVerifier(**tokens)

    def recall_or_nobody(self, _headers: Headers) -> Identity[User] | None:
        """Nothing: it knows nobody without asking."""
        return None

    def authenticate(self, headers: Headers) -> Identity[User]:
        """See ``AuthCache.authenticate``."""
        claims = _verified(self._verifier, headers)
        return _identity(claims, self._load_user(claims.subject))

    def close(self) -> None:
        """Nothing was opened."""


class AsyncDatabaseEachTime:
    """The same for an ``AsyncAuthCache``."""

    def __init__(self, load_user: Callable[[str], Awaitable[Row | None]], tokens: Mapping[str, Any]) -> None:
        self._load_user = load_user
        self._verifier = TokenVerifier(**tokens)

    def recall_or_nobody(self, _headers: Headers) -> Identity[User] | None:
        """Nothing: it knows nobody without asking."""
        return None

    async def authenticate(self, headers: Headers) -> Identity[User]:
        """See ``AsyncAuthCache.authenticate``."""
        claims = _verified(self._verifier, headers)
        return _identity(claims, await self._load_user(claims.subject))

    def watch(self, _claims: Claims, _end: object) -> Unwatched:
        """A connection that nobody watches: it hears of nothing."""
        return Unwatched()

    async def aclose(self) -> None:
        """Nothing was opened."""


class Unwatched:
    """A connection to which nothing happens."""

    def renew(self, _claims: Claims) -> None:
        """Nothing has to be known."""

    def seen(self) -> None:
        """Nobody asks who was."""

    def release(self) -> None:
        """Nothing was begun."""


def _verified(verifier: TokenVerifier, headers: Headers) -> Claims:
    return verifier.verify(bearer_token(headers), SystemClock.wall())


def _identity(claims: Claims, row: Row | None) -> Identity[User]:
    if row is None or not is_active(row):
        raise InvalidTokenError("unknown" if row is None else "inactive")
    return Identity(User(claims.subject, row), Credentials(claims, claims.scopes))
