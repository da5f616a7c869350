"""One connection to the server, on which nothing takes long, and whose errors say what kind they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Literal, Self, final

import redis
from redis.backoff import NoBackoff

from authcache_middleware.redis.wire import wire_settings

__all__ = ["Line", "NoAnswerError", "OddAnswerError", "RefusedError", "Server"]

_ANSWER_WAIT: Final = 1.0
_SHORTEST_WAIT: Final = 0.01
Wanted = Literal["command", "key", "channel"]


class NoAnswerError(Exception):
    """There is no connection, it is lost, or no time is left. ``reason`` holds nothing secret."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RefusedError(Exception):
    """The server, or something before it, answers with an error.

    ``lacking``: what the user has no right to, ``None`` where rights are not the reason. ``code``: the error's first
    word, where that is a code.
    """

    def __init__(self, lacking: Wanted | None, code: str) -> None:
        super().__init__(code)
        self.lacking = lacking
        self.code = code


class OddAnswerError(Exception):
    """What answers to ``command`` has not the shape of a server's answer."""

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command


@final
class Server:
    """Where the server is, and until when it is asked: from then on every question is a ``NoAnswerError``."""

    def __init__(self, url: str, *, seconds: float) -> None:
        self._pool: Any = redis.ConnectionPool.from_url(url)
        self._until = time.monotonic() + seconds

    @property
    def name(self) -> str:
        """``host:port`` or a path, without user and password."""
        settings = self._pool.connection_kwargs
        return str(settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}")

    @property
    def user(self) -> str:
        """The name by which it knows this connection."""
        return str(self._pool.connection_kwargs.get("username") or "default")

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self._until - time.monotonic()

    def line(self) -> Line:
        """A new connection; raises ``NoAnswerError``."""
        return Line(self)

    def connection(self) -> Any:
        """One of redis-py's, not yet open."""
        retry = redis.retry.Retry(NoBackoff(), 0)
        return self._pool.connection_class(**wire_settings(self._pool.connection_kwargs, retry, _ANSWER_WAIT))


@final
class Line:
    """A context manager: closed at the end."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection = server.connection()
        with _translated_errors():
            self._look_at_the_time()
            self._connection.connect()

    def ask(self, *command: str | bytes | int) -> Any:
        """The answer, as it comes over the wire; raises ``RefusedError``, ``NoAnswerError`` and ``OddAnswerError``."""
        self.send(*command)
        with _translated_errors():
            answer = self._connection.read_response()
        return _shaped(command, answer)

    def ask_all(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """The answers to many commands in one round trip; raises the first refusal there is among them."""
        if not commands:
            return []
        with _translated_errors():
            self._look_at_the_time()
            self._connection.send_packed_command(self._connection.pack_commands(commands))
        answers: list[Any] = []
        refused: RefusedError | None = None
        for command in commands:
            try:
                with _translated_errors():
                    answer = self._connection.read_response()
                answers.append(_shaped(command, answer))
            except RefusedError as exc:  # the answers to the others come all the same
                refused = refused or exc
        if refused is not None:
            raise refused
        return answers

    def send(self, *command: str | bytes | int) -> None:
        """Send a command, whose answer is read as a message."""
        with _translated_errors():
            self._look_at_the_time()
            self._connection.send_command(*command)

    def read(self) -> Any:
        """The next message or the answer to a ``PING``; raises ``NoAnswerError`` where none comes."""
        with _translated_errors():
            if not self._connection.can_read(timeout=min(_ANSWER_WAIT, max(self._server.left, _SHORTEST_WAIT))):
                raise NoAnswerError("TimeoutError")
            message = self._connection.read_response()
        return _shaped(["PING"], message)

    def _look_at_the_time(self) -> None:
        if self._server.left <= 0:
            raise NoAnswerError("no time left")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        with suppress(Exception):  # it was lost already
            self._connection.disconnect()


def _is_scan(answer: Any) -> bool:
    return isinstance(answer, list) and len(answer) == 2 and isinstance(answer[0], bytes) and _is_texts(answer[1])  # noqa: PLR2004


def _is_texts(answer: Any) -> bool:
    return isinstance(answer, list) and all(isinstance(each, bytes) for each in answer)


def _is_text(answer: Any) -> bool:
    return isinstance(answer, bytes)


# Of the commands whose answers are read: what they must be.
_SHAPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "HELLO": lambda answer: isinstance(answer, list),
    "INFO": _is_text,
    "CONFIG": lambda answer: isinstance(answer, list),
    "TIME": lambda answer: _is_texts(answer) and len(answer) == 2 and all(map(bytes.isdigit, answer)),  # noqa: PLR2004
    "SCAN": _is_scan,
    "TYPE": _is_text,
    "GETRANGE": _is_text,
    "HGETALL": lambda answer: _is_texts(answer) and len(answer) % 2 == 0,
    "SUBSCRIBE": lambda answer: isinstance(answer, list),
    "PING": lambda answer: isinstance(answer, list) and len(answer) >= (3 if answer[:1] == [b"message"] else 1),
}


def _shaped(command: Sequence[str | bytes | int], answer: Any) -> Any:
    if not _SHAPES.get(str(command[0]), lambda _: True)(answer):
        raise OddAnswerError(str(command[0]))
    return answer


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is translated
        raise _translated(exc) from None


def _translated(error: Exception) -> Exception:
    """With the class of the error alone: its text may hold an address, or what a server said of a user."""
    name = type(error).__name__
    match error:
        case NoAnswerError() | RefusedError():
            return error
        case redis.exceptions.NoPermissionError():
            text = str(error)
            lacking: Wanted = "key" if " key" in text else "channel" if " channel" in text else "command"
            return RefusedError(lacking, name)
        case redis.exceptions.ResponseError():
            word = str(error).partition(" ")[0]
            return RefusedError(None, word if word.isalpha() and word.isupper() else name)
        case _:
            return NoAnswerError(name)
