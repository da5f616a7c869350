import base64
import json
import secrets
import warnings

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

from authcache_middleware.errors import ConfigurationError
from authcache_middleware.tokens.material import FAMILIES, misfit, read_key

SPKI = PublicFormat.SubjectPublicKeyInfo


def algorithms(*names):
    return {name: get_default_algorithms()[name] for name in names}


def problem(key, *names):
    """The message with which a key is refused; it never holds any of the key, nor what a library said of it."""
    with pytest.raises(ConfigurationError) as caught:
        read_key(key, algorithms(*names))
    message = str(caught.value)
    assert caught.value.argument == "keys"
    assert message.startswith("keys: ")
    assert caught.value.__context__ is None
    assert not isinstance(key, (str, bytes)) or len(key) < 6 or str(key) not in message
    return message


def test_every_algorithm_that_can_be_allowed_exists():
    assert set(FAMILIES) <= set(get_default_algorithms())
    assert "none" not in FAMILIES


@pytest.mark.parametrize(("name", "length"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_secret_is_as_long_as_the_hash(name, length):
    secret = secrets.token_bytes(length)
    assert read_key(secret, algorithms(name)) == (secret, [name])
    assert "shorter" in problem(secret[:-1], name)
    assert "shorter" in problem({"kty": "oct", "k": base64.urlsafe_b64encode(secret[:-1]).decode()}, name)


def test_a_secret_must_do_for_the_largest_hash_that_it_may_serve():
    secret = secrets.token_bytes(32)
    jwk = HMACAlgorithm.to_jwk(secret, as_dict=True)
    assert "shorter" in problem(secret, "HS256", "HS512")
    assert "shorter" in problem(jwk, "HS256", "HS512")
    assert read_key(jwk | {"alg": "HS256"}, algorithms("HS256", "HS512")) == (secret, ["HS256"])


def test_a_text_is_a_secret_by_its_octets():
    text = secrets.token_urlsafe(40)
    assert read_key(text, algorithms("HS256"))[0] == text.encode()
    assert "needs a secret" in problem("\ud800" * 40, "HS256")


def test_a_weak_secret_is_refused():
    for secret in (
        "hunter22",
        "changeme",
        "a" * 64,
        "a-string-secret-at-least-256-bits-long",
        b"django-insecure-" + b"x1y2z3w4" * 4,
    ):
        assert "published" in problem(secret, "HS256") or "shorter" in problem(secret, "HS256")
    for jwk in ({"kty": "oct"}, {"kty": "oct", "k": ""}, {"kty": "oct", "k": 1}, {"kty": "oct", "k": None}):
        assert "cannot be read" in problem(jwk, "HS256")


def test_the_text_of_another_key_is_no_secret(rsa_key, ec_key, ed_key):
    for private, family in ((rsa_key, RSAAlgorithm), (ec_key, ECAlgorithm), (ed_key, OKPAlgorithm)):
        public = private.public_key()
        texts = [
            public.public_bytes(Encoding.PEM, SPKI),
            b" \n" + public.public_bytes(Encoding.PEM, SPKI).strip(),
            public.public_bytes(Encoding.PEM, SPKI)[:90],
            public.public_bytes(Encoding.DER, SPKI),
            public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
            b" " + public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
            private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        ]
        jwk = family.to_jwk(public, as_dict=True)
        texts += [json.dumps(jwk).encode(), json.dumps({"keys": [jwk]}, indent=1).encode(), str(jwk).encode()]
        # As Keycloak's console shows the key of a realm.
        texts.append(base64.b64encode(public.public_bytes(Encoding.DER, SPKI)))
        for text in texts:
            assert "text of another key" in problem(text, "HS256")
        assert "needs a secret" in problem(public, "HS256")
        assert "type (kty)" in problem(jwk, "HS256")


def test_a_private_key_is_not_taken_for_a_public_one(rsa_key, ec_key, ed_key):
    for private, family, name in (
        (rsa_key, RSAAlgorithm, "RS256"),
        (ec_key, ECAlgorithm, "ES256"),
        (ed_key, OKPAlgorithm, "EdDSA"),
    ):
        text = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for form in (private, text, text.decode(), family.to_jwk(private, as_dict=True) | {"key_ops": ["verify"]}):
            assert "give the public key" in problem(form, name)


@pytest.mark.parametrize(
    "key",
    [
        None,
        1,
        True,
        object(),
        bytearray(64),
        "",
        b"",
        "x" * 64,
        "\ud800",
        b"\xff" * 64,
        "-----BEGIN PUBLIC KEY-----",
        1.5,
    ],
)
@pytest.mark.parametrize("name", ["RS256", "ES256", "EdDSA"])
def test_what_is_not_a_public_key_is_refused(key, name):
    assert problem(key, name)


def test_what_is_not_a_secret_is_refused():
    for key in (None, 1, True, object(), bytearray(64), memoryview(b"x" * 64)):
        assert "needs a secret" in problem(key, "HS256")


def test_a_key_of_another_family_or_curve_is_refused(rsa_key, ec_key, ed_key):
    larger = ec.generate_private_key(ec.SECP384R1())
    bitcoin = ec.generate_private_key(ec.SECP256K1())
    for private, name in (
        (rsa_key, "ES256"),
        (rsa_key, "EdDSA"),
        (ec_key, "RS256"),
        (ed_key, "ES256"),
        (ec_key, "ES384"),
        (larger, "ES256"),
        (bitcoin, "ES256"),
        (x25519.X25519PrivateKey.generate(), "EdDSA"),
    ):
        public = private.public_key()
        for form in (public, public.public_bytes(Encoding.PEM, SPKI)):
            assert problem(form, name)


def test_a_signature_key_of_no_algorithm_here_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        public = dsa.generate_private_key(2048).public_key()
    assert problem(public, "RS256")


def test_rsa_keys_have_2048_to_8192_bits():
    for bits, good in ((1024, False), (2040, False), (2048, True), (8192, True), (8200, False)):
        # Any odd number of the size does: nobody factors it here.
        modulus = secrets.randbits(bits) | (1 << (bits - 1)) | 1
        jwk = RSAAlgorithm.to_jwk(rsa.RSAPublicNumbers(65537, modulus).public_key(), as_dict=True)
        if good:
            assert read_key(jwk, algorithms("RS256"))[1] == ["RS256"]
        else:
            assert "2048 to 8192" in problem(jwk, "RS256")


@pytest.mark.parametrize("exponent", [0, 1, 2, 4, 65536])
def test_an_rsa_exponent_that_signs_nothing_is_refused(exponent, rsa_key):
    octets = exponent.to_bytes(3, "big")
    jwk = RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True) | {"e": base64.urlsafe_b64encode(octets).decode()}
    assert problem(jwk, "RS256")


def test_an_rsa_exponent_of_three_is_taken(rsa_key):
    jwk = RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True) | {"e": "Aw"}
    assert read_key(jwk, algorithms("RS256"))[1] == ["RS256"]


