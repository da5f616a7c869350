import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

from authcache_middleware.errors import ConfigurationError, InvalidTokenError
from authcache_middleware.tokens.keys import KeySet

RSA_FAMILY = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]


def pem(public):
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def other_ec():
    return ec.generate_private_key(ec.SECP256R1()).public_key()


@pytest.fixture(scope="module")
def jwk(ec_key):
    return ECAlgorithm.to_jwk(ec_key.public_key(), as_dict=True)


def chosen(keys, algorithm, kid):
    """The key's number, or ``None`` where there is none to choose."""
    try:
        return keys.choose(algorithm, kid)[1]
    except InvalidTokenError as refusal:
        assert refusal.reason == "key"  # noqa: PT017
        return None


def numbers(key):
    return key if isinstance(key, bytes) or key is None else key.public_numbers()


def test_a_named_key_is_taken_by_its_name_only(secret):
    keys = KeySet({"a": secret}, ["HS256"])
    assert chosen(keys, "HS256", "a") == secret
    assert chosen(keys, "HS256", None) == secret
    for kid in ("b", "A", "", "a "):
        assert chosen(keys, "HS256", kid) is None


def test_of_several_named_keys_a_token_must_name_one(secret):
    keys = KeySet({"a": secret, "b": secret[::-1]}, ["HS256"])
    assert (chosen(keys, "HS256", "a"), chosen(keys, "HS256", "b")) == (secret, secret[::-1])
    assert chosen(keys, "HS256", None) is None


def test_a_key_without_a_name_takes_any_name(rsa_key):
    public = rsa_key.public_key()
    keys = KeySet(public, ["RS256", "PS256"])
    for algorithm in ("RS256", "PS256"):
        for kid in (None, "whatever the provider calls it"):
            assert chosen(keys, algorithm, kid) is public
    assert chosen(keys, "RS512", None) is None


def test_several_keys_without_names_could_not_be_told_apart(secret, rsa_key):
    for keys, algorithms in (
        ([secret, secret[::-1]], ["HS256"]),
        ([secret, {"b": secret[::-1]}], ["HS256"]),
        ([rsa_key.public_key(), pem(rsa_key.public_key())], ["RS256"]),
    ):
        with pytest.raises(ConfigurationError, match=r"^keys: .*needs a kid"):
            KeySet(keys, algorithms)


def test_keys_without_names_may_differ_by_algorithm(ec_key):
    larger = ec.generate_private_key(ec.SECP384R1()).public_key()
    keys = KeySet([ec_key.public_key(), pem(larger)], ["ES256", "ES384"])
    assert chosen(keys, "ES256", "x") is ec_key.public_key() or chosen(keys, "ES256", "x") == ec_key.public_key()
    assert chosen(keys, "ES384", None) == larger


def test_every_form_of_a_key_is_the_same_key(ec_key, jwk):
    public = ec_key.public_key()
    text = pem(public).decode()
    forms = [public, text, text.encode(), f"\n{text}\n\n", jwk, {"keys": [jwk]}, {"a": public}, {"a": jwk}, {"a": text}]
    for form in (*forms, *([form] for form in forms), *((form,) for form in forms)):
        assert chosen(KeySet(form, ["ES256"]), "ES256", None) == public


def test_every_algorithm_finds_its_key(secret, rsa_key):
    oct_jwk = HMACAlgorithm.to_jwk(secret, as_dict=True)
    for algorithm in ("HS256", "HS384", "HS512"):
        assert chosen(KeySet(oct_jwk, [algorithm]), algorithm, None) == secret
        assert chosen(KeySet(secret, [algorithm]), algorithm, None) == secret
    rsa_jwk = RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True)
    for algorithm in RSA_FAMILY:
        assert chosen(KeySet(rsa_jwk, RSA_FAMILY), algorithm, None) == rsa_key.public_key()
    for algorithm, curve in (("ES256", ec.SECP256R1()), ("ES384", ec.SECP384R1()), ("ES512", ec.SECP521R1())):
        public = ec.generate_private_key(curve).public_key()
        for form in (public, ECAlgorithm.to_jwk(public, as_dict=True)):
            assert chosen(KeySet(form, [algorithm]), algorithm, None) == public
    for key in (ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()):
        for form in (key.public_key(), OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)):
            assert chosen(KeySet(form, ["EdDSA"]), "EdDSA", None) == key.public_key()


def test_a_jwk_brings_its_own_name_and_algorithm(rsa_key):
    jwk = RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True) | {"kid": "a", "alg": "PS256", "use": "sig"}
    keys = KeySet(jwk, RSA_FAMILY)
    assert chosen(keys, "PS256", "a") == rsa_key.public_key()
    assert chosen(keys, "PS256", "b") is None
    assert chosen(keys, "RS256", "a") is None


