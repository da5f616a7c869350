"""The part of the contract of a store that is about sessions."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from authcache_middleware.cache.store import Begun, NotBegun, Store
from authcache_middleware.redis.scripts import LEAST_SESSION_MARK, MAX_REVOKED_IDS
from authcache_middleware.users.record import NO_REVOCATIONS
from authcache_middleware.users.session import MAX_SESSIONS, pack_session

__all__ = ["SessionContract", "begun"]

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]

_DAY = 86_400
_LATER = 4_000_000_000
"""Seconds since 1970, later than any clock that these tests run by."""


def begun(store: Store, key: str, mark: str, **options: Any) -> Coroutine[Any, Any, Begun | NotBegun]:
    """``begin_session`` with the usual of everything that is not given."""
    usual = {"expires_s": _LATER, "details": b"{}", "most": 256, "ends_oldest": True, "lifetime": _DAY, "leeway": 5}
    return store.begin_session(key, mark, **{**usual, **options})


class SessionContract:
    """See ``StoreContract``."""

    def test_there_are_no_sessions_at_first(self, store: Store, run: Run[Any], key: str) -> None:
        """No key, no sessions."""
        assert run(store.sessions(key)) == {}
        assert NO_REVOCATIONS.sessions == {}

    def test_a_session_is_put_on_record(self, store: Store, run: Run[Any], key: str) -> None:
        """Whoever loads the user sees when it ends; whoever wants to know more, what was told of it."""
        said = run(begun(store, key, "s:one", details=b'{"label":"a b"}'))
        assert said == Begun(said.created_ms, _LATER)
        held = run(store.revocations(key))
        assert (held.before_s, held.ids, held.sessions) == (None, {}, {"s:one": _LATER})
        assert run(store.sessions(key)) == {"s:one": pack_session(said.created_ms, _LATER, b'{"label":"a b"}')}

    def test_one_that_is_there_goes_on(self, store: Store, run: Run[Any], key: str) -> None:
        """It keeps its beginning, gets longer and never shorter, and takes nobody's place."""
        first = run(begun(store, key, "s:one", expires_s=_LATER))
        for expires_s, stands in ((_LATER + 7, _LATER + 7), (_LATER, _LATER + 7)):
            again = begun(store, key, "s:one", expires_s=expires_s, details=b"{ }", most=1, ends_oldest=False)
            assert run(again) == Begun(first.created_ms, stands)
        assert run(store.sessions(key)) == {"s:one": pack_session(first.created_ms, _LATER + 7, b"{ }")}

    def test_the_oldest_makes_room(
        self, store: Store, run: Run[Any], key: str, pass_time: Callable[[float], None]
    ) -> None:
        """It is revoked in the same step; that it was told of again does not make it younger."""
        for mark in ("s:b", "s:a", "s:c"):
            run(begun(store, key, mark, most=3))
            pass_time(0.003)
        run(begun(store, key, "s:b", most=3))
        assert run(begun(store, key, "s:d", most=3)).ended == ("s:b",)
        assert run(begun(store, key, "s:e", most=1)).ended == ("s:a", "s:c", "s:d")
        held = run(store.revocations(key))
        assert set(held.sessions) == {"s:e"}
        assert set(held.ids) == {"s:a", "s:b", "s:c", "s:d"}

    def test_or_one_more_is_refused(self, store: Store, run: Run[Any], key: str) -> None:
        """Nothing is written; when another has ended there is room."""
        run(begun(store, key, "s:one"))
        assert run(begun(store, key, "s:two", most=1, ends_oldest=False)) == NotBegun("max_sessions")
        assert set(run(store.revocations(key)).sessions) == {"s:one"}
        run(store.revoke_id(key, "s:one", lifetime=_DAY, leeway=5))
        assert isinstance(run(begun(store, key, "s:two", most=1, ends_oldest=False)), Begun)

    def test_sessions_that_have_expired_take_no_room(self, store: Store, run: Run[Any], key: str) -> None:
        """They are gone with the next write, and leave no mark."""
        for write in (
            begun(store, key, "s:new", most=1, ends_oldest=False),
            store.revoke_id(key, "s:other", lifetime=_DAY, leeway=5),
        ):
            run(begun(store, key, "s:old", expires_s=1, most=9))
            run(write)
            held = run(store.revocations(key))
            assert set(held.sessions) == {"s:new"}
            assert "s:old" not in held.ids

    def test_what_is_revoked_is_no_session_any_more(self, store: Store, run: Run[Any], key: str) -> None:
        """By the name of a session also the token that is known by it."""
        for mark in ("s:one", "t:one", "t:two", "s:two"):
            run(begun(store, key, mark))
        run(store.revoke_id(key, "s:one", lifetime=_DAY, leeway=5))
        run(store.revoke_id(key, "t:two", lifetime=_DAY, leeway=5))
        held = run(store.revocations(key))
        assert set(held.sessions) == {"s:two"}
        assert set(held.ids) == {"s:one", "t:one", "t:two"}

    def test_what_has_ended_does_not_begin_again(self, store: Store, run: Run[Any], key: str) -> None:
        """A copy of the command may be delivered late."""
        run(begun(store, key, "s:one"))
        run(store.revoke_id(key, "s:one", lifetime=_DAY, leeway=5))
        assert run(begun(store, key, "s:one")) == NotBegun("ended")
        assert run(store.revocations(key)).sessions == {}

    def test_a_cutoff_ends_every_session(self, store: Store, run: Run[Any], key: str) -> None:
        """Each by its own mark too, for the tokens that it would be given later; and none begins before it is past."""
        for mark in ("s:one", "s:two", "t:three"):
            run(begun(store, key, mark))
        run(store.revoke_before(key, lifetime=_DAY, leeway=30))
        held = run(store.revocations(key))
        assert held.sessions == {}
        assert set(held.ids) == {"s:one", "s:two", "t:three"}
        said = run(begun(store, key, "s:four"))
        assert said == NotBegun("too_soon", said.seconds)
        assert said.seconds in range(27, 33)
        assert run(store.revocations(key)).sessions == {}

    def test_an_ended_session_is_remembered_for_long(self, store: Store, run: Run[Any], key: str) -> None:
        """Whatever lifetime is asked for: it may be given tokens for as long as not everybody knows."""
        run(store.revoke_id(key, "t:token", lifetime=1000, leeway=0))
        run(store.revoke_id(key, "s:session", lifetime=1, leeway=0))
        ids = run(store.revocations(key)).ids
        assert ids["s:session"] - ids["t:token"] + 1000 - LEAST_SESSION_MARK in range(-1, 3)

    def test_past_the_most_ended_sessions_the_first_are_cut_off(self, store: Store, run: Run[Any], key: str) -> None:
        """Their mark is forgotten, and what was issued until they ended refused, however long the mark would live."""
        lifetime = 2 * LEAST_SESSION_MARK
        run(store.revoke_id(key, "s:first", lifetime=lifetime, leeway=5))
        ended_s = run(store.revocations(key)).ids["s:first"] - lifetime
        for number in range(MAX_REVOKED_IDS):
            run(store.revoke_id(key, f"s:{number}", lifetime=lifetime, leeway=20))
        held = run(store.revocations(key))
        assert set(held.ids) == {f"s:{number}" for number in range(MAX_REVOKED_IDS)}
        assert held.before_s == ended_s + 5

    def test_a_login_is_not_ended_by_itself(self, store: Store, run: Run[Any], key: str) -> None:
        """So many that the first would be cut off at a time that reaches it are too many: not one more is begun."""
        for kind in "st":
            mine, options = f"{key}{kind}", {"most": 1, "lifetime": 3 * LEAST_SESSION_MARK}
            try:
                for number in range(MAX_REVOKED_IDS + 1):
                    said = run(begun(store, mine, f"{kind}:{number}", **options))
                    assert isinstance(said, Begun)
                held, sessions = run(store.revocations(mine)), run(store.sessions(mine))
                assert (len(held.ids), held.before_s) == (MAX_REVOKED_IDS, None)
                said = run(begun(store, mine, f"{kind}:one more", **options))
                assert said == NotBegun("too_soon", said.seconds)
                assert said.seconds in range(30, 5 + 60 + 2)
                assert (run(store.revocations(mine)), run(store.sessions(mine))) == (held, sessions)
                run(store.revoke_before(mine, lifetime=_DAY, leeway=-9))  # then it does not matter any more
                assert isinstance(run(begun(store, mine, f"{kind}:one more", **options)), Begun)
            finally:
                run(store.delete(mine))

    def test_it_is_bounded(self, store: Store, run: Run[Any], key: str) -> None:
        """The oldest sessions go, however many begin."""
        for number in range(MAX_SESSIONS + 2):
            run(begun(store, key, f"s:{number}", most=MAX_SESSIONS))
        held = run(store.revocations(key))
        assert (len(held.sessions), len(held.ids)) == (MAX_SESSIONS, 2)
