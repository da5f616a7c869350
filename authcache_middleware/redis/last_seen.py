"""When each user of an issuer was last seen: one sorted set, beside the users' own keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, final

from authcache_middleware.errors import UnavailableError
from authcache_middleware.redis.store import Commands
from authcache_middleware.users.record import ForeignValueError

__all__ = ["LastSeen"]

_FOREIGN: Final = "another type of value stands under the key of last activity"


@final
class LastSeen:
    """Subjects by the moment when they were last seen, in seconds since 1970.

    Each call is one command. Raises ``UnavailableError`` where Redis does not answer, or the key holds another type.
    """

    def __init__(self, commands: Commands, key: str) -> None:
        self._commands = commands
        self._key = key

    async def record(self, rows: Iterable[tuple[str, float]]) -> None:
        """``ZADD … GT``: what another process has seen later stays."""
        pairs = [part for subject, at in rows for part in (_score(at), subject)]
        await self._send("ZADD", self._key, "GT", *pairs)

    async def forget(self, before: float) -> None:
        """``ZREMRANGEBYSCORE``: those who were not seen since."""
        await self._send("ZREMRANGEBYSCORE", self._key, "-inf", f"({_score(before)}")

    async def of(self, subject: str) -> float | None:
        """``ZSCORE``."""
        at = await self._send("ZSCORE", self._key, subject)
        return None if at is None else float(at)

    async def since(self, moment: float, limit: int) -> list[str]:
        """``ZRANGE … BYSCORE REV``: who was seen since, the latest first, so many at most."""
        found = await self._send(
            "ZRANGE", self._key, "+inf", _score(moment), "BYSCORE", "REV", "LIMIT", 0, limit
        )  # fmt: skip
        return [subject.decode(errors="replace") for subject in found]

    async def count(self, moment: float) -> int:
        """``ZCOUNT``: how many were seen since."""
        return int(await self._send("ZCOUNT", self._key, _score(moment), "+inf"))

    async def _send(self, *command: str | bytes | int) -> Any:
        try:
            return await self._commands.send(*command)
        except ForeignValueError as exc:
            raise UnavailableError(_FOREIGN) from exc


def _score(at: float) -> str:
    return f"{at:.3f}"
