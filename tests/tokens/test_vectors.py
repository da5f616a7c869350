"""The standards' own examples: verified as published, and none of their keys taken as a service's own."""

import json
from pathlib import Path

import pytest
from jwt.algorithms import get_default_algorithms

from authcache_middleware.errors import ConfigurationError, InvalidTokenError
from authcache_middleware.tokens.keys import KeySet
from authcache_middleware.tokens.strict import parse_object, split_token
from authcache_middleware.tokens.verifier import TokenVerifier

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text())
SIGNED = [pytest.param(vector, id=vector["source"]) for vector in VECTORS["signed"]]
# RFC 7515, appendix A.1.1 and RFC 7519, section 3.1.
JOES_CLAIMS = {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}


def signature_holds(vector, token):
    """Past the key policy, which refuses these keys: strict parsing and PyJWT's algorithm alone."""
    algorithm = get_default_algorithms()[vector["algorithm"]]
    parts = split_token(token)
    assert parts.header["alg"] == vector["algorithm"]
    return algorithm.verify(parts.signed, algorithm.from_jwk(vector["jwk"]), parts.signature)


@pytest.mark.parametrize("vector", SIGNED)
def test_a_published_signature_holds(vector):
    assert signature_holds(vector, vector["token"])


@pytest.mark.parametrize("vector", SIGNED)
def test_a_published_signature_holds_for_nothing_else(vector):
    header, claims, signature = vector["token"].split(".")
    other = "B" if claims[0] == "A" else "A"
    assert not signature_holds(vector, f"{header}.{other}{claims[1:]}.{signature}")
    other = "B" if signature[0] == "A" else "A"
    assert not signature_holds(vector, f"{header}.{claims}.{other}{signature[1:]}")


@pytest.mark.parametrize("vector", SIGNED)
def test_a_published_payload_is_read_if_it_is_claims(vector):
    claims_json = split_token(vector["token"]).claims_json
    if vector["payload"] == "claims":
        assert parse_object(claims_json, "claims") == JOES_CLAIMS
    else:
        with pytest.raises(InvalidTokenError, match="claims"):
            parse_object(claims_json, "claims")


@pytest.mark.parametrize("vector", SIGNED)
def test_a_published_key_is_refused(vector):
    with pytest.raises(ConfigurationError, match=r"^keys: .*(published|sample)"):
        KeySet(vector["jwk"], [vector["algorithm"]])


def test_the_unsecured_example_is_refused(secret):
    verifier = TokenVerifier(keys=secret, algorithms=["HS256"], issuer="joe", audience=None)
    with pytest.raises(InvalidTokenError):
        verifier.verify(VECTORS["unsecured"]["token"], 1300819000.0)
