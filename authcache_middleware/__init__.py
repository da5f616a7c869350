"""ASGI and WSGI authentication middleware: bearer tokens to known users, through Redis."""

from authcache_middleware.authcache import AsyncAuthCache, AuthCache
from authcache_middleware.bearer.places import TokenPlaces
from authcache_middleware.errors import (
    AuthCacheError,
    ConfigurationError,
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    LoginRefusedError,
    MissingTokenError,
    RefusedError,
    UnavailableError,
)
from authcache_middleware.issuers import Issuer
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.introspection import Introspection
from authcache_middleware.tokens.jwks import JWKS
from authcache_middleware.users.session import Session
from authcache_middleware.users.user import AnonymousUser, Credentials, Identity, User

__all__ = [  # noqa: RUF022 - in the order of their letters
    "AnonymousUser",
    "AsyncAuthCache",
    "AuthCache",
    "AuthCacheError",
    "Claims",
    "ConfigurationError",
    "Credentials",
    "Identity",
    "InsufficientScopeError",
    "Introspection",
    "InvalidRequestError",
    "InvalidTokenError",
    "Issuer",
    "JWKS",
    "LoginRefusedError",
    "MissingTokenError",
    "RefusedError",
    "Session",
    "TokenPlaces",
    "UnavailableError",
    "User",
]
