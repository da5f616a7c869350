"""A face that knows its tokens from a table: for what the protocols do, whatever the cache."""

from __future__ import annotations

from types import MappingProxyType

from authcache_middleware.bearer.header import bearer_token
from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.users.user import Credentials, Identity, User


def identity(subject: str, *scopes: str, user: object = None, roles: tuple[str, ...] = ()) -> Identity:
    claims = Claims(subject, None, 4e9, 0.0, None, None, scopes, MappingProxyType({"sub": subject}), roles)
    return Identity(user or User(subject, {"name": subject.title()}), Credentials(claims, scopes, roles))


class TableFace:
    """``authenticate`` returns what the table holds for the token, or raises it."""

    def __init__(self, **table: object) -> None:
        self.table = {"alice": identity("alice", "read", roles=("clerk",)), **table}
        self.asked = 0
        self.closed = 0

    def recall_or_nobody(self, headers) -> Identity | None:
        return None

    def authenticate(self, headers) -> Identity:
        self.asked += 1
        found = self.table.get(bearer_token(headers)) or InvalidTokenError("unknown")
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        self.closed += 1


class AsyncTableFace(TableFace):
    def recall_or_nobody(self, headers) -> Identity | None:
        return None

    async def authenticate(self, headers) -> Identity:
        return super().authenticate(headers)

    def watch(self, claims, end) -> Unwatched:
        return Unwatched()

    async def aclose(self) -> None:
        self.close()


class Unwatched:
    """A connection to which nothing happens."""

    def renew(self, claims) -> None:
        pass

    def seen(self) -> None:
        pass

    def release(self) -> None:
        pass


def bearer(token: str = "alice") -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {token}"),)
