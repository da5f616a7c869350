"""WSGI: the endpoint to which a provider sends its logout tokens."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

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

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

__all__ = ["BackchannelLogout", "Obeys"]


class Obeys(Protocol):
    """What the endpoint asks of ``AuthCache``."""

    def backchannel_logout(self, logout_token: str, rules: LogoutRules) -> None:
        """End what it names."""


class BackchannelLogout:
    """A WSGI application: the ``backchannel_logout_uri`` that a provider is told of.

    A POST with a good ``logout_token`` ends what it names and is answered with 200; anything else with 400, and with
    503 and ``Retry-After`` while nobody knows, so that the provider sends it again. It carries no bearer token: mount
    it outside the middleware, or make its path exempt. The options are those of ``LogoutRules``.
    """

    def __init__(
        self,
        auth: Obeys,
        *,
        client_id: str | Iterable[str] | None = None,
        typ: Iterable[str | None] = LOGOUT_TYPES,
        max_age: float = MAX_AGE,
        by_session: bool = True,
    ) -> None:
        obey = getattr(auth, "backchannel_logout", None)
        if not callable(obey) or inspect.iscoroutinefunction(obey):
            raise ConfigurationError("auth", f"a WSGI application needs an AuthCache, not {type(auth).__name__}")
        self._auth = auth
        self._rules = LogoutRules(client_id=client_id, typ=typ, max_age=max_age, by_session=by_session)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request."""
        answer = self._answer(environ)
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(answer.headers))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def _answer(self, environ: dict[str, Any]) -> Answer:
        if environ["REQUEST_METHOD"] != "POST":
            return NOT_POST
        try:
            body = _body(environ)
            if body is None:
                return TOO_LONG
            self._auth.backchannel_logout(logout_token_of(environ.get("CONTENT_TYPE", ""), body), self._rules)
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is ours, and the provider sends it again
            return logout_answer(error)
        return LOGOUT_DONE


def _body(environ: dict[str, Any]) -> bytes | None:
    """The whole body; ``None`` where it is too long, or its length was not told."""
    length: str = environ.get("CONTENT_LENGTH") or ""
    if not (length.isascii() and length.isdecimal()) or len(length) > len(str(MAX_LOGOUT_FORM)):
        return None
    if int(length) > MAX_LOGOUT_FORM:
        return None
    body: bytes = environ["wsgi.input"].read(int(length))
    return body