def test_a_set_may_hold_keys_for_other_purposes(jwk, rsa_key, other_ec):
    members = [
        jwk | {"kid": "a", "use": "sig", "key_ops": ["verify"]},
        jwk | {"kid": "encryption", "use": "enc"},
        jwk | {"kid": "derivation", "key_ops": ["deriveBits"]},
        jwk | {"kid": "another algorithm", "alg": "ECDH-ES"},
        jwk | {"kid": "another curve", "crv": "P-384"},
        RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True) | {"kid": "another type"},
        {"kty": "unheard of", "kid": "new"},
        ECAlgorithm.to_jwk(other_ec, as_dict=True) | {"kid": "b"},
    ]
    keys = KeySet({"keys": members}, ["ES256"])
    taken = [member["kid"] for member in members if chosen(keys, "ES256", member["kid"])]
    assert taken == ["a", "b"]


def test_sets_mappings_and_jwks_mix_in_a_list(jwk, other_ec):
    keys = KeySet([{"keys": [jwk | {"kid": "a"}]}, {"b": other_ec}], ["ES256"])
    assert chosen(keys, "ES256", "b") == other_ec
    assert chosen(keys, "ES256", "a") != other_ec


def problem(keys, algorithms):
    with pytest.raises(ConfigurationError) as caught:
        KeySet(keys, algorithms)
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    "algorithms",
    [
        [],
        "RS256",
        b"RS256",
        None,
        5,
        {"RS256": 1},
        ["none"],
        ["None"],
        ["RS256", "none"],
        ["rs256"],
        ["RS257"],
        [1],
        [["RS256"]],
    ],
)
def test_algorithms_must_be_known(algorithms, rsa_key):
    assert problem(rsa_key.public_key(), algorithms).startswith("algorithms: ")


@pytest.mark.parametrize("algorithms", [["RS256", "HS256"], ["RS256", "ES256"], ["ES256", "EdDSA"], ["HS256", "EdDSA"]])
def test_algorithms_must_be_of_one_family(algorithms, rsa_key):
    assert problem(rsa_key.public_key(), algorithms).startswith("algorithms: must be of one family")


def test_there_must_be_a_key(jwk):
    for keys in ([], (), {}, {"keys": []}, [{}], {"keys": [jwk | {"use": "enc"}]}):
        assert problem(keys, ["ES256"]).startswith("keys: there is no key")


def test_names_must_be_usable(secret, jwk):
    for kid in ("", "k" * 257, 1, None, True, b"a", ("a",)):
        assert problem({kid: secret}, ["HS256"]).startswith("keys: a kid must be a string")
        assert problem(jwk | {"kid": kid}, ["ES256"]).startswith("keys: a kid must be a string")
    assert KeySet({"k" * 256: secret}, ["HS256"])


def test_names_must_lead_to_one_key(secret, jwk, other_ec):
    assert "same kid" in problem([{"a": secret}, {"a": secret[::-1]}], ["HS256"])
    assert "same kid" in problem({"keys": [jwk | {"kid": "a"}, jwk | {"kid": "a"}]}, ["ES256"])
    assert "another kid" in problem({"a": jwk | {"kid": "b"}}, ["ES256"])
    assert "one key" in problem({"a": [other_ec]}, ["ES256"])
    assert "one key" in problem({"a": {"keys": [jwk]}}, ["ES256"])
    assert "another list" in problem([[other_ec]], ["ES256"])
    assert "not a JWK" in problem({"keys": [jwk, "x"]}, ["ES256"])
    assert "not a JWK" in problem({"keys": [pem(other_ec)]}, ["ES256"])


def test_nothing_shows_the_keys(secret, ec_key):
    for key, algorithm in ((secret, "HS256"), (ec_key.public_key(), "ES256")):
        assert repr(KeySet({"name": key}, [algorithm])) == f"<KeySet: 1 for {algorithm}>"


def test_the_callers_jwk_may_change_afterwards(jwk, ec_key):
    mine = json.loads(json.dumps(jwk))
    keys = KeySet(mine, ["ES256"])
    mine.clear()
    assert chosen(keys, "ES256", None) == ec_key.public_key()


def test_keys_are_prepared_for_their_algorithm(rsa_key):
    algorithm, key, length = KeySet(rsa_key.public_key(), ["RS256"]).choose("RS256", None)
    signature = algorithm.sign(b"text", rsa_key)
    assert algorithm.verify(b"text", key, signature)
    assert len(signature) == length
    assert isinstance(key, rsa.RSAPublicKey)
