"""What requests say where tokens may stand, over ASGI and WSGI; and tokens out of the application's sight."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from authcache_middleware.bearer.places import Sent, TokenPlaces, is_query_token

__all__ = ["answered_subprotocol", "asgi_sent", "conceal", "wsgi_sent"]


def asgi_sent(scope: Mapping[str, Any], places: TokenPlaces) -> Sent:
    """What an HTTP request or the handshake of a WebSocket says."""
    csrf = places.csrf_header.lower().encode("ascii")
    seen: dict[bytes, list[str]] = {b"authorization": [], b"cookie": [], b"origin": [], csrf: []}
    for name, value in scope["headers"]:
        field = seen.get(name.lower())
        if field is not None:
            field.append(value.decode("latin-1"))
    return Sent(
        scope["method"] if scope["type"] == "http" else None,
        seen[b"authorization"],
        seen[b"cookie"],
        seen[b"origin"],
        seen[csrf],
        list(scope.get("subprotocols") or ()),
        scope.get("query_string", b"").decode("latin-1"),
    )


def wsgi_sent(environ: Mapping[str, Any], places: TokenPlaces) -> Sent:
    """What an HTTP request says; fields that came twice were joined by the server, and fit nothing then."""
    names = ("HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_ORIGIN", "HTTP_" + places.csrf_header.upper().replace("-", "_"))
    authorization, cookie, origin, csrf = ([environ[name]] if name in environ else [] for name in names)
    return Sent(environ["REQUEST_METHOD"], authorization, cookie, origin, csrf, [], "")


def conceal(scope: MutableMapping[str, Any], places: TokenPlaces) -> None:
    """Takes the token out of a WebSocket's subprotocols and query: neither is for the application, or for logs."""
    if places.subprotocol:
        offered = list(scope.get("subprotocols") or ())
        before = [None, *offered]
        scope["subprotocols"] = [
            each for each, last in zip(offered, before, strict=False) if last != places.subprotocol
        ]
    if isinstance(places.query, str):
        pieces = scope.get("query_string", b"").split(b"&")
        kept = [piece for piece in pieces if not is_query_token(piece.decode("latin-1"), places.query)]
        if len(kept) < len(pieces):
            scope["query_string"] = b"&".join(kept)


def answered_subprotocol(chosen: str | None, offered: list[str], places: TokenPlaces) -> str | None:
    """What a WebSocket is answered of those ``offered``: the application's choice, or the marker of the token.

    Browsers give up a connection whose answer names none of what they offered.
    """
    if isinstance(places.subprotocol, str) and places.subprotocol in offered and chosen not in offered:
        return places.subprotocol
    return chosen
