"""One verification key: read, judged, and bound to the algorithms that it may serve.

All of it happens once, at construction, so that nothing about a key is decided by a request (RFC 8725, sections 3.1
and 3.2). No message holds any of the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import Algorithm, HMACAlgorithm

from authcache_middleware.errors import ConfigurationError
from authcache_middleware.tokens.disguise import is_disguised_key
from authcache_middleware.tokens.published import KEY_TEXT_LENGTH, is_published, is_weak_secret

__all__ = ["FAMILIES", "PreparedKey", "PublicKey", "misfit", "read_key"]

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey
PreparedKey: TypeAlias = bytes | PublicKey
"""What PyJWT's ``Algorithm.verify`` takes: an HMAC secret or a public key."""

FAMILIES: Mapping[str, str] = {
    **dict.fromkeys(("HS256", "HS384", "HS512"), "oct"),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
}
"""Every algorithm that can be allowed, and the ``kty`` of its keys (RFC 7518, section 3.1; RFC 8037, section 3.1)."""

_CURVES: Mapping[str, tuple[str, ...]] = {
    "ES256": ("P-256",),
    "ES384": ("P-384",),
    "ES512": ("P-521",),
    "EdDSA": ("Ed25519", "Ed448"),
}
_RSA_BITS = range(2048, 8192 + 1)
# y of the points of order 1, 2, 4 and 8.
_ORDER_8 = 0x5FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_25519 = frozenset({-1, 0, 1, _ORDER_8, -_ORDER_8})


def misfit(jwk: Mapping[str, Any], algorithms: Mapping[str, Algorithm]) -> str | None:
    """Why a JWK serves none of ``algorithms`` (which are of one family), or ``None`` where it serves some."""
    if jwk.get("kty") != next(FAMILIES[name] for name in algorithms):
        return "a key's type (kty) is not the one that the algorithms need"
    # RFC 7517, sections 4.2 to 4.4: what the key's owner meant it for.
    if jwk.get("use", "sig") != "sig":
        return "a JWK is not meant for signatures (use)"
    operations = jwk.get("key_ops", ("verify",))
    if not isinstance(operations, (list, tuple)) or "verify" not in operations:
        return "a JWK is not meant to verify (key_ops)"
    if not _served(jwk, algorithms):
        return "a key is bound to another algorithm or curve (alg, crv)"
    return None


def read_key(key: object, algorithms: Mapping[str, Algorithm]) -> tuple[PreparedKey, list[str]]:
    """The key, prepared, and the names of those of ``algorithms`` that it serves (at least one).

    ``key`` is a secret, a PEM or ``cryptography`` public key, or a JWK. Raises ``ConfigurationError`` for ``keys``.
    """
    algorithm = next(iter(algorithms.values()))
    symmetric = isinstance(algorithm, HMACAlgorithm)
    jwk: Mapping[str, Any]
    prepared: object = None
    if isinstance(key, Mapping):
        jwk = key
    elif symmetric:
        jwk, prepared = {"kty": "oct"}, _secret_octets(key)
    else:
        prepared = _public_key(key)
        jwk = _quietly(lambda: algorithm.to_jwk(prepared, as_dict=True)) or {}
    if not symmetric and "d" in jwk:
        raise ConfigurationError("keys", "a private key is not needed to verify: give the public key")
    problem = misfit(jwk, algorithms)
    if problem is not None:
        raise ConfigurationError("keys", problem)
    if prepared is None:
        prepared = _quietly(lambda: algorithm.from_jwk(dict(jwk)))
    served = _served(jwk, algorithms)
    if symmetric:
        return _judged_secret(prepared, [algorithms[name] for name in served]), served
    return _judged_public_key(prepared, algorithm), served


def _served(jwk: Mapping[str, Any], algorithms: Mapping[str, Algorithm]) -> list[str]:
    return [
        name
        for name in algorithms
        if jwk.get("alg", name) == name and (name not in _CURVES or jwk.get("crv") in _CURVES[name])
    ]


