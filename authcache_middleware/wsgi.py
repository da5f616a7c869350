"""WSGI: the middleware, and the checks for applications without a framework (PEP 3333)."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from authcache_middleware.bearer.answers import Answer, Answers, Refusal, RefusalBody
from authcache_middleware.bearer.paths import ExemptPaths, wsgi_path
from authcache_middleware.bearer.places import TokenPlaces
from authcache_middleware.bearer.scopes import Needs, NeedsDict, authorise
from authcache_middleware.bearer.sent import wsgi_sent
from authcache_middleware.errors import (
    ConfigurationError,
    MissingTokenError,
    RefusedError,
    UnavailableError,
)
from authcache_middleware.users.user import NO_CREDENTIALS, NOBODY, Identity, User
from authcache_middleware.wsgi_logout import BackchannelLogout

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

__all__ = [
    "AuthCacheMiddleware",
    "BackchannelLogout",
    "Face",
    "Needs",
    "NeedsDict",
    "Refusal",
    "RefusalBody",
    "current_user",
    "requires",
]

Environ = dict[str, Any]
Headers = Iterable[tuple[str | bytes, str | bytes]]


class Face(Protocol):
    """What the middleware asks of ``AuthCache``."""

    def recall_or_nobody(self, headers: Headers) -> Identity[Any] | None:
        """The same as ``authenticate``, where nobody has to be waited for; ``None`` where somebody has.

        ``NOBODY`` where there are no credentials.
        """

    def authenticate(self, headers: Headers) -> Identity[Any]:
        """Who the request speaks for."""

    def close(self) -> None:
        """Gives back what is open."""


class AuthCacheMiddleware:
    """Lets requests with a good token through, and says in ``environ`` who they speak for.

    ``environ["authcache.user"]`` is the user, ``environ["authcache.auth"]`` the credentials, ``REMOTE_USER`` the
    token's subject (UTF-8 as PEP 3333 wants it; not there for the anonymous user).

    Others are answered: 400, 401 or 403 with a challenge (RFC 6750, section 3), 503 with ``Retry-After`` while
    nobody knows. Refusals and outages that the application itself raises when it is called are answered too, as
    long as nothing was sent; its other exceptions pass, and so does whatever it raises while it is iterated.
    ``environ["authcache.answer"]`` is a function from such an error to its ``Answer``, for frameworks that catch
    exceptions themselves.

    ``exempt`` paths pass as the anonymous user (see ``ExemptPaths``). With ``optional`` so do requests without any
    credentials; bad ones are still refused. With ``allow_preflight`` so do CORS preflights. ``refusal_body`` shapes
    the body of a refusal. ``tokens_in`` says where else than in the header a token may stand: in a cookie.

    WSGI has no end of its own: call ``close()`` where the process ends.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        auth: Face,
        exempt: Iterable[str] = (),
        optional: bool = False,
        allow_preflight: bool = False,
        realm: str = "api",
        refusal_body: RefusalBody | None = None,
        tokens_in: TokenPlaces | None = None,
    ) -> None:
        authenticate = getattr(auth, "authenticate", None)
        if not callable(authenticate) or inspect.iscoroutinefunction(authenticate):
            raise ConfigurationError("auth", f"a WSGI application needs an AuthCache, not {type(auth).__name__}")
        if not callable(getattr(auth, "recall_or_nobody", None)):
            raise ConfigurationError("auth", f"{type(auth).__name__} has no recall_or_nobody")
        self.app = app
        self._auth = auth
        self._recall, self._authenticate = auth.recall_or_nobody, auth.authenticate
        self.exempt = ExemptPaths(exempt)
        self.optional = optional
        self._allow_preflight = allow_preflight
        if tokens_in is not None and not isinstance(tokens_in, TokenPlaces):
            raise ConfigurationError("tokens_in", "must be TokenPlaces(…)")
        if tokens_in is not None and (tokens_in.subprotocol or tokens_in.query):
            raise ConfigurationError("tokens_in", "subprotocol and query are for WebSockets, which WSGI has not")
        self._places = None if tokens_in is None or tokens_in.is_header_alone else tokens_in
        self._selective = bool(self.exempt) or allow_preflight or self._places is not None
        self._answer_to = Answers(realm=realm, refusal_body=refusal_body).of

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request, or hands it to the application."""
        # A front end's word, or a client's by way of a careless one: identity comes from verified tokens only.
        environ.pop("REMOTE_USER", None)
        user, auth = NOBODY
        credentials = environ.get("HTTP_AUTHORIZATION")
        headers: Headers | None = () if credentials is None else (("Authorization", credentials),)
        try:
            if self._selective:
                headers = self._headers(environ, headers)
            if headers is not None:
                recall = self._recall  # named before it is called: see ``Story.recall_or_nobody``
                user, auth = recall(headers) or self._authenticate(headers)
        except Exception as error:  # noqa: BLE001  whatever else it is, it is ours, and no reason to let anyone in
            if not (self.optional and isinstance(error, MissingTokenError) and error.absent):
                return self._refuse(error, environ, start_response)
        if auth is NO_CREDENTIALS and not self.optional and headers is not None:
            return self._refuse(MissingTokenError(), environ, start_response)
        environ["authcache.user"] = user
        environ["authcache.auth"] = auth
        environ["authcache.answer"] = self._answer_to
        if auth is not NO_CREDENTIALS:
            subject = auth.identity
            environ["REMOTE_USER"] = subject if subject.isascii() else _native(subject)
        try:
            return self.app(environ, start_response)
        except (RefusedError, UnavailableError) as error:
            # With exc_info the server itself replaces what was started, or raises if something was sent already.
            return self._refuse(error, environ, start_response, replace=True)

    def close(self) -> None:
        """Closes the face."""
        self._auth.close()

    def _headers(self, environ: Environ, headers: Headers | None) -> Headers | None:
        """``headers``, or those that stand for what other places hold; ``None`` for a request that needs no token."""
        if self.exempt.match(*wsgi_path(environ)) or (self._allow_preflight and _is_preflight(environ)):
            return None
        return headers if self._places is None else self._places.credentials(wsgi_sent(environ, self._places))

    def _refuse(
        self, error: Exception, environ: Environ, start_response: StartResponse, *, replace: bool = False
    ) -> Iterable[bytes]:
        answer: Answer = self._answer_to(error)
        status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
        if replace:
            start_response(status, list(answer.headers), sys.exc_info())
        else:
            start_response(status, list(answer.headers))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]


def current_user(environ: Environ) -> User:
    """The known user of a request.

    The anonymous one, who stands in ``environ["authcache.user"]``, raises ``MissingTokenError``.
    """
    return authorise(environ, "authcache.user", "authcache.auth")


def requires(*scopes: str, **needs: Unpack[NeedsDict]) -> Callable[[Environ], User]:
    """A check that returns the request's known user, whose token grants all of ``scopes``.

    Further needs are ``any_scope``, ``roles``, ``any_role`` and ``allows``, see ``Needs``; all that are named must be
    met. It raises ``MissingTokenError`` (401) or ``InsufficientScopeError`` (403), which the middleware answers. What
    is no name raises ``ConfigurationError`` at once.
    """
    needed = Needs(scopes, **needs)
    return lambda environ: authorise(environ, "authcache.user", "authcache.auth", needed)


def _native(subject: str) -> str:
    """A native string of PEP 3333: UTF-8 bytes as Latin-1, for every subject, so that no two become the same."""
    return subject.encode("utf-8", "surrogatepass").decode("latin-1")


def _is_preflight(environ: Environ) -> bool:
    """A CORS preflight, as the Fetch standard (section 3.2.2) defines it; browsers send it without credentials."""
    return (
        environ["REQUEST_METHOD"] == "OPTIONS"
        and "HTTP_ORIGIN" in environ
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    )
