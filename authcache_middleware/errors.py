"""What can go wrong: the caller's fault, ours for now, the operator's.

    AuthCacheError
    ├── RefusedError               the caller's fault: answer ``status`` with ``challenge(realm)``
    │   ├── MissingTokenError          401, no credentials that this service takes
    │   ├── InvalidRequestError        400, credentials twice or malformed
    │   ├── InvalidTokenError          401, forged, expired, revoked, or of a user who may not enter
    │   └── InsufficientScopeError     403, a good token that does not reach this far
    ├── LoginRefusedError          a login that is not put on record, for the application to answer
    ├── UnavailableError           ours for now: 503 with ``retry_after``
    │   └── QueueFullError             a queue holds as much as it may
    └── ConfigurationError         the operator's: also a ValueError, names the argument

No message, attribute or repr here holds a token, a key or the value of a claim.
"""

from __future__ import annotations

from traceback import format_tb
from typing import ClassVar

__all__ = [
    "AuthCacheError",
    "ConfigurationError",
    "InsufficientScopeError",
    "InvalidRequestError",
    "InvalidTokenError",
    "LoginRefusedError",
    "MissingTokenError",
    "QueueFullError",
    "RefusedError",
    "UnavailableError",
    "frames_of",
]


class AuthCacheError(Exception):
    """The root of every error that this package raises on purpose."""


class RefusedError(AuthCacheError):
    """The caller's fault: the request is answered with a 4xx.

    ``reason`` is one short word for the operator's logs (``expired``, ``signature``, ``revoked``, …). It is
    never sent to the client, who must not learn which of them it was.
    """

    status: ClassVar[int]
    """The HTTP status that answers the request."""
    error: ClassVar[str | None]
    """The error code of RFC 6750, section 3.1; ``None`` where the request held no credentials."""

    def __init__(self, reason: str) -> None:
        self.reason = reason  # ``Exception`` has taken it already, where the object was made

    def __str__(self) -> str:
        return self.reason

    def challenge(self, realm: str = "api") -> str:
        """The value of ``WWW-Authenticate`` (RFC 6750, section 3; ``realm`` is sent always)."""
        return f'Bearer realm="{realm}"' if self.error is None else f'Bearer realm="{realm}", error="{self.error}"'


class MissingTokenError(RefusedError):
    """The request holds no bearer token: 401 with a bare challenge.

    ``absent`` tells whether there were no credentials at all, which is what ``optional=True`` lets pass as
    anonymous, or some of another scheme, which it does not.
    """

    status = 401
    error = None
    # Of the class where they are usual: no request costs less than this one, and it comes in floods.
    reason = "no credentials"
    absent = True

    def __init__(self, *, absent: bool = True) -> None:
        if not absent:
            self.reason, self.absent = "scheme", False


class InvalidRequestError(RefusedError):
    """The credentials are malformed or given more than once: 400."""

    status = 400
    error = "invalid_request"


class InvalidTokenError(RefusedError):
    """The token, or the user it speaks for, is refused: 401, the same to the client whatever the reason."""

    status = 401
    error = "invalid_token"


class InsufficientScopeError(RefusedError):
    """A good token that does not reach this far: 403, naming the ``scopes`` that are needed.

    There are none where a role is missing (``reason`` is ``role``) or the application's own rule says no (``rule``).
    """

    status = 403
    error = "insufficient_scope"

    def __init__(self, *scopes: str, reason: str = "scope") -> None:
        self.reason = reason
        self.scopes = scopes

    def challenge(self, realm: str = "api") -> str:
        """The challenge, with the scopes needed, if any, in its ``scope`` attribute."""
        plain = super().challenge(realm)
        return f'{plain}, scope="{" ".join(self.scopes)}"' if self.scopes else plain


class LoginRefusedError(AuthCacheError):
    """A login was not put on record, and nothing was changed: raised by ``login``, to be answered by the application.

    ``reason`` is ``max_sessions`` (the user has as many as he may, and ``on_max_sessions`` is ``refuse``), ``ended``
    (this very session was ended before: begin another) or ``too_soon`` (a ``revoke_user`` of a moment ago ends all
    tokens that are issued in the next ``retry_after`` seconds, or more than 256 sessions were ended just now).
    """

    def __init__(self, reason: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        """Whole seconds; ``None`` where waiting does not help."""


class UnavailableError(AuthCacheError):
    """Redis or the loader did not answer in time: nobody knows, so nobody is let in or turned away for good.

    Raised by a request it means 503 and try again. Raised by ``login``, ``logout``, ``revoke_user`` or the like it
    means that Redis has not confirmed the change: it may or may not have happened, call again.
    """

    status: ClassVar[int] = 503

    def __init__(self, reason: str, *, retry_after: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        """Whole seconds, the value of ``Retry-After``."""


class QueueFullError(UnavailableError):
    """A queue holds as many entries as it may: this one was not taken, and none was thrown away to make room."""

    def __init__(self) -> None:
        super().__init__("the queue is full")


class ConfigurationError(AuthCacheError, ValueError):
    """An option is wrong or impossible beside another; the message begins with the option's name."""

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument}: {problem}")
        self.argument = argument


def frames_of(error: Exception) -> str:
    """Where it was raised, for a log: without its message, which may hold values."""
    return "".join(format_tb(error.__traceback__))