def test_an_rsa_modulus_that_is_even_is_refused():
    jwk = {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode((2**2047 + 2).to_bytes(256)).decode()}
    assert "even" in problem(jwk, "RS256")


ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
P_25519 = 2**255 - 19
P_448 = 2**448 - 2**224 - 1


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize(
    "y",
    [
        *(0, 1, P_25519 - 1),
        *(P_25519, P_25519 + 1),  # the same as the first two, not reduced
        int.from_bytes(ORDER_8, "little"),
        P_25519 - int.from_bytes(ORDER_8, "little"),
    ],
)
def test_an_ed25519_key_of_small_order_is_refused(y, sign):
    public = ed25519.Ed25519PublicKey.from_public_bytes((y | sign << 255).to_bytes(32, "little"))
    for form in (public, public.public_bytes(Encoding.PEM, SPKI), OKPAlgorithm.to_jwk(public, as_dict=True)):
        assert "small order" in problem(form, "EdDSA")


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", [0, 1, P_448 - 1, P_448, P_448 + 1])
def test_an_ed448_key_of_small_order_is_refused(y, sign):
    public = ed448.Ed448PublicKey.from_public_bytes((y | sign << 455).to_bytes(57, "little"))
    assert "small order" in problem(public, "EdDSA")


def test_an_edwards_key_that_was_generated_is_taken():
    for kind in (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey):
        for _ in range(50):
            assert read_key(kind.generate().public_key(), algorithms("EdDSA"))[1] == ["EdDSA"]


