"""OpenID Connect Discovery 1.0: from an issuer's name to where its keys are."""

from __future__ import annotations

from ssl import SSLContext
from typing import Final

from authcache_middleware.errors import ConfigurationError
from authcache_middleware.tokens.jwk_set import UnusableAnswerError, read_document
from authcache_middleware.tokens.jwks import JWKS, Get, url_problem

__all__ = ["DiscoveredJWKS"]

_WELL_KNOWN: Final = "/.well-known/openid-configuration"


class DiscoveredJWKS(JWKS):
    """The keys of an issuer that says itself where they are; each fetch asks it again, so that they may move.

    The options are those of ``JWKS``; ``timeout`` and ``max_bytes`` hold for each of the two answers.
    """

    def __init__(
        self,
        issuer: str,
        *,
        refresh: float,
        max_stale: float,
        timeout: float,
        max_bytes: int,
        ssl_context: SSLContext | None,
        trust_env: bool,
    ) -> None:
        problem = url_problem(issuer) or ("must have no query" if "?" in issuer else None)
        if problem is not None:
            raise ConfigurationError("issuer", problem)
        self.issuer = issuer
        super().__init__(
            issuer.removesuffix("/") + _WELL_KNOWN,  # section 4: a slash at the end comes off first
            refresh=refresh,
            max_stale=max_stale,
            timeout=timeout,
            max_bytes=max_bytes,
            ssl_context=ssl_context,
            trust_env=trust_env,
        )

    @property
    def longest(self) -> float:
        """See ``JWKS``: two answers."""
        return 2 * self.transport.timeout

    async def fetch(self, get: Get) -> bytes:
        """See ``JWKS``."""
        document = read_document(await get(self.url))
        # Section 4.3: exactly equal, or one provider could speak for another.
        if document.get("issuer") != self.issuer:
            raise UnusableAnswerError("the document is of another issuer")
        where = document.get("jwks_uri")
        # Plain HTTP to this machine is for a provider that is there itself: another has no business here.
        if url_problem(where, is_plain_allowed=self.issuer.startswith("http:")) is not None:
            raise UnusableAnswerError("jwks_uri is missing or not an https URL")
        return await get(str(where))
