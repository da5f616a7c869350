"""Logout tokens: what a provider says of sessions that have ended (OpenID Connect Back-Channel Logout 1.0)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from authcache_middleware.errors import ConfigurationError, InvalidTokenError
from authcache_middleware.tokens import rules
from authcache_middleware.tokens.verifier import MAX_LEEWAY, TokenVerifier, audience_names, media_types

__all__ = ["LOGOUT_TYPES", "MAX_AGE", "LogoutOrder", "LogoutRules"]

LOGOUT_TYPES: Final = ("logout+jwt", "JWT", None)
"""The ``typ`` headers that logout tokens have. Section 2.4 recommends the first; ``events`` tells them apart."""
MAX_AGE: Final = 300.0

_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
_LONGEST_AGE: Final = 24 * 60 * 60.0
_NEVER: Final = frozenset({"at+jwt", "dpop+jwt", "secevent+jwt"})


@dataclass(frozen=True, slots=True, repr=False)
class LogoutOrder:
    """What a verified logout token asks for."""

    issuer: str | None
    subject: str | None
    session_id: str | None
    """One session of the subject's; ``None`` means all of them."""
    token_id: str
    good_for: float
    """Seconds for which the same token might pass again, were it not remembered: at any endpoint, whatever its
    ``max_age`` and its leeway."""


@final
class LogoutRules:
    """What is asked of a logout token beside its issuer and its key.

    ``client_id``, one name or several: what ``aud`` must be or hold; ``None``: the audience of the issuer's access
    tokens. ``typ``: the media types taken, where ``None`` stands for a header without one. ``max_age``: the most
    seconds since ``iat``, a day at most. ``by_session=False`` ends all of the user's sessions where one is named too:
    for providers whose access tokens carry no ``sid``. Raises ``ConfigurationError``.
    """

    def __init__(
        self,
        *,
        client_id: str | Iterable[str] | None = None,
        typ: Iterable[str | None] = LOGOUT_TYPES,
        max_age: float = MAX_AGE,
        by_session: bool = True,
    ) -> None:
        self._client_ids = None if client_id is None else audience_names("client_id", client_id)
        self._types = media_types(typ)
        if not self._types.isdisjoint(_NEVER):
            raise ConfigurationError("typ", f"{', '.join(sorted(_NEVER))} are not logout tokens")
        if isinstance(max_age, bool) or not isinstance(max_age, int | float) or not 1 <= max_age <= _LONGEST_AGE:
            raise ConfigurationError("max_age", f"must be a number of seconds, from 1 to {_LONGEST_AGE:,.0f}")
        self._max_age = max_age
        if not isinstance(by_session, bool):
            raise ConfigurationError("by_session", "must be True or False")
        self._by_session = by_session

    def read(self, verifier: TokenVerifier, token: str, now: float) -> LogoutOrder:
        """What ``token`` asks for, verified as of ``now`` with that issuer's keys and algorithms (section 2.6).

        Raises ``InvalidTokenError`` for everything else; its ``reason`` is one of those of ``TokenVerifier.verify``,
        ``expired`` for one that is older than ``max_age`` too.
        """
        try:
            return self._read(verifier, token, now)
        except InvalidTokenError:
            raise
        except Exception:  # noqa: BLE001, S110 - a surprise is no reason to believe it; its text may hold claims
            pass
        raise InvalidTokenError("malformed")

    def _read(self, verifier: TokenVerifier, token: str, now: float) -> LogoutOrder:
        claims = verifier.open(token, self._types)
        # Section 2.4: what makes it a logout token; neither an access token nor an ID token holds it, and with a nonce
        # it might be taken for an ID token.
        if not _tells_of_logout(claims):
            raise InvalidTokenError("claims")
        if "nonce" in claims:
            raise InvalidTokenError("id_token")
        issuer = rules.issuer_is(claims, verifier.issuer)
        audiences = self._client_ids or verifier.audiences
        if issuer is None or audiences is None:  # both are required of it
            raise InvalidTokenError("issuer" if issuer is None else "audience")
        rules.audience_is_among(claims, audiences)
        subject, session_id = verifier.subject_of(claims), rules.optional_id(claims, "sid")
        token_id = rules.optional_id(claims, "jti")
        expires_at, issued_at = rules.numeric_date(claims, "exp"), rules.numeric_date(claims, "iat")
        if token_id is None or expires_at is None or issued_at is None:
            raise InvalidTokenError("claims")
        if subject is None and session_id is None:
            raise InvalidTokenError("subject")
        rules.refuse_late(min(expires_at, issued_at + self._max_age), now, verifier.leeway)
        rules.refuse_early(rules.numeric_date(claims, "nbf"), issued_at, now, verifier.leeway)
        good_for = min(expires_at, issued_at + _LONGEST_AGE) - now + 2 * MAX_LEEWAY  # once for the other's clock
        return LogoutOrder(issuer, subject, session_id if self._by_session else None, token_id, good_for)


def _tells_of_logout(claims: Mapping[str, Any]) -> bool:
    events = claims.get("events")
    return isinstance(events, dict) and isinstance(events.get(_EVENT), dict)
