"""The forger's tools: keys from a seed, and tokens signed over whatever he likes. Nothing here uses the package."""

import base64
import hashlib
import hmac
import json
import random
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
NOW = 1_790_000_000.0
ISSUER = "https://issuer.example"
AUDIENCE = "https://api.example"
LEEWAY = 5.0
DAY = 86_400
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
ALGORITHMS = ("HS256", "RS256", "PS256", "ES256", "EdDSA")


@dataclass(frozen=True)
class Case:
    """One token, and what must become of it: ``reasons`` are those that a refusal may give (``None``: any)."""

    name: str
    family: str
    token: str = field(repr=False)
    accept: bool
    reasons: frozenset[str] | None = None

    @property
    def sendable(self) -> bool:
        """Whether an HTTP client can put the token into a header as one word of visible ASCII."""
        return re.fullmatch(r"[!-~]+", self.token) is not None

    def __str__(self) -> str:
        return f"{self.family} {self.name}"


@dataclass(frozen=True)
class Family:
    """One algorithm with its two keys in rotation, ``2026-a`` and ``2026-b``, and a stranger's."""

    algorithm: str
    signers: dict[str, Any] = field(repr=False)

    def sign(self, signed: bytes, who: str = "2026-a") -> bytes:
        key = self.signers[who]
        match self.algorithm:
            case "HS256":
                return hmac.digest(key, signed, hashlib.sha256)
            case "RS256":
                return key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
            case "PS256":
                return key.sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
            case "ES256":
                return raw_ecdsa(key.sign(signed, ec.ECDSA(hashes.SHA256())), 32)
            case _:
                return key.sign(signed)

    def public(self, who: str) -> Any:
        key = self.signers[who]
        return key if isinstance(key, bytes) else key.public_key()

    def token(self, claims: Any, header: Any = None, who: str = "2026-a") -> str:
        """Signed by ``who``; a dict becomes JSON, bytes stand for themselves."""
        header = {"alg": self.algorithm, "typ": "JWT", "kid": who} if header is None else header
        return self.seal(f"{segment(header)}.{segment(claims)}", who)

    def seal(self, signed: str, who: str = "2026-a") -> str:
        return f"{signed}.{b64(self.sign(signed.encode(), who))}"


@cache
def families(seed: int) -> dict[str, Family]:
    """The keys, made once for each seed."""
    rng = random.Random(seed)
    names = ("2026-a", "2026-b", "stranger")
    secrets = {name: rng.randbytes(64) for name in names}
    rsa_keys = {name: rsa_key(rng) for name in names}
    ec_keys = {name: ec.derive_private_key(rng.randrange(1, P256_ORDER), ec.SECP256R1()) for name in names}
    ed_keys = {name: ed25519.Ed25519PrivateKey.from_private_bytes(rng.randbytes(32)) for name in names}
    signers = (secrets, rsa_keys, rsa_keys, ec_keys, ed_keys)
    return {name: Family(name, keys) for name, keys in zip(ALGORITHMS, signers, strict=True)}


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def segment(members: Any) -> str:
    return b64(members if isinstance(members, bytes) else json.dumps(members).encode())


def raw_ecdsa(der: bytes, size: int) -> bytes:
    r, s = decode_dss_signature(der)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def rsa_key(rng: random.Random) -> rsa.RSAPrivateKey:
    """2048 bits from the seed, which no library offers."""
    p, q = _prime(rng), _prime(rng)
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def _prime(rng: random.Random) -> int:
    while True:
        # The two highest bits set, so that the product of two has 2048 bits.
        candidate = rng.getrandbits(1024) | (3 << 1022) | 1
        if any(candidate % small == 0 for small in _SMALL_PRIMES) or (candidate - 1) % 65537 == 0:
            continue
        if all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 5)):
            return candidate


_SMALL_PRIMES = [n for n in range(3, 5000, 2) if all(n % m for m in range(3, int(n**0.5) + 1, 2))]


def without(members: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in members.items() if name not in names}


def refused(family: Family, name: str, token: str, *reasons: str) -> Case:
    return Case(name, family.algorithm, token, accept=False, reasons=frozenset(reasons) or None)


def public_texts(family: Family) -> list[bytes]:
    """The public key as a careless verifier might take it for an HMAC secret; for HMAC, what everyone knows."""
    key = family.public("2026-a")
    if isinstance(key, bytes):
        return [b"", b"secret", b"2026-a", b"your-256-bit-secret", b"\0" * 64]
    spki, pem = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.Encoding.PEM
    text = key.public_bytes(pem, spki)
    jwk = json.dumps(public_jwk(key)).encode()
    return [text, text.strip(), key.public_bytes(serialization.Encoding.DER, spki), jwk, b""]


def public_jwk(key: Any) -> dict[str, Any]:
    for algorithm in (RSAAlgorithm, ECAlgorithm, OKPAlgorithm, HMACAlgorithm):
        try:
            return algorithm.to_jwk(key, as_dict=True)
        except Exception:
            continue
    raise TypeError(type(key).__name__)
