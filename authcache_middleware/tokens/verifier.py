"""From a token's text to its claims: strict parsing, one prepared key, typed claims, and time last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

from authcache_middleware.errors import ConfigurationError, InvalidTokenError
from authcache_middleware.tokens import rules
from authcache_middleware.tokens.claims import Claims, claims_of, read_only
from authcache_middleware.tokens.keys import MAX_KID, Keys, KeySet, KeySource, NoKeys
from authcache_middleware.tokens.profiles import (
    RFC9068_TYP,
    USUAL_SCOPE_CLAIMS,
    Profile,
    RolesClaim,
    claim_path,
    refuse_unlike_rfc9068,
)
from authcache_middleware.tokens.remote import RemoteKeys, UnknownKeyError
from authcache_middleware.tokens.strict import MOST_HEADERS, cut_token, parse_object, read_header

__all__ = ["MAX_LEEWAY", "USUAL_MAX_LIFETIME", "TokenVerifier", "audience_names", "media_types"]

MAX_LEEWAY = 60.0
"""The largest leeway that a service can have, in seconds."""
USUAL_MAX_LIFETIME = 30 * 24 * 60 * 60.0
"""The longest lifetime of a token, in seconds, where a service says nothing else."""

_LONGEST_MAX_LIFETIME = 10 * 366 * 24 * 60 * 60.0

# RFC 7515, section 4.1.11: an extension that is not understood must be refused. None is understood, and of `b64` (RFC
# 7797) and `zip` (RFC 7516, section 4.1.3) each changes what was signed.
_REFUSED_HEADER = frozenset({"crit", "b64", "zip"})
# `cnf`: bound to a key that the sender must prove to hold (RFC 7800), which is not checked here. `events`: a security
# event or logout token (RFC 8417, section 2.2), which must not be taken for an access token.
_REFUSED_CLAIMS = frozenset({"cnf", "events"})
_ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash"})
_NEVER_ACCESS_TOKENS = frozenset({"logout+jwt", "dpop+jwt", "secevent+jwt"})


class TokenVerifier:
    """Decides which tokens are ours and still valid. Its rules never change, for any thread; it never waits.

    ``keys`` and ``algorithms``: see ``KeySet``; or keys that are fetched, which bring their algorithms along.
    ``issuer`` must be a token's ``iss`` exactly; ``None`` takes only tokens without ``iss``. ``audience``, one name or
    several, must have one in ``aud``; ``None`` takes only tokens without ``aud`` (RFC 7519, section 4.1.3).
    ``leeway``: seconds, 0 to 60, granted on ``exp``, ``nbf`` and ``iat``. ``typ``: the media types taken, where
    ``None`` stands for a header without one. ``required``: further claims that must be there and not null.
    ``subject_claim`` names the claim that says who the user is. ``max_token_lifetime``: the longest ``exp - iat`` in
    seconds, ten years at most (of a token without ``iat``: the longest time left). ``require_iat=False`` takes tokens
    without ``iat``. ``reject_id_tokens`` refuses tokens with ``nonce``, ``at_hash`` or ``c_hash``, for providers whose
    ID tokens look like access tokens. ``scope_claims``, ``roles_claim`` and ``profile``: see ``Options``. Raises
    ``ConfigurationError``.
    """

    def __init__(
        self,
        *,
        keys: Keys | RemoteKeys | NoKeys,
        algorithms: Iterable[str],
        issuer: str | None,
        audience: str | Iterable[str] | None,
        leeway: float = 5.0,
        typ: Iterable[str | None] = ("JWT", "at+jwt", None),
        required: Iterable[str] = (),
        subject_claim: str = "sub",
        max_token_lifetime: float = USUAL_MAX_LIFETIME,
        require_iat: bool = True,
        reject_id_tokens: bool = False,
        scope_claims: Iterable[str] = USUAL_SCOPE_CLAIMS,
        roles_claim: RolesClaim = None,
        profile: Profile = "jwt",
    ) -> None:
        self.keys: KeySource = keys if isinstance(keys, RemoteKeys | NoKeys) else KeySet(keys, algorithms)
        # Nothing that it looks at changes, so that of the headers that pass, which are few, each is looked at once.
        self._judge_header = lru_cache(MOST_HEADERS)(partial(_judge_header, self.keys.algorithms))
        self.issuer = None if issuer is None else _name("issuer", issuer)
        self.audiences = _audiences(audience)
        self.leeway = _seconds("leeway", leeway, most=MAX_LEEWAY)
        self._types = _types(typ)
        self.required = tuple(_names("required", required))
        self._subject_claim = _name("subject_claim", subject_claim)
        self.max_lifetime = _seconds("max_token_lifetime", max_token_lifetime, most=_LONGEST_MAX_LIFETIME)
        if self.max_lifetime == 0:
            raise ConfigurationError("max_token_lifetime", "must be more than 0")
        self._require_iat = _switch("require_iat", require_iat)
        reject = _switch("reject_id_tokens", reject_id_tokens)
        self._id_token_claims = _ID_TOKEN_CLAIMS if reject else frozenset[str]()
        self._scope_claims = tuple(_names("scope_claims", scope_claims))
        self._roles_claim = claim_path("roles_claim", roles_claim)
        if profile not in ("jwt", "rfc9068"):
            raise ConfigurationError("profile", 'must be "jwt" or "rfc9068"')
        self._identifiers: tuple[str, ...] = ()
        if profile == "rfc9068":
            self._be_strict()

    def _be_strict(self) -> None:
        """Ask for all that RFC 9068, sections 2.2 and 4, asks for; what it leaves open stays as it is."""
        refuse_unlike_rfc9068(self._types, issuer=self.issuer, audience=self.audiences, require_iat=self._require_iat)
        self._types = frozenset({RFC9068_TYP})
        self._identifiers = ("client_id",)
        self.required = (*self.required, "jti", "client_id")

    def pick(self, _token: str) -> TokenVerifier:
        """This one, for whatever token: a verifier is a ``TokenRouter`` for one issuer."""
        return self

    def of(self, _issuer: str | None) -> TokenVerifier:
        """This one, for whatever issuer."""
        return self

    def verify(self, token: str, now: float) -> Claims:
        """The claims of ``token``, verified as of ``now`` (wall clock, seconds since 1970).

        Raises ``InvalidTokenError`` for everything else. Its ``reason`` is the first rule broken, in this order:
        ``oversized``, ``malformed``, ``header``, ``typ``, ``algorithm``, ``key``, ``signature``, ``claims``,
        ``id_token``, ``issuer``, ``audience``, ``subject``, ``lifetime``, ``expired``, ``not_yet_valid``. So
        ``expired`` says that all but the time is right. With keys that are fetched, a key that is not there is an
        ``UnknownKeyError``, which is one of these.
        """
        claims, not_before = self._recognised(token, now)
        # Last, since "expired" must mean that everything else is right.
        rules.refuse_late(claims.expires_at, now, self.leeway)
        rules.refuse_early(not_before, claims.issued_at, now, self.leeway)
        return claims

    def recognise(self, token: str, now: float) -> Claims:
        """The claims of ``token`` as ``verify`` returns them, whether or not its time has come or passed.

        For ending a token, never for letting one in: what this service takes no longer, or not yet, another may.
        """
        return self._recognised(token, now)[0]

    def _recognised(self, token: str, now: float) -> tuple[Claims, float | None]:
        """The claims and ``nbf``, with all but the time verified."""
        try:
            return self.read_claims(self.open(token, self._types), now)
        except InvalidTokenError:
            raise
        except Exception:  # noqa: BLE001, S110 - a surprise is no reason to let anyone in; its text may hold claims
            pass
        raise InvalidTokenError("malformed")

    def window(self, claims: Claims) -> tuple[float, float]:
        """From when and until when the token of these claims, verified here, passes: wall clock, but for rounding."""
        earliest = claims.issued_at
        if earliest is None:  # of such a token the time left is bounded
            earliest = claims.expires_at - self.max_lifetime
        not_before = rules.numeric_date(claims.members, "nbf")
        if not_before is not None:
            earliest = max(earliest, not_before)
        return earliest - self.leeway, claims.expires_at + self.leeway

    def open(self, token: str, types: frozenset[str | None]) -> dict[str, Any]:
        """The claims of a token of one of these media types, as one of our keys has signed them, not yet looked at."""
        header, signed, signature, claims_json = cut_token(token)
        algorithm, kid = self._judge_header(types, header)
        self._verify_signature(algorithm, kid, signed, signature)
        return parse_object(claims_json, "claims")

    def _verify_signature(self, algorithm: str, kid: str | None, signed: bytes, signature: bytes) -> None:
        keys = self.keys.current()
        try:
            if keys is None:
                raise InvalidTokenError("key")
            chosen, key, length = keys.choose(algorithm, kid)
            if (length is not None and len(signature) != length) or not chosen.verify(signed, key, signature):
                raise InvalidTokenError("signature")
        except InvalidTokenError as refused:
            # A token that names its key means that one. Any other may have been signed by a key that has no name, or
            # that has been published since.
            if isinstance(self.keys, RemoteKeys) and (keys is None or not keys.names(algorithm, kid)):
                raise UnknownKeyError(self.keys, keys, refused.reason) from None
            raise

    def read_claims(self, claims: dict[str, Any], now: float) -> tuple[Claims, float | None]:
        """The claims and ``nbf`` of what somebody vouches for, with all but the time looked at; takes ``claims`` over.

        Of who has signed it, it knows nothing.
        """
        if not _REFUSED_CLAIMS.isdisjoint(claims):
            raise InvalidTokenError("claims")
        for name in self.required:
            if claims.get(name) is None:
                raise InvalidTokenError("claims")
        if self._id_token_claims and not self._id_token_claims.isdisjoint(claims):
            raise InvalidTokenError("id_token")
        issuer = rules.issuer_is(claims, self.issuer)
        rules.audience_is_among(claims, self.audiences)
        subject = rules.read_subject(claims, self._subject_claim)
        token_id, session_id = rules.optional_id(claims, "jti"), rules.optional_id(claims, "sid")
        for name in self._identifiers:
            rules.optional_id(claims, name)
        scopes = rules.scope_words(claims, self._scope_claims)
        roles = rules.role_names(claims, self._roles_claim) if self._roles_claim else ()
        expires_at, issued_at = rules.numeric_date(claims, "exp"), rules.numeric_date(claims, "iat")
        not_before = rules.numeric_date(claims, "nbf")
        if expires_at is None or (issued_at is None and self._require_iat):
            raise InvalidTokenError("claims")
        # Bounded, so that whoever revokes a token knows for how long the revocation must be kept.
        started = now + self.leeway if issued_at is None else issued_at
        if not expires_at - started <= self.max_lifetime:
            raise InvalidTokenError("lifetime")
        read = claims_of(
            read_only(claims),
            subject=subject,
            issuer=issuer,
            expires_at=expires_at,
            issued_at=issued_at,
            token_id=token_id,
            session_id=session_id,
            scopes=scopes,
            roles=roles,
        )
        return read, not_before

    def subject_of(self, claims: Mapping[str, Any]) -> str | None:
        """Who these claims speak for; ``None`` where they name nobody."""
        return rules.read_subject(claims, self._subject_claim) if self._subject_claim in claims else None

    def __repr__(self) -> str:
        return f"<TokenVerifier: {self.keys!r}>"


def media_types(typ: Iterable[str | None]) -> frozenset[str | None]:
    """The media types as they are compared; raises ``ConfigurationError``."""
    if isinstance(typ, (str, bytes, Mapping)) or not isinstance(typ, Iterable):
        raise ConfigurationError("typ", 'must be a list of media types, such as ["at+jwt", None]')
    types = frozenset(None if each is None else _media_type(_name("typ", each)) for each in typ)
    if not types:
        raise ConfigurationError("typ", "must hold at least one media type, or None for tokens without one")
    return types


def audience_names(argument: str, audience: str | Iterable[str]) -> frozenset[str]:
    """One name or several; raises ``ConfigurationError``."""
    audiences = frozenset([_name(argument, audience)] if isinstance(audience, str) else _names(argument, audience))
    if not audiences:
        raise ConfigurationError(argument, "must name at least one; None takes only tokens without aud")
    return audiences


def _judge_header(algorithms: frozenset[str], types: frozenset[str | None], encoded: bytes) -> tuple[str, str | None]:
    """The ``alg`` and ``kid`` of a header that asks for nothing we refuse."""
    header = read_header(encoded)
    if not header.keys().isdisjoint(_REFUSED_HEADER):
        raise InvalidTokenError("header")
    _check_typ(header, types)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise InvalidTokenError("algorithm")
    kid = header.get("kid")
    if "kid" in header and (not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID):
        raise InvalidTokenError("key")
    return algorithm, kid


def _check_typ(header: Mapping[str, Any], types: frozenset[str | None]) -> None:
    # RFC 7515, section 4.1.9 and RFC 8725, section 3.11: case-insensitive, "application/" may be left out.
    if "typ" in header:
        typ = header["typ"]
        if not isinstance(typ, str) or not typ.isascii() or _media_type(typ) not in types:
            raise InvalidTokenError("typ")
    elif None not in types:
        raise InvalidTokenError("typ")


def _media_type(typ: str) -> str:
    return typ.lower().removeprefix("application/")


def _types(typ: Iterable[str | None]) -> frozenset[str | None]:
    types = media_types(typ)
    if not types.isdisjoint(_NEVER_ACCESS_TOKENS):
        raise ConfigurationError("typ", f"{', '.join(sorted(_NEVER_ACCESS_TOKENS))} are not access tokens")
    return types


def _audiences(audience: str | Iterable[str] | None) -> frozenset[str] | None:
    return None if audience is None else audience_names("audience", audience)


def _names(argument: str, names: Iterable[str]) -> list[str]:
    if isinstance(names, (str, bytes, Mapping)) or not isinstance(names, Iterable):
        raise ConfigurationError(argument, "must be a list of strings")
    return [_name(argument, name) for name in names]


def _name(argument: str, name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(argument, "must be a string that is not empty")
    return name


def _seconds(argument: str, seconds: object, *, most: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= most:
        raise ConfigurationError(argument, f"must be a number of seconds, from 0 to {most:,.0f}")
    return float(seconds)


def _switch(argument: str, switch: object) -> bool:
    if not isinstance(switch, bool):
        raise ConfigurationError(argument, "must be True or False")
    return switch
