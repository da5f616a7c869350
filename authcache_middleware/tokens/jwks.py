"""Where a provider publishes its keys, and how much may be expected of it. Nothing is fetched here."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from ssl import SSLContext
from typing import Final

from authcache_middleware.errors import ConfigurationError

__all__ = [
    "DAY",
    "JWKS",
    "MAX_BYTES",
    "REFRESH",
    "TIMEOUT",
    "Get",
    "Transport",
    "host_of",
    "seconds_option",
    "transport_of",
    "url_problem",
]

Get = Callable[[str], Awaitable[bytes]]
"""A port: the body of what is at a URL, asked for once. ``UnusableAnswerError``, or any other error, where there is
none that can be used."""

REFRESH: Final = 300.0
DAY: Final = 24 * 60 * 60.0
TIMEOUT: Final = 3.0
MAX_BYTES: Final = 256 * 1024

# What every parser of URLs reads in the same way: no user, no fragment, no backslash, a host in ASCII.
_match_url = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{1,5})?((?:[/?](?:(?![#\\])[!-~])*)?)", re.ASCII
).fullmatch
_LONGEST_URL: Final = 2048
_LONGEST: Final = 366 * 24 * 60 * 60.0


@dataclass(frozen=True, slots=True, repr=False)
class Transport:
    """How a provider is asked."""

    timeout: float
    """Seconds that one request may take, from its beginning to the last byte of its answer."""
    max_bytes: int
    ssl_context: SSLContext
    trust_env: bool


class JWKS:
    """``keys=JWKS("https://id.example/jwks.json")``: the keys that a provider publishes, followed as they change.

    They are fetched when the first token needs them, and renewed in the background, every ``refresh`` seconds while
    tokens come. A token whose key is known never waits for that; one whose key is not makes them be fetched, once in
    30 seconds for all such tokens, and waits for it. A key that the provider has removed is refused after the next
    fetch. While the provider gives no answer that can be used (also one without any key), the last good keys serve on
    for ``max_stale`` seconds; a token that needs another one is answered with 503. Every process fetches for itself.

    ``url`` is ``https``, or ``http`` at a loopback address; a redirect is an error. ``timeout``: seconds for one whole
    answer (on the blocking face resolving the name comes on top, and connecting takes as long for each address).
    ``max_bytes`` bounds the answer. ``ssl_context`` brings authorities of one's own; by default those of ``certifi``
    are trusted. ``trust_env=True`` lets ``HTTPS_PROXY`` and the like in the environment decide how the provider is
    reached.

    Needs the extra ``jwks``. Raises ``ConfigurationError``. Immutable; may serve several faces, which share nothing.
    """

    def __init__(
        self,
        url: str,
        *,
        refresh: float = REFRESH,
        max_stale: float = DAY,
        timeout: float = TIMEOUT,
        max_bytes: int = MAX_BYTES,
        ssl_context: SSLContext | None = None,
        trust_env: bool = False,
    ) -> None:
        problem = url_problem(url)
        if problem is not None:
            raise ConfigurationError("url", problem)
        self.url = url
        self.refresh = seconds_option("refresh", refresh, least=1.0)
        self.max_stale = seconds_option("max_stale", max_stale, least=self.refresh)
        self.transport = transport_of("keys", timeout, max_bytes, ssl_context, trust_env)

    @property
    def host(self) -> str:
        """The host of the URL, for logs."""
        return host_of(self.url)

    @property
    def longest(self) -> float:
        """Seconds that ``fetch`` may take."""
        return self.transport.timeout

    async def fetch(self, get: Get) -> bytes:
        """The document with the keys, through that port."""
        return await get(self.url)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.host}>"


def url_problem(url: object, *, is_plain_allowed: bool = True) -> str | None:
    """Why keys must not be fetched from there, or ``None``: whoever can change the answer can sign."""
    match = _match_url(url) if isinstance(url, str) and len(url) <= _LONGEST_URL else None
    if match is None:
        return "must be an absolute https URL in ASCII, without user and fragment"
    if match[1] == "http" and not (is_plain_allowed and _is_loopback(match[2])):
        return "must be https, since whoever can change the answer can sign"
    return None


def host_of(url: str) -> str:
    """The host in a URL that ``url_problem`` has nothing against."""
    match = _match_url(url)
    return "" if match is None else match[2]


def _is_loopback(host: str) -> bool:
    try:
        return host.lower() == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def transport_of(
    asked_for: str, timeout: object, max_bytes: object, ssl_context: object, trust_env: object
) -> Transport:
    """How to ask a provider, by these options; ``asked_for`` is the option that needs it."""
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes <= 0:
        raise ConfigurationError("max_bytes", "must be a whole number above 0")
    if ssl_context is not None and not isinstance(ssl_context, SSLContext):
        raise ConfigurationError("ssl_context", "must be an ssl.SSLContext")
    if not isinstance(trust_env, bool):
        raise ConfigurationError("trust_env", "must be True or False")
    seconds = seconds_option("timeout", timeout, least=0.001)
    return Transport(seconds, max_bytes, ssl_context or _usual_context(asked_for), trust_env)


def _usual_context(asked_for: str) -> SSLContext:
    try:
        from authcache_middleware.tokens.fetch import usual_context
    except ImportError as exc:
        raise ConfigurationError(asked_for, "asking a provider needs httpx: authcache-middleware[jwks]") from exc
    return usual_context()


def seconds_option(argument: str, seconds: object, *, least: float) -> float:
    """An option in seconds, from ``least`` to a year."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool) and math.isfinite(seconds)
    if not is_number or not least <= seconds <= _LONGEST:  # type: ignore[operator]  # it is a number
        raise ConfigurationError(argument, f"must be a number of seconds, from {least:g} to a year")
    return float(seconds)  # type: ignore[arg-type]  # it is a number
