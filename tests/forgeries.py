"""Tokens that must be refused, and unusual ones that must not: made fresh from a seed, over five algorithms.

``corpus(seed)`` yields the cases, ``options(seed, family)`` the keyword options of a verifier that judges them, and
``NOW`` is the moment at which it does. The seed is random unless ``AUTHCACHE_SEED`` says which (salted signatures
differ all the same). Nothing here uses the package: the forger has tools of his own.
"""

import hashlib
import hmac
import json
import os
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from forged_members import forged_claims, forged_headers
from forger import (
    ALGORITHMS,
    AUDIENCE,
    DAY,
    ED25519_ORDER,
    ISSUER,
    LEEWAY,
    NOW,
    P256_ORDER,
    Case,
    Family,
    b64,
    families,
    public_jwk,
    refused,
    segment,
    unb64,
    without,
)

__all__ = ["ALGORITHMS", "NOW", "Case", "cases", "corpus", "options", "seed_of_this_run"]


@cache
def seed_of_this_run() -> int:
    return int(os.environ.get("AUTHCACHE_SEED") or random.SystemRandom().randrange(2**32))


def options(seed: int, family: str) -> dict[str, Any]:
    """What a verifier for this family's cases is made with."""
    made = families(seed)[family]
    keys = {name: made.public(name) for name in ("2026-a", "2026-b")}
    return {"keys": keys, "algorithms": [family], "issuer": ISSUER, "audience": AUDIENCE, "leeway": LEEWAY}


@cache
def cases(seed: int) -> tuple[Case, ...]:
    """Every case of every family, made once for each seed."""
    return tuple(corpus(seed))


def corpus(seed: int) -> Iterator[Case]:
    """Every case of every family."""
    for family in families(seed).values():
        rng = random.Random(f"{seed} {family.algorithm}")
        claims = {
            "iss": ISSUER,
            "sub": f"user-{rng.randrange(10**9)}",
            "aud": AUDIENCE,
            "iat": int(NOW) - 10,
            "exp": int(NOW) + 300,
            "jti": rng.randbytes(12).hex(),
            "scope": "read write",
        }
        for make in (_good, _text, _bits, forged_headers, forged_claims, _signatures):
            yield from make(family, claims, rng)


def _good(family: Family, claims: dict[str, Any], rng: random.Random) -> Iterator[Case]:
    header = {"alg": family.algorithm, "typ": "JWT", "kid": "2026-a"}
    stranger = public_jwk(family.public("stranger"))
    now = int(NOW)
    tokens = {
        "plain": family.token(claims),
        "the other key": family.token(claims, who="2026-b"),
        "JSON with whitespace": family.token(json.dumps(claims, indent=2).replace("\n", "\r\n\t").encode()),
        "whitespace around JSON": family.token(b" \r\n\t" + json.dumps(claims).encode() + b"\n "),
        "members in another order": family.token(dict(reversed(claims.items())), dict(reversed(header.items()))),
        "typ absent": family.token(claims, without(header, "typ")),
        "an unknown header member": family.token(claims, header | {"x": [1, {"y": None}]}),
        "the longest header": family.token(claims, header | {"x": "x" * (768 - len(json.dumps(header)) - 9)}),
        "a long token": family.token(claims | {"x": "x" * 5000}),
        "keys in the header that nobody reads": family.token(
            claims, header | {"jwk": stranger, "jku": "https://evil.example", "x5u": "x", "x5c": ["MII="], "x5t": "x"}
        ),
        "escapes": family.token(json.dumps(claims).replace("user", "\\u0075ser").encode()),
    }
    for typ in ("jwt", "at+jwt", "AT+JWT", "application/at+jwt", "APPLICATION/JWT"):
        tokens[f"typ {typ}"] = family.token(claims, header | {"typ": typ})
    for name, change in {
        "aud in a list": {"aud": [AUDIENCE]},
        "aud among others": {"aud": ["https://other.example", AUDIENCE, "x"]},
        "times as floats": {"iat": now - 10.25, "exp": now + 300.75, "nbf": now - 1.5},
        "expired within the leeway": {"exp": now - LEEWAY + 1},
        "issued within the leeway": {"iat": now + LEEWAY},
        "not before within the leeway": {"nbf": now + LEEWAY},
        "the longest lifetime": {"iat": now - 10, "exp": now - 10 + 30 * DAY},
        "nearly a month old": {"iat": now - 29 * DAY, "nbf": 0},
        "no scope word": {"scope": ""},
        "a session": {"sid": rng.randbytes(8).hex()},
        "other claims": {"roles": ["a", {"b": [1.5, None, True]}], "big": 2**80, "nan": "NaN", "__proto__": {}},
        "sub of 255": {"sub": "x" * 255},
        "sub of one": {"sub": "0"},
        "sub in Unicode": {"sub": "Zoë 🦊 用户"},
        "sub with colons and braces": {"sub": "a:b:{c} *?[d]"},
        "sub of spaces": {"sub": "   "},
        "jti of 255": {"jti": "j" * 255},
    }.items():
        tokens[name] = family.token(claims | change)
    tokens["sub in raw UTF-8"] = family.token(json.dumps(claims | {"sub": "Zoë 🦊"}, ensure_ascii=False).encode())
    for name in ("jti", "scope"):
        tokens[f"{name} absent"] = family.token(without(claims, name))
    for name, token in tokens.items():
        yield Case(name, family.algorithm, token, accept=True)


