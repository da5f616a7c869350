"""Logout tokens: what one must say, and that none is ever taken for another kind of token, nor another kind for one."""

from __future__ import annotations

import pytest
from forger import AUDIENCE, ISSUER, LEEWAY, families, segment
from forgeries import ALGORITHMS, NOW, cases, options, seed_of_this_run

from authcache_middleware.errors import ConfigurationError, InvalidTokenError
from authcache_middleware.tokens.logout import LogoutRules
from authcache_middleware.tokens.verifier import MAX_LEEWAY, TokenVerifier

EVENT = "http://schemas.openid.net/event/backchannel-logout"
CLAIMS = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "iat": int(NOW),
    "exp": int(NOW) + 120,
    "jti": "one",
    "sub": "ada",
    "sid": "s1",
    "events": {EVENT: {}},
}
HEADER = {"alg": "ES256", "typ": "logout+jwt", "kid": "2026-a"}


def logout_token(family: str = "ES256", header: dict | None = None, **changes) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not ...}
    return families(seed_of_this_run())[family].token(claims, {**HEADER, "alg": family, **(header or {})})


def verifier(family: str = "ES256", **changes) -> TokenVerifier:
    return TokenVerifier(**{**options(seed_of_this_run(), family), **changes})


def reason(token: str, rules: LogoutRules | None = None, by: TokenVerifier | None = None, now: float = NOW):
    try:
        (rules or LogoutRules()).read(by or verifier(), token, now)
    except InvalidTokenError as refusal:
        return refusal.reason
    return None


@pytest.mark.parametrize("family", ALGORITHMS)
def test_what_one_asks_for(family) -> None:
    order = LogoutRules(max_age=60).read(verifier(family), logout_token(family), NOW)
    assert (order.issuer, order.subject, order.session_id, order.token_id) == (ISSUER, "ada", "s1", "one")
    assert order.good_for == 120 + 2 * MAX_LEEWAY
    assert LogoutRules().read(verifier(), logout_token(sid=...), NOW).session_id is None
    assert LogoutRules().read(verifier(), logout_token(sub=...), NOW).subject is None
    assert "ada" not in repr(order)
    everything = LogoutRules(by_session=False)
    assert [everything.read(verifier(), each, NOW).session_id for each in (logout_token(), logout_token(sub=...))] == [
        *(None, None)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["x", AUDIENCE]},
        {"events": {EVENT: {"x": 1}, "other": 1}},
        {"iat": NOW - 300},
        {"iat": NOW + LEEWAY},
        {"exp": NOW - LEEWAY + 1},
        {"exp": NOW + 10**6},
        {"x": {"nonce": 1}},
    ],
)
def test_what_passes_too(changes) -> None:
    assert reason(logout_token(**changes)) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": ...}, "issuer"),
        ({"iss": ISSUER + "/"}, "issuer"),
        ({"aud": ...}, "audience"),
        ({"aud": "other"}, "audience"),
        ({"iat": ...}, "claims"),
        ({"iat": "1"}, "claims"),
        ({"iat": NOW + LEEWAY + 1}, "not_yet_valid"),
        ({"iat": NOW - 300 - LEEWAY}, "expired"),
        ({"exp": ...}, "claims"),
        ({"exp": True}, "claims"),
        ({"exp": NOW - LEEWAY}, "expired"),
        ({"nbf": NOW + 60}, "not_yet_valid"),
        ({"jti": ...}, "claims"),
        ({"jti": ""}, "claims"),
        ({"jti": "x" * 256}, "claims"),
        ({"sid": 5}, "claims"),
        ({"sub": ""}, "subject"),
        ({"sub": None}, "subject"),
        ({"sub": ..., "sid": ...}, "subject"),
        ({"nonce": "n"}, "id_token"),
        ({"nonce": None}, "id_token"),
        ({"events": ...}, "claims"),
        ({"events": {}}, "claims"),
        ({"events": [EVENT]}, "claims"),
        ({"events": EVENT}, "claims"),
        ({"events": {EVENT: None}}, "claims"),
        ({"events": {EVENT: True}}, "claims"),
        ({"events": {EVENT: [{}]}}, "claims"),
        ({"events": {EVENT + "/": {}}}, "claims"),
        ({"events": {"http://schemas.openid.net/event/other": {}}}, "claims"),
    ],
)
def test_what_is_refused(changes, why) -> None:
    assert reason(logout_token(**changes)) == why


