"""A provider's answer: strict as a whole, member by member in its keys."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from provider import jwk_of

from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.tokens.jwk_set import UnusableAnswerError, read_jwk_set
from authcache_middleware.tokens.keys import allowed_algorithms

ES256 = allowed_algorithms(["ES256"])
KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
GOOD = jwk_of(KEYS[0], "good")


def read(*members: object, allowed=ES256):
    return read_jwk_set(json.dumps({"keys": members}).encode(), allowed)


def has(jwks, kid: str | None, algorithm: str = "ES256") -> bool:
    try:
        jwks.keys.choose(algorithm, kid)
    except InvalidTokenError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"keys": {}}',
        b"{}",
        b'{"keys": []}',
        b'{"keys": [1, 2]}',
        b'{"keys": [], "keys": []}',
        b'\xef\xbb\xbf{"keys": []}',
        '{"keys": []}'.encode("utf-16"),
        json.dumps({"keys": [GOOD]}).encode() + b"x",
        json.dumps({"keys": [GOOD] * 101}).encode(),
        b"[" * 100_000,
    ],
)
def test_an_answer_that_cannot_be_used(text) -> None:
    with pytest.raises(UnusableAnswerError):
        read_jwk_set(text, ES256)


BROKEN = {
    "not an object": 1,
    "no coordinate": {key: value for key, value in GOOD.items() if key != "x"} | {"kid": "b"},
    "not on the curve": {**GOOD, "kid": "b", "x": GOOD["y"]},
    "a coordinate of another type": {**GOOD, "kid": "b", "x": 7},
    "a private key": {**ECAlgorithm.to_jwk(KEYS[1], as_dict=True), "kid": "b", "use": "sig"},
    "a private exponent beside it": {**jwk_of(KEYS[1], "b"), "d": "AQAB"},
    "a symmetric key": {"kty": "oct", "k": "c2VjcmV0", "kid": "b"},
    "a kid that is no text": {**GOOD, "kid": 7},
    "an empty kid": {**GOOD, "kid": ""},
    "an endless kid": {**GOOD, "kid": "k" * 257},
    "a kid that is null": {**GOOD, "kid": None},
}


@pytest.mark.parametrize("member", BROKEN.values(), ids=BROKEN)
def test_a_broken_member_is_left_out_and_counted(member) -> None:
    jwks = read(member, GOOD)
    assert jwks.skipped == 1
    assert has(jwks, "good")
    with pytest.raises(UnusableAnswerError):
        read(member)


OTHERS = {
    "for encryption": {**jwk_of(KEYS[1], "o"), "use": "enc"},
    "to sign with": {**jwk_of(KEYS[1], "o"), "key_ops": ["sign"]},
    "operations that are no list": {**jwk_of(KEYS[1], "o"), "key_ops": "verify"},
    "for another algorithm": {**jwk_of(KEYS[1], "o"), "alg": "ECDH-ES"},
    "on another curve": {**jwk_of(KEYS[1], "o"), "crv": "P-384"},
    "of another type": {**RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key(), as_dict=True)},
    "of a type to come": {"kty": "AKP", "kid": "o", "pub": "…"},
    "without a type": {"kid": "o"},
}


@pytest.mark.parametrize("member", OTHERS.values(), ids=OTHERS)
def test_a_key_with_another_purpose_is_left_out_and_not_counted(member) -> None:
    jwks = read(member, GOOD)
    assert jwks.skipped == 0
    assert not has(jwks, "o")


def test_a_weak_key_is_broken() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    strong = rsa.generate_private_key(65537, 2048)
    members = [{**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid} for key, kid in
               [(weak, "weak"), (strong, "strong")]]  # fmt: skip
    jwks = read(*members, allowed=allowed_algorithms(["RS256"]))
    assert (jwks.skipped, has(jwks, "strong", "RS256"), has(jwks, "weak", "RS256")) == (1, True, False)


def test_two_keys_with_one_name_are_both_left_out() -> None:
    jwks = read(jwk_of(KEYS[1], "twice"), jwk_of(KEYS[2], "twice"), GOOD)
    assert (jwks.skipped, has(jwks, "twice"), has(jwks, "good")) == (2, False, True)


def test_a_key_that_stands_there_twice_is_one() -> None:
    jwks = read(GOOD, GOOD)
    assert (jwks.skipped, has(jwks, "good")) == (1, True)


def test_one_key_without_a_name_takes_every_name_and_beside_others_none() -> None:
    assert has(read(jwk_of(KEYS[0], None)), "whatever")
    jwks = read(jwk_of(KEYS[1], None), GOOD)
    assert (jwks.skipped, has(jwks, "whatever"), has(jwks, "good")) == (1, False, True)


def test_sets_are_the_same_whatever_their_order() -> None:
    one, two = GOOD, jwk_of(KEYS[1], "two")
    assert read(one, two).keys.is_same(read(two, one).keys)
    assert not read(one, two).keys.is_same(read(one).keys)
    assert not read(GOOD).keys.is_same(read(jwk_of(KEYS[1], "good")).keys)


junk = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=3), max_size=2)
odd = st.dictionaries(st.sampled_from([*GOOD, "key_ops", "d"]), junk | st.sampled_from(list(GOOD.values())), max_size=8)


@settings(max_examples=50)
@given(st.lists(junk | odd, max_size=5))
def test_no_member_whatever_spoils_the_others(members) -> None:
    named = [one for one in members if isinstance(one, dict) and one.get("kid") == "good"]
    assert has(read(*members, GOOD), "good") or named
