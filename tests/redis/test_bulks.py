"""The reply to an MGET, however it comes in, and whatever else may come instead."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
import redis.asyncio
from redis.exceptions import InvalidResponse
from redis.utils import HIREDIS_AVAILABLE

from authcache_middleware.redis.bulks import ErrorReplyError, read_values, stream_of

VALUES = [b"one", None, b"", b"\r\n$3\r\n", b"-1", bytes(300)]
REPLY = b"*6\r\n$3\r\none\r\n$-1\r\n$0\r\n\r\n$6\r\n\r\n$3\r\n\r\n$2\r\n-1\r\n$300\r\n" + bytes(300) + b"\r\n"


async def read(*chunks: bytes, count: int, ends: bool = False) -> list[bytes | None]:
    """As if the chunks came in one by one, each after the one before it has been looked at."""
    stream = asyncio.StreamReader()
    reading = asyncio.ensure_future(read_values(stream, count))
    for chunk in chunks:
        stream.feed_data(chunk)
        for _ in range(3):
            await asyncio.sleep(0)
    if ends:
        stream.feed_eof()
    async with asyncio.timeout(20):
        return await reading


async def test_values_are_read_wherever_the_reply_is_cut() -> None:
    assert await read(REPLY, count=6) == VALUES
    for cut in range(1, len(REPLY)):
        assert await read(REPLY[:cut], REPLY[cut:], count=6) == VALUES, cut
    assert await read(*[bytes([byte]) for byte in REPLY], count=6) == VALUES


async def test_a_large_value_is_read() -> None:
    large = bytes(1_000_000)
    reply = b"*2\r\n$1000000\r\n" + large + b"\r\n$-1\r\n"
    assert await read(*(reply[at : at + 65_536] for at in range(0, len(reply), 65_536)), count=2) == [large, None]


async def test_an_error_is_read_to_its_end() -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(b"-NOPERM no right for MGET\r\n+OK\r\n")
    with pytest.raises(ErrorReplyError):
        await read_values(stream, 2)
    assert await stream.readline() == b"+OK\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        b"+OK\r\n",
        b"$3\r\none\r\n",
        b"*3\r\n$3\r\none\r\n$3\r\ntwo\r\n$3\r\nsix\r\n",
        b"*-1\r\n",
        b"*2\r\n:1\r\n:2\r\n",
        b"*2\r\n$3\r\none\r\n*1\r\n$3\r\ntwo\r\n",
        b"*2\r\n$3\r\none\r\n$-2\r\n",
        b"*2\r\n$3\r\none\r\n$x\r\ntwo\r\n",
        b"*2\r\n$3\r\none\r\n\r\n",
        b"*2\r\n$3\r\none??$3\r\ntwo\r\n",
        b"*2\r\n$3\r\none\r\n$3\r\ntwo\r\n$3\r\nsix\r\n",
    ],
)
async def test_anything_else_is_told_from_it(reply) -> None:
    with pytest.raises((InvalidResponse, ValueError)):
        await read(reply, count=2)


@pytest.mark.parametrize("cut", [0, 3, 6, 9, len(REPLY) - 1])
async def test_an_end_that_is_none_is_told(cut) -> None:
    with pytest.raises(EOFError):
        await read(REPLY[:cut], count=6, ends=True)


@pytest.mark.skipif(HIREDIS_AVAILABLE, reason="which is quicker")
async def test_a_connection_of_redis_py_has_a_stream_while_it_is_open(redis_url) -> None:
    connection = redis.asyncio.Connection(**redis.asyncio.ConnectionPool.from_url(redis_url).connection_kwargs)
    assert stream_of(connection) is None
    await connection.connect()
    assert stream_of(connection) is not None
    await connection.disconnect()
    assert stream_of(connection) is None
    assert stream_of(object()) is None
    assert stream_of(SimpleNamespace(_reader=object())) is None
