"""Flask: the middleware, with ``init_app``, and what views ask of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, Unpack, cast

from flask import Flask, Request, Response, abort, current_app, request
from flask.views import View

from authcache_middleware import TokenPlaces, User, wsgi
from authcache_middleware.errors import ConfigurationError, RefusedError, UnavailableError

__all__ = ["AuthCacheMiddleware", "current_user", "requires"]

P = ParamSpec("P")
T = TypeVar("T")


class AuthCacheMiddleware(wsgi.AuthCacheMiddleware):
    """The WSGI middleware, which ``init_app`` puts around a Flask application."""

    @classmethod
    def init_app(
        cls,
        app: Flask,
        auth: wsgi.Face,
        *,
        exempt: Iterable[str] = (),
        optional: bool = False,
        allow_preflight: bool = False,
        realm: str = "api",
        refusal_body: wsgi.RefusalBody | None = None,
        tokens_in: TokenPlaces | None = None,
    ) -> AuthCacheMiddleware:
        """Wraps ``app.wsgi_app``, with the options of the constructor, and returns the middleware.

        Refusals and outages that a view raises (``auth.logout(…)`` while Redis is down) are then answered too;
        Flask would make 500 of them.
        """
        middleware = cls(
            app.wsgi_app,
            auth=auth,
            exempt=exempt,
            optional=optional,
            allow_preflight=allow_preflight,
            realm=realm,
            refusal_body=refusal_body,
            tokens_in=tokens_in,
        )
        app.wsgi_app = middleware  # type: ignore[method-assign]  # Flask's documented place for it
        app.register_error_handler(RefusedError, _response)
        app.register_error_handler(UnavailableError, _response)
        app.extensions["authcache"] = middleware
        return middleware


def current_user() -> User:
    """The known user of the request that is being served.

    The anonymous one, who stands in ``request.environ["authcache.user"]``, is answered with 401.
    """
    return _checked(wsgi.current_user)


def requires(*scopes: str, **needs: Unpack[wsgi.NeedsDict]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Lets only known users whose token grants all of ``scopes`` into a view: else 401 or 403.

    Further needs are ``any_scope``, ``roles``, ``any_role`` and ``allows``, see ``wsgi.Needs``. The view is a function,
    plain or ``async`` (then Flask's own extra ``async`` is needed); or a class, a ``View`` or ``MethodView``, of which
    a guarded subclass is returned. What is no name raises ``ConfigurationError`` at once.
    """
    check = wsgi.requires(*scopes, **needs)

    def guard(view: Callable[P, T]) -> Callable[P, T]:
        if inspect.isclass(view):
            return cast("Callable[P, T]", _guarded_class(view, guard))

        @functools.wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            _checked(check)
            waited: T = current_app.ensure_sync(view)(*args, **kwargs)
            return waited

        return guarded

    return guard


def _guarded_class(view: type[Any], guard: Callable[..., Any]) -> type[Any]:
    """A subclass whose views are guarded, outside of all other decorators."""
    if not issubclass(view, View):
        raise ConfigurationError("view", f"{view.__name__} is no View or MethodView")
    names = {name: getattr(view, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(view.__name__, (view,), {**names, "decorators": [*view.decorators, guard]})


def _checked(check: Callable[[dict[str, Any]], User]) -> User:
    """Flask keeps a view's exceptions for itself, all but those of HTTP that bring their response along."""
    try:
        # Flask documents it (Notes On Proxies); an attribute that is asked of the proxy takes five times as much.
        current: Request = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
        return check(current.environ)
    except RefusedError as refused:
        abort(_response(refused))


def _response(error: Exception) -> Response:
    answer = request.environ["authcache.answer"](error)
    return Response(answer.body, answer.status, list(answer.headers))
