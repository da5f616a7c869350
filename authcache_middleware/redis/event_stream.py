"""One stream of events, which any client may read: the commands to write it and to follow it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, final

from authcache_middleware.redis.store import Commands

__all__ = ["BEFORE_ALL", "EventStreamKey", "Followed"]

BEFORE_ALL: Final = "0-0"

# ARGV: behind which id, and how many at most. Returned: whether that very entry is still there, the ones behind it, and
# the newest of all where there is neither; by a script since redis-py reads the replies of stream commands into other
# shapes from one protocol to the next.
_FOLLOW: Final = """\
local there = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
local behind = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
local last = {}
if #there + #behind == 0 then last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1) end
return {#there, behind, last}"""

_LAST: Final = "return redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)"


class Followed(NamedTuple):
    """What stands behind an entry of a stream."""

    is_there: bool
    """Whether the entry itself still is: where not, some behind it may have been trimmed as well."""
    entries: list[tuple[str, Mapping[str, str]]]
    last: str
    """The id of the newest entry, where the entry is gone and none is behind it; ``BEFORE_ALL``: there is none."""


@final
class EventStreamKey:
    """The commands for one key. Each is one round trip, and raises what ``Commands`` does."""

    def __init__(self, commands: Commands, key: str) -> None:
        self._commands = commands
        self._key = key

    async def add(self, fields: Mapping[str, str], *, length: int) -> None:
        """``XADD``, and what is older than about so many entries goes."""
        flat = [part for field in fields.items() for part in field]
        await self._commands.send("XADD", self._key, "MAXLEN", "~", length, "*", *flat)

    async def last(self) -> str:
        """The id of the newest entry."""
        return _last(await self._commands.send("EVAL", _LAST, 1, self._key))

    async def behind(self, entry_id: str, count: int) -> Followed:
        """The entries behind that one, the oldest first."""
        there, found, last = await self._commands.send("EVAL", _FOLLOW, 1, self._key, entry_id, count)
        return Followed(bool(there), [(at.decode(), _fields(flat)) for at, flat in found], _last(last))

    async def wait(self, entry_id: str, *, block_ms: int) -> bool:
        """Whether something behind that entry came within the time."""
        return bool(await self._commands.send("XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", self._key, entry_id))


def _last(found: list[Any]) -> str:
    last: str = found[0][0].decode() if found else BEFORE_ALL
    return last


def _fields(flat: list[bytes]) -> dict[str, str]:
    texts = iter([part.decode(errors="replace") for part in flat])
    return dict(zip(texts, texts, strict=True))