def test_by_whom_it_is_signed_counts_as_for_every_token() -> None:
    family = families(seed_of_this_run())["ES256"]
    assert reason(family.token(CLAIMS, HEADER, "stranger")) == "signature"
    assert reason(logout_token(header={"kid": "unknown"})) == "key"
    assert reason(logout_token("HS256")) == "algorithm"
    assert reason(f"{segment({'alg': 'none', 'typ': 'logout+jwt'})}.{segment(CLAIMS)}.") == "malformed"
    assert reason(logout_token(header={"crit": ["x"], "x": 1})) == "header"
    assert reason("x" * 9000) == "oversized"


def test_its_type_is_one_of_those_taken() -> None:
    types = ("logout+jwt", "application/LOGOUT+JWT", "JWT", "at+jwt", "secevent+jwt", "dpop+jwt", 5)
    told = [reason(logout_token(header={"typ": typ})) for typ in types]
    assert told == [None, None, None, *["typ"] * 4]
    assert reason(families(seed_of_this_run())["ES256"].token(CLAIMS, {"alg": "ES256", "kid": "2026-a"})) is None
    strict = LogoutRules(typ=["logout+jwt"])
    assert [reason(logout_token(header={"typ": typ}), strict) for typ in types[:3]] == [None, None, "typ"]


def test_its_audience_is_the_client() -> None:
    rules = LogoutRules(client_id=["web", "app"])
    assert [reason(logout_token(aud=aud), rules) for aud in ("web", ["app"], AUDIENCE)] == [None, None, "audience"]
    nobody = verifier(audience=None)
    assert reason(logout_token(aud=...), by=nobody) == "audience"
    assert reason(logout_token(aud="web"), rules, by=nobody) is None
    assert reason(logout_token(iss=...), by=verifier(issuer=None)) == "issuer"


def test_the_subject_stands_where_tokens_have_it() -> None:
    order = LogoutRules().read(verifier(subject_claim="uid"), logout_token(uid="7"), NOW)
    assert order.subject == "7"
    assert LogoutRules().read(verifier(subject_claim="uid"), logout_token(), NOW).subject is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_id": []}, "client_id"),
        ({"client_id": 5}, "client_id"),
        ({"typ": "logout+jwt"}, "typ"),
        ({"typ": []}, "typ"),
        ({"typ": ["at+jwt"]}, "typ"),
        ({"max_age": 0}, "max_age"),
        ({"max_age": True}, "max_age"),
        ({"max_age": 10**6}, "max_age"),
        ({"by_session": "no"}, "by_session"),
    ],
)
def test_a_wrong_option_is_named(wrong, named) -> None:
    with pytest.raises(ConfigurationError, match=f"^{named}: "):
        LogoutRules(**wrong)


@pytest.mark.parametrize("family", ALGORITHMS)
def test_no_token_of_the_corpus_is_a_logout_token(family) -> None:
    """Access tokens good and forged, of every other kind too."""
    by, rules = verifier(family), LogoutRules(typ=["logout+jwt", "JWT", "x+jwt", None])
    ours = [case for case in cases(seed_of_this_run()) if case.family == family]
    passed = {case.name for case in ours if reason(case.token, rules, by) is None}
    # but for those that are one, which the corpus has among its forgeries
    assert {name for name in passed if not name.startswith("events {")} == {
        f"a logout token{kind}, typ {typ}" for kind in ("", " without sid") for typ in ("logout+jwt", "JWT", None)
    }
    assert len(passed) == 7


@pytest.mark.parametrize("family", ALGORITHMS)
@pytest.mark.parametrize("typ", ["logout+jwt", "JWT", "at+jwt", None])
def test_a_logout_token_is_never_an_access_token(family, typ) -> None:
    access = verifier(family)
    for changes in ({}, {"sid": ...}, {"scope": "read"}):
        with pytest.raises(InvalidTokenError) as refused:
            access.verify(logout_token(family, {"typ": typ}, **changes), NOW)
        assert refused.value.reason == ("claims" if typ in ("JWT", "at+jwt") else "typ")


@pytest.mark.parametrize(("lives", "good_for"), [(-LEEWAY + 1, 0), (3600, 3600), (10**6, 24 * 3600)])
def test_it_is_remembered_for_as_long_as_any_endpoint_would_take_it(lives, good_for) -> None:
    """Not as long as this one would: another may have a longer ``max_age``, or a longer leeway."""
    order = LogoutRules(max_age=60).read(verifier(), logout_token(exp=int(NOW) + lives), NOW)
    assert order.good_for == pytest.approx(int(NOW) - NOW + (good_for or lives) + 2 * MAX_LEEWAY)
