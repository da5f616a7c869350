"""What a token must allow: the scopes and roles that an endpoint needs, and the application's own rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict

from authcache_middleware.errors import ConfigurationError, InsufficientScopeError, MissingTokenError
from authcache_middleware.runtime import is_async_callable
from authcache_middleware.users.user import NO_CREDENTIALS, AnonymousUser, Credentials, User

__all__ = ["Needs", "NeedsDict", "authorise", "needed_scopes"]

# RFC 6749, section 3.3: scope-token.
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")

Allows: TypeAlias = Callable[[Any, Credentials], bool]


class NeedsDict(TypedDict, total=False):
    """What ``requires`` takes beside scopes, as a type checker sees it; ``Needs`` says what each one means."""

    any_scope: Iterable[str]
    roles: Iterable[str]
    any_role: Iterable[str]
    allows: Allows


@dataclass(frozen=True, slots=True)
class Needs:
    """All that a request must bring to be let in; nothing but a known user where nothing is named.

    Raises ``ConfigurationError`` for what is no name, and for an empty list: nobody could tell whether it was meant
    to let everyone in.
    """

    scopes: tuple[str, ...] = ()
    """The token grants all of them."""
    any_scope: Iterable[str] | None = None
    """The token grants one of them."""
    roles: Iterable[str] | None = None
    """The token names all of them (see the option ``roles_claim``)."""
    any_role: Iterable[str] | None = None
    """The token names one of them."""
    allows: Allows | None = None
    """A plain function of the user and the credentials that returns ``True``, and nothing like it, to let him in. It is
    asked last, at each request, and must not wait; what it raises is the application's."""

    def __post_init__(self) -> None:
        needed_scopes(self.scopes)
        for argument in ("any_scope", "roles", "any_role"):
            object.__setattr__(self, argument, _names(argument, getattr(self, argument)))
        if self.any_scope:
            needed_scopes(tuple(self.any_scope), "any_scope")
        if self.allows is not None and (not callable(self.allows) or is_async_callable(self.allows)):
            raise ConfigurationError("allows", "must be a plain function of the user and the credentials")

    def refuse(self, user: object, auth: Credentials) -> None:
        """Returns for those who may enter; raises ``InsufficientScopeError`` for others (RFC 6750, section 3.1)."""
        if (self.scopes or self.any_scope) and not _grants(auth.scopes, self.scopes, self.any_scope):
            # A client that asks for all of these gets in.
            raise InsufficientScopeError(*dict.fromkeys((*self.scopes, *(self.any_scope or ()))))
        # No scope is named from here on: none would help.
        if (self.roles or self.any_role) and not _grants(auth.roles, self.roles, self.any_role):
            raise InsufficientScopeError(reason="role")
        if self.allows is not None and self.allows(user, auth) is not True:
            raise InsufficientScopeError(reason="rule")


def needed_scopes(scopes: tuple[str, ...], argument: str = "scopes") -> tuple[str, ...]:
    """``scopes`` as they were given; raises ``ConfigurationError`` for what is not the name of one scope."""
    for scope in scopes:
        if not isinstance(scope, str) or not _SCOPE_TOKEN.fullmatch(scope):
            raise ConfigurationError(argument, f"{scope!r} is not one scope: give each as an argument of its own")
    return scopes


def authorise(request: Mapping[str, Any], user_key: str, auth_key: str, needs: Needs | None = None) -> User:
    """The known user of ``request`` (a scope or environment), who brings all that is needed, if anything is.

    Raises ``MissingTokenError`` for the anonymous user, ``InsufficientScopeError`` where something is not granted,
    and ``ConfigurationError`` where no middleware of ours has said who the user is.
    """
    user, auth = request.get(user_key), request.get(auth_key)
    # Other middleware writes to the same places, and its nobody is no ``AnonymousUser``: only our own word counts.
    if user is None or not isinstance(auth, Credentials):
        raise ConfigurationError("app", "AuthCacheMiddleware does not stand before it, or another stands between")
    if auth is NO_CREDENTIALS or isinstance(user, AnonymousUser):
        raise MissingTokenError
    if needs is not None:
        needs.refuse(user, auth)
    known: User = user  # or of the application's own type, which a scope cannot tell
    return known


def _grants(granted: tuple[str, ...], every: Iterable[str] | None, one: Iterable[str] | None) -> bool:
    """Whether all of ``every`` and at least one of ``one`` are granted, as far as they are asked for."""
    for name in every or ():
        if name not in granted:
            return False
    return one is None or any(name in granted for name in one)


def _names(argument: str, names: object) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, str | bytes | Mapping) or not isinstance(names, Iterable):
        raise ConfigurationError(argument, "must be a list of names")
    listed = tuple(names)
    if not listed or not all(isinstance(name, str) and name for name in listed):
        raise ConfigurationError(argument, "must hold names that are not empty, at least one")
    return listed
