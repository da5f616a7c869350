import base64
import json
import secrets
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authcache_middleware.errors import ConfigurationError
from authcache_middleware.testing.tokens import issue_token


def parts(token):
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def test_another_library_agrees_on_every_algorithm(secret, rsa_key, ed_key):
    keys = dict.fromkeys(("HS256", "HS384", "HS512"), secret)
    keys |= dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), rsa_key)
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    keys |= {name: ec.generate_private_key(curve) for name, curve in curves.items()} | {"EdDSA": ed_key}
    for algorithm, key in keys.items():
        token = issue_token(key, algorithm=algorithm, issuer="us", audience="api")
        public = key if isinstance(key, bytes) else key.public_key()
        assert jwt.decode(token, public, [algorithm], audience="api", issuer="us")["sub"] == "1"


def test_a_pem_private_key_signs(rsa_key, secret):
    text = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for form in (text, text.decode()):
        assert jwt.decode(issue_token(form, algorithm="RS256"), rsa_key.public_key(), ["RS256"])
    assert jwt.decode(issue_token("x" * 40), "x" * 40, ["HS256"])


def test_by_default_it_is_valid_from_now_for_five_minutes(secret):
    before = int(time.time())
    header, claims = parts(issue_token(secret))
    assert header == {"alg": "HS256", "typ": "JWT"}
    assert set(claims) == {"sub", "iat", "exp", "jti"}
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] == claims["iat"] + 300
    assert isinstance(claims["exp"], int)


def test_everything_can_be_said(secret):
    token = issue_token(
        secret,
        algorithm="HS512",
        subject="ada",
        issuer="us",
        audience=("api", "web"),
        lifetime=1.5,
        now=1000.9,
        kid="k",
        typ="at+jwt",
        token_id="t",
        scope="a b",
    )
    header, claims = parts(token)
    assert header == {"alg": "HS512", "typ": "at+jwt", "kid": "k"}
    expected = {
        "iss": "us",
        "sub": "ada",
        "aud": ["api", "web"],
        "iat": 1000,
        "exp": 1001.5,
        "jti": "t",
        "scope": "a b",
    }
    assert claims == expected


def test_members_can_be_added_overridden_and_removed(secret):
    added = issue_token(secret, claims={"x": [1], "sub": "b", "exp": None}, headers={"typ": None, "crit": ["x"]})
    header, claims = parts(added)
    assert header == {"alg": "HS256", "crit": ["x"]}
    assert (claims["x"], claims["sub"], "exp" in claims) == ([1], "b", False)
    _, claims = parts(issue_token(secret, subject=None, token_id=None))
    assert set(claims) == {"iat", "exp"}


def test_token_ids_differ(secret):
    assert len({parts(issue_token(secret))[1]["jti"] for _ in range(20)}) == 20


def test_it_is_compact(secret):
    assert base64.urlsafe_b64decode(issue_token(secret).split(".")[0] + "==") == b'{"alg":"HS256","typ":"JWT"}'


def test_wrong_arguments_are_refused_by_name(rsa_key, ec_key):
    for algorithm in ("none", "", "HS1", None):
        with pytest.raises(ConfigurationError, match=r"^algorithm: "):
            issue_token(secrets.token_bytes(32), algorithm=algorithm)
    for key, algorithm in ((rsa_key, "HS256"), (ec_key, "RS256"), ("x", "RS256"), (None, "HS256"), (b"", "HS256")):
        with pytest.raises(ConfigurationError, match=r"^key: "):
            issue_token(key, algorithm=algorithm)
    with pytest.raises(ConfigurationError, match=r"^key: "):
        issue_token(rsa_key.public_key(), algorithm="RS256")
