from dataclasses import fields

import pytest

from authcache_middleware.tokens.claims import Claims, claims_of


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


def test_those_of_a_verifier_are_what_the_class_itself_makes():
    said = ("ada", "us", 2.0, 1.0, "t-4711", "s", ("read",), {"sub": "ada"}, ("admin",))
    names = [field.name for field in fields(Claims)]
    made = claims_of(**dict(zip(names, said, strict=False)))
    assert type(made) is Claims
    assert [getattr(made, name) for name in names] == [getattr(Claims(*said), name) for name in names]
    for change in (lambda: setattr(made, "subject", "root"), lambda: delattr(made, "subject")):
        with pytest.raises(AttributeError):
            change()
