"""Where a token may stand in a request: the ``Authorization`` header, once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from authcache_middleware.errors import InvalidRequestError, MissingTokenError

__all__ = ["NAMES", "bearer_token", "credentials_of", "token_of"]

NAMES = ("authorization", b"authorization")

# RFC 9110, section 11.2: one or more SP after the scheme, which has no case; RFC 6750, section 2.1: b64token.
# Possessive, so that a long value that does not fit is given up in one pass.
_BEARER = re.compile(r"[ \t]*+(?i:bearer) ++([A-Za-z0-9\-._~+/]++=*+)[ \t]*+", re.ASCII)
# What stands in b64token, but for the "=" at its end.
_USUAL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
# RFC 9110, sections 5.6.2 and 11.4: a scheme is a token, alone or before a space.
_SCHEME = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]++)(?= |\Z)")
# What servers make of two headers when one of another scheme came first.
_BEARER_IN_LIST = re.compile(r",[ \t]*+bearer(?![^ \t,])", re.ASCII | re.IGNORECASE)


def bearer_token(headers: Iterable[tuple[str | bytes, str | bytes]]) -> str:
    """The token that the request's ``Authorization`` header holds.

    ``headers`` are the pairs as the server gives them: names in any case, duplicates kept.

    Raises ``MissingTokenError`` when there are no credentials, or (``absent`` is false) some of another scheme;
    ``InvalidRequestError`` when the header stands twice or is malformed (RFC 6750, sections 2.1 and 3.1).
    """
    credentials = credentials_of(headers)
    if credentials is None:
        raise MissingTokenError
    return token_of(credentials)


def credentials_of(headers: Iterable[tuple[str | bytes, str | bytes]]) -> str | bytes | None:
    """The value of the ``Authorization`` header as it came, ``None`` without one; where it stands twice it raises."""
    credentials: str | bytes | None = None
    for name, field in headers:
        if len(name) == 13 and (name == b"authorization" or name.lower() in NAMES):  # noqa: PLR2004 - a constant costs less
            if credentials is not None:
                raise InvalidRequestError("duplicate")
            credentials = field
    return credentials


def token_of(credentials: str | bytes) -> str:
    """The token that the value of the header holds; raises what ``bearer_token`` raises for its form."""
    octets = credentials if isinstance(credentials, bytes) else credentials.encode("ascii", "replace")
    # As nearly every client writes it. A regular expression costs ten times as much for each character.
    scheme, token = octets[:7], octets[7:]
    if scheme == b"Bearer " and token and not token.translate(None, _USUAL):
        return token.decode("ascii")
    if isinstance(credentials, bytes):
        credentials = credentials.decode("latin-1")
    found = _BEARER.fullmatch(credentials)
    if found is None:
        raise _refusal(credentials)
    return found[1]


def _refusal(credentials: str) -> InvalidRequestError | MissingTokenError:
    """Why ``credentials`` are no bearer token: another scheme, or ours and malformed."""
    credentials = credentials.strip(" \t")
    if not credentials:
        return MissingTokenError(absent=False)
    scheme = _SCHEME.match(credentials)
    if scheme is None or scheme[1].lower() == "bearer" or _BEARER_IN_LIST.search(credentials):
        return InvalidRequestError("malformed")
    return MissingTokenError(absent=False)
