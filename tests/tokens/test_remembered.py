"""Remembered tokens: never one that verification would refuse at that moment."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace

import hypothesis
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from provider import jwk_of, trusting

from authcache_middleware import JWKS
from authcache_middleware.errors import InvalidTokenError
from authcache_middleware.reporter import Reporter
from authcache_middleware.testing import ManualClock, issue_token
from authcache_middleware.tokens import remembered as remembered_module
from authcache_middleware.tokens.answers import Introspected
from authcache_middleware.tokens.claims import Claims, parts_of
from authcache_middleware.tokens.jwk_set import read_jwk_set
from authcache_middleware.tokens.remembered import KnownToken, RememberedTokens
from authcache_middleware.tokens.remote import RemoteKeys
from authcache_middleware.tokens.verifier import TokenVerifier

SECRET = "a development secret of more than thirty-two bytes"
NOW = 1_700_000_000


def verifier(secret: str = SECRET, **options) -> TokenVerifier:
    return TokenVerifier(keys=secret, algorithms=["HS256"], issuer=None, audience=None, **options)


class Counted:
    """A verifier that counts what it is asked."""

    def __init__(self, inner: TokenVerifier) -> None:
        self.inner, self.asked = inner, 0
        self.window, self.keys = inner.window, inner.keys

    def pick(self, _token: str):
        return self

    of = pick

    def verify(self, token: str, now: float):
        self.asked += 1
        return self.inner.verify(token, now)


def remembered(inner, *, entries: int = 100, most_bytes: int = 100_000) -> RememberedTokens:
    return RememberedTokens(
        inner,
        record_key=lambda claims: f"user:{claims.subject}",
        entries=entries,
        most_bytes=most_bytes,
        mutex=threading.Lock(),
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


def test_a_token_that_made_room_is_not_verified_again(monkeypatch) -> None:
    monkeypatch.setattr(remembered_module, "_MOST_READY", 2)
    counted = Counted(verifier())
    tokens, texts = remembered(counted), [token(subject=str(number)) for number in range(40)]
    first = [enter(tokens, text, NOW) for text in texts]
    assert len(tokens) == 40
    for _ in range(3):  # once, then ready again, then in the way of others again
        for text, known in zip(texts, first, strict=True):
            again = tokens.find(text, NOW + 1)
            assert all(
                getattr(again, name) == getattr(known, name)
                for name in ("record_key", "earliest", "until", "source", "keys", "weight")
            )
            assert _fields(again.claims) == _fields(known.claims)
    assert (len(tokens), counted.asked) == (40, 40)


def test_a_token_that_made_room_is_ready_again_once_asked_for_twice(monkeypatch) -> None:
    monkeypatch.setattr(remembered_module, "_MOST_READY", 1)
    tokens, text, other = remembered(verifier()), token(), token(subject="other")
    enter(tokens, text, NOW)
    enter(tokens, other, NOW)
    assert tokens.find(text, NOW) is not tokens.find(text, NOW)
    assert tokens.find(text, NOW) is tokens.find(text, NOW)
    assert tokens.find(other, NOW + 605) is None
    assert len(tokens) == 1, "one whose time has passed is not kept"


def _fields(claims: Claims) -> tuple[object, ...]:
    return parts_of(claims), claims.members, type(claims), type(claims.members)


def test_those_that_made_room_are_bounded_too(monkeypatch) -> None:
    monkeypatch.setattr(remembered_module, "_MOST_READY", 2)
    size = len(token(subject="10"))
    tokens = remembered(verifier(), entries=20, most_bytes=12 * size)
    for number in range(10, 60):
        enter(tokens, token(subject=str(number)), NOW)
    assert 5 <= len(tokens) <= 12


SIGNERS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("a", "b", "c")}
PROVIDER = JWKS("https://id.example/jwks", max_stale=900.0, ssl_context=trusting())
SIGNED = {
    kid: issue_token(SIGNERS[kid], algorithm="ES256", kid=kid, now=NOW, lifetime=5000)
    for kid in SIGNERS
}  # fmt: skip


class NoRuntime:
    """For fetches that are ended by hand."""

    @staticmethod
    def cell():
        return SimpleNamespace(put=lambda _: None)


def published(kids: Mapping[str, str]) -> bytes:
    """A JWK set in which each name stands for that signer's key."""
    return json.dumps({"keys": [jwk_of(SIGNERS[signer], kid) for kid, signer in kids.items()]}).encode()


