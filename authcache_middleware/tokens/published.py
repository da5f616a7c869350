"""Secrets and keys that everybody has: printed in standards and tutorials, or made by no generator.

A token signed with one of them proves nothing, since the signing half is one search away.
"""

from __future__ import annotations

from itertools import pairwise

from jwt.utils import base64url_encode

__all__ = ["KEY_TEXT_LENGTH", "is_published", "is_weak_secret"]

KEY_TEXT_LENGTH = 43
"""How much of a public key's base64url coordinate or modulus names it here: 256 bits."""


def is_published(text: str) -> bool:
    """Whether ``text``, a secret or the beginning of a public key's ``x`` or ``n``, has been printed somewhere."""
    return text.lower() in _PUBLISHED


def is_weak_secret(secret: bytes) -> bool:
    """Whether an HMAC secret is published, a default that was never changed, or a pattern rather than random."""
    if secret.startswith(b"django-insecure-"):
        return True
    # As the text that was printed, or as what it stands for: secrets are printed in base64 and hexadecimal too. The
    # line break is a file's; octets may begin with what looks like white space and is not.
    for octets in (secret, secret.strip(), secret.rstrip(b"\r\n")):
        texts = octets.decode("latin-1"), base64url_encode(octets).decode(), octets.hex()
        if any(map(is_published, texts)):
            return True
    # Repeated characters, words written over and over, the alphabet: none of which 32 random bytes ever are.
    steps = {(after - before) % 256 for before, after in pairwise(secret)}
    period = next((n for n in range(1, len(secret) // 2 + 1) if secret[n:] == secret[:-n]), None)
    return len(set(secret)) < _FEWEST_BYTES or len(steps) < _FEWEST_STEPS or period is not None


_FEWEST_BYTES = 6
_FEWEST_STEPS = 4

# Compared in lower case: a sample in capitals is still the sample.
_PUBLISHED = frozenset(
    text.lower()
    for text in (
        # RFC 7515, appendix A.1 (again in RFC 7517, appendix A.3), and RFC 7520, section 3.5.
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
        "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",
        # RFC 7515, appendices A.2 (RSA), A.3 (P-256) and A.4 (P-521): their private halves are printed beside them.
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTb",
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrr",
        # RFC 7520, sections 3.2 (P-521) and 3.4 (RSA); RFC 8037, appendix A.1 (Ed25519).
        "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZ",
        "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKP",
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        # RFC 7517, appendix A.1 (P-256 and RSA; the private halves are in A.2). The RSA key is RFC 7638's as well.
        "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbW",
        # jwt.io: what its debugger is filled with (of keys RSA, P-256, P-384 and P-521).
        "your-256-bit-secret",
        "your-384-bit-secret",
        "your-512-bit-secret",
        "a-string-secret-at-least-256-bits-long",
        "a-valid-string-secret-that-is-at-least-384-bits-long",
        "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
        "u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffA",
        "EVs_o5-uQbTjL3chynL4wXgUg2R9q9UU8I5mEovUf84",
        "C1uWSXj2czCDwMTLWV5BFmwxdM6PX9p-Pk9Yf9rIf37",
        "AYHOB2c_v3wWwu5ZhMMNADtzSvcFWTw2dFRJ7GlBSxG",
        # FastAPI's tutorial on OAuth2 with JWT.
        "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
        # Defaults and examples: Supabase, PostgREST, NestJS, and the Spring tutorials.
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "your-super-secret-jwt-token-with-at-least-32-characters-long",
        "reallyreallyreallyreallyverysafe",
        "DO NOT USE THIS VALUE. INSTEAD, CREATE A COMPLEX SECRET AND KEEP IT SAFE OUTSIDE OF THE SOURCE CODE.",
        "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
        "======================BezKoder=Spring===========================",
        # What the examples of this package were once signed with.
        "for development only, and known to everybody who reads this",
    )
)
