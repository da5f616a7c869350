"""Whom to ask about opaque tokens, and how much may be expected of him (RFC 7662). Nothing is asked here."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable
from ssl import SSLContext
from typing import Final, NamedTuple, final
from urllib.parse import quote_plus, urlencode

from authcache_middleware.errors import ConfigurationError
from authcache_middleware.tokens.jwks import TIMEOUT, host_of, seconds_option, transport_of, url_problem
from authcache_middleware.tokens.published import is_weak_secret

__all__ = ["Form", "Introspection", "Post"]

_CACHE_TTL: Final = 60.0
_NEGATIVE_TTL: Final = 10.0
_MAX_BYTES: Final = 32 * 1024
_CONCURRENCY: Final = 16
_LEAST_SECRET: Final = 32


class Form(NamedTuple):
    """What is posted."""

    body: bytes
    """The form, urlencoded."""
    authorization: str
    """The value of the header ``Authorization``."""


Post = Callable[[str, Form], Awaitable[bytes]]
"""A port: the body of the answer to a form, sent once. ``UnusableAnswerError``, or any other error, where there is none
that can be used."""


@final
class Introspection:
    """``introspection=Introspection(url, client_id=…, client_secret=…)``: opaque tokens, which their issuer explains.

    A token that is not in the form of a JWT is posted to ``url`` (RFC 7662, section 2.1), with HTTP Basic (RFC 6749,
    section 2.3.1); one that is broken or encrypted, but has a JWT's header, is posted nowhere. It enters if the
    answer's ``active`` is ``true`` and the rules for JWTs have nothing against what the answer says: ``sub``, ``iss``,
    ``aud``, ``exp``, ``nbf``, ``iat``, ``jti``, ``scope``, ``client_id`` and what else is configured. What differs: an
    answer without ``iss`` is taken for its issuer's; one without ``exp`` holds for ``cache_ttl``, and its token for
    ``max_token_lifetime`` after ``iat``; one that says it is about another kind of token, such as a refresh token, is
    refused. An answer without ``iat`` is refused like a JWT without one, since nothing shows that its token came after
    a ``revoke_user``; with ``require_iat=False`` it is taken if it has ``exp``, and any ``revoke_user`` refuses it
    while that is remembered. ``require_audience=False`` takes answers without ``aud``, where the provider vouches that
    it tells this client of no tokens but those for it.

    An answer is kept for ``cache_ttl`` seconds, never past ``exp``, and a refusal for ``negative_ttl``: for so long it
    may not be seen that the provider has ended a token. What ``logout``, ``revoke_user`` and the user's row say is seen
    at each request all the same. ``logout`` comes before the provider is told: of a token that it calls inactive nobody
    knows whose it was. It is by ``sid``, ``jti`` or ``iat``, as for JWTs, and by a hash of the token, whose spellings
    in upper and lower case are one. A ``sid`` or ``jti`` that holds the token itself is left aside.

    Processes share answers through Redis only where ``cache_secret`` is given: at least 32 random bytes, the same for
    all who share them, and known to nobody else. Answers stand there under a keyed hash of the token, so that nobody
    who reads Redis can tell which token one is about, and sealed with it, so that nobody who writes there can put one
    under another token, or make one up: without the secret Redis would decide who gets in. They are not encrypted; one
    in which the token can be read is not shared. The same ``url``, ``client_id`` and issuer belong to it, since a
    provider may tell two clients two things. Refusals are kept in memory alone: strangers fill no Redis.

    One token is asked about once at a time in a process (on the async face: in an event loop), and ``concurrency`` of
    them at once. A request waits at most ``timeout`` seconds for a place and ``timeout`` for the answer (on the
    blocking face resolving the name comes on top). Where the provider gives no answer that can be used, it is
    ``UnavailableError``, 503. Each question has a connection of its own. ``max_bytes`` bounds the answer; a redirect is
    an error. ``url``, ``ssl_context`` and ``trust_env`` are those of ``JWKS``.

    Needs the extra ``jwks``. Raises ``ConfigurationError``. Immutable; may serve several faces.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        client_secret: str,
        cache_ttl: float = _CACHE_TTL,
        negative_ttl: float = _NEGATIVE_TTL,
        cache_secret: str | bytes | None = None,
        require_audience: bool = True,
        timeout: float = TIMEOUT,
        concurrency: int = _CONCURRENCY,
        max_bytes: int = _MAX_BYTES,
        ssl_context: SSLContext | None = None,
        trust_env: bool = False,
    ) -> None:
        problem = url_problem(url)
        if problem is not None:
            raise ConfigurationError("url", problem)
        self.url = url
        self.client_id = _text("client_id", client_id)
        # RFC 6749, section 2.3.1: each in the form's encoding first, or a colon in the id would end it.
        pair = f"{quote_plus(client_id)}:{quote_plus(_text('client_secret', client_secret))}"
        self._authorization = f"Basic {b64encode(pair.encode()).decode()}"
        self.cache_ttl = seconds_option("cache_ttl", cache_ttl, least=0.0)
        self.negative_ttl = seconds_option("negative_ttl", negative_ttl, least=0.0)
        self.cache_secret = _secret(cache_secret)
        if not isinstance(require_audience, bool):
            raise ConfigurationError("require_audience", "must be True or False")
        self.require_audience = require_audience
        if type(concurrency) is not int or not 0 < concurrency <= 1000:  # noqa: PLR2004
            raise ConfigurationError("concurrency", "must be a whole number from 1 to 1000")
        self.concurrency = concurrency
        self.transport = transport_of("introspection", timeout, max_bytes, ssl_context, trust_env)

    @property
    def host(self) -> str:
        """The host of the URL, for logs."""
        return host_of(self.url)

    async def ask(self, post: Post, token: str) -> bytes:
        """What the provider says of the token, through that port."""
        body = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        return await post(self.url, Form(body, self._authorization))

    def __repr__(self) -> str:
        return f"<Introspection: {self.host}>"


def _text(argument: str, text: object) -> str:
    if not isinstance(text, str) or not text:
        raise ConfigurationError(argument, "must be a string that is not empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = ""
    if not text:
        raise ConfigurationError(argument, "must be text that UTF-8 can hold")
    return text


def _secret(secret: object) -> bytes | None:
    if secret is None:
        return None
    octets = secret.encode(errors="surrogatepass") if isinstance(secret, str) else secret
    if not isinstance(octets, bytes) or len(octets) < _LEAST_SECRET:
        raise ConfigurationError("cache_secret", f"must have at least {_LEAST_SECRET} bytes: secrets.token_bytes(32)")
    if is_weak_secret(octets):
        raise ConfigurationError("cache_secret", "is published or a pattern: make one with secrets.token_bytes(32)")
    return octets