def _text(family: Family, claims: dict[str, Any], rng: random.Random) -> Iterator[Case]:
    """A good token's text, tampered with: nothing but three segments of canonical base64url is a token."""
    token = family.token(claims)
    header, body, signature = token.split(".")
    cut = rng.randrange(1, len(body))
    texts = (
        *("", " ", ".", "..", "...", "a", "a.b", "null", "{}", "Bearer " + token, f'"{token}"', f"<{token}>"),
        *(
            token + tail
            for tail in ("=", "==", " ", "\n", "\r\n", "\t", "\0", ".", "..", ".e30", "~", "/", "+", "%0A", "é", ";")
        ),
        *(head + token for head in (" ", "\n", ".", "\ufeff", "=", "\0")),
        *(f"{token}{comma}{token}" for comma in (",", ", ", " ", ".", "")),
        *(
            f"{header}.{body[:cut]}{inner}{body[cut:]}.{signature}"
            for inner in (" ", "\n", "=", "+", "/", "\0", "é", "٣", "%41")
        ),
        *(f"{header}{dot}{body}{dot}{signature}" for dot in ("", "..", "\uff0e", "%2E", ":", " . ")),
        *(f"{header}=.{body}.{signature}", f"{header}.{body}==.{signature}"),
        *(
            f".{body}.{signature}",
            f"{header}..{signature}",
            f"{header}.{body}.",
            f"{header}.{body}",
            f"{body}.{signature}",
        ),
        ".".join((header, body, signature, b64(rng.randbytes(12)), b64(rng.randbytes(16)))),
        ".".join((segment({"alg": "dir", "enc": "A256GCM"}), "", *(b64(rng.randbytes(n)) for n in (12, 40, 16)))),
        json.dumps({"protected": header, "payload": body, "signature": signature}),
        json.dumps({"payload": body, "signatures": [{"protected": header, "signature": signature}]}),
    )
    for number, text in enumerate(texts):
        yield refused(family, f"text {number} {text.replace(token, 'T')[:24]!r}", text, "malformed", "oversized")
    for name, text in {
        "lower case": token.lower(),
        "reversed": token[::-1],
        "segments swapped": f"{body}.{header}.{signature}",
    }.items():
        yield refused(family, name, text)
    yield refused(family, "a token too long", family.token(claims | {"x": "x" * 6200}), "oversized")
    yield refused(family, "a megabyte", token + "A" * 2**20, "oversized")
    long_header = {"alg": family.algorithm, "kid": "2026-a", "x": "x" * 760}
    yield refused(family, "a header too long", family.token(claims, long_header), "oversized")
    # The same octets in another spelling: the unused bits of the last character.
    for number, tail in enumerate(_other_spellings(signature)):
        yield refused(family, f"signature spelt otherwise {number}", f"{header}.{body}.{tail}", "malformed")
    for filler in ("", "x", "xx"):
        for tail in _other_spellings(segment(claims | {"x": filler}))[:2]:
            yield refused(
                family, f"claims spelt otherwise {len(filler)}{tail[-1]}", family.seal(f"{header}.{tail}"), "malformed"
            )


def _other_spellings(text: str) -> list[str]:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare = {0: 1, 2: 16, 3: 4}[len(text) % 4]
    last = alphabet.index(text[-1])
    return [text[:-1] + alphabet[other] for other in range(last + 1, last + spare)][:5]


