"""``authcache inspect``: what a token says, and in one line why a service would refuse it."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from authcache_middleware.cli.mint import public_half
from authcache_middleware.cli.refusals import Expected, Refused, printable, shown, since
from authcache_middleware.errors import ConfigurationError, InvalidTokenError
from authcache_middleware.runtime import finish
from authcache_middleware.tokens.jwk_set import UnusableAnswerError
from authcache_middleware.tokens.jwks import JWKS
from authcache_middleware.tokens.keys import Keys
from authcache_middleware.tokens.material import FAMILIES
from authcache_middleware.tokens.strict import parse_object, split_token
from authcache_middleware.tokens.verifier import TokenVerifier

__all__ = ["inspect", "published_keys", "token_text", "verification_key"]

_ACCEPTED, _REFUSED, _UNVERIFIED = 0, 1, 3
_MOST_READ = 1 << 20
_TIMES = ("iat", "nbf", "exp")


def inspect(token: str, expected: Expected) -> int:
    """Prints what ``token`` says and what would become of it, never its signature; returns the exit status."""
    console = Console(highlight=False, soft_wrap=True)
    now = time.time()
    try:
        parts = split_token(token)
        header, claims = dict(parts.header), parse_object(parts.claims_json, "unreadable")
    except InvalidTokenError as refused:
        reason = "opaque" if refused.reason == "malformed" and _looks_opaque(token) else refused.reason
        status, said = _REFUSED, Refused({}, {}, expected, now).why(reason)
    else:
        for line in _contents(header, claims, now):
            console.print(Text(line))
        status, said = _judged(token, header, claims, expected, now)
    word: tuple[str, str] = _WORDS[status]
    console.print(Text.assemble(word, ": ", printable(said)))
    waived = [f"{name} (--{name})" for name in ("issuer", "audience") if getattr(expected, name) is None]
    if waived and status != _REFUSED:
        console.print(Text(f"not checked: {', '.join(waived)}"))
    return status


def token_text(argument: str) -> str:
    """The token that was given, or with ``-`` the one on standard input; with or without ``Bearer`` before it."""
    text = (sys.stdin.buffer.read(_MOST_READ).decode(errors="replace") if argument == "-" else argument).strip()
    return text[7:].strip() if text[:7].lower() == "bearer " else text


def verification_key(key: str) -> Keys:
    """``key``, or the public half of a private one; raises ``click.UsageError``."""
    if "PRIVATE KEY-----" not in key:
        return key
    try:
        return public_half(key)
    except Exception:  # noqa: BLE001, S110 - the library has many errors, whose text may hold the key
        pass
    raise click.UsageError("the private key cannot be read")


def published_keys(source: str) -> Keys:
    """The JWK or JWK set in a file or at a URL; raises ``click.UsageError`` and ``click.ClickException``."""
    try:
        keys = json.loads(_fetched(source) if _is_url(source) else Path(source).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise click.UsageError(f"--jwks cannot be read ({type(exc).__name__})") from None
    if not isinstance(keys, dict) or not ("kty" in keys or isinstance(keys.get("keys"), list)):
        raise click.UsageError("--jwks holds neither a JWK nor a JWK set")
    return keys


_is_url = re.compile(r"https?://", re.IGNORECASE).match


def _fetched(url: str) -> bytes:
    """What a provider publishes there, asked for once, by the rules of ``JWKS``."""
    try:
        provider = JWKS(url)
    except ConfigurationError as wrong:
        raise click.UsageError(f"--jwks: {wrong}") from None
    from authcache_middleware.tokens.fetch import BlockingGet  # needs httpx, as its provider did

    try:
        return finish(provider.fetch(BlockingGet(provider.transport)))
    except Exception as exc:  # noqa: BLE001 - httpx has many
        problem = str(exc) if isinstance(exc, UnusableAnswerError) else type(exc).__name__
    raise click.ClickException(f"--jwks could not be fetched: {problem}")


# RFC 6750, section 2.1: what may be sent as a token at all. And the beginning of each JSON object in base64url, by
# which a JWT that was damaged on its way still shows what it was.
_match_bearer = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII).fullmatch
_BEGINNING = "eyJ"


def _looks_opaque(token: str) -> bool:
    return _match_bearer(token) is not None and not token.startswith(_BEGINNING)


_WORDS = {
    _ACCEPTED: ("accepted", "bold green"),
    _REFUSED: ("refused", "bold red"),
    _UNVERIFIED: ("not verified", "bold yellow"),
}


def _contents(header: Mapping[str, Any], claims: Mapping[str, Any], now: float) -> Iterator[str]:
    for title, members in (("header", header), ("claims", claims)):
        yield f"{title} {printable(json.dumps(dict(members), ensure_ascii=False, indent=2))}"
    for name in _TIMES:
        if type(claims.get(name)) in (int, float):
            try:
                yield f"{name}: {since(claims[name], now)}"
            except (OverflowError, ValueError, OSError):  # no date that people have
                continue


def _judged(
    token: str, header: Mapping[str, Any], claims: Mapping[str, Any], expected: Expected, now: float
) -> tuple[int, str]:
    """What a service that expects this would make of the token."""
    algorithm = header.get("alg")
    known = isinstance(algorithm, str) and algorithm in FAMILIES
    algorithms = expected.algorithms or ((str(algorithm),) if known else ())
    if algorithm not in algorithms:
        return _REFUSED, Refused(header, claims, expected, now).why("algorithm")
    keys = expected.keys
    if keys is None:
        token, keys, algorithms = _sealed_anew(token, header)
    try:
        _verifier(keys, algorithms, claims, expected).verify(token, now)
    except InvalidTokenError as refused:
        return _REFUSED, Refused(header, claims, expected, now).why(refused.reason)
    except ConfigurationError as wrong:
        if expected.profile == "rfc9068" and wrong.argument in _OF_RFC9068:
            return _REFUSED, f"it has no {_OF_RFC9068[wrong.argument]}, which RFC 9068 asks for"
        if wrong.argument != "keys":
            raise click.ClickException(str(wrong)) from None
        return _REFUSED, f"its alg is {shown(algorithm)}, which no key that was given serves ({wrong})"
    if expected.keys is None:
        return _UNVERIFIED, "nothing speaks against it, but no key was given for its signature"
    return _ACCEPTED, "its signature is good, and nothing speaks against it"


# Of what was not said, the token itself says what is expected; and where it does not, nothing is.
_OF_RFC9068 = {"issuer": "iss", "audience": "aud"}


def _sealed_anew(token: str, header: Mapping[str, Any]) -> tuple[str, Keys, tuple[str, ...]]:
    """The same token as if a secret of our own had signed it, so that all but the signature can be judged."""
    secret = secrets.token_bytes(64)
    signed = f"{_segment(json.dumps({**header, 'alg': 'HS256'}).encode())}.{token.split('.')[1]}"
    return f"{signed}.{_segment(hmac.digest(secret, signed.encode(), hashlib.sha256))}", secret, ("HS256",)


def _segment(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def _verifier(keys: Keys, algorithms: Iterable[str], claims: Mapping[str, Any], expected: Expected) -> TokenVerifier:
    """One that expects what was said, and of what was not, what the token itself says."""
    issuer, audience = expected.issuer, expected.audience
    if issuer is None:
        issuer = next(_texts(claims.get("iss")), None)
    if audience is None:
        own = claims.get("aud")
        audience = tuple(text for each in (own if isinstance(own, list) else [own]) for text in _texts(each)) or None
    return TokenVerifier(
        keys=keys,
        algorithms=algorithms,
        issuer=issuer,
        audience=audience,
        leeway=expected.leeway,
        typ=expected.typ,
        profile=expected.profile,
    )


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str) and value:
        yield value
