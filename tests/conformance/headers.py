"""The conformance table's cases of headers: every way to write, or not to write, ``Authorization``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from conformance.cases import ENTERS, MALFORMED, MISSING, REFUSED, Case
from conformance.world import World

# {t} is a good token.
HEADERS: list[tuple[str, list[tuple[str, str]], Mapping[str, Any]]] = [
    ("plain", [("Authorization", "Bearer {t}")], ENTERS),
    ("name in lower case", [("authorization", "Bearer {t}")], ENTERS),
    ("name in upper case", [("AUTHORIZATION", "Bearer {t}")], ENTERS),
    ("scheme in lower case", [("Authorization", "bearer {t}")], ENTERS),
    ("scheme in mixed case", [("Authorization", "bEaReR {t}")], ENTERS),
    ("many spaces", [("Authorization", "Bearer    {t}")], ENTERS),
    ("space before", [("Authorization", "  Bearer {t}")], ENTERS),
    ("space after", [("Authorization", "Bearer {t}  ")], ENTERS),
    ("tab after", [("Authorization", "Bearer {t}\t")], ENTERS),
    ("among others", [("Accept", "*/*"), ("Authorization", "Bearer {t}"), ("X-User", "bob")], ENTERS),
    ("identity headers beside it", [("Authorization", "Bearer {t}"), ("Remote-User", "bob")], ENTERS),
    ("none", [], MISSING),
    ("only identity headers", [("X-User", "alice"), ("Remote-User", "alice"), ("X-Remote-User", "alice")], MISSING),
    ("proxy credentials", [("Proxy-Authorization", "Bearer {t}")], MISSING),
    ("cookie", [("Cookie", "access_token={t}")], MISSING),
    ("x-authorization", [("X-Authorization", "Bearer {t}")], MISSING),
    ("empty", [("Authorization", "")], MISSING),
    ("blank", [("Authorization", "   ")], MISSING),
    ("basic", [("Authorization", "Basic YWxpY2U6cHc=")], MISSING),
    ("token scheme", [("Authorization", "Token {t}")], MISSING),
    ("digest with commas", [("Authorization", 'Digest username="alice", realm="api", nonce="x"')], MISSING),
    ("no scheme", [("Authorization", "{t}")], MISSING),
    ("scheme glued", [("Authorization", "Bearer{t}")], MISSING),
    ("dpop", [("Authorization", "DPoP {t}")], MISSING),
    ("scheme alone", [("Authorization", "Bearer")], MALFORMED),
    ("scheme and space", [("Authorization", "Bearer ")], MALFORMED),
    ("tab between", [("Authorization", "Bearer\t{t}")], MALFORMED),
    ("space and tab between", [("Authorization", "Bearer \t{t}")], MALFORMED),
    ("colon", [("Authorization", "Bearer: {t}")], MALFORMED),
    ("quoted", [("Authorization", 'Bearer "{t}"')], MALFORMED),
    ("parameter", [("Authorization", 'Bearer token="{t}"')], MALFORMED),
    ("two tokens", [("Authorization", "Bearer {t} {t}")], MALFORMED),
    ("comma list", [("Authorization", "Bearer {t}, Bearer {t}")], MALFORMED),
    ("comma list without space", [("Authorization", "Bearer {t},Bearer {t}")], MALFORMED),
    ("list of two schemes", [("Authorization", "Basic dTpw, Bearer {t}")], MALFORMED),
    ("list of two schemes, ours first", [("Authorization", "Bearer {t}, Basic dTpw")], MALFORMED),
    ("trailing comma", [("Authorization", "Bearer {t},")], MALFORMED),
    ("leading comma", [("Authorization", ", Bearer {t}")], MALFORMED),
    ("semicolon", [("Authorization", "Bearer {t};")], MALFORMED),
    ("percent", [("Authorization", "Bearer %41{t}")], MALFORMED),
    ("latin-1 byte", [("Authorization", "Bearer {t}\xe9")], MALFORMED),
    ("no-break space", [("Authorization", "Bearer\xa0{t}")], MALFORMED),
    ("only padding", [("Authorization", "Bearer ===")], MALFORMED),
    ("padding inside", [("Authorization", "Bearer a=b")], MALFORMED),
    ("bad scheme character", [("Authorization", "Bear(er {t}")], MALFORMED),
    ("twice, the same", [("Authorization", "Bearer {t}"), ("Authorization", "Bearer {t}")], MALFORMED),
    ("twice in two cases", [("Authorization", "Bearer {t}"), ("authorization", "Bearer {t}")], MALFORMED),
    ("twice, apart", [("Authorization", "Bearer {t}"), ("Accept", "*/*"), ("Authorization", "x y")], MALFORMED),
    ("twice, empty first", [("Authorization", ""), ("Authorization", "Bearer {t}")], MALFORMED),
    ("twice, empty last", [("Authorization", "Bearer {t}"), ("Authorization", "")], MALFORMED),
    ("basic and bearer", [("Authorization", "Basic dTpw"), ("Authorization", "Bearer {t}")], MALFORMED),
    ("bearer and basic", [("Authorization", "Bearer {t}"), ("Authorization", "Basic dTpw")], MALFORMED),
    ("not a token at all", [("Authorization", "Bearer abc")], REFUSED),
    ("two segments", [("Authorization", "Bearer a.b")], REFUSED),
    ("dots", [("Authorization", "Bearer ..")], REFUSED),
    ("five segments", [("Authorization", "Bearer a.b.c.d.e")], REFUSED),
    ("over 8 KiB", [("Authorization", "Bearer " + "a" * 9000)], REFUSED),
    ("a megabyte", [("Authorization", "Bearer " + "a" * 1_000_000)], REFUSED),
    ("padded token", [("Authorization", "Bearer {t}=")], REFUSED),
    ("slash in the token", [("Authorization", "Bearer {t}/")], REFUSED),
]


def _headers(pairs: list[tuple[str, str]]) -> Callable[[World], tuple[tuple[str, str], ...]]:
    return lambda world: tuple((name, value.replace("{t}", world.token())) for name, value in pairs)


def header_cases() -> Iterator[Case]:
    for name, pairs, outcome in HEADERS:
        yield Case(name=f"header: {name}", headers=_headers(pairs), **outcome)
