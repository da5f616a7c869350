"""Starlette: the middleware for ``add_middleware``, and what endpoints ask of it.

``request.user`` and ``request.auth`` are set, and Starlette's own ``@requires`` works as well; the one here
answers with a challenge.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from starlette.requests import HTTPConnection

from authcache_middleware import User, asgi
from authcache_middleware.asgi import AuthCacheMiddleware
from authcache_middleware.errors import ConfigurationError

__all__ = ["AuthCacheMiddleware", "current_user", "requires"]

P = ParamSpec("P")
T = TypeVar("T")


def current_user(request: HTTPConnection) -> User:
    """The known user of a request or WebSocket.

    The anonymous one, who stands in ``request.user``, raises ``MissingTokenError``: 401.
    """
    return asgi.current_user(request.scope)


def requires(*scopes: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Lets only known users whose token grants all of ``scopes`` into an endpoint: else 401 or 403.

    The endpoint is a function or a method, ``async`` or plain, that is handed the request or WebSocket under any
    name. A name that is no scope raises ``ConfigurationError`` at once.
    """
    check = asgi.requires(*scopes)

    def guard(endpoint: Callable[P, T]) -> Callable[P, T]:
        if inspect.isclass(endpoint):
            raise ConfigurationError("endpoint", f"decorate the methods of {endpoint.__name__}, not the class")
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


def _connection(*args: object, **kwargs: object) -> HTTPConnection:
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, HTTPConnection):
            return argument
    raise ConfigurationError("endpoint", "requires needs an endpoint that is handed the request or WebSocket")
