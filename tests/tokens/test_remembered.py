"""Remembered tokens: never one that verification would refuse at that moment."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.testing import issue_token
from authcache_middleware.tokens import remembered as remembered_module
from authcache_middleware.tokens.remembered import KnownToken, RememberedTokens
from authcache_middleware.tokens.verifier import TokenVerifier

SECRET = "a development secret of more than thirty-two bytes"
NOW = 1_700_000_000


def verifier(secret: str = SECRET, **options) -> TokenVerifier:
    return TokenVerifier(keys=secret, algorithms=["HS256"], issuer=None, audience=None, **options)


class Counted:
    """A verifier that counts what it is asked."""

    def __init__(self, inner: TokenVerifier) -> None:
        self.inner, self.asked = inner, 0
        self.window, self.recall = inner.window, inner.recall

    def verify(self, token: str, now: float):
        self.asked += 1
        return self.inner.verify(token, now)


def remembered(inner, *, entries: int = 100, most_bytes: int = 100_000) -> RememberedTokens:
    return RememberedTokens(
        inner, record_key="user:{}".format, entries=entries, most_bytes=most_bytes, mutex=threading.Lock()
    )


def enter(tokens: RememberedTokens, text: str, now: float) -> KnownToken:
    """What a request with this token does."""
    return tokens.find(text, now) or tokens.verify(text, text, now)


def token(**claims) -> str:
    return issue_token(SECRET, now=NOW, lifetime=600, **claims)


moments = st.floats(-700, 1300) | st.integers(-700, 1300) | st.sampled_from([-60, -5, 0, 5, 60, 595, 600, 605, 660])


@given(
    leeway=st.sampled_from([0.0, 0.1, 5.0, 60.0]),
    has_iat=st.booleans(),
    not_before=st.none() | st.floats(-100, 700) | st.integers(-100, 700),
    max_lifetime=st.sampled_from([600.0, 1000.0]),
    offsets=st.lists(moments, min_size=1, max_size=12),
)
def test_nothing_is_found_that_verification_would_refuse(leeway, has_iat, not_before, max_lifetime, offsets) -> None:
    claims = {} if has_iat else {"iat": None}
    if not_before is not None:
        claims["nbf"] = NOW + not_before
    inner = verifier(leeway=leeway, require_iat=False, max_token_lifetime=max_lifetime)
    tokens, text = remembered(inner), token(claims=claims)
    for offset in offsets:
        now = NOW + offset
        found = tokens.find(text, now)
        try:
            expected = inner.verify(text, now)
        except InvalidTokenError as refused:
            assert found is None
            with pytest.raises(InvalidTokenError, match=refused.reason):
                enter(tokens, text, now)
        else:
            assert found is None or dict(found.claims) == dict(expected)
            assert dict(enter(tokens, text, now).claims) == dict(expected)


@given(offsets=st.lists(moments, min_size=1, max_size=12), has_iat=st.booleans())
def test_nor_among_those_that_made_room_for_others(offsets, has_iat) -> None:
    inner = verifier(require_iat=False, max_token_lifetime=600.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered_module, "_MOST_READY", 1)
        tokens, text, other = remembered(inner), token(claims={} if has_iat else {"iat": None}), token(subject="other")
        for offset in offsets:
            now = NOW + offset
            enter(tokens, other, NOW)
            try:
                expected = inner.verify(text, now)
            except InvalidTokenError as refused:
                with pytest.raises(InvalidTokenError, match=refused.reason):
                    enter(tokens, text, now)
            else:
                assert dict(enter(tokens, text, now).claims) == dict(expected)


def test_a_token_that_made_room_is_parsed_again_and_not_verified_again(monkeypatch) -> None:
    monkeypatch.setattr(remembered_module, "_MOST_READY", 2)
    counted = Counted(verifier())
    tokens, texts = remembered(counted), [token(subject=str(number)) for number in range(40)]
    for text in texts:
        enter(tokens, text, NOW)
    assert len(tokens) == 40
    assert tokens.find(texts[0], NOW) is None, "it is not ready"
    for text in texts:
        assert enter(tokens, text, NOW + 1).claims.subject == str(texts.index(text))
    assert counted.asked == 40


def test_those_that_made_room_are_bounded_too(monkeypatch) -> None:
    monkeypatch.setattr(remembered_module, "_MOST_READY", 2)
    size = len(token(subject="10"))
    tokens = remembered(verifier(), entries=20, most_bytes=12 * size)
    for number in range(10, 60):
        enter(tokens, token(subject=str(number)), NOW)
    assert 5 <= len(tokens) <= 12


def test_a_token_is_verified_once() -> None:
    counted = Counted(verifier())
    tokens, text = remembered(counted), token()
    first = enter(tokens, text, NOW)
    assert enter(tokens, text, NOW + 300) is first
    assert tokens.find(text, NOW + 300) is first
    assert counted.asked == 1
    assert tokens.find(text, NOW + 605) is None


def test_another_spelling_is_another_token_and_a_refused_one_is_not_kept() -> None:
    tokens, text = remembered(verifier()), token()
    enter(tokens, text, NOW)
    assert tokens.find(text[:-1] + ("A" if text[-1] != "A" else "B"), NOW) is None
    with pytest.raises(InvalidTokenError):
        enter(tokens, text + "=", NOW)
    assert len(tokens) == 1


def test_another_verifier_knows_nothing_of_it() -> None:
    text = token()
    enter(remembered(verifier()), text, NOW)
    other = remembered(verifier("another development secret, also more than 32 bytes"))
    assert other.find(text, NOW) is None
    with pytest.raises(InvalidTokenError):
        enter(other, text, NOW)


@pytest.mark.parametrize(("entries", "most_bytes", "kept"), [(3, 100_000, 3), (100, 1000, None), (0, 1000, 0)])
def test_it_is_bounded_by_entries_and_bytes(entries, most_bytes, kept) -> None:
    tokens = remembered(verifier(), entries=entries, most_bytes=most_bytes)
    texts = [token(subject=str(number)) for number in range(20)]
    for text in texts:
        enter(tokens, text, NOW)
    held = [text for text in texts if tokens.find(text, NOW) is not None]
    assert len(held) == (kept if kept is not None else 1000 // len(texts[0]))
    assert sum(map(len, held)) <= most_bytes


def test_a_token_without_iat_is_not_found_where_the_clock_was_set_back() -> None:
    """Of such a token the time left is bounded, and then more of it would be left."""
    tokens = remembered(verifier(leeway=0.0, require_iat=False, max_token_lifetime=600.0))
    text = token(claims={"iat": None})
    enter(tokens, text, NOW + 300)
    assert tokens.find(text, NOW + 1) is not None
    assert tokens.find(text, NOW - 300) is None
