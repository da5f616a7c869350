"""Reading the reply to an MGET: the one thing at which redis-py's parser in Python costs more than all the rest.

It takes five coroutines and three copies for each value. An error is left to redis-py, which knows them by name;
whatever else is not the reply expected ends the connection, as it does there.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from redis.exceptions import InvalidResponse
from redis.utils import HIREDIS_AVAILABLE

__all__ = ["ErrorReplyError", "read_values", "stream_of"]

_CHUNK: Final = 1 << 16
_DOLLAR: Final = ord("$")


class ErrorReplyError(Exception):
    """The reply is an error. It has been read to its end, and is not in here: redis-py knows them all by name."""


class Stream(Protocol):
    """What is used of ``asyncio.StreamReader``, whose methods these are."""

    async def readuntil(self, separator: bytes) -> bytes: ...

    async def readexactly(self, n: int) -> bytes: ...

    async def read(self, n: int) -> bytes: ...


def stream_of(connection: Any) -> Stream | None:
    """What an open connection of ``redis.asyncio`` reads from; ``None`` where its own parser is to be used.

    With hiredis that is the quicker one. The attribute is not public: under a redis-py that has it not, all is as it
    would be without this module.
    """
    stream: Stream | None = None if HIREDIS_AVAILABLE else getattr(connection, "_reader", None)
    return stream if hasattr(stream, "readuntil") else None


async def read_values(stream: Stream, count: int) -> list[bytes | None]:
    """The values of an array of so many bulk strings (RESP2), with nothing behind it.

    Raises ``ErrorReplyError``; or ``InvalidResponse`` of redis-py, ``ValueError`` for what is no number, and
    ``EOFError`` where it ends too early: then nothing more can be read from this connection.
    """
    head = await stream.readuntil(b"\r\n")
    if head[:1] == b"-":
        raise ErrorReplyError
    if head != b"*%d\r\n" % count:
        raise InvalidResponse
    values: list[bytes | None] = []
    data, at = b"", 0
    for _ in range(count):
        while (end := data.find(b"\r\n", at)) < 0:
            data, at = data[at:] + await _more(stream), 0
        if data[at] != _DOLLAR:
            raise InvalidResponse
        length, at = int(data[at + 1 : end]), end + 2
        if length == -1:
            values.append(None)
            continue
        end = at + length
        if end + 2 > len(data):  # all that is missing at once: a large value is not put together over and over
            data, at, end = data[at:] + await stream.readexactly(end + 2 - len(data)), 0, length
        if length < 0 or data[end : end + 2] != b"\r\n":
            raise InvalidResponse
        values.append(data[at:end])
        at = end + 2
    if at != len(data):
        raise InvalidResponse
    return values


async def _more(stream: Stream) -> bytes:
    data = await stream.read(_CHUNK)
    if not data:
        raise EOFError
    return data
