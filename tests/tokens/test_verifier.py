import math
import pickle
import threading

import jwt
import pytest
from jwt.utils import base64url_decode, base64url_encode

from authcache_middleware.errors import ConfigurationError, InvalidTokenError
from authcache_middleware.testing.tokens import issue_token
from authcache_middleware.tokens.strict import MOST_HEADERS
from authcache_middleware.tokens.verifier import TokenVerifier

NOW = 1_790_000_000.0
DAY = 86_400


@pytest.fixture(scope="module")
def make(secret):
    """A verifier for one secret, one issuer and one audience, unless an option says otherwise."""

    def make(**options):
        return TokenVerifier(**{"keys": secret, "algorithms": ["HS256"], "issuer": "us", "audience": "api"} | options)

    return make


@pytest.fixture(scope="module")
def issue(secret):
    def issue(key=None, **options):
        return issue_token(key or secret, **{"issuer": "us", "audience": "api", "now": NOW} | options)

    return issue


def reason(verifier, token, now=NOW):
    """Why the token is refused, or ``None`` where it is not."""
    try:
        verifier.verify(token, now)
    except InvalidTokenError as refusal:
        return refusal.reason
    return None


def test_claims_hold_what_the_token_says(make, issue):
    extra = {"sid": "s", "roles": ["a", {"b": None}], "nbf": 5}
    claims = make().verify(issue(subject="ada", token_id="t", scope="read write", claims=extra), NOW)
    assert (claims.subject, claims.issuer, claims.token_id, claims.session_id) == ("ada", "us", "t", "s")
    assert (claims.issued_at, claims.expires_at, claims.scopes) == (NOW, NOW + 300, ("read", "write"))
    assert claims["roles"] == ("a", {"b": None})
    assert set(claims) == {"iss", "sub", "aud", "iat", "exp", "jti", "scope", "sid", "roles", "nbf"}


def test_what_a_token_leaves_out_is_none(make, issue):
    verifier = make(issuer=None, audience=None, require_iat=False)
    claims = verifier.verify(issue(issuer=None, audience=None, token_id=None, claims={"iat": None}), NOW)
    assert (claims.issuer, claims.issued_at, claims.token_id, claims.session_id, claims.scopes) == (None,) * 4 + ((),)


def test_an_issuer_or_audience_of_none_takes_only_tokens_without(make, issue):
    assert reason(make(issuer=None), issue()) == "issuer"
    assert reason(make(issuer=None), issue(issuer=None)) is None
    assert reason(make(audience=None), issue()) == "audience"
    assert reason(make(audience=None), issue(audience=None)) is None
    assert reason(make(), issue(issuer=None)) == "issuer"
    assert reason(make(), issue(audience=None)) == "audience"


def test_of_several_audiences_one_must_be_named(make, issue):
    for audiences in (["api", "web"], ("web", "api"), {"api", "web"}, iter(["api", "web"])):
        verifier = make(audience=audiences)
        assert [reason(verifier, issue(audience=name)) for name in ("api", "web", "a")] == [None, None, "audience"]
        assert reason(verifier, issue(audience=["x", "web"])) is None


def test_types_are_taken_as_configured(make, issue):
    only = make(typ=["application/AT+JWT"])
    assert [reason(only, issue(typ=typ)) for typ in ("at+jwt", "application/at+JWT", "JWT", None)] == [
        None,
        None,
        "typ",
        "typ",
    ]
    assert reason(make(typ=[None]), issue(typ=None)) is None
    assert reason(make(typ=[None]), issue()) == "typ"
    assert reason(make(typ=["k"]), issue(typ="application/K")) is None
    # The Kelvin sign, which lower() makes a k of.
    assert reason(make(typ=["k"]), issue(typ="\u212a")) == "typ"


def test_a_header_is_remembered_for_the_verifier_and_types_that_took_it(make, issue):
    verifier, token = make(), issue(typ="logout+jwt")
    for _ in range(2):
        assert verifier.open(token, frozenset({"logout+jwt"}))["sub"] == "1"
        assert reason(verifier, token) == "typ"
    assert reason(make(), issue()) is None
    assert reason(make(typ=[None]), issue()) == "typ"
    assert (
        reason(
            make(algorithms=["HS512"], keys=b"another secret, of sixty-four octets, as is asked for HS512: 123"),
            issue(),
        )
        == "algorithm"
    )


def test_headers_are_remembered_up_to_a_bound(make, issue):
    verifier = make()
    for number in range(MOST_HEADERS + 10):
        assert reason(verifier, issue(kid=f"k{number}")) is None
    assert verifier._judge_header.cache_info().currsize == MOST_HEADERS


