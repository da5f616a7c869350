"""A queue's two streams: what waits or is held, and what was parked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, final

from authcache_middleware.errors import UnavailableError
from authcache_middleware.redis.queue_scripts import ACKNOWLEDGE, COUNT, JOIN, LEAVE, OLDEST, PUT, TAKE
from authcache_middleware.redis.store import Commands
from authcache_middleware.users.record import ForeignValueError

__all__ = ["Fields", "QueueStreams", "Taken"]

Fields = Mapping[str, str | bytes]

_FOREIGN: Final = "another type of value stands under a key of the queue"
_GROUP: Final = "workers"
_FORGOTTEN_AFTER_MS: Final = 24 * 60 * 60 * 1000


class Taken(NamedTuple):
    """An entry that was handed out, for the so-manieth time."""

    id: str
    deliveries: int
    fields: Mapping[str, bytes]


@final
class QueueStreams:
    """The commands of one queue, each one round trip.

    Raises ``UnavailableError`` where Redis does not answer, or a key of the queue holds another type.
    A command whose reply is lost may be sent again: what is put may then stand there twice.
    """

    def __init__(self, commands: Commands, name: str) -> None:
        self._commands = commands
        self._key = f"queue:{name}"
        self._parked = f"parked:{name}"

    async def put(self, fields: Fields, *, most: int) -> str | None:
        """The new entry's id; ``None`` where so many stand there already."""
        return _text(await self._send("EVAL", PUT, 1, self._key, most, *_flat(fields)))

    async def park(self, fields: Fields, *, most: int) -> str | None:
        """The same among the parked ones."""
        return _text(await self._send("EVAL", PUT, 1, self._parked, most, *_flat(fields)))

    async def join(self) -> None:
        """Make the stream and its group where they are missing, and forget consumers of long ago."""
        await self._send("EVAL", JOIN, 1, self._key, _GROUP, _FORGOTTEN_AFTER_MS)

    async def take(self, consumer: str, count: int, *, idle_ms: int) -> tuple[str, list[Taken]] | None:
        """Entries that are the consumer's now; where there are none, the id to wait behind. ``None``: no group."""
        reply = await self._send("EVAL", TAKE, 1, self._key, _GROUP, consumer, count, idle_ms)
        if reply is None:
            return None
        last, taken = reply
        return last.decode(), [Taken(at.decode(), deliveries, _fields(flat)) for at, deliveries, flat in taken]

    async def wait(self, last: str, *, block_ms: int) -> bool:
        """Whether something newer than that id came within the time; it takes nothing."""
        return bool(await self._send("XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", self._key, last))

    async def acknowledge(self, ids: Iterable[str]) -> None:
        """Have done with these entries; those that are gone do no harm."""
        await self._send("EVAL", ACKNOWLEDGE, 1, self._key, _GROUP, *ids)

    async def leave(self, consumer: str) -> None:
        """Forget the consumer, unless he holds something."""
        await self._send("EVAL", LEAVE, 1, self._key, _GROUP, consumer)

    async def counts(self) -> tuple[int, int, int]:
        """How many wait, are held, are parked."""
        length, held = await self._send("EVAL", COUNT, 1, self._key, _GROUP)
        return length - held, held, await self._send("XLEN", self._parked)

    async def parked(self, count: int) -> list[tuple[str, Mapping[str, bytes]]]:
        """The oldest of the parked ones."""
        reply = await self._send("EVAL", OLDEST, 1, self._parked, count)
        return [(at.decode(), _fields(flat)) for at, flat in reply]

    async def forget_parked(self, entry_id: str) -> None:
        """Delete one of the parked ones."""
        await self._send("XDEL", self._parked, entry_id)

    async def _send(self, *command: str | bytes | int) -> Any:
        try:
            return await self._commands.send(*command)
        except ForeignValueError as exc:
            raise UnavailableError(_FOREIGN) from exc


def _flat(fields: Fields) -> list[str | bytes]:
    return [part for field in fields.items() for part in field]


def _fields(flat: Sequence[bytes]) -> dict[str, bytes]:
    names = iter(flat)
    return {name.decode(errors="replace"): value for name, value in zip(names, names, strict=True)}


def _text(reply: Any) -> str | None:
    return None if reply is None else reply.decode()
