"""FastAPI: the middleware, which also locks operations in the OpenAPI document, and the dependencies.

``/docs`` and ``/openapi.json`` are paths like any other: they need a token unless they are ``exempt``.
"""

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Unpack

from fastapi import FastAPI, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection

from authcache_middleware import User, asgi

__all__ = ["AuthCacheMiddleware", "current_user", "requires"]

_SCHEME = "bearer"
_OPENAPI_SCHEME = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
_COOKIE_SCHEME = "cookie"
_COOKIE_WORDS = "The access token. With an unsafe method it also needs an Origin of this service, or the double submit."
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


class AuthCacheMiddleware(asgi.AuthCacheMiddleware):
    """The ASGI middleware, which shows in the application's OpenAPI document what it does.

    Every operation but those on ``exempt`` paths is locked with the scheme ``bearer``, or with ``cookie`` where
    ``tokens_in`` takes tokens from one; with ``optional`` the lock may stay open, except where ``current_user`` or
    ``requires`` is a dependency. It does so from the first connection that the application gets (its lifespan) on;
    ``app.openapi()`` called before shows the dependencies only.
    """

    def _entrance(self, app: asgi.App) -> asgi.App:
        async def first(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
            self._next = app  # only once: nothing stands between at the requests that follow
            found = scope.get("app", app)
            if isinstance(found, FastAPI):
                self._document(found)
            await app(scope, receive, send)

        return first

    def _document(self, app: FastAPI) -> None:
        plain = app.openapi
        # The way that FastAPI documents for extending the document.
        app.openapi = lambda: self._locked(plain())  # type: ignore[method-assign]

    def _locked(self, document: Mapping[str, Any]) -> dict[str, Any]:
        components = document.get("components", {})
        schemes = {**components.get("securitySchemes", {}), **self._schemes()}
        if _SCHEME not in self._schemes():
            schemes.pop(_SCHEME, None)
        paths = {
            path: {name: self._secured(path, member) if name in _METHODS else member for name, member in item.items()}
            for path, item in document.get("paths", {}).items()
        }
        return {**document, "components": {**components, "securitySchemes": schemes}, "paths": paths}

    def _secured(self, path: str, operation: Mapping[str, Any]) -> dict[str, Any]:
        """``operation`` with what the middleware adds to its alternatives (any one of which is enough to enter)."""
        alternatives: list[dict[str, Any]] = operation.get("security", [])
        if self.exempt.match(path):
            alternatives = [other for other in alternatives if _SCHEME not in other]
        elif self.optional:
            alternatives = alternatives or [{}, {_SCHEME: []}]
        else:
            alternatives = [{_SCHEME: [], **other} for other in alternatives or [{}]]
        alternatives = [each for alternative in alternatives for each in self._ways(alternative)]
        secured = {**operation, "security": alternatives}
        if not alternatives:
            del secured["security"]
        return secured

    def _schemes(self) -> dict[str, dict[str, str]]:
        """The ways to bring a token over HTTP, by name."""
        places, schemes = self._places, {}
        if places is None or places.header:
            schemes[_SCHEME] = _OPENAPI_SCHEME
        if places is not None and isinstance(places.cookie, str):
            cookie = {"type": "apiKey", "in": "cookie", "name": places.cookie, "description": _COOKIE_WORDS}
            schemes[_COOKIE_SCHEME] = cookie
        return schemes

    def _ways(self, alternative: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The same alternative once for each way to bring the token that it needs."""
        if _SCHEME not in alternative:
            return [dict(alternative)]
        others = {name: scopes for name, scopes in alternative.items() if name != _SCHEME}
        return [{way: alternative[_SCHEME], **others} for way in self._schemes()]


# The scopes that ``Security(…)`` declares come anew at each request. Whether they are names is looked at once.
_granting = functools.lru_cache(maxsize=1024)(asgi.requires)


class _Lock(SecurityBase):
    """What OpenAPI shows as a lock, with the scopes that whoever depends on it asks for."""

    def __init__(self) -> None:
        self.model = HTTPBearer(bearerFormat="JWT")
        self.scheme_name = _SCHEME

    # async, here and below, though nothing waits: FastAPI would run a plain one in a thread.
    async def __call__(self) -> None:
        """Lets everyone through: who depends on it decides."""


class _KnownUser(_Lock):
    """A dependency that returns the known user, if a check lets him in."""

    def __init__(self, check: Callable[[asgi.Scope], User]) -> None:
        super().__init__()
        self._check = check

    async def __call__(self, request: HTTPConnection, security: SecurityScopes) -> User:  # type: ignore[override]
        user = self._check(request.scope)
        if security.scopes:  # of a Security(…) that depends on this one
            _granting(*security.scopes)(request.scope)
        return user


_lock = _Lock()
current_user = _KnownUser(asgi.current_user)
"""The known user of a request or WebSocket: ``Annotated[User, Depends(current_user)]``.

The anonymous one, who stands in ``request.user``, is answered with 401, on exempt paths too: there is no need to make
it a dependency of the whole application, the middleware guards that. The scopes of ``Security(current_user,
scopes=[…])`` are required.
"""


def requires(*scopes: str, **needs: Unpack[asgi.NeedsDict]) -> Callable[..., Awaitable[User]]:
    """A dependency that returns the known user if the token grants all of ``scopes``: else 401 or 403.

    For ``Annotated[User, Depends(requires("orders:write"))]`` and ``dependencies=[Depends(requires(…))]``. Further
    needs are ``any_scope``, ``roles``, ``any_role`` and ``allows``, see ``asgi.Needs``. OpenAPI shows ``scopes`` in the
    lock (FastAPI 0.123.9 and newer) and ``roles`` behind them; it has no words for the others. What is no name raises
    ``ConfigurationError`` at once. What the lock shows is a dependency of its own, so where scopes are all that
    is needed ``Security(current_user, scopes=[…])`` asks for the same with one.
    """
    known_user = _KnownUser(asgi.requires(*scopes, **needs))
    shown = [*scopes, *needs.get("roles", ())]
    if not shown:  # nor is a second dependency needed, which FastAPI resolves at each request
        return known_user

    async def checked(
        request: HTTPConnection, security: SecurityScopes, _lock: None = Security(_lock, scopes=shown)
    ) -> User:
        return await known_user(request, security)

    return checked
