"""ASGI: the middleware, and the checks for applications without a framework."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol, Unpack

from authcache_middleware.asgi_logout import BackchannelLogout
from authcache_middleware.bearer.answers import Answer, Answers, Refusal, RefusalBody
from authcache_middleware.bearer.paths import ExemptPaths, asgi_path
from authcache_middleware.bearer.places import TokenPlaces
from authcache_middleware.bearer.scopes import Needs, NeedsDict, authorise
from authcache_middleware.bearer.sent import answered_subprotocol, asgi_sent, conceal
from authcache_middleware.errors import (
    ConfigurationError,
    MissingTokenError,
    RefusedError,
    UnavailableError,
)
from authcache_middleware.sockets import Socket, SocketEndedError, SocketFace, checked_close_code, socket_of
from authcache_middleware.users.user import NOBODY, Identity, User

__all__ = [
    "App",
    "AsyncFace",
    "AuthCacheMiddleware",
    "BackchannelLogout",
    "Needs",
    "NeedsDict",
    "Receive",
    "Refusal",
    "RefusalBody",
    "Scope",
    "Send",
    "current_user",
    "extend",
    "requires",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[str | bytes, str | bytes]]

# What may be said before an answer begins. From any other message on it cannot be replaced by another answer.
_BEFORE_AN_ANSWER = frozenset({"http.response.early_hint", "http.response.debug"})
_LIFESPAN_ENDS = frozenset(
    {
        "lifespan.shutdown.complete",
        "lifespan.shutdown.failed",
        "lifespan.startup.failed",
    }
)


class AsyncFace(SocketFace, Protocol):
    """What the middleware asks of ``AsyncAuthCache``."""

    def recall_or_nobody(self, headers: Headers) -> Identity[Any] | None:
        """The same as ``authenticate``, where nobody has to be waited for; ``None`` where somebody has.

        ``NOBODY`` where there are no credentials.
        """

    async def authenticate(self, headers: Headers) -> Identity[Any]:
        """Who the request speaks for."""

    async def aclose(self) -> None:
        """Gives back what is open; called at the end of the application's lifespan."""


