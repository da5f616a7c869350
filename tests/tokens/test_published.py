import base64
import secrets
import string

import pytest

from authcache_middleware.tokens.published import is_published, is_weak_secret


@pytest.mark.parametrize(
    "secret",
    [
        b"a" * 64,
        b"ab" * 32,
        b"0123456789abcdef" * 4,
        b"secret" * 8,
        b"secretsecretsecretsecretsecretse",
        b"correct horse battery staple correct horse battery staple ",
        bytes(range(64)),
        bytes(range(64, 0, -1)),
        string.ascii_letters.encode(),
        b"\0" * 63 + b"\1",
        b"edabcbeadcebdaecabedcbaedacbdeacbdaebcadebcaebdacedbacbeadcbeadc",
        b"aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbcccccccccccccccc1234",
        b"django-insecure-7s^w8&0yq!m3(5x@b$u1h#k9z_e2r4t6v",
        b"a-string-secret-at-least-256-bits-long",
        b"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
        b"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",
        bytes.fromhex("849b57219dae48de646d07dbb533566e976686457c1491be3a76dcea6c427188"),
        b"super-secret-jwt-token-with-at-least-32-characters-long",
        b"your-super-secret-jwt-token-with-at-least-32-characters-long",
        b"reallyreallyreallyreallyverysafe",
        b"DO NOT USE THIS VALUE. INSTEAD, CREATE A COMPLEX SECRET AND KEEP IT SAFE OUTSIDE OF THE SOURCE CODE.",
        b"404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
        b"======================BezKoder=Spring===========================",
        b"for development only, and known to everybody who reads this",
    ],
)
def test_what_no_generator_made_or_everybody_has_is_weak(secret):
    assert is_weak_secret(secret)


@pytest.mark.parametrize(
    "make",
    [
        lambda: secrets.token_bytes(32),
        lambda: secrets.token_bytes(64),
        lambda: secrets.token_hex(32).encode(),
        lambda: secrets.token_urlsafe(32).encode(),
        lambda: str(secrets.randbits(128)).rjust(39, "7").encode(),
    ],
    ids=["32 bytes", "64 bytes", "hex", "base64url", "decimal"],
)
def test_what_a_generator_made_is_not_weak(make):
    assert not any(is_weak_secret(make()) for _ in range(200))


FASTAPI = "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"
SPRING = "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970"


@pytest.mark.parametrize(
    "secret",
    [
        bytes.fromhex(FASTAPI),
        FASTAPI.upper().encode(),
        f"  {FASTAPI}\r\n".encode(),
        bytes.fromhex(FASTAPI) + b"\n",
        bytes.fromhex(SPRING),
        base64.b64decode(SPRING),  # which is what its tutorial signs with
        SPRING.lower().encode(),
        b"a-string-secret-at-least-256-bits-long\n",
        b"A-STRING-SECRET-AT-LEAST-256-BITS-LONG",
    ],
)
def test_a_published_secret_is_weak_however_it_is_written(secret):
    assert is_weak_secret(secret)


@pytest.mark.parametrize(
    "text",
    [
        "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",  # RFC 7517
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbW",
        "C1uWSXj2czCDwMTLWV5BFmwxdM6PX9p-Pk9Yf9rIf37",  # jwt.io
        "AYHOB2c_v3wWwu5ZhMMNADtzSvcFWTw2dFRJ7GlBSxG",
    ],
)
def test_a_public_key_whose_private_half_is_printed_is_known(text):
    assert is_published(text)


def test_a_published_text_is_known_exactly():
    assert is_published("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")
    assert not is_published("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVE")
    assert not is_published("")
