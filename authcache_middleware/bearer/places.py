"""Where a token may stand beside the ``Authorization`` header: a cookie, a WebSocket's subprotocols or its query.

What is found is said as the ``Authorization`` header that it stands for, so that whoever reads headers refuses two of
them as it refuses two headers, and needs to know of no other place.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote_plus

from authcache_middleware.errors import ConfigurationError, InvalidRequestError

__all__ = ["Headers", "Sent", "TokenPlaces", "is_query_token"]

Headers = Iterable[tuple[str, str]]

# RFC 9110, section 5.6.2: what a cookie's name, a subprotocol and a header's name are made of.
_match_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_B64TOKEN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
_match_parameter = re.compile(r"[A-Za-z0-9_.\-]+").fullmatch
# RFC 6454, section 6.2, as browsers write it: in lower case, without a path.
_match_origin = re.compile(r"[a-z][a-z0-9+.\-]*://[^/?#@\sA-Z*]+").fullmatch
_USUAL_PORT = re.compile(r"(http://.*:80|https://.*:443)")
# RFC 9110, section 9.2.1.
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Sent(NamedTuple):
    """What a request says where a token, or the right to bring one by cookie, may stand; fields as they came."""

    method: str | None
    """``None`` for a WebSocket."""
    authorization: list[str]
    cookie: list[str]
    origin: list[str]
    csrf: list[str]
    subprotocols: list[str]
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlaces:
    """The places where a token may stand. A request has one in one of them: two are 400, whatever they are.

    Raises ``ConfigurationError`` for what cannot work.
    """

    header: bool = True
    """``Authorization: Bearer …`` (RFC 6750, section 2.1)."""

    cookie: str | bool = False
    """The cookie's name; ``True`` is ``__Host-access_token``, which browsers take over HTTPS only, and from this very
    host (over plain HTTP, in development, another name is needed). The application sets it, with ``Secure``,
    ``HttpOnly``, ``Path=/`` and ``SameSite=Lax``.

    Browsers send cookies with requests that other sites make. So with an unsafe method (not GET, HEAD, OPTIONS, TRACE)
    the request's ``Origin`` must be one of ``origins``; where there is no ``Origin``, or there are no ``origins``, the
    header ``csrf_header`` must hold what the cookie ``csrf_cookie`` does. A WebSocket needs one of ``origins``."""
    origins: Iterable[str] = ()
    """Where this service's pages come from, exactly as browsers send it: ``https://app.example``."""
    csrf_cookie: str | bool = False
    """The name of the cookie of the double submit, which pages can read; ``True`` is ``__Host-csrf_token``. The
    application sets it to something long and random (``secrets.token_urlsafe()``)."""
    csrf_header: str = "X-CSRF-Token"
    """The header in which pages send it back."""

    subprotocol: str | bool = False
    """For WebSockets, whose headers browsers cannot set: the subprotocol after which the token stands as another, so
    ``new WebSocket(url, ["bearer", token])``; ``True`` is ``bearer``. The token is taken out of
    ``scope["subprotocols"]``, and the answer names this one unless the application chooses another of those offered."""
    query: str | bool = False
    """For WebSockets: the parameter of the query, which is taken out of ``scope["query_string"]``; ``True`` is
    ``access_token``. Addresses are logged by proxies: of the places the worst (RFC 6750, section 5.3)."""

    def __post_init__(self) -> None:
        if not isinstance(self.header, bool):
            raise ConfigurationError("header", "must be True or False")
        for argument, usual, match in (
            ("cookie", "__Host-access_token", _match_token),
            ("csrf_cookie", "__Host-csrf_token", _match_token),
            ("subprotocol", "bearer", _match_token),
            ("query", "access_token", _match_parameter),
        ):
            name = getattr(self, argument)
            if name is True:
                object.__setattr__(self, argument, usual)
            elif name is not False and not (isinstance(name, str) and match(name)):
                raise ConfigurationError(argument, "must be a name, True for the usual one, or False")
        if not isinstance(self.csrf_header, str) or not _match_token(self.csrf_header):
            raise ConfigurationError("csrf_header", "must be the name of a header")
        if self.csrf_header.lower() in {"authorization", "cookie", "origin"}:
            raise ConfigurationError("csrf_header", "must be a header that only pages of this service would send")
        object.__setattr__(self, "origins", _origins(self.origins))
        self._refuse_impossible()

    def _refuse_impossible(self) -> None:
        if not (self.header or self.cookie or self.subprotocol or self.query):
            raise ConfigurationError("header", "is the only place left: a token must stand somewhere")
        if self.cookie and not (self.origins or self.csrf_cookie):
            raise ConfigurationError("cookie", "needs origins or csrf_cookie, or other sites could use it")
        if not self.cookie and (self.origins or self.csrf_cookie):
            raise ConfigurationError("origins" if self.origins else "csrf_cookie", "says nothing without cookie")
        if self.cookie and self.cookie == self.csrf_cookie:
            raise ConfigurationError("csrf_cookie", "must be another cookie than the token's")

    @property
    def is_header_alone(self) -> bool:
        """Whether there is no other place."""
        return self.header and not (self.cookie or self.subprotocol or self.query)

    def credentials(self, sent: Sent) -> Headers:
        """The ``Authorization`` headers that what was sent stands for; one, if all is well.

        Raises ``InvalidRequestError`` when it is iterated, as whoever reads headers does: for what is no token
        (``malformed``), and for a cookie that another site may have sent (``origin``).
        """
        tokens: list[str] = []
        if sent.cookie and isinstance(self.cookie, str):
            tokens += _cookie_values(sent.cookie, self.cookie)
        by_cookie = bool(tokens)
        if sent.method is None:
            if isinstance(self.subprotocol, str):
                tokens += _after(sent.subprotocols, self.subprotocol)
            if isinstance(self.query, str):
                tokens += _parameters(sent.query, self.query)
        found = [*sent.authorization] if self.header else []
        if tokens:
            found += [f"Bearer {token}" for token in tokens]
        if tokens and len(found) == 1:
            if not _is_bearer_token(tokens[0]):
                return _Refused("malformed")
            if by_cookie and not self._is_ours(sent):
                return _Refused("origin")
        return [("Authorization", credentials) for credentials in found]

    def _is_ours(self, sent: Sent) -> bool:
        """Whether a request that a cookie came with was made by a page of this service, or can do no harm."""
        if sent.method in _SAFE_METHODS:
            return True
        if self.origins and sent.origin:
            return len(sent.origin) == 1 and sent.origin[0] in self.origins
        if not isinstance(self.csrf_cookie, str) or sent.method is None:
            return False
        cookies = _cookie_values(sent.cookie, self.csrf_cookie)
        if len(cookies) != 1 or len(sent.csrf) != 1 or not cookies[0]:
            return False
        return hmac.compare_digest(cookies[0].encode(), sent.csrf[0].encode())


