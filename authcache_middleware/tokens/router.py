"""Which issuer a token is of: its ``iss``, read before it is verified, chooses the keys and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.tokens.strict import parse_object, split_token
from authcache_middleware.tokens.verifier import TokenVerifier

__all__ = ["TokenRouter"]


@final
class TokenRouter:
    """The verifiers of several issuers, by the exact ``iss``. Each verifies that again: what it says here is a claim.

    Only the keys of the issuer that a token names are tried. With one verifier nothing is read beforehand.
    """

    __slots__ = ("_by_issuer", "_only")

    def __init__(self, by_issuer: Mapping[str | None, TokenVerifier]) -> None:
        self._by_issuer = dict(by_issuer)
        self._only = next(iter(by_issuer.values())) if len(by_issuer) == 1 else None

    def pick(self, token: str) -> TokenVerifier:
        """The verifier for this token. Raises ``InvalidTokenError`` for a token of nobody we know."""
        if self._only is not None:
            return self._only
        issuer, is_read = None, False
        try:
            issuer = parse_object(split_token(token).claims_json, "claims").get("iss")
            is_read = True
        except InvalidTokenError:
            raise
        except Exception:  # noqa: BLE001, S110 - as a verifier does: a surprise is no reason to let anyone in
            pass
        if not is_read:
            raise InvalidTokenError("malformed")
        verifier = self._by_issuer.get(issuer) if isinstance(issuer, str) else None
        if verifier is None:
            raise InvalidTokenError("issuer")
        return verifier

    def of(self, issuer: str | None) -> TokenVerifier | None:
        """The verifier of this issuer's tokens."""
        return self._by_issuer.get(issuer)

    def recognise(self, token: str, now: float) -> Claims:
        """See ``TokenVerifier.recognise``."""
        return self.pick(token).recognise(token, now)

    def __repr__(self) -> str:
        return repr(self._only) if self._only is not None else f"<TokenRouter: {len(self._by_issuer)} issuers>"