class AuthCacheMiddleware:
    """Lets HTTP requests and WebSockets with a good token through, as ``scope["user"]`` and ``scope["auth"]``.

    Others are answered: 400, 401 or 403 with a challenge (RFC 6750, section 3), 503 with ``Retry-After`` while
    nobody knows. A refused WebSocket gets the same answer where the server has ``websocket.http.response``, else
    it is closed with 1008 before it is accepted. Refusals and outages that the application itself raises
    (``requires``, ``await auth.logout(…)``) are answered too, as long as it has not begun to answer; its other
    exceptions pass.

    ``exempt`` paths pass as the anonymous user (see ``ExemptPaths``). With ``optional`` so do requests without any
    credentials; bad ones are still refused. With ``allow_preflight`` so do CORS preflights. ``refusal_body`` shapes
    the body of a refusal. ``tokens_in`` says where else than in the header a token may stand.

    An accepted WebSocket is watched: it is closed with ``close_code`` when its token has expired (with the reason
    ``expired``) or its user may enter no longer (``revoked``), and with 1013 when nobody has known for the
    ``keep_open_for`` seconds of the face (``unavailable``). The application gets ``websocket.disconnect`` with that
    code, and what it sends then raises an ``OSError``. ``extend`` lets one go on with a fresh token.

    ``auth`` is closed before the server is told that the application's lifespan is over. An application that
    takes no part in the lifespan closes it itself.
    """

    def __init__(
        self,
        app: App,
        *,
        auth: AsyncFace,
        exempt: Iterable[str] = (),
        optional: bool = False,
        allow_preflight: bool = False,
        realm: str = "api",
        refusal_body: RefusalBody | None = None,
        tokens_in: TokenPlaces | None = None,
        close_code: int = 4401,
    ) -> None:
        if not inspect.iscoroutinefunction(getattr(auth, "authenticate", None)):
            raise ConfigurationError("auth", f"an ASGI application needs an AsyncAuthCache, not {type(auth).__name__}")
        if not callable(getattr(auth, "recall_or_nobody", None)):
            raise ConfigurationError("auth", f"{type(auth).__name__} has no recall_or_nobody")
        self.app = app
        self._next = self._entrance(app)
        self._auth = auth
        self._recall, self._authenticate = auth.recall_or_nobody, auth.authenticate
        self.exempt = ExemptPaths(exempt)
        self.optional = optional
        self._allow_preflight = allow_preflight
        if tokens_in is not None and not isinstance(tokens_in, TokenPlaces):
            raise ConfigurationError("tokens_in", "must be TokenPlaces(…)")
        self._places = None if tokens_in is None or tokens_in.is_header_alone else tokens_in
        self._selective = bool(self.exempt) or allow_preflight or self._places is not None
        self._close_code = checked_close_code(close_code)
        self._answers = Answers(realm=realm, refusal_body=refusal_body)
        self._missing = None if refusal_body else self._answers.of(MissingTokenError())

    def _entrance(self, app: App) -> App:
        """What connections are handed to: a subclass may stand there until the first one comes."""
        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one connection, or hands it to the application."""
        kind = scope["type"]
        if kind != "http" and kind != "websocket":  # noqa: PLR1714 - no set is looked into for nearly every request
            await self._next(scope, receive, self._closing(send) if kind == "lifespan" else send)
            return
        try:
            headers: Headers | None = self._headers(scope) if self._selective else scope["headers"]
            recall = self._recall  # named before it is called, as below: see ``Story.recall_or_nobody``
            identity = NOBODY if headers is None else recall(headers) or await self._authenticate(headers)
        except Exception as error:  # noqa: BLE001  whatever else it is, it is ours, and no reason to let anyone in
            if not (self.optional and isinstance(error, MissingTokenError) and error.absent):
                await self._answer(self._answers.of(error), scope, receive, send)
                return
            identity = NOBODY
        if identity is NOBODY and not self.optional and headers is not None:
            await self._answer(self._missing or self._answers.of(MissingTokenError()), scope, receive, send)
            return
        # In place, as Starlette does: what is written below (route, endpoint) is read by tracing middleware above.
        scope["user"], scope["auth"] = identity
        if kind == "websocket":
            await self._serve(identity, scope, _Connect(receive), _answering(send, scope, self._places))
            return

        said: Message | None = None

        # Not a coroutine function: it returns the server's own awaitable, and so costs half as much. What was said is
        # looked at where that matters, not at each message.
        def watched(message: Message) -> Awaitable[None]:
            nonlocal said
            said = message
            return send(message)

        app = self._next
        try:
            await app(scope, receive, watched)
        except (RefusedError, UnavailableError) as error:
            if said is not None and said["type"] not in _BEFORE_AN_ANSWER:
                raise
            await self._answer(self._answers.of(error), scope, receive, send)

    async def _serve(self, identity: Identity[Any], scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket, which lasts, and is watched for as long."""
        claims = None if identity is NOBODY else identity.auth.claims
        socket = Socket(self._auth, claims, receive, send, close_code=self._close_code)
        socket.stand_in(scope)
        try:
            await self._next(scope, socket.receive, socket.send)
        except (RefusedError, UnavailableError) as error:
            if socket.has_begun:
                raise
            await self._answer(self._answers.of(error), scope, receive, send)
        except SocketEndedError:
            pass  # it was told so, and has ended by that
        finally:
            await socket.done()

    def _headers(self, scope: Scope) -> Headers | None:
        """The headers in which the token stands, or that stand for it; ``None`` for a request that needs none."""
        headers: Headers = scope["headers"]
        if self._places is not None:
            headers = self._places.credentials(asgi_sent(scope, self._places))
            if scope["type"] == "websocket":
                conceal(scope, self._places)
        exempt = self.exempt.match(asgi_path(scope), scope.get("raw_path"))
        return None if exempt or (self._allow_preflight and _is_preflight(scope)) else headers

    @staticmethod
    async def _answer(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
        # a list of its own: whoever stands above may add to it
        headers = list(answer.encoded_headers)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
            return
        # The specification lets a server wait for the handshake's answer until its connect was received.
        await (receive if isinstance(receive, _Connect) else _Connect(receive)).received()
        if "websocket.http.response" in (scope.get("extensions") or {}):
            await send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": answer.body})
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": ""})

    def _closing(self, send: Send) -> Send:
        """``send`` that closes the face before the end of the lifespan is told: the server may stop right after."""

        async def closing(message: Message) -> None:
            if message["type"] in _LIFESPAN_ENDS:
                try:
                    await self._auth.aclose()
                finally:
                    await send(message)
            else:
                await send(message)

        return closing


def _answering(send: Send, scope: Scope, places: TokenPlaces | None) -> Send:
    """``send`` that accepts a WebSocket with one of the subprotocols offered, which the token is none of."""
    if places is None or not places.subprotocol:
        return send
    offered = list(scope["subprotocols"])

    def answering(message: Message) -> Awaitable[None]:
        if message["type"] == "websocket.accept":
            answered = answered_subprotocol(message.get("subprotocol"), offered, places)
            message = {**message, "subprotocol": answered}
        return send(message)

    return answering


class _Connect:
    """``receive`` that remembers whether the handshake was received: asked twice, a server waits for ever."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._received = False

    def __call__(self) -> Awaitable[Message]:
        self._received = True
        return self._receive()

    async def received(self) -> None:
        """Returns once ``websocket.connect`` was received, by the application or here."""
        if not self._received:
            await self()


def current_user(scope: Scope) -> User:
    """The known user of a request; the anonymous one, who stands in ``scope["user"]``, raises ``MissingTokenError``."""
    return authorise(scope, "user", "auth")


async def extend(scope: Scope, token: str) -> Identity[Any]:
    """Let a WebSocket go on with a fresh token of the same user, which its client has sent; returns who he is now.

    The token is verified as that of a new request, and waits and raises as ``authenticate`` does; ``InvalidTokenError``
    as well where it speaks for somebody else, or the connection has ended. Then all stays as it is. Else the connection
    lasts until the new token's end, only the new one counts, and ``scope["user"]`` and ``scope["auth"]`` are new.
    """
    identity = await socket_of(scope).extend(token)
    scope["user"], scope["auth"] = identity
    return identity


def requires(*scopes: str, **needs: Unpack[NeedsDict]) -> Callable[[Scope], User]:
    """A check that returns the request's known user, whose token grants all of ``scopes``.

    Further needs are ``any_scope``, ``roles``, ``any_role`` and ``allows``, see ``Needs``; all that are named must be
    met. It raises ``MissingTokenError`` (401) or ``InsufficientScopeError`` (403), which the middleware answers. What
    is no name raises ``ConfigurationError`` at once.
    """
    needed = Needs(scopes, **needs)
    return lambda scope: authorise(scope, "user", "auth", needed)


def _is_preflight(scope: Scope) -> bool:
    """A CORS preflight, as the Fetch standard (section 3.2.2) defines it; browsers send it without credentials."""
    if scope["type"] != "http" or scope["method"] != "OPTIONS":
        return False
    names = {name.lower() for name, _ in scope["headers"]}
    return b"origin" in names and b"access-control-request-method" in names