@hypothesis.settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.dictionaries(st.sampled_from("abc"), st.sampled_from("abc")),
            st.sampled_from(["failure", "begin"]),
            st.sampled_from([1.0, 29.0, 300.0, 1000.0]),
        ),
        max_size=20,
    )
)
@pytest.mark.parametrize("ready", [100, 1])
def test_what_is_remembered_follows_every_change_of_the_keys(ready, steps) -> None:
    """Whatever is published, fails, or grows old: a hit is what verification would have given at that moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered_module, "_MOST_READY", ready)
        _follows_every_change_of_the_keys(steps)


def _follows_every_change_of_the_keys(steps) -> None:
    clock = ManualClock(wall=NOW)
    keys = RemoteKeys(PROVIDER, ["ES256"], now=clock.monotonic)
    keys.begin_anew(threading.Lock(), Reporter())
    inner = TokenVerifier(keys=keys, algorithms=["ES256"], issuer=None, audience=None)
    tokens = remembered(inner)
    for step in steps:
        if isinstance(step, float):
            clock.advance(step)
        elif step == "begin":
            keys.board(NoRuntime, keys.begun)
        else:
            clock.advance(30.0)
            seat = keys.board(NoRuntime, keys.begun)
            if seat is not None:
                fetched = read_jwk_set(published(step), keys.allowed) if step != "failure" and step else None
                keys.land(seat.flight, fetched, None)
        for text in SIGNED.values():
            found = tokens.find(text, clock.wall())
            try:
                expected = inner.verify(text, clock.wall())
            except InvalidTokenError as refused:
                assert found is None
                with pytest.raises(InvalidTokenError, match=refused.reason):
                    enter(tokens, text, clock.wall())
            else:
                assert found is None or dict(found.claims) == dict(expected)
                assert dict(enter(tokens, text, clock.wall()).claims) == dict(expected)


def test_keys_that_were_fetched_again_unchanged_verify_nothing_again() -> None:
    clock = ManualClock(wall=NOW)
    keys = RemoteKeys(PROVIDER, ["ES256"], now=clock.monotonic)
    keys.begin_anew(threading.Lock(), Reporter())
    counted = Counted(TokenVerifier(keys=keys, algorithms=["ES256"], issuer=None, audience=None))
    tokens = remembered(counted)
    for order in ({"a": "a", "b": "b"}, {"b": "b", "a": "a"}):
        clock.advance(30.0)
        keys.land(keys.board(NoRuntime, keys.begun).flight, read_jwk_set(published(order), keys.allowed), None)
        enter(tokens, SIGNED["a"], clock.wall())
        assert tokens.find(SIGNED["a"], clock.wall()) is not None
    assert counted.asked == 1


def test_a_token_that_made_room_dies_with_its_key(monkeypatch) -> None:
    monkeypatch.setattr(remembered_module, "_MOST_READY", 1)
    clock = ManualClock(wall=NOW)
    keys = RemoteKeys(PROVIDER, ["ES256"], now=clock.monotonic)
    keys.begin_anew(threading.Lock(), Reporter())
    counted = Counted(TokenVerifier(keys=keys, algorithms=["ES256"], issuer=None, audience=None))
    tokens = remembered(counted)

    def publish(*kids: str) -> None:
        clock.advance(30.0)
        fetched = read_jwk_set(published(dict(zip(kids, kids, strict=True))), keys.allowed)
        keys.land(keys.board(NoRuntime, keys.begun).flight, fetched, None)

    publish("a", "b")
    for kid in "abab":
        assert enter(tokens, SIGNED[kid], clock.wall()).source is keys
    assert counted.asked == 2
    publish("b")
    for _ in range(2):
        with pytest.raises(InvalidTokenError):
            enter(tokens, SIGNED["a"], clock.wall())
        assert tokens.find(SIGNED["a"], clock.wall()) is None
        enter(tokens, SIGNED["b"], clock.wall())
    assert len(tokens) == 1


def test_an_opaque_token_that_made_room_is_known_until_it_is_forgotten(monkeypatch) -> None:
    monkeypatch.setattr(remembered_module, "_MOST_READY", 1)
    tokens = remembered(verifier())
    for name in ("one", "two"):
        claims = Claims(
            name, None, NOW + 600, NOW, None, None, (), MappingProxyType({"sub": name}), (), f"id of {name}"
        )
        tokens.introspected(Introspected(claims, None, NOW, NOW + 60, 9), name, f"Bearer {name}".encode(), NOW)
    for _ in range(3):
        for name in ("one", "two"):
            found = tokens.find(f"Bearer {name}".encode(), NOW + 59)
            assert (found.claims.subject, found.claims.opaque_id) == (name, f"id of {name}")
    for name in ("one", "two"):
        tokens.forget(name)
        assert tokens.find(f"Bearer {name}".encode(), NOW) is None
    assert len(tokens) == 0


def test_credentials_that_share_a_hash_are_not_taken_for_each_other(monkeypatch) -> None:
    monkeypatch.setattr(remembered_module, "_MOST_READY", 1)
    counted = Counted(verifier())
    tokens, texts = remembered(counted), [token(subject=str(number)) for number in range(2)]
    for text in texts:
        enter(tokens, text, NOW)
    forged = texts[0] + "A"
    tokens._packed.put(hash(forged), tokens._packed.get(hash(texts[0])))
    assert tokens.find(texts[0], NOW).claims.subject == "0"
    assert tokens.find(forged, NOW) is None
    with pytest.raises(InvalidTokenError):
        enter(tokens, forged, NOW)


@pytest.mark.parametrize("before", [None, "b"])
def test_keys_that_come_while_a_token_is_verified(before) -> None:
    """Nobody knows which set has verified it: it is not remembered."""
    clock = ManualClock(wall=NOW)
    keys = RemoteKeys(PROVIDER, ["ES256"], now=clock.monotonic)
    keys.begin_anew(threading.Lock(), Reporter())

    def come(kid: str) -> None:
        clock.advance(30.0)
        keys.land(keys.board(NoRuntime, keys.begun).flight, read_jwk_set(published({kid: kid}), keys.allowed), None)

    class Slow(Counted):
        def verify(self, token: str, now: float):
            come("a")
            return super().verify(token, now)

    if before is not None:
        come(before)
    tokens = remembered(Slow(TokenVerifier(keys=keys, algorithms=["ES256"], issuer=None, audience=None)))
    assert enter(tokens, SIGNED["a"], clock.wall()).claims.subject == "1"
    assert tokens.find(SIGNED["a"], clock.wall()) is None
    clock.advance(PROVIDER.max_stale)
    assert keys.settled() is None
    assert tokens.find(SIGNED["a"], clock.wall()) is None


def test_a_client_who_writes_his_token_in_many_ways_takes_nobodys_place() -> None:
    tokens, text = remembered(verifier()), token()
    for spaces in range(1, 50):
        tokens.verify(text, "Bearer" + " " * spaces + text, NOW)
    assert len(tokens) == 2
    assert tokens.find(f"Bearer {text}", NOW) is not None


def test_what_requests_share_cannot_be_changed() -> None:
    claims = verifier().verify(token(claims={"roles": ["user"], "deep": {"more": [{"a": 1}]}}), NOW)
    with pytest.raises(AttributeError):
        claims["roles"].append("admin")
    for change in (claims.members, claims["deep"], claims["deep"]["more"][0]):
        with pytest.raises(TypeError):
            change["roles"] = ["admin"]
    assert claims["roles"] == ("user",)


def test_a_token_is_verified_once() -> None:
    counted = Counted(verifier())
    tokens, text = remembered(counted), token()
    first = enter(tokens, text, NOW)
    assert enter(tokens, text, NOW + 300) is first
    assert tokens.find(text, NOW + 300) is first
    assert counted.asked == 1
    assert tokens.find(text, NOW + 605) is None


@pytest.mark.parametrize("size", [0, 1, 50, 98, 99, 100, 101, 9000])
@pytest.mark.parametrize("dots", range(5))
def test_garbage_is_refused_for_the_same_reason_as_by_the_verifier(size, dots) -> None:
    text = ".".join(["e30A"] * (dots + 1)) + "A" * size
    with pytest.raises(InvalidTokenError) as ours:
        enter(remembered(verifier()), text, NOW)
    with pytest.raises(InvalidTokenError) as its:
        verifier().verify(text, NOW)
    assert ours.value.reason == its.value.reason


def test_short_garbage_does_not_get_to_the_verifier() -> None:
    inner = Counted(verifier())
    for text, asked in (("not.a-token", 0), ("null", 0), ("a.b.c", 1), ("not.a-token" + "A" * 100, 2)):
        with pytest.raises(InvalidTokenError, match="malformed"):
            enter(remembered(inner), text, NOW)
        assert inner.asked == asked


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