def test_required_claims_must_be_there(make, issue, secret):
    verifier = make(required=["tenant", "jti"])
    assert reason(verifier, issue(claims={"tenant": 0})) is None
    assert reason(verifier, issue()) == "claims"
    assert reason(verifier, issue(claims={"tenant": 0}, token_id=None)) == "claims"
    null = {"iss": "us", "aud": "api", "sub": "1", "jti": "t", "iat": NOW, "exp": NOW + 1, "tenant": None}
    assert reason(verifier, jwt.encode(null, secret, "HS256")) == "claims"
    assert reason(verifier, jwt.encode(null | {"tenant": False}, secret, "HS256")) is None


def test_the_subject_may_be_another_claim(make, issue):
    verifier = make(subject_claim="uid")
    assert verifier.verify(issue(claims={"uid": "7"}), NOW).subject == "7"
    assert verifier.verify(issue(subject=None, claims={"uid": "7"}), NOW).subject == "7"
    assert reason(verifier, issue()) == "subject"
    assert reason(verifier, issue(claims={"uid": 7})) == "subject"


def test_the_leeway_is_the_one_given(make, issue):
    token = issue(lifetime=10)
    for leeway in (0, 5, 60.0):
        verifier = make(leeway=leeway)
        assert reason(verifier, token, NOW + 10 + leeway - 0.5) is None
        assert reason(verifier, token, NOW + 10 + leeway) == "expired"
        assert reason(verifier, token, NOW - leeway) is None
        assert reason(verifier, token, NOW - leeway - 0.5) == "not_yet_valid"


def test_lifetimes_are_bounded(make, issue):
    verifier = make(max_token_lifetime=600)
    assert reason(verifier, issue(lifetime=600)) is None
    assert reason(verifier, issue(lifetime=601)) == "lifetime"
    assert reason(make(), issue(lifetime=30 * DAY)) is None
    assert reason(make(), issue(lifetime=30 * DAY + 1)) == "lifetime"


def test_without_iat_the_time_left_is_bounded(make, issue):
    verifier = make(max_token_lifetime=600, require_iat=False)
    assert reason(verifier, issue(lifetime=605, claims={"iat": None})) is None
    assert reason(verifier, issue(lifetime=606, claims={"iat": None})) == "lifetime"
    assert reason(verifier, issue(lifetime=601)) == "lifetime"
    assert reason(verifier, issue(claims={"iat": "x"})) == "claims"
    assert reason(make(), issue(claims={"iat": None})) == "claims"


@pytest.mark.parametrize("claim", ["nonce", "at_hash", "c_hash"])
def test_id_tokens_are_refused_where_that_is_asked_for(claim, make, issue):
    token = issue(claims={claim: "x"})
    assert reason(make(reject_id_tokens=True), token) == "id_token"
    assert reason(make(), token) is None


def test_a_nameless_key_takes_any_kid_that_is_one(make, issue):
    for kid in ("any", "k" * 256):
        assert reason(make(), issue(kid=kid)) is None
    for kid in ("", "k" * 257, 1, ["k"], {}, False):
        assert reason(make(), issue(headers={"kid": kid})) == "key"


def test_expired_means_that_everything_else_is_right(make, issue):
    expired = {"lifetime": -100}
    assert reason(make(), issue(**expired)) == "expired"
    assert (
        reason(make(), issue(**expired, key=b"another secret of sixty-four octets, which is not that of the fixture"))
        == "signature"
    )
    for wrong, word in (
        ({"issuer": "them"}, "issuer"),
        ({"audience": "web"}, "audience"),
        ({"subject": ""}, "subject"),
        ({"typ": "logout+jwt"}, "typ"),
        ({"scope": 1}, "claims"),
        ({"claims": {"jti": 1}}, "claims"),
        ({"claims": {"nbf": "x"}}, "claims"),
        ({"claims": {"iat": None}}, "claims"),
        ({"claims": {"cnf": {}}}, "claims"),
        ({"claims": {"iat": NOW - 40 * DAY}}, "lifetime"),
        ({"headers": {"crit": []}}, "header"),
    ):
        assert reason(make(), issue(**expired | wrong)) == word


