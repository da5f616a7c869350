"""What a token must allow: the scopes an endpoint needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from authcache_middleware.errors import ConfigurationError, InsufficientScopeError, MissingTokenError
from authcache_middleware.users.user import NO_CREDENTIALS, AnonymousUser, Credentials, User

__all__ = ["authorise", "needed_scopes"]

# RFC 6749, section 3.3: scope-token.
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


def needed_scopes(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """``scopes`` as they were given; raises ``ConfigurationError`` for what is not the name of one scope."""
    for scope in scopes:
        if not isinstance(scope, str) or not _SCOPE_TOKEN.fullmatch(scope):
            raise ConfigurationError("scopes", f"{scope!r} is not one scope: give each as an argument of its own")
    return scopes


def authorise(request: Mapping[str, Any], user_key: str, auth_key: str, needed: tuple[str, ...]) -> User:
    """The known user of ``request`` (a scope or environment), whose token allows all that is ``needed``.

    Raises ``MissingTokenError`` for the anonymous user, ``InsufficientScopeError`` where a scope is not granted
    (RFC 6750, section 3.1), and ``ConfigurationError`` where no middleware of ours has said who the user is.
    """
    user, auth = request.get(user_key), request.get(auth_key)
    # Other middleware writes to the same places, and its nobody is no ``AnonymousUser``: only our own word counts.
    if user is None or not isinstance(auth, Credentials):
        raise ConfigurationError("app", "AuthCacheMiddleware does not stand before it, or another stands between")
    if auth is NO_CREDENTIALS or isinstance(user, AnonymousUser):
        raise MissingTokenError
    for scope in needed:
        if scope not in auth.scopes:
            raise InsufficientScopeError(*needed)
    return cast("User", user)  # or the application's own type, which a scope cannot tell
