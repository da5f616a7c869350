import math

import pytest

from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.tokens import rules

NAN = math.nan


def outcome(rule, *args):
    """What the rule returns, or the reason of its refusal in angle brackets."""
    try:
        return rule(*args)
    except InvalidTokenError as refusal:
        return f"<{refusal.reason}>"


@pytest.mark.parametrize(
    ("claims", "issuer", "expected"),
    [
        ({"iss": "a"}, "a", "a"),
        ({"iss": "A"}, "a", "<issuer>"),
        ({"iss": "a/"}, "a", "<issuer>"),
        ({"iss": ["a"]}, "a", "<issuer>"),
        ({"iss": None}, "a", "<issuer>"),
        ({}, "a", "<issuer>"),
        ({}, None, None),
        ({"iss": "a"}, None, "<issuer>"),
        ({"iss": None}, None, "<issuer>"),
    ],
)
def test_issuer(claims, issuer, expected):
    assert outcome(rules.issuer_is, claims, issuer) == expected


@pytest.mark.parametrize(
    ("claims", "audiences", "expected"),
    [
        ({"aud": "a"}, {"a"}, None),
        ({"aud": "b"}, {"a", "b"}, None),
        ({"aud": ["x", "a"]}, {"a"}, None),
        ({"aud": ["x"]}, {"a"}, "<audience>"),
        ({"aud": []}, {"a"}, "<audience>"),
        ({"aud": ["a", 1]}, {"a"}, "<audience>"),
        ({"aud": [["a"]]}, {"a"}, "<audience>"),
        ({"aud": {"a": 1}}, {"a"}, "<audience>"),
        ({"aud": "a b"}, {"a"}, "<audience>"),
        ({"aud": "ab"}, {"a", "b"}, "<audience>"),
        ({"aud": None}, {"a"}, "<audience>"),
        ({}, {"a"}, "<audience>"),
        ({}, None, None),
        ({"aud": "a"}, None, "<audience>"),
        ({"aud": []}, None, "<audience>"),
        ({"aud": None}, None, "<audience>"),
    ],
)
def test_audience(claims, audiences, expected):
    audiences = audiences and frozenset(audiences)
    assert outcome(rules.audience_is_among, claims, audiences) == expected


IDENTIFIERS = [
    ("a", True),
    (" ", True),
    ("x" * 255, True),
    ("🦊" * 255, True),
    ("a:b{c}\u2028", True),
    ("", False),
    ("x" * 256, False),
    *((f"a{chr(code)}b", False) for code in (0, 9, 10, 13, 27, 31, 127, 128, 133, 159, 0xD800, 0xDFFF)),
    *((value, False) for value in (None, 1, 0, True, ["a"], {"a": 1}, b"a")),
]


@pytest.mark.parametrize(("value", "good"), IDENTIFIERS)
def test_identifiers(value, good):
    assert outcome(rules.read_subject, {"s": value}, "s") == (value if good else "<subject>")
    assert outcome(rules.optional_id, {"jti": value}, "jti") == (value if good else "<claims>")


def test_a_subject_must_be_there_and_an_id_need_not():
    assert outcome(rules.read_subject, {}, "sub") == "<subject>"
    assert outcome(rules.optional_id, {}, "jti") is None


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, ()),
        ({"scope": ""}, ()),
        ({"scope": "a"}, ("a",)),
        ({"scope": " a  b "}, ("a", "b")),
        ({"scope": "a\u00a0admin\tx"}, ("a\u00a0admin\tx",)),
        ({"scope": ["a"]}, "<claims>"),
        ({"scope": None}, "<claims>"),
    ],
)
def test_scope(claims, expected):
    assert outcome(rules.scope_words, claims) == expected


@pytest.mark.parametrize("value", [0, 1, 1.5, 0.0, 253_402_300_799])
def test_a_date_is_a_number_of_seconds(value):
    date = rules.numeric_date({"exp": value}, "exp")
    assert date == value
    assert type(date) is float


@pytest.mark.parametrize("value", [True, False, None, "1", [1], {}, -1, -0.5, NAN, math.inf, 10**400, 253_402_300_800])
def test_a_date_is_nothing_else(value):
    assert outcome(rules.numeric_date, {"exp": value}, "exp") == "<claims>"
    assert rules.numeric_date({}, "exp") is None


@pytest.mark.parametrize(
    ("now", "expected"), [(104.9, None), (105.0, "<expired>"), (1e12, "<expired>"), (NAN, "<expired>")]
)
def test_expiry(now, expected):
    assert outcome(rules.refuse_late, 100.0, now, 5.0) == expected


@pytest.mark.parametrize(
    ("not_before", "issued_at", "expected"),
    [
        (None, None, None),
        (105.0, 105.0, None),
        (105.1, 90.0, "<not_yet_valid>"),
        (90.0, 105.1, "<not_yet_valid>"),
        (None, 105.1, "<not_yet_valid>"),
        (NAN, None, "<not_yet_valid>"),
        (None, NAN, "<not_yet_valid>"),
    ],
)
def test_beginning(not_before, issued_at, expected):
    assert outcome(rules.refuse_early, not_before, issued_at, 100.0, 5.0) == expected


@pytest.mark.parametrize(
    ("members", "names", "words"),
    [
        ({"scp": "a b"}, ("scope", "scp"), ("a", "b")),
        ({"scp": ["a", "b c"]}, ("scope", "scp"), ("a", "b c")),
        ({"scp": []}, ("scope", "scp"), ()),
        ({"scope": "a", "scp": ["b"]}, ("scope", "scp"), ("a",)),
        ({"scope": "a", "scp": ["b"]}, ("scp", "scope"), ("b",)),
        ({"scope": "", "scp": ["b"]}, ("scope", "scp"), ()),
        ({"scope": "a", "scp": 5}, ("scope", "scp"), ("a",)),
        ({"scp": "a"}, ("scope",), ()),
        ({"scope": "a"}, (), ()),
    ],
)
def test_the_first_of_the_scope_claims_counts(members, names, words):
    assert rules.scope_words(members, names) == words


@pytest.mark.parametrize(
    "members",
    [{"scope": ["a"]}, {"scope": None, "scp": "a"}, {"scp": None}, {"scp": [1]}, {"scp": {}}, {"scp": [["a"]]}],
)
def test_scopes_of_another_shape_are_refused(members):
    with pytest.raises(InvalidTokenError, match="claims"):
        rules.scope_words(members, ("scope", "scp"))


ROLES = ("realm_access", "roles")


@pytest.mark.parametrize(
    ("members", "roles"),
    [
        ({"realm_access": {"roles": ["a", "b"]}}, ("a", "b")),
        ({"realm_access": {"roles": "a b"}}, ("a b",)),
        ({"realm_access": {"roles": []}}, ()),
        ({"realm_access": {}}, ()),
        ({}, ()),
        ({"realm_access.roles": ["a"], "roles": ["a"]}, ()),
    ],
)
def test_roles_stand_where_the_path_leads(members, roles):
    assert rules.role_names(members, ROLES) == roles


@pytest.mark.parametrize(
    "members",
    [
        *({"realm_access": value} for value in (None, "roles", ["roles"], 5)),
        *({"realm_access": {"roles": value}} for value in (None, 5, {}, [1], ["a", None], [["a"]], True)),
    ],
)
def test_roles_of_another_shape_are_refused(members):
    with pytest.raises(InvalidTokenError, match="claims"):
        rules.role_names(members, ROLES)
