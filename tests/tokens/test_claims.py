import pytest

from authcache_middleware.tokens.claims import Claims


def test_claims_are_a_mapping_that_shows_names_and_no_values():
    members = {"sub": "ada", "jti": "t-4711"}
    claims = Claims("ada", None, 2.0, 1.0, "t-4711", None, (), members)
    assert dict(claims) == members
    assert (len(claims), claims.get("aud"), "jti" in claims) == (2, None, True)
    assert repr(claims) == "<Claims: jti, sub>"
    with pytest.raises(KeyError):
        claims["aud"]
    with pytest.raises(AttributeError):
        claims.subject = "root"