def test_a_token_is_recognised_whenever_it_is_valid(make, issue):
    verifier = make()
    for now in (0.0, NOW - 9e6, NOW, NOW + 300, NOW + 9e6):
        assert verifier.recognise(issue(subject="ada", token_id="t"), now).token_id == "t"
    assert verifier.recognise(issue(claims={"nbf": NOW + 9e6}), NOW).expires_at == NOW + 300
    for wrong, word in (
        ({"issuer": "them"}, "issuer"),
        ({"key": b"another secret of sixty-four octets, which is not that of the fixture"}, "signature"),
        ({"claims": {"nbf": "x"}}, "claims"),
        ({"lifetime": 40 * DAY}, "lifetime"),
    ):
        for now in (NOW - 9e6, NOW, NOW + 9e6):
            with pytest.raises(InvalidTokenError, match=word):
                verifier.recognise(issue(**wrong), now)


def test_a_clock_that_is_no_number_lets_nobody_in(make, issue):
    assert reason(make(), issue(), math.nan) is not None
    assert reason(make(require_iat=False), issue(claims={"iat": None}), math.nan) is not None


@pytest.mark.parametrize("token", [None, 1, b"a.b.c", bytearray(9), ["a"], object()])
def test_whatever_is_handed_over_only_the_documented_error_comes_back(token, make):
    with pytest.raises(InvalidTokenError) as caught:
        make().verify(token, NOW)
    with pytest.raises(InvalidTokenError):
        make().recognise(token, NOW)
    assert caught.value.reason == "malformed"
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_many_threads_may_verify(make, issue):
    verifier, tokens, seen = make(), [issue(subject=str(n)) for n in range(8)], []

    def run(number):
        for _ in range(50):
            seen.append(verifier.verify(tokens[number], NOW).subject == str(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 400


def test_nothing_shows_the_key(make, secret):
    assert repr(make()) == "<TokenVerifier: <KeySet: 1 for HS256>>"
    assert repr(secret)[2:-1] not in repr(vars(make()))


def test_a_refusal_survives_a_process_border(make):
    with pytest.raises(InvalidTokenError) as caught:
        make().verify("x", NOW)
    assert pickle.loads(pickle.dumps(caught.value)).reason == "malformed"


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("issuer", ["", 1, True, b"us", ["us"], object()]),
        ("audience", ["", 1, True, b"api", [], [""], [None], ["api", 1], {"api": 1}, object()]),
        ("leeway", [-1, -0.1, 60.1, math.inf, math.nan, True, "5", None]),
        (
            "typ",
            [
                "JWT",
                b"JWT",
                None,
                [],
                [""],
                [1],
                {"JWT": 1},
                ["logout+jwt"],
                ["application/DPoP+JWT"],
                ["secevent+jwt"],
                5,
            ],
        ),
        ("required", ["tenant", b"tenant", None, [""], [1], {"tenant": 1}, 5]),
        ("subject_claim", ["", None, 1, ["sub"]]),
        ("max_token_lifetime", [0, -1, math.nan, math.inf, 1e30, 10 * 366 * DAY + 1, True, "30", None]),
        ("require_iat", [0, 1, None, "yes"]),
        ("reject_id_tokens", [0, 1, None, "yes"]),
        ("scope_claims", ["scope", None, [""], [1], {"scope": 1}, 5]),
        ("roles_claim", ["", "a..b", ".", b"a", [], [""], [1], {"a": 1}, 5]),
        ("profile", ["", "RFC9068", None, 9068, ["rfc9068"]]),
        ("algorithms", [[], "HS256", ["none"], ["HS256", "RS256"]]),
        ("keys", [None, "", "short", [], {}]),
    ],
)
def test_a_wrong_option_is_refused_by_name(argument, values, make):
    for value in values:
        with pytest.raises(ConfigurationError) as caught:
            make(**{argument: value})
        assert caught.value.argument == argument
        assert str(caught.value).startswith(f"{argument}: ")


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_an_rsa_signature_has_one_length(algorithm, rsa_key, make):
    verifier = make(keys=rsa_key.public_key(), algorithms=[algorithm])
    for number in range(10_000):  # one in 256 begins with a zero, which no number needs
        token = issue_token(rsa_key, algorithm=algorithm, issuer="us", audience="api", now=NOW, token_id=str(number))
        signed, _, signature = token.rpartition(".")
        octets = base64url_decode(signature)
        if octets[0] == 0:
            break
    assert reason(verifier, token) is None
    assert reason(verifier, f"{signed}.{base64url_encode(octets[1:]).decode()}") == "signature"
    assert reason(verifier, f"{signed}.{base64url_encode(bytes(1) + octets).decode()}") == "signature"


def test_issuer_and_audience_must_be_said(secret):
    with pytest.raises(TypeError, match="issuer"):
        TokenVerifier(keys=secret, algorithms=["HS256"], audience=None)
    with pytest.raises(TypeError, match="audience"):
        TokenVerifier(keys=secret, algorithms=["HS256"], issuer=None)
