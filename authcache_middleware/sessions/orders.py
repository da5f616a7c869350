"""Obeying a provider's logout token, once."""

from __future__ import annotations

from typing import Final, final

from authcache_middleware.cache.store import Store
from authcache_middleware.errors import InvalidTokenError, UnavailableError
from authcache_middleware.sessions.revocation import Revoker
from authcache_middleware.tokens.logout import LogoutOrder
from authcache_middleware.users.keys import UserKeys
from authcache_middleware.users.record import ForeignValueError

__all__ = ["Orders"]

_MS: Final = 1000


@final
class Orders:
    """The logout tokens of one issuer."""

    def __init__(self, store: Store, *, keys: UserKeys, revoker: Revoker) -> None:
        self._store = store
        self._keys = keys
        self._revoker = revoker

    async def obey(self, order: LogoutOrder) -> None:
        """End what it names; raises ``InvalidTokenError`` for one that was obeyed before or names a session alone.

        It is remembered last. Were it remembered first, a provider that repeats it after an outage would be refused,
        and the user never logged out; so two that come at once are both obeyed, which does no harm.
        """
        key = self._keys.logout(order.token_id)
        try:
            if await self._store.get(key) is not None:
                raise InvalidTokenError("replayed")
            if order.subject is None:  # sessions are kept by user
                raise InvalidTokenError("subject")
            if order.session_id is None:
                await self._revoker.user(order.subject)
            else:
                await self._revoker.session(order.subject, order.session_id)
            await self._store.elect(key, ttl_ms=int(order.good_for * _MS))
        except ForeignValueError as exc:
            raise UnavailableError("another type of value stands under the key of a logout token") from exc
