"""Ending what was given: one token, all tokens of a user, or what is cached of him.

The order is what makes it safe without a transaction: the revocation is written and *answered* before the ``DEL`` is
sent. Whoever loads the user after the ``DEL`` finds the revocation; whoever loaded before it finds his lease gone.
"""

from __future__ import annotations

import math
from typing import final

from authcache_middleware.cache.store import Store
from authcache_middleware.errors import ConfigurationError, UnavailableError
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.verifier import MAX_LEEWAY, USUAL_MAX_LIFETIME
from authcache_middleware.users.keys import UserKeys
from authcache_middleware.users.policy import token_mark
from authcache_middleware.users.record import ForeignValueError

__all__ = ["Revoker"]


@final
class Revoker:
    """Revokes and invalidates for the users of one issuer.

    A revocation lives as long as what it ends, at any service that shares the store. For a user that is as long as any
    token issued until now can last: ``max_token_lifetime``, of this service or the usual one, whichever is longer. A
    token ends for everybody at its ``exp``. To both comes the largest leeway twice: for an ``iat`` that lies ahead, and
    for an ``exp`` that has just passed.
    """

    def __init__(self, store: Store, *, keys: UserKeys, max_token_lifetime: float, leeway: float) -> None:
        self._store = store
        self._keys = keys
        self._leeway = math.ceil(leeway)
        self._token_lifetime = max_token_lifetime
        self._user_lifetime = _with_leeways(max(max_token_lifetime, USUAL_MAX_LIFETIME))

    async def token(self, claims: Claims, *, now: float) -> None:
        """Revoke one token, by its ``jti`` or its ``iat``."""
        mark = token_mark(claims)
        if mark is None:
            raise ConfigurationError(
                "token", "has neither jti nor iat, so nothing names it alone: revoke_user ends all of the user's"
            )
        lifetime = _with_leeways(max(self._token_lifetime, claims.expires_at - now))
        key = self._keys.revocations(claims.subject)
        try:
            await self._store.revoke_id(key, mark, lifetime=lifetime, leeway=self._leeway)
        except ForeignValueError as exc:
            raise UnavailableError("another type of value stands under the key of the revocations") from exc
        await self.cached(claims.subject)

    async def user(self, subject: str) -> None:
        """Revoke every token that the user was given until now."""
        key = self._keys.revocations(subject)
        try:
            await self._store.revoke_before(key, lifetime=self._user_lifetime, leeway=self._leeway)
        except ForeignValueError as exc:
            raise UnavailableError("another type of value stands under the key of the revocations") from exc
        await self.cached(subject)

    async def cached(self, subject: str) -> None:
        """Drop the record, or the lease of whoever is loading it."""
        await self._store.delete(self._keys.record(subject))


def _with_leeways(seconds: float) -> int:
    return math.ceil(seconds + 2 * MAX_LEEWAY)
