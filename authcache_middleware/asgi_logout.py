"""ASGI: the endpoint to which a provider sends its logout tokens."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol

from authcache_middleware.bearer.answers import Answer
from authcache_middleware.bearer.logout_form import (
    LOGOUT_DONE,
    MAX_LOGOUT_FORM,
    NOT_POST,
    TOO_LONG,
    logout_answer,
    logout_token_of,
)
from authcache_middleware.errors import ConfigurationError
from authcache_middleware.tokens.logout import LOGOUT_TYPES, MAX_AGE, LogoutRules

__all__ = ["AsyncObeys", "BackchannelLogout"]

Message = MutableMapping[str, Any]


class AsyncObeys(Protocol):
    """What the endpoint asks of ``AsyncAuthCache``."""

    async def backchannel_logout(self, logout_token: str, rules: LogoutRules) -> None:
        """End what it names."""


class BackchannelLogout:
    """An ASGI application: the ``backchannel_logout_uri`` that a provider is told of.

    A POST with a good ``logout_token`` ends what it names and is answered with 200; anything else with 400, and with
    503 and ``Retry-After`` while nobody knows, so that the provider sends it again. It carries no bearer token: mount
    it outside the middleware, or make its path exempt. The options are those of ``LogoutRules``.
    """

    def __init__(
        self,
        auth: AsyncObeys,
        *,
        client_id: str | Iterable[str] | None = None,
        typ: Iterable[str | None] = LOGOUT_TYPES,
        max_age: float = MAX_AGE,
        by_session: bool = True,
    ) -> None:
        if not inspect.iscoroutinefunction(getattr(auth, "backchannel_logout", None)):
            raise ConfigurationError("auth", f"an ASGI application needs an AsyncAuthCache, not {type(auth).__name__}")
        self._auth = auth
        self._rules = LogoutRules(client_id=client_id, typ=typ, max_age=max_age, by_session=by_session)

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answers one request."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        if scope["type"] != "http":
            raise ValueError(f"BackchannelLogout answers no {scope['type']}: mount it below an application")
        answer = await self._answer(scope, receive)
        body = b"" if scope["method"] == "HEAD" else answer.body
        headers = list(answer.encoded_headers)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Message]]) -> Answer:
        if scope["method"] != "POST":
            return NOT_POST
        try:
            body = await _body(receive)
            if body is None:
                return TOO_LONG
            await self._auth.backchannel_logout(logout_token_of(_content_type(scope), body), self._rules)
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is ours, and the provider sends it again
            return logout_answer(error)
        return LOGOUT_DONE


def _content_type(scope: MutableMapping[str, Any]) -> str:
    fields = [field for name, field in scope["headers"] if name.lower() == b"content-type"]
    return fields[0].decode("latin-1") if len(fields) == 1 else ""


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes | None:
    """The whole body; ``None`` where it is too long, or its sender is gone."""
    chunks, length, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunks.append(message.get("body", b""))
        length += len(chunks[-1])
        if length > MAX_LOGOUT_FORM:
            return None
        more = message.get("more_body", False)
    return b"".join(chunks)
