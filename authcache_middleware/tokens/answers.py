"""What an answer about an opaque token means: RFC 7662, section 2.2, under the rules for JWTs. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.tokens import rules
from authcache_middleware.tokens.claims import Claims, read_only
from authcache_middleware.tokens.introspection import Introspection
from authcache_middleware.tokens.jwk_set import UnusableAnswerError, read_document
from authcache_middleware.tokens.sealed import Answer
from authcache_middleware.tokens.verifier import TokenVerifier

__all__ = ["Introspected", "digest_of", "read_answer", "repeats"]

# Providers explain refresh and ID tokens too, whose bearer must not get in with them: what an answer says of the kind
# of its token must be one of these. `token_type` is the standard's (RFC 6749, section 5.1), `token_use` and `typ` are
# how some providers tell kinds apart. A `DPoP` token needs a proof that is not checked here (RFC 9449).
_KINDS: Final = {
    "token_type": frozenset({"bearer", "access_token"}),
    "token_use": frozenset({"access", "access_token"}),
    "typ": frozenset({"bearer", "at+jwt", "jwt"}),
}


class Introspected(NamedTuple):
    """What an answer says of its token, and for how long that need not be asked again. No verdict of the moment."""

    claims: Claims
    not_before: float | None
    asked_at: float
    until: float
    """When the answer is too old, or its token has expired: wall clock."""
    size: int
    """The bytes of the answer's text."""

    def is_fresh(self, now: float) -> bool:
        """Whether it may be used without asking; not by a clock that was set back, either."""
        return self.asked_at <= now < self.until


def digest_of(token: str) -> bytes:
    """The token's place in memory."""
    return hashlib.sha256(b"authcache opaque token\0" + token.encode()).digest()


def read_answer(answer: Answer, token: str, verifier: TokenVerifier, terms: Introspection) -> Introspected:
    """What the answer says, all but the time judged by the verifier's rules.

    Raises ``InvalidTokenError``: ``inactive_token``, ``typ``, or what the rules for claims say; and
    ``UnusableAnswerError`` where the answer is none.
    """
    members = read_document(answer.text)
    folded = _folded(token)
    active = members.get("active")
    if active is False:
        raise InvalidTokenError("inactive_token")
    if active is not True:  # "true" and 1 are neither
        raise UnusableAnswerError("active is neither true nor false")
    _refuse_members(members, verifier)
    said = _completed(members, answer, folded, verifier, terms)
    try:
        claims, not_before = verifier.read_claims(said, answer.asked_at)
    except InvalidTokenError:
        raise
    except Exception:  # noqa: BLE001 - a surprise is no reason to let anyone in; its text may hold claims
        claims = None
    if claims is None:
        raise InvalidTokenError("malformed")
    until = min(answer.asked_at + terms.cache_ttl, claims.expires_at)
    own = replace(claims, members=read_only(members), opaque_id=digest_of(folded).hex())
    return Introspected(own, not_before, answer.asked_at, until, len(answer.text))


def repeats(answer: Answer, token: str) -> bool:
    """Whether the token can be read in the answer: in any name or value, within a longer text, or respelled."""
    # Written anew, so that each character has one form; in it no text can end another.
    said = json.dumps(read_document(answer.text), ensure_ascii=False)
    return json.dumps(_folded(token))[1:-1] in said.casefold()


def _folded(token: str) -> str:
    """What all spellings have in common that a provider may take for one token.

    His database may compare texts without regard to case, and what decodes base64 need not miss the padding.
    """
    return token.casefold().rstrip("=")


def _refuse_members(members: Mapping[str, Any], verifier: TokenVerifier) -> None:
    """Raise for what speaks against the token before anything is put in the place of what was not said."""
    for name, kinds in _KINDS.items():
        if name in members and (not isinstance(members[name], str) or members[name].lower() not in kinds):
            raise InvalidTokenError("typ")
    for name in verifier.required:
        if members.get(name) is None:
            raise InvalidTokenError("claims")
    rules.optional_id(members, "client_id")
    if members.get("iat") is None and members.get("exp") is None:
        raise InvalidTokenError("claims")  # nothing would ever end it: it would outlive the memory of its logout


def _completed(
    members: Mapping[str, Any], answer: Answer, folded: str, verifier: TokenVerifier, terms: Introspection
) -> dict[str, Any]:
    """The members, with what may be left out here and not in a JWT; never in place of what was said."""
    said = dict(members)
    for name in ("jti", "sid"):
        # Some name a token by itself, as they have it in their database: the token would stand among the revocations.
        if isinstance(said.get(name), str) and folded in said[name].casefold():
            del said[name]
    if verifier.issuer is not None:
        said.setdefault("iss", verifier.issuer)  # it was this issuer who was asked
    if verifier.audiences and not terms.require_audience:
        said.setdefault("aud", min(verifier.audiences))
    if "exp" not in said:
        # No revocation is remembered for longer than that after `iat`: then the token must have ended.
        issued_at = rules.numeric_date(members, "iat")
        last = math.inf if issued_at is None else issued_at + verifier.max_lifetime
        said["exp"] = min(answer.asked_at + terms.cache_ttl, last)
    return said
