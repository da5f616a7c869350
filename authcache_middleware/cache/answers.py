"""What a provider has said of opaque tokens, shared through the store: sealed, and never needed."""

from __future__ import annotations

from contextlib import suppress
from typing import Final, final

from authcache_middleware.cache.store import Store
from authcache_middleware.errors import UnavailableError
from authcache_middleware.tokens.sealed import Answer, AnswerSeal
from authcache_middleware.users.keys import UserKeys
from authcache_middleware.users.record import ForeignValueError

__all__ = ["StoredAnswers"]

_LEAST_MS: Final = 1


@final
class StoredAnswers:
    """The ``SharedAnswers`` of one issuer. Without the store, or where another value stands there, there is none."""

    def __init__(self, store: Store, keys: UserKeys, seal: AnswerSeal, *, max_bytes: int) -> None:
        self._store = store
        self._keys = keys
        self._seal = seal
        self._max_bytes = max_bytes

    async def get(self, token: str) -> Answer | None:
        """See ``SharedAnswers``."""
        name = self._seal.name(token)
        value = None
        with suppress(UnavailableError, ForeignValueError):  # the provider knows as well
            value = await self._store.get(self._keys.answer(name))
        if value is None:
            return None
        answer = self._seal.open(name, value)
        return answer if answer is not None and len(answer.text) <= self._max_bytes else None

    async def put(self, token: str, answer: Answer, *, seconds: float) -> None:
        """See ``SharedAnswers``."""
        name, ttl_ms = self._seal.name(token), int(seconds * 1000)
        if ttl_ms < _LEAST_MS:
            return
        with suppress(UnavailableError, ForeignValueError):  # then the others ask for themselves
            await self._store.set(self._keys.answer(name), self._seal.seal(name, answer), ttl_ms=ttl_ms)

    async def delete(self, token: str) -> None:
        """See ``SharedAnswers``."""
        await self._store.delete(self._keys.answer(self._seal.name(token)))
