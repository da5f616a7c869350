import base64
import datetime as dt
import json
import secrets

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from authcache_middleware.tokens.disguise import is_disguised_key

SPKI = PublicFormat.SubjectPublicKeyInfo


@pytest.fixture(scope="module")
def public_keys(rsa_key, ec_key, ed_key):
    return [private.public_key() for private in (rsa_key, ec_key, ed_key)]


@pytest.fixture(scope="module")
def certificate(ec_key):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "id.example")])
    begun = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, ec_key.public_key(), 1, begun, begun + dt.timedelta(days=1))
    return builder.sign(ec_key, SHA256())


def spellings(octets):
    """The ways in which consoles and configuration files show octets."""
    text = base64.b64encode(octets)
    lines = [text[n : n + 64] for n in range(0, len(text), 64)]
    return [
        octets,
        text,
        text.rstrip(b"="),
        base64.urlsafe_b64encode(octets),
        base64.urlsafe_b64encode(octets).rstrip(b"="),
        b"  " + text + b"\n",
        b'"' + text + b'"',
        b"\xef\xbb\xbf" + text,
        b"\n".join(lines),
        b"\r\n".join(lines) + b"\r\n",
        b"\\n".join(lines),  # as JSON and shells write a line break
        octets.hex().encode(),
        octets.hex().upper().encode(),
        octets.hex(":").encode(),
        octets.hex(" ").encode(),
    ]


def test_der_without_its_armour_is_found(public_keys, certificate):
    found = [key.public_bytes(Encoding.DER, SPKI) for key in public_keys]
    found += [public_keys[0].public_bytes(Encoding.DER, PublicFormat.PKCS1), certificate.public_bytes(Encoding.DER)]
    for octets in found:
        assert [text for text in spellings(octets) if not is_disguised_key(text)] == []


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_point_of_a_curve_is_found_with_and_without_the_octet_before_it(curve):
    public = ec.generate_private_key(curve).public_key()
    octets = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    for form in (octets, octets[1:]):
        assert [text for text in spellings(form) if not is_disguised_key(text)] == []


def test_a_point_without_its_octet_is_found_where_its_coordinate_begins_like_one():
    octets = b""
    while not octets.startswith(b"\4\4"):
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        octets = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert is_disguised_key(octets[1:])


def test_armour_and_jwks_are_found_in_base64_too(public_keys, certificate):
    texts = [key.public_bytes(Encoding.PEM, SPKI) for key in public_keys]
    texts += [key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) for key in public_keys]
    texts.append(certificate.public_bytes(Encoding.PEM))
    for family, key in zip((RSAAlgorithm, ECAlgorithm, OKPAlgorithm), public_keys, strict=True):
        jwk = family.to_jwk(key, as_dict=True)
        texts += [json.dumps(jwk).encode(), str(jwk).encode()]
    for text in texts:
        assert is_disguised_key(text)
        assert is_disguised_key(base64.b64encode(text))
    for key in public_keys:
        assert is_disguised_key(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])


@pytest.mark.parametrize("length", [32, 33, 48, 49, 64, 65, 66, 67, 91, 96, 97, 132, 133, 256, 294])
def test_what_a_generator_made_is_a_secret(length):
    for _ in range(100):
        octets = secrets.token_bytes(length)
        assert not any(is_disguised_key(text) for text in spellings(octets))
        # What a curve's point begins with, whole and compressed.
        assert not any(is_disguised_key(bytes([first]) + octets[1:]) for first in (2, 3, 4))


@pytest.mark.parametrize("secret", [b"", b"=", b"a", b"abcde", b":", b"\\n", b'""', b"\4", b"\x30\x82", b"\xff" * 64])
def test_what_is_nothing_is_no_key(secret):
    assert not is_disguised_key(secret)


def test_the_bare_modulus_cannot_be_told_from_octets(rsa_key):
    assert not is_disguised_key(RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True)["n"].encode())
