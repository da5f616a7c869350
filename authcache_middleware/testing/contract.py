"""What every store must do, as tests: subclass it, give it three fixtures, and pytest runs them all."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from authcache_middleware.cache.store import Store
from authcache_middleware.redis.scripts import MAX_REVOKED_IDS
from authcache_middleware.testing.contract_of_sessions import SessionContract, begun
from authcache_middleware.users.record import NO_REVOCATIONS, ForeignValueError

__all__ = ["StoreContract"]

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]

_HOUR_MS = 3_600_000
_DAY = 86_400


class StoreContract(SessionContract):
    """The suite. A subclass gives the fixtures ``store``, ``run``, ``key`` and ``pass_time``.

    ``store``: the ``Store``; ``run``: a callable that runs one of its coroutines to the end; ``key``: a key that no
    other test uses; ``pass_time``: a callable that lets so many seconds pass for the store.
    """

    def test_a_key_that_was_never_set_holds_nothing(self, store: Store, run: Run[Any], key: str) -> None:
        """A miss is ``None``."""
        assert run(store.get(key)) is None

    def test_what_is_set_takes_the_place_of_whatever_was_there(
        self, store: Store, run: Run[Any], key: str, pass_time: Callable[[float], None]
    ) -> None:
        """Until its ttl has passed."""
        run(store.set(key, b"first", ttl_ms=_HOUR_MS))
        run(store.set(key, b"\x00second\xff", ttl_ms=40))
        assert run(store.get(key)) == b"\x00second\xff"
        pass_time(0.06)
        assert run(store.get(key)) is None

    def test_the_first_lease_stands_and_the_second_caller_sees_it(self, store: Store, run: Run[Any], key: str) -> None:
        """The lease and the look are one step."""
        first = run(store.claim(key, b"\xc1first", ttl_ms=_HOUR_MS))
        assert first.startswith(b"\xc1first")
        assert run(store.claim(key, b"\xc1second", ttl_ms=_HOUR_MS)) == first
        assert run(store.claim(key, b"\xc1first", ttl_ms=_HOUR_MS)) == first, "sent again, its holder has it still"
        assert run(store.get(key)) == first

    def test_a_claim_that_arrives_late_brings_no_lease_back(self, store: Store, run: Run[Any], key: str) -> None:
        """A copy of the command, delivered after an invalidation: what its sender loaded before must not be stored."""
        first = run(store.claim(key, b"\xc1lease", ttl_ms=_HOUR_MS))
        run(store.delete(key))
        late = run(store.claim(key, b"\xc1lease", ttl_ms=_HOUR_MS))
        assert late != first
        assert run(store.compare_and_set(key, first, b"record", ttl_ms=_HOUR_MS)) is False

    def test_a_value_is_replaced_only_where_it_is_the_one_expected(self, store: Store, run: Run[Any], key: str) -> None:
        """The fill: nothing is written over what came between."""
        assert run(store.compare_and_set(key, b"lease", b"record", ttl_ms=_HOUR_MS)) is False
        assert run(store.get(key)) is None
        lease = run(store.claim(key, b"lease", ttl_ms=_HOUR_MS))
        assert run(store.compare_and_set(key, b"another", b"record", ttl_ms=_HOUR_MS)) is False
        assert run(store.compare_and_set(key, lease, b"\x00record\xff", ttl_ms=_HOUR_MS)) is True
        assert run(store.get(key)) == b"\x00record\xff"

    def test_a_value_is_deleted_only_where_it_is_the_one_expected(self, store: Store, run: Run[Any], key: str) -> None:
        """Giving up a lease never takes a record away."""
        lease = run(store.claim(key, b"lease", ttl_ms=_HOUR_MS))
        assert run(store.compare_and_delete(key, b"another")) is False
        assert run(store.get(key)) == lease
        assert run(store.compare_and_delete(key, lease)) is True
        assert run(store.get(key)) is None

    def test_delete_takes_whatever_stands_there(self, store: Store, run: Run[Any], key: str) -> None:
        """An invalidation asks no questions, and may be repeated."""
        lease = run(store.claim(key, b"lease", ttl_ms=_HOUR_MS))
        run(store.delete(key))
        run(store.delete(key))
        assert run(store.get(key)) is None
        assert run(store.compare_and_set(key, lease, b"record", ttl_ms=_HOUR_MS)) is False

    def test_a_value_ends_with_its_ttl(
        self, store: Store, run: Run[Any], key: str, pass_time: Callable[[float], None]
    ) -> None:
        """Both ways of writing set a time to live."""
        run(store.claim(key, b"lease", ttl_ms=40))
        pass_time(0.06)
        assert run(store.get(key)) is None
        lease = run(store.claim(key, b"lease", ttl_ms=_HOUR_MS))
        run(store.compare_and_set(key, lease, b"record", ttl_ms=40))
        pass_time(0.06)
        assert run(store.get(key)) is None

    def test_one_is_elected_until_the_time_has_passed(
        self, store: Store, run: Run[Any], key: str, pass_time: Callable[[float], None]
    ) -> None:
        """Of many who ask at once one gets to do it."""
        assert [run(store.elect(key, ttl_ms=40)) for _ in range(3)] == [True, False, False]
        pass_time(0.06)
        assert run(store.elect(key, ttl_ms=40)) is True

    def test_whether_it_forgets_can_be_asked(self, store: Store, run: Run[Any]) -> None:
        """Or it says that it does not know."""
        assert run(store.may_evict()) in {True, False, None}

    def test_nothing_is_revoked_at_first(self, store: Store, run: Run[Any], key: str) -> None:
        """No key, no revocations."""
        assert run(store.revocations(key)) == NO_REVOCATIONS

    def test_a_revoked_id_is_kept_for_its_lifetime(self, store: Store, run: Run[Any], key: str) -> None:
        """Each id has its own end, and one that is written again is never shortened."""
        run(store.revoke_id(key, "t:one", lifetime=2 * _DAY, leeway=5))
        run(store.revoke_id(key, "t:one", lifetime=_DAY, leeway=5))
        run(store.revoke_id(key, "t:two", lifetime=_DAY, leeway=5))
        revoked = run(store.revocations(key))
        assert revoked.before_s is None
        assert set(revoked.ids) == {"t:one", "t:two"}
        assert revoked.ids["t:one"] - revoked.ids["t:two"] in range(_DAY - 2, _DAY + 3)

    def test_an_id_whose_time_has_come_is_dropped(self, store: Store, run: Run[Any], key: str) -> None:
        """What no token can match any more takes no room."""
        run(store.revoke_id(key, "t:kept", lifetime=_DAY, leeway=0))
        run(store.revoke_id(key, "t:old", lifetime=0, leeway=0))
        run(store.revoke_id(key, "t:new", lifetime=_DAY, leeway=0))
        assert set(run(store.revocations(key)).ids) == {"t:kept", "t:new"}

    def test_a_cutoff_lies_the_leeway_ahead_and_keeps_the_ids(self, store: Store, run: Run[Any], key: str) -> None:
        """``revoke_before`` is by the store's clock, rounded up, and is only ever raised."""
        run(store.revoke_id(key, "t:token", lifetime=_DAY, leeway=60))
        run(store.revoke_before(key, lifetime=_DAY, leeway=60))
        first = run(store.revocations(key))
        assert set(first.ids) == {"t:token"}
        run(store.revoke_before(key, lifetime=_DAY, leeway=0))
        assert run(store.revocations(key)).before_s == first.before_s
        until_s = first.ids["t:token"]
        assert first.before_s is not None
        assert until_s - _DAY + 60 - first.before_s in range(-2, 1)

    def test_past_the_most_ids_the_first_are_cut_off(self, store: Store, run: Run[Any], key: str) -> None:
        """Bounded, and in doubt it refuses more; a session stays, for its later tokens would slip."""
        run(store.revoke_id(key, "s:session", lifetime=_DAY, leeway=5))
        for number in range(MAX_REVOKED_IDS):
            run(store.revoke_id(key, f"t:{number}", lifetime=_DAY, leeway=5))
        full = run(store.revocations(key))
        assert (len(full.ids), full.before_s) == (MAX_REVOKED_IDS + 1, None)
        for number in range(MAX_REVOKED_IDS):
            run(store.revoke_id(key, f"i:{number}", lifetime=_DAY, leeway=60))
        over = run(store.revocations(key))
        assert set(over.ids) == {"s:session", *(f"i:{number}" for number in range(MAX_REVOKED_IDS))}
        assert over.before_s is not None
        assert over.before_s in range(full.ids["t:0"] - _DAY + 5, full.ids["t:0"] - _DAY + 60)

    def test_the_revocations_outlive_the_longest_lifetime_in_them(
        self, store: Store, run: Run[Any], key: str, pass_time: Callable[[float], None]
    ) -> None:
        """A shorter one written later does not take the key away early."""
        run(store.revoke_id(key, "t:long", lifetime=_DAY, leeway=0))
        run(store.revoke_before(key, lifetime=1, leeway=0))
        pass_time(1.1)
        assert "t:long" in run(store.revocations(key)).ids

    def test_another_type_under_the_key_is_said(self, store: Store, run: Run[Any], key: str) -> None:
        """Somebody else's data is neither read as ours nor written over."""
        run(store.revoke_before(key, lifetime=_DAY, leeway=0))
        with pytest.raises(ForeignValueError):
            run(store.get(key))
        with pytest.raises(ForeignValueError):
            run(store.claim(key, b"lease", ttl_ms=_HOUR_MS))
        with pytest.raises(ForeignValueError):
            run(store.compare_and_set(key, b"lease", b"record", ttl_ms=_HOUR_MS))
        run(store.delete(key))
        run(store.claim(key, b"value", ttl_ms=_HOUR_MS))
        with pytest.raises(ForeignValueError):
            run(store.revocations(key))
        with pytest.raises(ForeignValueError):
            run(store.revoke_id(key, "t:one", lifetime=_DAY, leeway=0))
        with pytest.raises(ForeignValueError):
            run(store.sessions(key))
        with pytest.raises(ForeignValueError):
            run(begun(store, key, "s:one"))
