"""Signed tokens for tests and development: what an identity provider would issue, without one."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any

from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.utils import base64url_encode

from authcache_middleware.errors import ConfigurationError
from authcache_middleware.tokens.material import FAMILIES

__all__ = ["issue_token"]

_RANDOM = "random"


def issue_token(
    key: object,
    *,
    algorithm: str = "HS256",
    subject: str | None = "1",
    issuer: str | None = None,
    audience: str | Iterable[str] | None = None,
    lifetime: float = 300.0,
    now: float | None = None,
    kid: str | None = None,
    typ: str | None = "JWT",
    token_id: str | None = _RANDOM,
    scope: str | None = None,
    claims: Mapping[str, Any] | None = None,
    headers: Mapping[str, Any] | None = None,
) -> str:
    """A signed token in compact form, valid from ``now`` (the wall clock's) for ``lifetime`` seconds.

    ``key`` is an HMAC secret, or a private key: PEM or an object of ``cryptography``. What is ``None`` is left out;
    ``token_id="random"`` makes a fresh one. ``claims`` and ``headers`` add members or override them, and remove
    those whose value is ``None``. A negative ``lifetime`` makes an expired token. Raises ``ConfigurationError`` for
    ``algorithm`` and ``key``; the key's policy is not applied, since a test may want what a verifier refuses.
    """
    signer, prepared = _signer(key, algorithm)
    issued_at = int(time.time() if now is None else now)
    header = {"alg": algorithm, "typ": typ, "kid": kid, **(headers or {})}
    members = {
        "iss": issuer,
        "sub": subject,
        "aud": audience if audience is None or isinstance(audience, str) else list(audience),
        "iat": issued_at,
        "exp": issued_at + (int(lifetime) if lifetime == int(lifetime) else lifetime),
        "jti": secrets.token_urlsafe(16) if token_id == _RANDOM else token_id,
        "scope": scope,
        **(claims or {}),
    }
    signed = b".".join((_segment(header), _segment(members)))
    try:
        signature = signer.sign(signed, prepared)
    except (AttributeError, TypeError, ValueError) as exc:
        raise ConfigurationError("key", f"cannot sign with {algorithm}") from exc
    return b".".join((signed, base64url_encode(signature))).decode()


def _signer(key: object, algorithm: str) -> tuple[Algorithm, Any]:
    if algorithm not in FAMILIES:
        raise ConfigurationError("algorithm", f"must be one of {', '.join(FAMILIES)}")
    signer = get_default_algorithms()[algorithm]
    try:
        return signer, signer.prepare_key(key)
    except Exception:  # noqa: BLE001, S110 - each library has its own errors, whose text may hold the key
        pass
    raise ConfigurationError("key", f"is not a key for {algorithm}")


def _segment(members: Mapping[str, Any]) -> bytes:
    present = {name: value for name, value in members.items() if value is not None}
    return base64url_encode(json.dumps(present, separators=(",", ":"), ensure_ascii=False).encode())