def test_a_jwk_that_is_broken_is_refused(rsa_key, ec_key):
    good = ECAlgorithm.to_jwk(ec_key.public_key(), as_dict=True)
    off_curve = good | {"y": good["x"]}
    for jwk in (good | {"x": ""}, good | {"x": 1}, good | {"y": None}, off_curve, {"kty": "EC", "crv": "P-256"}):
        assert "cannot be read" in problem(jwk, "ES256")
    assert "cannot be read" in problem({"kty": "RSA", "n": "AQAB"}, "RS256")
    assert "cannot be read" in problem({"kty": "OKP", "crv": "Ed25519", "x": "AA"}, "EdDSA")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, None),
        ({"use": "sig"}, None),
        ({"key_ops": ["verify"]}, None),
        ({"key_ops": ["sign", "verify"]}, None),
        ({"alg": "ES256"}, None),
        ({"use": "enc"}, "use"),
        ({"use": None}, "use"),
        ({"use": ["sig"]}, "use"),
        ({"key_ops": []}, "key_ops"),
        ({"key_ops": ["sign"]}, "key_ops"),
        ({"key_ops": "verify"}, "key_ops"),
        ({"key_ops": None}, "key_ops"),
        ({"alg": "ES384"}, "alg"),
        ({"alg": "none"}, "alg"),
        ({"alg": None}, "alg"),
        ({"alg": ["ES256"]}, "alg"),
        ({"crv": "P-521"}, "crv"),
        ({"crv": None}, "crv"),
        ({"crv": ["P-256"]}, "crv"),
        ({"kty": "RSA"}, "kty"),
        ({"kty": None}, "kty"),
    ],
)
def test_what_a_jwk_says_of_itself_is_kept_to(change, word):
    jwk = {"kty": "EC", "crv": "P-256", **change}
    said = misfit(jwk, algorithms("ES256", "ES384"))
    assert said is None if word is None else word in said


def test_a_published_key_is_recognised_however_it_is_written():
    private = ed25519.Ed25519PrivateKey.from_private_bytes(
        base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")  # RFC 8037, appendix A.1
    )
    public = private.public_key()
    jwk = OKPAlgorithm.to_jwk(public, as_dict=True)
    for form in (public, public.public_bytes(Encoding.PEM, SPKI), jwk, jwk | {"x": jwk["x"] + "="}):
        assert "private half" in problem(form, "EdDSA")


def test_a_key_whose_private_half_a_standard_prints_is_refused():
    number = base64.urlsafe_b64decode("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE=")  # RFC 7517, appendix A.2
    private = ec.derive_private_key(int.from_bytes(number), ec.SECP256R1())
    assert "private half" in problem(private.public_key(), "ES256")


JWT_IO_384 = """-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEC1uWSXj2czCDwMTLWV5BFmwxdM6PX9p+
Pk9Yf9rIf374m5XP1U8q79dBhLSIuaojsvOT39UUcPJROSD1FqYLued0rXiooIii
1D3jaW6pmGVJFhodzC31cy5sfOYotrzF
-----END PUBLIC KEY-----"""
JWT_IO_512 = """-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBgc4HZz+/fBbC7lmEww0AO3NK9wVZ
PDZ0VEnsaUFLEYpTzb90nITtJUcPUbvOsdZIZ1Q8fnbquAYgxXL5UgHMoywAib47
6MkyyYgPk0BXZq3mq4zImTRNuaU9slj9TVJ3ScT3L1bXwVuPJDzpr5GOFpaj+WwM
Al8G7CqwoJOsW7Kddns=
-----END PUBLIC KEY-----"""


@pytest.mark.parametrize(("algorithm", "text"), [("ES384", JWT_IO_384), ("ES512", JWT_IO_512)])
def test_what_jwt_io_shows_is_refused(algorithm, text):
    assert "private half" in problem(text, algorithm)
