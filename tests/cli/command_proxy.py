"""A proxy that reads what passes: it refuses commands by name, as careful ones do, or keeps messages back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from proxies import UP, StallingProxy


class CommandProxy(StallingProxy):
    """``refused``: commands it answers with an error itself. ``hangs_up``: it closes the connection at those instead.

    ``keeps_messages``: what comes without having been asked for is dropped. ``instead``: texts in answers, and what
    stands there for them. ``answers``: what it answers to a command itself.
    """

    def __init__(
        self,
        target_port: int,
        *,
        refused: Collection[str] = (),
        hangs_up: bool = False,
        keeps_messages: bool = False,
        instead: Mapping[str, str] | None = None,
        answers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(target_port)
        self._answers = {name.encode(): answer.encode() for name, answer in (answers or {}).items()}
        self._answers |= {name.encode(): b"-ERR unknown command" for name in refused}
        self._hangs_up = hangs_up
        self._keeps_messages = keeps_messages
        self._instead = {old.encode(): new.encode() for old, new in (instead or {}).items()}

    async def _pump(
        self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                words = await _value(reader)
                parts = words[1:] if isinstance(words, list) else []
                if direction == UP and parts and (answer := self._answers.get(_body(parts[0]).upper())):
                    if self._hangs_up:
                        raise ConnectionResetError
                    back.write(answer + b"\r\n")
                elif self._keeps_messages and direction != UP and parts and _body(parts[0]) == b"message":
                    continue
                else:
                    writer.write(_flat(words, self._instead if direction != UP else {}))
        except asyncio.IncompleteReadError:
            writer.write_eof()


async def _value(reader: asyncio.StreamReader) -> bytes | list:
    """One value of RESP2 with all its bytes: a list for an array, its head first."""
    head = await reader.readuntil(b"\r\n")
    if head[:1] == b"*":
        return [head, *[await _value(reader) for _ in range(int(head[1:]))]]
    if head[:1] == b"$" and (length := int(head[1:])) >= 0:
        return head + await reader.readexactly(length + 2)
    return head


def _body(value: bytes | list) -> bytes:
    """The text of a bulk string."""
    return b"" if isinstance(value, list) else value.partition(b"\r\n")[2].removesuffix(b"\r\n")


def _flat(value: bytes | list, instead: Mapping[bytes, bytes]) -> bytes:
    if isinstance(value, list):
        return b"".join(_flat(each, instead) for each in value)
    if value[:1] != b"$" or not any(old in value for old in instead):
        return value
    body = _body(value)
    for old, new in instead.items():
        body = body.replace(old, new)
    return b"$%d\r\n%s\r\n" % (len(body), body)
