"""What a verified token must say of whom it speaks for, and until when: pure rules over claims.

Each rule raises ``InvalidTokenError`` with one short reason and never shows a claim's value. Comparisons are written so
that a number that cannot be compared is refused, not let through.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from authcache_middleware.errors import InvalidTokenError

__all__ = [
    "audience_is_among",
    "issuer_is",
    "numeric_date",
    "optional_id",
    "read_subject",
    "refuse_early",
    "refuse_late",
    "role_names",
    "scope_words",
]

# No control characters (C0, DEL, C1), which have forged log lines and headers, and nothing that UTF-8 cannot hold.
_match_identifier = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}").fullmatch
# The end of the year 9999, the last that a datetime can hold.
_LAST_DATE = 253_402_300_799


def issuer_is(claims: Mapping[str, Any], issuer: str | None) -> str | None:
    """The issuer, which must be exactly ours; ``None``, with which a token must name none (RFC 7519, section 4.1.1)."""
    if "iss" in claims if issuer is None else claims.get("iss") != issuer:
        raise InvalidTokenError("issuer")
    return issuer


def audience_is_among(claims: Mapping[str, Any], audiences: frozenset[str] | None) -> None:
    """Refuse a token that is for others (RFC 7519, section 4.1.3); with ``None``, one that is for anyone named."""
    if audiences is None:
        if "aud" in claims:
            raise InvalidTokenError("audience")
        return
    audience = claims.get("aud")
    if isinstance(audience, str):
        ours = audience in audiences
    else:
        ours = isinstance(audience, list) and _all_strings(audience) and not audiences.isdisjoint(audience)
    if not ours:
        raise InvalidTokenError("audience")


def read_subject(claims: Mapping[str, Any], name: str) -> str:
    """The subject: a string of 1 to 255 characters without control characters."""
    subject = claims.get(name)
    if not isinstance(subject, str) or not _is_identifier(subject):
        raise InvalidTokenError("subject")
    return subject


def optional_id(claims: Mapping[str, Any], name: str) -> str | None:
    """``jti`` or ``sid``, by which a token is revoked: where there is one it must be usable."""
    if name not in claims:
        return None
    value = claims[name]
    if not isinstance(value, str) or not _is_identifier(value):
        raise InvalidTokenError("claims")
    return value


def scope_words(claims: Mapping[str, Any], names: Iterable[str] = ("scope",)) -> tuple[str, ...]:
    """The words of the first of the claims ``names`` that there is, which nothing but a space parts.

    ``scope`` is a text (RFC 8693, section 4.2; RFC 6749, section 3.3). Others are no standard's: some write lists.
    """
    for name in names:
        if name in claims:
            scope = claims[name]
            if isinstance(scope, str):
                return tuple(filter(None, scope.split(" ")))
            if name != "scope" and isinstance(scope, list) and _all_strings(scope):
                return tuple(scope)
            raise InvalidTokenError("claims")
    return ()


def role_names(claims: Mapping[str, Any], path: Iterable[str]) -> tuple[str, ...]:
    """The roles, one in a text or several in a list, that stand where the names of ``path`` lead; none without one."""
    found: object = claims
    for name in path:
        if not isinstance(found, Mapping):
            raise InvalidTokenError("claims")
        if name not in found:
            return ()
        found = found[name]
    if isinstance(found, str):
        return (found,)
    if isinstance(found, list) and _all_strings(found):
        return tuple(found)
    raise InvalidTokenError("claims")


def numeric_date(claims: Mapping[str, Any], name: str) -> float | None:
    """``exp``, ``iat`` or ``nbf`` in seconds since 1970 (RFC 7519, section 2); ``None`` without one."""
    if name not in claims:
        return None
    date = claims[name]
    # Not isinstance: True and False are ints.
    if (type(date) is not int and type(date) is not float) or not 0 <= date <= _LAST_DATE:
        raise InvalidTokenError("claims")
    return float(date)


def refuse_late(expires_at: float, now: float, leeway: float) -> None:
    """Refuse a token that has expired (RFC 7519, section 4.1.4)."""
    if not now < expires_at + leeway:
        raise InvalidTokenError("expired")


def refuse_early(not_before: float | None, issued_at: float | None, now: float, leeway: float) -> None:
    """Refuse a token that is not valid yet (RFC 7519, section 4.1.5), or that was issued in the future."""
    latest = now + leeway
    if not_before is not None and not not_before <= latest:
        raise InvalidTokenError("not_yet_valid")
    if issued_at is not None and not issued_at <= latest:
        raise InvalidTokenError("not_yet_valid")


def _is_identifier(text: str) -> bool:
    if text.isascii() and text.isprintable():  # what the pattern says of such text, without looking at it one by one
        return 0 < len(text) <= 255  # noqa: PLR2004
    return _match_identifier(text) is not None


def _all_strings(names: list[object]) -> bool:
    return all(isinstance(name, str) for name in names)