def _bits(family: Family, claims: dict[str, Any], rng: random.Random) -> Iterator[Case]:
    """One bit of the octets behind each segment, and lengths of signature that are not right."""
    parts = family.token(claims).split(".")
    for index, part in enumerate(("header", "claims", "signature")):
        for round_ in range(6):
            octets = bytearray(unb64(parts[index]))
            octets[rng.randrange(len(octets))] ^= 1 << rng.randrange(8)
            token = ".".join((*parts[:index], b64(bytes(octets)), *parts[index + 1 :]))
            yield refused(family, f"a bit flipped in the {part} {round_}", token)
    signature = unb64(parts[2])
    for name, other in {
        "half": signature[: len(signature) // 2],
        "one short": signature[:-1],
        "one short in front": signature[1:],
        "one long": signature + b"\0",
        "one long in front": b"\0" + signature,
        "twice": signature * 2,
        "one octet": b"\0",
        "zeros": bytes(len(signature)),
        "ones": b"\xff" * len(signature),
        "random": rng.randbytes(len(signature)),
        "reversed": signature[::-1],
    }.items():
        yield refused(family, f"signature {name}", f"{parts[0]}.{parts[1]}.{b64(other)}", "signature")


def _signatures(family: Family, claims: dict[str, Any], rng: random.Random) -> Iterator[Case]:
    """What goes wrong with one kind of key only."""
    signed = family.token(claims).rpartition(".")[0]
    key = family.signers["2026-a"]
    forged: dict[str, bytes] = {}
    match family.algorithm:
        case "HS256":
            forged = {name: hmac.digest(key, signed.encode(), name) for name in ("sha1", "sha384", "sha512", "md5")}
            forged["plain hash"] = hashlib.sha256(key + signed.encode()).digest()
            forged["empty key"] = hmac.digest(b"", signed.encode(), "sha256")
            forged["truncated"] = hmac.digest(key, signed.encode(), "sha256")[:16]
        case "RS256" | "PS256":
            pss, pkcs = padding.PSS(padding.MGF1(hashes.SHA256()), 32), padding.PKCS1v15()
            forged["the other padding"] = key.sign(
                signed.encode(), pss if family.algorithm == "RS256" else pkcs, hashes.SHA256()
            )
            forged["SHA-512"] = key.sign(signed.encode(), pkcs if family.algorithm == "RS256" else pss, hashes.SHA512())
            forged["one"] = bytes(255) + b"\1"
            forged["the modulus"] = key.public_key().public_numbers().n.to_bytes(256, "big")
        case "ES256":
            good = family.sign(signed.encode())
            r, s = int.from_bytes(good[:32], "big"), int.from_bytes(good[32:], "big")
            # (r, n - s) is a valid ECDSA signature too: a token's text is no name for it, which jti is.
            twin = f"{signed}.{b64(good[:32] + (P256_ORDER - s).to_bytes(32, 'big'))}"
            yield Case("the signature's twin", family.algorithm, twin, accept=True)
            forged["DER"] = encode_dss_signature(r, s)
            pairs = {
                "0, 0": (0, 0),
                "0, s": (0, s),
                "r, 0": (r, 0),
                "1, 1": (1, 1),
                "s, r": (s, r),
                "n, n": (P256_ORDER,) * 2,
            }
            forged |= {name: b"".join(n.to_bytes(32, "big") for n in pair) for name, pair in pairs.items()}
            forged["padded to P-384"] = b"".join(n.to_bytes(48, "big") for n in (r, s))
            forged["another curve"] = ec.generate_private_key(ec.SECP384R1()).sign(
                signed.encode(), ec.ECDSA(hashes.SHA256())
            )
        case "EdDSA":
            good = family.sign(signed.encode())
            scalar = int.from_bytes(good[32:], "little") + ED25519_ORDER
            # RFC 8032, section 5.1.7: unlike with ECDSA, the twin (S + L) must be refused.
            forged["the signature's twin"] = good[:32] + scalar.to_bytes(32, "little")
            forged["the neutral point"] = b"\1" + bytes(63)
            forged["another curve"] = ed448.Ed448PrivateKey.generate().sign(signed.encode())
    for name, signature in forged.items():
        yield refused(family, f"signature {name}", f"{signed}.{b64(signature)}", "signature")
