"""Whatever a provider says, when, and however the clock goes: who is let in is let in by an answer that is fresh."""

from __future__ import annotations

import json
import threading
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from provider import trusting

from authcache_middleware import Introspection, InvalidTokenError, UnavailableError
from authcache_middleware.reporter import Reporter
from authcache_middleware.runtime import BlockingPlaces, BlockingRuntime, finish
from authcache_middleware.testing import ManualClock
from authcache_middleware.tokens.introspector import Introspector
from authcache_middleware.tokens.keys import NoKeys
from authcache_middleware.tokens.remembered import RememberedTokens
from authcache_middleware.tokens.verifier import TokenVerifier

NOW = 1_700_000_000.0
TTL, NEGATIVE, LEEWAY = 60.0, 10.0, 5.0
CONTEXT = trusting()
TERMS = Introspection(
    "https://id.example/introspect", client_id="a", client_secret="b", cache_ttl=TTL, ssl_context=CONTEXT
)

said = st.fixed_dictionaries(
    {"active": st.sampled_from([True, True, True, False, "true"]), "sub": st.sampled_from(["1", "2", None])},
    optional={
        "exp": st.integers(-100, 900).map(lambda offset: NOW + offset),
        "iat": st.integers(-900, 100).map(lambda offset: NOW + offset),
        "nbf": st.integers(-100, 100).map(lambda offset: NOW + offset),
        "iss": st.sampled_from(["https://id.example", "https://evil.example"]),
        "jti": st.sampled_from(["a", "b"]),
    },
)
moves = st.sampled_from([0.0, 1.0, 4.0, 5.0, 9.0, 10.0, 30.0, 59.0, 60.0, 300.0]) | st.floats(0, 400)


class World:
    """A provider of one token, who writes down what he says; and what a request with the token gets."""

    def __init__(self) -> None:
        self.clock = ManualClock(wall=NOW)
        self.says: Any = None
        self.answers: list[tuple[float, Any]] = []
        self.verifier = TokenVerifier(
            keys=NoKeys(), algorithms=(), issuer="https://id.example", audience=None, leeway=LEEWAY
        )
        self.introspector = Introspector(
            TERMS,
            self.verifier,
            post=self.post,
            shared=None,
            places=BlockingPlaces(1),
            runtime=BlockingRuntime(),
            clock=self.clock,
            reporter=Reporter(),
            entries=10,
            most_bytes=1000,
        )
        self.tokens = RememberedTokens(
            self.verifier,
            record_key=lambda claims: claims.subject,
            entries=10,
            most_bytes=1000,
            mutex=threading.Lock(),
        )

    async def post(self, _url: str, _form: object) -> bytes:
        self.answers.append((self.clock.wall(), self.says))
        if self.says is None:
            raise OSError
        return json.dumps(self.says).encode()

    def enter(self) -> Any:
        known = self.tokens.find("Bearer token", self.clock.wall())
        if known is None:
            try:
                found = finish(self.introspector.verify("token"))
            except (InvalidTokenError, UnavailableError):  # as ``Verification`` does
                self.tokens.forget("token")
                raise
            known = self.tokens.introspected(found, "token", "Bearer token", self.clock.wall())
        return known


@settings(max_examples=150)
@given(steps=st.lists(st.tuples(st.none() | said, moves, st.booleans()), min_size=1, max_size=25))
def test_who_is_let_in_is_let_in_by_the_last_answer_while_it_is_fresh(steps) -> None:
    world = World()
    for says, move, backwards in steps:
        world.says = says
        if backwards:
            world.clock._wall -= move
        else:
            world.clock.advance(move)
        asked, now = len(world.answers), world.clock.wall()
        try:
            known = world.enter()
        except (InvalidTokenError, UnavailableError):
            assert world.answers
            continue
        at, last = next(answer for answer in reversed(world.answers) if answer[1] is not None)  # silence says nothing
        assert dict(known.claims) == last
        assert last["active"] is True
        assert known.record_key == last["sub"]
        assert last.get("iss", "https://id.example") == "https://id.example"
        assert last["iat"] <= now + LEEWAY
        assert last.get("nbf", now) <= now + LEEWAY
        if asked == len(world.answers):
            assert at <= now < at + TTL, "asked too long ago, or in the future"
            assert now < last.get("exp", now + 1), "kept past its end"
        assert now < last.get("exp", now) + LEEWAY


@settings(max_examples=60)
@given(seconds=st.lists(st.floats(0, 30), min_size=1, max_size=20), active=st.booleans())
def test_it_is_asked_no_oftener_than_it_need_be(seconds, active) -> None:
    world = World()
    world.says = {"active": active, "sub": "1", "iat": NOW}
    for move in seconds:
        world.clock.advance(move)
        try:
            world.enter()
        except InvalidTokenError:
            assert not active
    least = TTL if active else NEGATIVE
    asked_at = [at for at, _ in world.answers]
    # But for rounding, by which the last instant of an answer is not used.
    assert all(later - earlier > least - 0.001 for earlier, later in pairwise(asked_at))
