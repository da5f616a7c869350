"""What a memory hit is made of, in instructions: the hit whole, and those of its steps that can be taken by themselves.

By callgrind, so that no busy machine changes it; CPython's own build does. The exit status is 1 without valgrind.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
from measured import collected, valgrind
from peers_counted import requests
from peers_faces import token_of
from peers_requests import bare_asgi, headers_of, receive, scope_of, send
from reported import Report, table

from authcache_middleware.bearer.header import credentials_of
from authcache_middleware.runtime import SystemClock

__all__ = ["main"]

_TIMES = 2000


async def _around(scope: Any, receive: Any, send: Any) -> None:
    await bare_asgi(scope, receive, send)


async def _watching(scope: Any, receive: Any, send: Any) -> None:
    said = None

    def watched(message: Any) -> Awaitable[None]:
        nonlocal said
        said = message
        return send(message)  # type: ignore[no-any-return]

    try:
        await bare_asgi(scope, receive, watched)
    except ValueError:
        if said is not None:
            raise


def _nothing(_headers: Any) -> None:
    pass


def _clocks(_headers: Any, wall: Any = SystemClock.wall, monotonic: Any = SystemClock.monotonic) -> None:
    wall()
    monotonic()


_CALLED: dict[str, Callable[[Any], Any]] = {"nothing": _nothing, "headers": credentials_of, "clocks": _clocks}
_SERVED = {"bare": bare_asgi, "around": _around, "watching": _watching}
# A piece, what it is called, and beside what its instructions count.
_PIECES = (
    ("memory", "a memory hit, whole", "bare"),
    ("headers", "looking through six headers for the one", "nothing"),
    ("watching", "watching what is sent", "around"),
    ("clocks", "the two clocks", "nothing"),
    ("around", "a coroutine around the application", "bare"),
)


async def _do(piece: str, count: int) -> None:
    headers = headers_of(token_of())
    if piece == "memory":
        await requests(piece, count)
    elif piece in _CALLED:
        called = _CALLED[piece]
        for _ in range(count):
            called(headers)
    else:
        app = _SERVED[piece]
        for _ in range(count):
            await app(scope_of(headers), receive, send)


@click.command(help=__doc__)
@click.option("--do", "piece", hidden=True)
@click.option("--count", default=0, hidden=True)
def main(*, piece: str | None, count: int) -> None:
    """Runs itself under valgrind, twice for each piece; two minutes in all."""
    if piece is not None:
        asyncio.run(_do(piece, count))
        return
    if valgrind() is None:
        raise click.ClickException("valgrind is not installed")
    names = ("memory", *_SERVED, *_CALLED)
    with ThreadPoolExecutor(2) as beside_each_other:  # instructions do not depend on who runs beside them
        each = dict(zip(names, beside_each_other.map(_instructions, names), strict=True))
    found = table("A memory hit, in instructions", "", "adds", "beside")
    for name, said, beside in _PIECES:
        found.add_row(said, f"{each[name] - each[beside]:,.0f}", beside)
    found.caption = f"the bare application: {each['bare']:,.0f}"
    Report("pieces").show([found])


def _instructions(piece: str) -> float:
    few, many = (
        collected([sys.executable, __file__, "--do", piece, "--count", str(count)]) for count in (500, 500 + _TIMES)
    )
    return (many - few) / _TIMES


if __name__ == "__main__":
    main()
