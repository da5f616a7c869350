"""Which verifier a token gets: the one of its exact ``iss``, and none where that is not to be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.testing import issue_token
from authcache_middleware.tokens.router import TokenRouter
from authcache_middleware.tokens.verifier import TokenVerifier

SECRET = "a development secret of more than thirty-two bytes"
NAMES = ["https://one.example", "https://one.example/", "7"]
VERIFIERS = {
    name: TokenVerifier(keys=SECRET, algorithms=["HS256"], issuer=name, audience=None) for name in (*NAMES, None)
}
ROUTER = TokenRouter({name: VERIFIERS[name] for name in NAMES})


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_verifier_of_that_name(name) -> None:
    assert ROUTER.pick(issue_token(SECRET, issuer=name)) is VERIFIERS[name]


names = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 9),
    st.text(max_size=20),
    st.lists(st.sampled_from(NAMES), max_size=2),
    st.tuples(
        st.sampled_from(["", " ", "\0", "HTTPS"]), st.sampled_from(NAMES), st.sampled_from(["", " ", "/", "\n"])
    ).map("".join),
)


@given(names)
def test_any_other_name_is_nobody_s(name) -> None:
    text = issue_token(SECRET, claims={"iss": name})
    if isinstance(name, str) and name in NAMES:
        assert ROUTER.pick(text) is VERIFIERS[name]
    else:
        with pytest.raises(InvalidTokenError, match="issuer"):
            ROUTER.pick(text)


@given(st.text(max_size=60) | st.text("AQg_-.", max_size=60))
def test_what_is_no_token_is_refused_and_nothing_else_is_raised(text) -> None:
    with pytest.raises(InvalidTokenError):
        ROUTER.pick(text)


def test_one_alone_takes_whatever_comes_and_judges_itself() -> None:
    alone = TokenRouter({None: VERIFIERS[None]})
    assert alone.pick("anything") is VERIFIERS[None]
    with pytest.raises(InvalidTokenError):
        alone.recognise("anything", 0.0)
