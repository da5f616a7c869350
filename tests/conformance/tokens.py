"""The conformance table's cases of tokens: how each differs from a good one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from conformance.cases import ENTERS, REFUSED, Case, bearer
from conformance.world import World


def _now(world: World, seconds: float) -> int:
    return int(world.clock.wall() + seconds)


def _resegmented(change: Callable[[list[str]], str]) -> Callable[[World], str]:
    return lambda world: change(world.token().split("."))


def _b64(members: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(members).encode()).rstrip(b"=").decode()


def _flipped(text: str) -> str:
    return text[:5] + ("A" if text[5] != "A" else "B") + text[6:]


def _spelt_otherwise(signature: str) -> str:
    """The same bytes with another last character: 32 bytes leave two bits over."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return signature[:-1] + alphabet[alphabet.index(signature[-1]) ^ 1]


TOKENS: list[tuple[str, Callable[[World], str], Mapping[str, Any]]] = [
    ("another audience beside ours", lambda w: w.token(audience=["billing", "orders"]), ENTERS),
    ("access token type", lambda w: w.token(typ="at+jwt"), ENTERS),
    ("type with its prefix", lambda w: w.token(typ="application/at+jwt"), ENTERS),
    ("no type", lambda w: w.token(typ=None), ENTERS),
    ("no id", lambda w: w.token(token_id=None), ENTERS),
    ("no scope", lambda w: w.token(scope=None), ENTERS),
    ("expired within the leeway", lambda w: w.token(now=_now(w, -302), lifetime=300), ENTERS),
    ("issued ahead within the leeway", lambda w: w.token(now=_now(w, 3)), ENTERS),
    ("valid from now", lambda w: w.token(claims={"nbf": _now(w, 0)}), ENTERS),
    ("times with fractions", lambda w: w.token(claims={"exp": w.clock.wall() + 9.5}), ENTERS),
    ("a jwk in the header is not read", lambda w: w.token(headers={"jwk": {"kty": "oct", "k": "AA"}}), ENTERS),
    ("expired", lambda w: w.token(now=_now(w, -400), lifetime=300), REFUSED),
    ("expired long ago", lambda w: w.token(now=_now(w, -9e6), lifetime=300), REFUSED),
    ("not yet valid", lambda w: w.token(claims={"nbf": _now(w, 60)}), REFUSED),
    ("issued in the future", lambda w: w.token(now=_now(w, 60)), REFUSED),
    ("lives too long", lambda w: w.token(lifetime=31 * 86400.0), REFUSED),
    ("no expiry", lambda w: w.token(claims={"exp": None}), REFUSED),
    ("no issue time", lambda w: w.token(claims={"iat": None}), REFUSED),
    ("expiry as text", lambda w: w.token(claims={"exp": "9999999999"}), REFUSED),
    ("expiry true", lambda w: w.token(claims={"exp": True}), REFUSED),
    ("expiry NaN", lambda w: w.token(claims={"exp": float("nan")}), REFUSED),
    ("expiry infinite", lambda w: w.token(claims={"exp": float("inf")}), REFUSED),
    ("expiry a list", lambda w: w.token(claims={"exp": [1]}), REFUSED),
    ("not-before as text", lambda w: w.token(claims={"nbf": "0"}), REFUSED),
    ("another audience", lambda w: w.token(audience="billing"), REFUSED),
    ("no audience", lambda w: w.token(audience=None), REFUSED),
    ("audience in another case", lambda w: w.token(audience="Orders"), REFUSED),
    ("audience that begins like ours", lambda w: w.token(audience="orders2"), REFUSED),
    ("empty audience list", lambda w: w.token(audience=[]), REFUSED),
    ("audience a number", lambda w: w.token(claims={"aud": 1}), REFUSED),
    ("another issuer", lambda w: w.token(issuer="https://evil.example"), REFUSED),
    ("no issuer", lambda w: w.token(issuer=None), REFUSED),
    ("issuer with a slash", lambda w: w.token(issuer="https://id.example/"), REFUSED),
    ("issuer a list", lambda w: w.token(claims={"iss": ["https://id.example"]}), REFUSED),
    ("no subject", lambda w: w.token(None), REFUSED),
    ("empty subject", lambda w: w.token(""), REFUSED),
    ("subject a number", lambda w: w.token(claims={"sub": 1}), REFUSED),
    ("subject of 256", lambda w: w.token("a" * 256), REFUSED),
    ("subject of 10 KB", lambda w: w.token("a" * 10_000), REFUSED),
    ("subject with a control character", lambda w: w.token("alice\n"), REFUSED),
    ("subject with a NUL", lambda w: w.token("alice\0"), REFUSED),
    ("another key", lambda w: w.token(key="x" * 64), REFUSED),
    ("another algorithm of the family", lambda w: w.token(algorithm="HS512"), REFUSED),
    ("algorithm none", _resegmented(lambda s: f"{_b64({'alg': 'none', 'typ': 'JWT'})}.{s[1]}."), REFUSED),
    ("algorithm none, signed", _resegmented(lambda s: f"{_b64({'alg': 'none'})}.{s[1]}.{s[2]}"), REFUSED),
    ("algorithm in lower case", lambda w: w.token(headers={"alg": "hs256"}), REFUSED),
    ("no algorithm", lambda w: w.token(headers={"alg": None}), REFUSED),
    ("algorithm a list", lambda w: w.token(headers={"alg": ["HS256"]}), REFUSED),
    ("id token", lambda w: w.token(typ="id+jwt"), REFUSED),
    ("logout token", lambda w: w.token(typ="logout+jwt"), REFUSED),
    ("proof of possession", lambda w: w.token(typ="dpop+jwt"), REFUSED),
    ("type a number", lambda w: w.token(headers={"typ": 1}), REFUSED),
    ("critical extension", lambda w: w.token(headers={"crit": ["exp"]}), REFUSED),
    ("unencoded payload", lambda w: w.token(headers={"b64": False}), REFUSED),
    ("compressed", lambda w: w.token(headers={"zip": "DEF"}), REFUSED),
    ("sender-constrained", lambda w: w.token(claims={"cnf": {"jkt": "x"}}), REFUSED),
    ("header over 1 KiB", lambda w: w.token(headers={"x": "a" * 2000}), REFUSED),
    ("signature cut", _resegmented(lambda s: f"{s[0]}.{s[1]}.{s[2][:-4]}"), REFUSED),
    ("signature gone", _resegmented(lambda s: f"{s[0]}.{s[1]}."), REFUSED),
    ("signature changed", _resegmented(lambda s: f"{s[0]}.{s[1]}.{_flipped(s[2])}"), REFUSED),
    ("signature spelt otherwise", _resegmented(lambda s: f"{s[0]}.{s[1]}.{_spelt_otherwise(s[2])}"), REFUSED),
    ("claims of another", _resegmented(lambda s: f"{s[0]}.{_b64({'sub': 'bob'})}.{s[2]}"), REFUSED),
    ("claims changed", _resegmented(lambda s: f"{s[0]}.{_flipped(s[1])}.{s[2]}"), REFUSED),
    ("header changed", _resegmented(lambda s: f"{_b64({'typ': 'JWT', 'alg': 'HS256'})}.{s[1]}.{s[2]}"), REFUSED),
    ("segments swapped", _resegmented(lambda s: f"{s[1]}.{s[0]}.{s[2]}"), REFUSED),
    ("a fourth segment", _resegmented(lambda s: ".".join([*s, s[2]])), REFUSED),
    ("a leading dot", _resegmented(lambda s: "." + ".".join(s)), REFUSED),
]


def token_cases() -> Iterator[Case]:
    for name, token, outcome in TOKENS:
        yield Case(name=f"token: {name}", headers=lambda world, token=token: bearer(token(world)), **outcome)