def _secret_octets(key: object) -> bytes:
    octets = _quietly(key.encode) if isinstance(key, str) else key
    if not isinstance(octets, bytes):
        raise ConfigurationError("keys", "an HMAC algorithm needs a secret: str, bytes or a JWK with kty oct")
    return octets


def _public_key(key: object) -> object:
    if not isinstance(key, (str, bytes)):
        return key
    text = key if isinstance(key, bytes) else key.encode(errors="replace")
    if b"PRIVATE KEY-----" in text:
        raise ConfigurationError("keys", "a private key is not needed to verify: give the public key")
    # Certificates are not taken: nobody would look at their validity.
    loaded = _quietly(lambda: load_pem_public_key(text.strip()))
    if loaded is None:
        raise ConfigurationError("keys", "a text is not a public key in PEM form (BEGIN PUBLIC KEY)")
    return loaded


def _judged_secret(secret: object, algorithms: list[Algorithm]) -> bytes:
    if not isinstance(secret, bytes):
        raise ConfigurationError("keys", "a JWK cannot be read")
    # RFC 7518, section 3.2: a key of the hash's size or larger. It must do for the largest hash that it may serve.
    if any(algorithm.check_key_length(secret) for algorithm in algorithms):
        raise ConfigurationError(
            "keys", "an HMAC secret is shorter than the hash: 32, 48 or 64 bytes for HS256, 384, 512"
        )
    if is_weak_secret(secret):
        raise ConfigurationError(
            "keys", "an HMAC secret is published or a pattern: make one with secrets.token_bytes(64)"
        )
    # What is public must not become a secret: with a public key in its place anyone can sign (RFC 8725, section 2.1).
    if is_disguised_key(secret) or _quietly(lambda: algorithms[0].prepare_key(secret)) is None:
        raise ConfigurationError("keys", "an HMAC secret is the text of another key (PEM, SSH, DER, JWK)")
    return secret


def _judged_public_key(key: object, algorithm: Algorithm) -> PublicKey:
    if not isinstance(key, PublicKey):
        raise ConfigurationError("keys", "a key cannot be read")
    # An exponent that is even or below 3, which would make every signature pass, is refused where the key is read.
    if isinstance(key, RSAPublicKey) and key.key_size not in _RSA_BITS:
        raise ConfigurationError("keys", "an RSA key must have 2048 to 8192 bits")
    if isinstance(key, RSAPublicKey) and key.public_numbers().n % 2 == 0:
        raise ConfigurationError("keys", "an RSA key is even, so that everybody can factor it")
    if _has_small_order(key):
        raise ConfigurationError("keys", "an Ed25519 or Ed448 key is of small order: it verifies what nobody signed")
    jwk = algorithm.to_jwk(key, as_dict=True)
    if is_published((jwk["n"] if "n" in jwk else jwk["x"])[:KEY_TEXT_LENGTH]):
        raise ConfigurationError(
            "keys", "a key is the sample of a standard or tutorial: everybody has its private half"
        )
    return key


def _has_small_order(key: PublicKey) -> bool:
    """Whether an Ed25519 or Ed448 key is a point of order 1, 2, 4 or 8: for these anyone can make signatures.

    RFC 8032, sections 5.1.2 and 5.2.2: the octets are y, the sign of x above it. With either sign, and y not reduced,
    one point has several spellings, all of which are read.
    """
    if isinstance(key, Ed25519PublicKey):
        bits, prime, small = 255, 2**255 - 19, _SMALL_ORDER_25519
    elif isinstance(key, Ed448PublicKey):
        bits, prime, small = 455, 2**448 - 2**224 - 1, frozenset({-1, 0, 1})
    else:
        return False
    y = int.from_bytes(key.public_bytes_raw(), "little") % 2**bits % prime
    return y in small or y - prime in small


def _quietly(read: Callable[[], Any]) -> Any:
    """What ``read`` returns, or ``None``: a library's message about a key may hold the key."""
    try:
        return read()
    except Exception:  # noqa: BLE001 - every library has its own errors for a key that it cannot read
        return None
