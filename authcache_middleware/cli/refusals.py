"""Why a service that expects this and that refuses a token: one line for each reason that a verifier gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.issuers import USUAL_TYPES
from authcache_middleware.tokens import rules
from authcache_middleware.tokens.keys import Keys
from authcache_middleware.tokens.profiles import RFC9068_TYP, USUAL_SCOPE_CLAIMS, Profile
from authcache_middleware.tokens.verifier import USUAL_MAX_LIFETIME

__all__ = ["Expected", "Refused", "printable", "shown", "since"]

_IDENTIFIER: Final = "1 to 255 characters, none of them a control character"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the service takes, as far as it was said; ``None`` is not checked."""

    keys: Keys | None
    algorithms: tuple[str, ...] | None
    issuer: str | None
    audience: tuple[str, ...] | None
    leeway: float
    typ: tuple[str | None, ...] = USUAL_TYPES
    profile: Profile = "jwt"


class Refused(NamedTuple):
    """A token that was refused at a moment by what expects this of it."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    expected: Expected
    now: float

    def why(self, reason: str) -> str:
        """What is wrong with it, in one line; ``reason`` is that of ``InvalidTokenError``, or ``unreadable``."""
        return _WHY.get(reason, _odd_claim)(self)


def since(seconds: float, now: float) -> str:
    """A moment, as people read it, and how far away it is."""
    away = _span(abs(now - seconds))
    moment = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{moment} ({away} ago)" if seconds <= now else f"{moment} (in {away})"


def shown(value: object) -> str:
    """A claim's value as JSON, on one line of which no terminal makes anything else."""
    return "absent" if value is None else printable(json.dumps(value, ensure_ascii=False))


def printable(text: str) -> str:
    """``text`` without what a terminal would obey, or show in another order than it stands."""
    return "".join(each if each.isprintable() or each == "\n" else f"\\u{ord(each):04x}" for each in text)


def _audiences(expected: Expected) -> str:
    return " or ".join(map(shown, expected.audience or ("text",)))


def _types(expected: Expected) -> str:
    types = (RFC9068_TYP,) if expected.profile == "rfc9068" else expected.typ
    *others, last = ["none" if typ is None else printable(typ) for typ in types]
    return f"{', '.join(others)} or {last}" if others else last


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _no_key(at: Refused) -> str:
    kid, keys = at.header.get("kid"), at.expected.keys
    if kid is None:
        return "it names no key (kid), and several keys could be meant"
    members = keys.get("keys", ()) if isinstance(keys, Mapping) else ()
    names = [each["kid"] for each in members if isinstance(each, Mapping) and "kid" in each]
    known = f"; known are {', '.join(map(shown, names))}" if names else ""
    return f"its kid {shown(kid)} is not known for its alg{known}"


def _other_algorithm(at: Refused) -> str:
    taken = ", ".join(at.expected.algorithms or ()) or "a signature of HS*, RS*, PS*, ES* or EdDSA"
    return f"its alg is {shown(at.header.get('alg'))}, where {taken} is taken"


def _too_early(at: Refused) -> str:
    latest = at.now + at.expected.leeway
    said = {"nbf": "it is not valid before (nbf)", "iat": "it was issued after now (iat), at"}
    late = [name for name in said if isinstance(at.claims.get(name), int | float) and at.claims[name] > latest]
    return "; ".join(f"{said[name]} {since(at.claims[name], at.now)}" for name in late)


def _odd_claim(at: Refused) -> str:
    """Which of the claims that must be there is not, or which is of another shape than it must be."""
    claims = at.claims
    if "cnf" in claims:
        return "it is bound to a key of its sender (cnf), which is not checked here"
    if "events" in claims:
        return "it is a security event or logout token (events), not an access token"
    for rule, names, shape in _SHAPES:
        for name in names:
            if _raises(rule, claims, name):
                return f"its {name} is {shown(claims[name])}, not {shape}"
    for name, words in _MISSING.items():
        if name not in claims and (name in ("exp", "iat") or at.expected.profile == "rfc9068"):
            return f"it has no {name}{words}"
    return "a claim is not as it must be"


def _raises(rule: Any, claims: Mapping[str, Any], name: str) -> bool:
    try:
        rule(claims, name)
    except InvalidTokenError:
        return True
    return False


_OF_RFC9068: Final = ", which RFC 9068 asks for"
_MISSING: Final = {"exp": "", "iat": " (require_iat=False would take it)", "jti": _OF_RFC9068, "client_id": _OF_RFC9068}
_SHAPES: Final = (
    (rules.numeric_date, ("exp", "iat", "nbf"), "a number of seconds since 1970"),
    (rules.optional_id, ("jti", "sid", "client_id"), _IDENTIFIER),
    (lambda claims, name: rules.scope_words(claims, (name,)), USUAL_SCOPE_CLAIMS, "words in one text"),
)
_WHY: Final[Mapping[str, Callable[[Refused], str]]] = {
    "oversized": lambda _: "it is longer than 8 KiB, or its header than 1 KiB",
    "opaque": lambda _: (
        "it is opaque, no JWT: taken only where introspection is configured, which asks its issuer what it says"
    ),
    "malformed": lambda _: "it is not three segments of canonical base64url, parted by dots: no JWT, or damaged",
    "header": lambda _: "its header is not strict JSON in UTF-8, or names crit, b64 or zip, which nobody here knows",
    "typ": lambda at: f"its typ is {shown(at.header.get('typ'))}, where {_types(at.expected)} is taken",
    "algorithm": _other_algorithm,
    "key": _no_key,
    "signature": lambda _: "its signature does not fit: another key, or it was changed",
    "issuer": lambda at: (
        f"its iss is {shown(at.claims.get('iss'))}, where {shown(at.expected.issuer or 'text')} is taken"
    ),
    "audience": lambda at: f"its aud is {shown(at.claims.get('aud'))}, where {_audiences(at.expected)} is taken",
    "unreadable": lambda _: "its claims are not strict JSON in UTF-8, with each member once",
    "subject": lambda at: f"its sub is {shown(at.claims.get('sub'))}, not {_IDENTIFIER}",
    "lifetime": lambda at: (
        f"it lives for {_span(at.claims['exp'] - at.claims['iat'])}, where {_span(USUAL_MAX_LIFETIME)} is the most "
        "(max_token_lifetime)"
    ),
    "expired": lambda at: f"it has expired: {since(at.claims['exp'], at.now)}",
    "not_yet_valid": _too_early,
}
