"""``authcache revoke``: ending a user's access, one session or one token, as the services' own calls do."""

from __future__ import annotations

import time
from dataclasses import dataclass

import click

from authcache_middleware.cli.reached import Reached
from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.runtime import finish
from authcache_middleware.tokens import rules
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.strict import parse_object, split_token

__all__ = ["Ended", "claims_of", "revoke_session", "revoke_token", "revoke_user"]


@dataclass(frozen=True, slots=True)
class Ended:
    """What was ended, in words for machines and for people."""

    revoked: str
    said: str


def revoke_user(there: Reached, subject: str, *, leeway: float) -> Ended:
    """All of the user's sessions and tokens."""
    finish(there.revoker.user(subject))
    return Ended("user", f"every session, and every token issued until {leeway:g} s from now, is refused")


def revoke_session(there: Reached, subject: str, sid: str) -> Ended:
    """One session, on record or not."""
    finish(there.revoker.session(subject, sid))
    return Ended("session", "every token of the session is refused, later ones too")


def revoke_token(there: Reached, claims: Claims) -> Ended:
    """The token's session, or the token alone where it has no ``sid``."""
    finish(there.revoker.token(claims, now=time.time()))
    if claims.session_id is not None:
        return Ended("session", "every token of the token's session is refused, later ones too")
    return Ended("token", "the token is refused")


def claims_of(token: str, subject_claim: str) -> Claims:
    """What a token says that names it and its user; its signature is not looked at. Raises ``click.UsageError``."""
    try:
        claims = parse_object(split_token(token).claims_json, "claims")
        expires_at = rules.numeric_date(claims, "exp")
        if expires_at is None:
            raise InvalidTokenError("claims")
        return Claims(
            subject=rules.read_subject(claims, subject_claim),
            issuer=None,
            expires_at=expires_at,
            issued_at=rules.numeric_date(claims, "iat"),
            token_id=rules.optional_id(claims, "jti"),
            session_id=rules.optional_id(claims, "sid"),
            scopes=(),
            members={},
        )
    except InvalidTokenError as refused:
        raise click.UsageError(f"the token cannot be read ({refused.reason})") from None
