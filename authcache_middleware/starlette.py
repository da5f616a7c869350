"""Starlette: the middleware for ``add_middleware``, and what endpoints ask of it.

``request.user`` and ``request.auth`` are set, and Starlette's own ``@requires`` works as well; the one here
answers with a challenge.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, Unpack, cast

from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.requests import HTTPConnection

from authcache_middleware import User, asgi
from authcache_middleware.asgi import AuthCacheMiddleware, NeedsDict, Scope
from authcache_middleware.errors import ConfigurationError

__all__ = ["AuthCacheMiddleware", "current_user", "requires"]

P = ParamSpec("P")
T = TypeVar("T")


def current_user(request: HTTPConnection) -> User:
    """The known user of a request or WebSocket.

    The anonymous one, who stands in ``request.user``, raises ``MissingTokenError``: 401.
    """
    return asgi.current_user(request.scope)


def requires(*scopes: str, **needs: Unpack[NeedsDict]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Lets only known users whose token grants all of ``scopes`` into an endpoint: else 401 or 403.

    Further needs are ``any_scope``, ``roles``, ``any_role`` and ``allows``, see ``asgi.Needs``. The endpoint is a
    function or a method, ``async`` or plain, that is handed the request or WebSocket under any name; or a class, an
    ``HTTPEndpoint`` or ``WebSocketEndpoint``, of which a guarded subclass is returned. What is no name raises
    ``ConfigurationError`` at once.
    """
    check = asgi.requires(*scopes, **needs)

    def guard(endpoint: Callable[P, T]) -> Callable[P, T]:
        if inspect.isclass(endpoint):
            return cast("Callable[P, T]", _guarded_class(endpoint, check))
        if inspect.iscoroutinefunction(endpoint):

            @functools.wraps(endpoint)
            async def guarded_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                check(_connection(*args, **kwargs).scope)
                return await endpoint(*args, **kwargs)

            return cast("Callable[P, T]", guarded_async)

        @functools.wraps(endpoint)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            check(_connection(*args, **kwargs).scope)
            return endpoint(*args, **kwargs)

        return guarded

    return guard


def _guarded_class(endpoint: type[Any], check: Callable[[Scope], User]) -> type[Any]:
    """A subclass that checks before anything is dispatched to its methods."""
    if not issubclass(endpoint, HTTPEndpoint | WebSocketEndpoint):
        raise ConfigurationError("endpoint", f"{endpoint.__name__} is no HTTPEndpoint or WebSocketEndpoint")

    async def dispatch(self: Any) -> None:
        check(self.scope)
        await endpoint.dispatch(self)

    names = {name: getattr(endpoint, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(endpoint.__name__, (endpoint,), {**names, "dispatch": dispatch})


def _connection(*args: object, **kwargs: object) -> HTTPConnection:
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, HTTPConnection):
            return argument
    raise ConfigurationError("endpoint", "requires needs an endpoint that is handed the request or WebSocket")
