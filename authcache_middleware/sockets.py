"""WebSockets of known users, from the handshake to an end that may be ours (ASGI 3.0, WebSocket 2.5)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, Final, Protocol, final

from authcache_middleware.errors import ConfigurationError, InvalidTokenError
from authcache_middleware.runtime import CutError, Gate, Line, at_most
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.users.user import Identity

__all__ = ["Message", "Socket", "SocketEndedError", "SocketFace", "Watched", "checked_close_code", "socket_of"]

Message = MutableMapping[str, Any]

_SOCKET: Final = "authcache.connection"
# RFC 6455, section 7.4.2: what is left to libraries and applications.
_CLOSE_CODES: Final = range(3000, 5000)
_TRY_AGAIN_LATER: Final = 1013  # in IANA's registry of close codes
_CLOSING: Final = 5.0

_log = logging.getLogger("authcache_middleware")


class SocketEndedError(ConnectionAbortedError):
    """The application sends, and there is no client any more; it is an ``OSError``, as the specification wants it."""


class Watched(Protocol):
    """What ``AsyncAuthCache.watch`` returns."""

    def renew(self, claims: Claims) -> None:
        """It stands on these claims from here on."""

    def seen(self) -> None:
        """Its user has done something."""

    def release(self) -> None:
        """It is watched no longer."""


class SocketFace(Protocol):
    """What a socket asks of ``AsyncAuthCache``."""

    async def authenticate(self, headers: Any) -> Identity[Any]:
        """Who a token speaks for."""

    def watch(self, claims: Claims, end: Callable[[Any], Coroutine[Any, Any, None]]) -> Watched:
        """Call ``end`` when a connection with these claims must end."""


def checked_close_code(code: object) -> int:
    """The code, if a server may send it; else ``ConfigurationError``."""
    if not isinstance(code, int) or isinstance(code, bool) or code not in _CLOSE_CODES:
        raise ConfigurationError("close_code", "must be a whole number from 3000 to 4999")
    return code


@final
class Socket:
    """One WebSocket: ``receive`` and ``send`` for the application, which is watched from its ``websocket.accept`` on.

    When it must end, the application gets ``websocket.disconnect`` from the ``receive`` that it waits for or the next
    one, with the code that the client is sent; what it sends from then on raises ``SocketEndedError``. Its task is
    never cancelled: it ends by itself, as after any disconnect.
    """

    __slots__ = (
        "_claims", "_close_code", "_closed", "_end", "_face", "_is_done", "_line", "_receive", "_send", "_watch",
        "has_begun",
    )  # fmt: skip

    def __init__(
        self,
        face: SocketFace,
        claims: Claims | None,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        *,
        close_code: int,
    ) -> None:
        """Without ``claims`` it is anonymous, and nobody watches it."""
        self._face = face
        self._claims = claims
        self._receive = receive
        self._send = send
        self._close_code = close_code
        self._line = Line()
        self._watch: Watched | None = None
        self._end: Message | None = None
        self._closed: Gate | None = None
        self._is_done = False
        self.has_begun = False
        """Whether the handshake was answered, or began to be."""

    async def receive(self) -> Message:
        """The client's next message, or the end."""
        if self._end is None:
            try:
                message = await self._line.wait(self._receive)
            except CutError:
                pass
            else:
                if message["type"] == "websocket.disconnect":
                    self._release()
                elif self._watch is not None:
                    self._watch.seen()
                return message
        assert self._end is not None  # noqa: S101 - the line is cut by the end alone
        return {**self._end, "type": "websocket.disconnect"}

    async def send(self, message: Message) -> None:
        """The application's message, for the client; raises where there is none any more."""
        kind = message["type"]
        if self._end is None:
            self.has_begun = True
            if kind == "websocket.close":
                self._release()
            elif kind == "websocket.accept":
                self._begin()
            try:
                await self._line.wait(lambda: self._send(message))
            except CutError:
                pass
            else:
                return
        if kind == "websocket.send":
            raise SocketEndedError("the connection was ended")

    def stand_in(self, scope: MutableMapping[str, Any]) -> None:
        """Be found by ``socket_of``."""
        scope[_SOCKET] = self

    async def extend(self, token: str) -> Identity[Any]:
        """See ``asgi.extend``."""
        identity = await self._face.authenticate([("authorization", f"Bearer {token}")])
        claims = identity.auth.claims
        known = self._claims
        if known is None or (claims.issuer, claims.subject) != (known.issuer, known.subject):
            raise InvalidTokenError("subject")
        if self._is_done or self._end is not None:
            raise InvalidTokenError("ended")
        if self._watch is not None:
            self._watch.renew(claims)
        self._claims = claims
        return identity

    async def done(self) -> None:
        """The application is: nothing is sent any more, and what was begun here has come to its end."""
        self._is_done = True
        self._release()
        if self._closed is not None:
            await self._closed.wait()

    def _begin(self) -> None:
        """Watch it before it is accepted, and whatever comes of that: one that failed may have reached the server."""
        if self._claims is not None and self._watch is None and not self._is_done:
            self._watch = self._face.watch(self._claims, self._ended)

    def _release(self) -> None:
        if self._watch is not None:
            self._watch.release()
            self._watch = None

    async def _ended(self, reason: str) -> None:
        if self._is_done:
            return
        code = _TRY_AGAIN_LATER if reason == "unavailable" else self._close_code
        self._end = {"code": code, "reason": reason}
        self._closed = closed = Gate()
        self._line.cut()
        try:
            async with at_most(_CLOSING):  # a client that does not answer is left to the server
                await self._send({"type": "websocket.close", **self._end})
        except Exception as exc:  # noqa: BLE001 - the client or the server was faster; to the application it has ended
            _log.debug("a WebSocket that was ended could not be closed: %s", type(exc).__name__)
        finally:
            closed.set()


def socket_of(scope: MutableMapping[str, Any]) -> Socket:
    """The socket of that scope; ``ConfigurationError`` where there is none."""
    socket = scope.get(_SOCKET)
    if isinstance(socket, Socket):
        return socket
    raise ConfigurationError("scope", "is not that of a WebSocket which came through AuthCacheMiddleware")
