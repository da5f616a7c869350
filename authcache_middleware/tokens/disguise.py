"""A public key where an HMAC secret should be, in whatever form it was pasted.

With it anyone could sign (RFC 8725, section 2.1). Consoles show public keys as PEM, as PEM without its first and last
line, as JSON and as hexadecimal; all of these are texts of good length.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_der_x509_certificate

__all__ = ["is_disguised_key"]

# PEM and SSH, and a JWK as JSON or as Python prints it.
_MARKS = (b"-----BEGIN ", b"---- BEGIN ", b"ssh-", b"ecdsa-sha2-", b'"kty"', b"'kty'")
_CURVES = (SECP256R1(), SECP384R1(), SECP521R1())
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
# What a text may be wrapped in: a byte order mark, white space, line breaks as JSON writes them, quotes.
_strip_wrapping = partial(re.compile(rb"\xef\xbb\xbf|\\[rn]|[\s\"']+").sub, b"")
_match_hex = re.compile(rb"(?:[0-9A-Fa-f]{2}:?)+").fullmatch
_match_base64 = re.compile(rb"([0-9A-Za-z+/]+)={0,2}").fullmatch


def is_disguised_key(secret: bytes) -> bool:
    """Whether ``secret`` is another key: PEM, SSH or JWK, or DER or a curve's point, as it is or in base64 or hex.

    The bare modulus of an RSA key is not recognised, since nothing tells it from random octets.
    """
    return any(any(mark in octets for mark in _MARKS) or _is_public(octets) for octets in _readings(secret))


def _readings(secret: bytes) -> Iterator[bytes]:
    """What the octets may stand for: themselves, and what they are the hexadecimal or base64 text of."""
    yield secret
    yield secret.strip()
    text = _strip_wrapping(secret)
    if _match_hex(text):
        yield bytes.fromhex(text.replace(b":", b"").decode("ascii"))
    text = text.translate(_TO_STANDARD)
    if (base64 := _match_base64(text)) is not None and len(base64[1]) % 4 != 1:
        yield b64decode(base64[1] + b"=" * (-len(base64[1]) % 4))


def _is_public(octets: bytes) -> bool:
    # SEC 1, section 2.3.3: 4 and both coordinates. Not the compressed form: half of all octets of its length are one.
    # The 4 may have been left out, and one coordinate in 256 begins with one.
    points = (octets, b"\4" + octets) if octets.startswith(b"\4") else (b"\4" + octets,)
    readers: list[Callable[[], object]] = [
        lambda: load_der_public_key(octets),
        lambda: load_der_x509_certificate(octets),
        *(partial(EllipticCurvePublicKey.from_encoded_point, curve, point) for curve in _CURVES for point in points),
    ]
    return any(map(_succeeds, readers))


def _succeeds(read: Callable[[], object]) -> bool:
    try:
        read()
    except Exception:  # noqa: BLE001 - each library has its own errors for what it cannot read
        return False
    return True