class _Refused:
    """Headers that refuse to be read: so that a refusal is counted where all others are."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __iter__(self) -> Iterator[tuple[str, str]]:
        raise InvalidRequestError(self._reason)


def _cookie_values(fields: list[str], name: str) -> list[str]:
    """The values of every cookie of that name (RFC 6265, section 5.4); HTTP/2 may send each in a field of its own."""
    # Exactly the name: a server that took " __Host-x" for "__Host-x" would let in what the prefix keeps out.
    values = []
    for field in fields:
        for pair in field.split(";"):
            found, _, value = pair.strip(" \t").partition("=")
            if found == name:
                values.append(value)
    return values


def _is_bearer_token(text: str) -> bool:
    """RFC 6750, section 2.1: b64token. A regular expression takes twice as long."""
    octets = text.encode("ascii", "replace").rstrip(b"=")  # by "?", which is none of the characters
    return bool(octets) and not octets.translate(None, _B64TOKEN)


def _after(subprotocols: list[str], marker: str) -> list[str]:
    """What stands after each marker; nothing (which is no token) where it is the last."""
    following = [*subprotocols[1:], ""]
    return [token for offered, token in zip(subprotocols, following, strict=False) if offered == marker]


def _parameters(query: str, name: str) -> list[str]:
    return [unquote_plus(piece.partition("=")[2]) for piece in query.split("&") if is_query_token(piece, name)]


def is_query_token(piece: str, name: str) -> bool:
    """Whether a piece of the query (``name=value``, as it was sent) is the parameter of that name, however spelt."""
    return unquote_plus(piece.partition("=")[0]) == name


def _origins(origins: object) -> frozenset[str]:
    if isinstance(origins, str | bytes) or not isinstance(origins, Iterable):
        raise ConfigurationError("origins", 'must be a list, such as ["https://app.example"]')
    listed = list(origins)
    for origin in listed:
        if not isinstance(origin, str) or not _match_origin(origin) or _USUAL_PORT.fullmatch(origin):
            raise ConfigurationError(
                "origins", f"{origin!r} is nothing that a browser sends: scheme://host in lower case, a port if unusual"
            )
    return frozenset(listed)
