"""Scopes and roles where providers put them, and what the profile of RFC 9068 asks for."""

import pytest

from authcache_middleware.errors import ConfigurationError, InvalidTokenError
from authcache_middleware.testing.tokens import issue_token
from authcache_middleware.tokens.profiles import claim_path
from authcache_middleware.tokens.verifier import TokenVerifier

NOW = 1_790_000_000.0
SECRET = "the secret of this file alone, longer than the hash"


def make(**options):
    given = {"keys": SECRET, "algorithms": ["HS256"], "issuer": "us", "audience": "api"}
    return TokenVerifier(**{**given, **options})


def issue(**options):
    return issue_token(SECRET, **{"issuer": "us", "audience": "api", "now": NOW, **options})


def reason(verifier, token):
    """Why the token is refused, or ``None`` where it is not."""
    try:
        verifier.verify(token, NOW)
    except InvalidTokenError as refusal:
        return refusal.reason
    return None


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (None, ()),
        ("roles", ("roles",)),
        ("realm_access.roles", ("realm_access", "roles")),
        (["https://app.example/roles"], ("https://app.example/roles",)),
        (("resource_access", "my.client", "roles"), ("resource_access", "my.client", "roles")),
    ],
)
def test_a_path_is_a_text_with_dots_or_a_list_of_names(path, names):
    assert claim_path("roles_claim", path) == names


@pytest.mark.parametrize(
    ("options", "claims", "scopes", "roles"),
    [
        ({}, {"scope": "a b", "roles": ["r"]}, ("a", "b"), ()),
        ({}, {"scp": ["a", "b"]}, ("a", "b"), ()),
        ({"scope_claims": ["permissions"]}, {"scope": "a", "permissions": ["p"]}, ("p",), ()),
        ({"roles_claim": "roles"}, {"roles": ["r", "s"]}, (), ("r", "s")),
        ({"roles_claim": "realm_access.roles"}, {"realm_access": {"roles": ["r"]}}, (), ("r",)),
        ({"roles_claim": ["https://a.b/roles"]}, {"https://a.b/roles": "r"}, (), ("r",)),
        ({"roles_claim": "roles"}, {}, (), ()),
    ],
)
def test_claims_hold_scopes_and_roles(options, claims, scopes, roles):
    verifier, token = make(**options), issue(claims=claims)
    for read in (verifier.verify(token, NOW), verifier.recognise(token, NOW)):
        assert (read.scopes, read.roles) == (scopes, roles)


@pytest.mark.parametrize("claims", [{"scp": 5}, {"roles": 5}, {"roles": [{"value": "r"}]}])
def test_a_token_with_others_is_refused(claims):
    assert reason(make(roles_claim="roles"), issue(claims=claims)) == "claims"


STRICT = {"typ": "at+jwt", "claims": {"client_id": "app"}}


@pytest.mark.parametrize("typ", ["at+jwt", "application/at+jwt", "AT+JWT"])
def test_an_access_token_of_rfc_9068_is_taken(typ):
    for options in ({}, {"typ": ["at+jwt"]}, {"required": ["tenant"]}):
        token = issue(typ=typ, claims={"client_id": "app", "tenant": "t"})
        assert reason(make(profile="rfc9068", **options), token) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"typ": "JWT"}, "typ"),
        ({"typ": None}, "typ"),
        ({"typ": "id+jwt"}, "typ"),
        ({"token_id": None}, "claims"),
        ({"subject": None}, "subject"),
        ({"issuer": None}, "issuer"),
        ({"audience": None}, "audience"),
        *(({"claims": {"client_id": value}}, "claims") for value in (None, "", 5, ["app"], "a\n")),
        *(({"claims": {"client_id": "app", name: None}}, "claims") for name in ("iat", "exp")),
    ],
)
def test_anything_less_is_not(changes, why):
    assert reason(make(profile="rfc9068"), issue(**{**STRICT, **changes})) == why


def test_what_is_required_besides_is_still_required():
    assert reason(make(profile="rfc9068", required=["tenant"]), issue(**STRICT)) == "claims"


@pytest.mark.parametrize(
    ("argument", "value"),
    [("typ", ["JWT"]), ("typ", ["at+jwt", None]), ("issuer", None), ("audience", None), ("require_iat", False)],
)
def test_nothing_of_it_can_be_waived(argument, value):
    with pytest.raises(ConfigurationError) as wrong:
        make(profile="rfc9068", **{argument: value})
    assert wrong.value.argument == argument
