"""Who was let in from memory before is let in with fewer steps, and by nothing that has ended since."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from faces import headers, settings, token_for

from authcache_middleware import AsyncAuthCache, ConfigurationError, InvalidTokenError, User, asgi, wsgi
from authcache_middleware.testing import ManualClock, MemoryStore
from authcache_middleware.tokens.verifier import TokenVerifier

STALENESS, TTL, LIFETIME = 1000.0, 2000.0, 3000
ROWS = {"1": {"id": 1, "status": "active"}, "2": {"id": 2, "status": "active"}}


class Ready:
    """A face that lets user 1 in without looking anything up; it is trusted by decree, as no link takes part."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.rows = dict(ROWS)
        self.sent = {
            subject: headers(token_for(subject, now=self.clock.wall(), lifetime=LIFETIME)) for subject in self.rows
        }

        async def load(user_id: str) -> dict[str, Any]:
            return self.rows[user_id]

        given = {"clock": self.clock, "max_staleness": STALENESS, "memory_ttl": TTL, "ttl": 2 * TTL, **options}
        self.auth: AsyncAuthCache[Any] = AsyncAuthCache(self.store, **settings(load_user=load, **given))

    def trust(self) -> Any:
        memory = self.auth._engine().memory
        memory.follow(["nobody"])
        self.renew()
        return memory

    def renew(self) -> None:
        self.auth._engine().memory.credit("nobody", self.clock.monotonic())

    async def known(self, subject: str = "1") -> Any:
        """The user's identity, which stands ready from here on where there is one memory."""
        for _ in range(2):  # what was loaded is kept when it has been read
            await self.auth.authenticate(self.sent[subject])
        identity = self.recall(subject)
        assert identity is not None
        return identity

    def recall(self, subject: str = "1") -> Any:
        return self.auth.recall(self.sent[subject])


async def test_the_identity_is_made_once_and_each_hit_is_counted() -> None:
    ready = Ready()
    ready.trust()
    await ready.known()
    before = ready.auth.stats().memory_hits
    assert ready.recall() is ready.recall()
    assert ready.auth.stats().memory_hits == before + 2
    await ready.auth.aclose()


def trust_runs_out(ready: Ready, _memory: Any) -> None:
    ready.clock.advance(STALENESS + 1)


def a_link_is_lost(_ready: Ready, memory: Any) -> None:
    memory.lose("nobody")


def his_key_has_changed(ready: Ready, memory: Any) -> None:
    memory.drop(ready.auth.key("1"))


def all_may_have_changed(_ready: Ready, memory: Any) -> None:
    memory.flush()


def all_may_have_changed_and_trust_is_renewed(ready: Ready, memory: Any) -> None:
    memory.lose("nobody")
    memory.flush()
    ready.renew()


def his_time_in_memory_is_over(ready: Ready, _memory: Any) -> None:
    ready.clock.advance(TTL)
    ready.renew()


def his_token_has_expired(ready: Ready, _memory: Any) -> None:
    ready.clock.advance(LIFETIME + 100)
    ready.renew()


def his_token_is_not_valid_yet(ready: Ready, _memory: Any) -> None:
    ready.clock.advance(-1000.0)
    ready.renew()


@pytest.mark.parametrize(
    "what",
    [
        trust_runs_out,
        a_link_is_lost,
        his_key_has_changed,
        all_may_have_changed,
        all_may_have_changed_and_trust_is_renewed,
        his_time_in_memory_is_over,
        his_token_has_expired,
        his_token_is_not_valid_yet,
    ],
)
async def test_nobody_is_recalled_when(what: Callable[[Ready, Any], None]) -> None:
    ready = Ready(**({"memory_ttl": 2 * LIFETIME, "ttl": 3 * LIFETIME} if what is his_token_has_expired else {}))
    memory = ready.trust()
    await ready.known()
    what(ready, memory)
    assert ready.recall() is None
    await ready.auth.aclose()


async def test_who_had_to_make_room_is_not_recalled() -> None:
    ready = Ready(memory_entries=1)
    ready.trust()
    await ready.known()
    await ready.known("2")
    assert ready.recall("1") is None
    await ready.auth.aclose()


async def test_nothing_is_held_of_who_is_in_memory_no_longer_though_his_token_is_remembered() -> None:
    ready = Ready(memory_entries=1)
    memory = ready.trust()
    for subject in ("held 1", "held 2"):
        ready.rows[subject] = {"id": subject, "status": "active"}
        ready.sent[subject] = headers(token_for(subject, now=ready.clock.wall(), lifetime=LIFETIME))
        await ready.known(subject)
    assert held() == {"held 2"}
    memory.drop(ready.auth.key("held 2"))
    assert held() == set()
    assert ready.auth.stats().token_entries == 2
    await ready.auth.aclose()


async def test_each_of_two_tokens_of_a_user_has_its_own_claims_and_one_of_them_may_be_revoked() -> None:
    ready = Ready()
    memory = ready.trust()
    await ready.known()
    another = headers(token_for("1", now=ready.clock.wall(), lifetime=LIFETIME, claims={"jti": "another"}))
    for _ in range(3):
        assert ready.auth.recall(another).auth.claims.token_id == "another"
        assert ready.recall().auth.claims.token_id != "another"
        assert ready.recall().user is ready.auth.recall(another).user
    await ready.auth.logout(dict(another)["Authorization"].removeprefix("Bearer "))
    memory.drop(ready.auth.key("1"))
    await ready.known()
    for _ in range(2):
        assert ready.recall() is not None
        with pytest.raises(InvalidTokenError, match="revoked"):
            ready.auth.recall(another)
    await ready.auth.aclose()


def held() -> set[str]:
    gc.collect()
    users = [found for found in gc.get_objects() if type(found) is User]
    return {user.identity for user in users if user.identity.startswith("held ")}


async def test_another_record_of_his_is_another_identity() -> None:
    ready = Ready()
    memory = ready.trust()
    await ready.known()
    ready.rows["1"] = {"id": 1, "status": "active", "name": "Ann"}
    await ready.auth.invalidate("1")
    memory.drop(ready.auth.key("1"))
    assert (await ready.known()).user.name == "Ann"
    ready.rows["1"] = {"id": 1, "status": "disabled"}
    await ready.auth.invalidate("1")
    for _ in range(2):
        with pytest.raises(InvalidTokenError):
            await ready.auth.authenticate(ready.sent["1"])
    with pytest.raises(InvalidTokenError):
        ready.recall()
    await ready.auth.aclose()


async def test_the_face_is_closed_and_may_be_used_again() -> None:
    ready = Ready()
    ready.trust()
    await ready.known()
    await ready.auth.aclose()
    assert ready.recall() is None
    ready.trust()
    assert ready.recall() is None  # another memory, which has to learn of him first
    await ready.known()
    await ready.auth.aclose()


async def test_a_new_token_of_a_known_user_is_verified_where_it_is_asked_for() -> None:
    ready = Ready()
    ready.trust()
    await ready.known()
    another = headers(token_for("1", now=ready.clock.wall(), lifetime=LIFETIME, claims={"jti": "another"}))
    assert ready.auth.recall(another).auth.claims.token_id == "another"
    assert ready.auth.stats().token_entries == 2
    await ready.auth.aclose()


async def test_a_forged_token_is_refused_there_and_counted_once() -> None:
    ready = Ready()
    ready.trust()
    await ready.known()
    forged = headers(token_for("1", now=ready.clock.wall())[:-4] + "AAAA")
    with pytest.raises(InvalidTokenError, match="signature"):
        ready.auth.recall(forged)
    assert (ready.auth.stats().refused, ready.auth.stats().token_entries) == (1, 1)
    await ready.auth.aclose()


async def test_a_new_token_of_an_unknown_user_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Ready()
    verified: list[str] = []
    verify = TokenVerifier.verify
    monkeypatch.setattr(
        TokenVerifier, "verify", lambda self, token, now: verified.append(token) or verify(self, token, now)
    )
    ready.trust()
    assert ready.recall() is None
    await ready.auth.authenticate(ready.sent["1"])
    assert len(verified) == 1
    await ready.auth.aclose()


async def test_where_no_token_is_remembered_it_is_verified_by_who_waits_for_the_user() -> None:
    ready = Ready(token_entries=0)
    ready.trust()
    for _ in range(2):
        await ready.auth.authenticate(ready.sent["1"])
    assert ready.recall() is None
    await ready.auth.aclose()


async def test_a_token_that_was_used_once_makes_room_for_a_new_one_before_one_that_was_used_again() -> None:
    ready = Ready(token_entries=3)
    ready.trust()
    await ready.known("2")
    sent = [headers(token_for("2", now=ready.clock.wall(), lifetime=LIFETIME + number)) for number in range(4)]
    again, once, new = sent[1:]
    for one in (again, again, once, new):
        assert ready.auth.recall(one) is not None
    kept = [ready.auth._peek(dict(one)["Authorization"]) is not None for one in (once, again, new)]
    assert kept == [False, True, True]
    await ready.auth.aclose()


# Without memory Redis is asked each time, and says the same by the same bytes


async def test_the_same_record_and_token_are_the_same_identity() -> None:
    ready = Ready(max_staleness=0.0)
    await ready.auth.authenticate(ready.sent["1"])
    identity = await ready.auth.authenticate(ready.sent["1"])
    hits = ready.auth.stats().redis_hits
    assert await ready.auth.authenticate(ready.sent["1"]) is identity
    assert ready.auth.stats().redis_hits == hits + 1
    another = headers(token_for("1", now=ready.clock.wall(), lifetime=LIFETIME, claims={"jti": "another"}))
    assert (await ready.auth.authenticate(another)).auth.claims.token_id == "another"
    assert await ready.auth.authenticate(ready.sent["1"]) == identity
    await ready.auth.aclose()


async def test_another_record_is_another_identity() -> None:
    ready = Ready(max_staleness=0.0)
    for _ in range(2):
        await ready.auth.authenticate(ready.sent["1"])
    ready.rows["1"] = {"id": 1, "status": "active", "name": "Ann"}
    await ready.auth.invalidate("1")
    for _ in range(2):
        assert (await ready.auth.authenticate(ready.sent["1"])).user.name == "Ann"
    await ready.auth.logout(dict(ready.sent["1"])["Authorization"].removeprefix("Bearer "))
    for _ in range(3):
        with pytest.raises(InvalidTokenError, match="revoked"):
            await ready.auth.authenticate(ready.sent["1"])
    await ready.auth.aclose()


async def test_what_the_database_says_while_redis_is_gone_counts_and_not_what_was_read_before() -> None:
    ready = Ready(max_staleness=0.0, on_outage="load")
    for _ in range(3):
        await ready.auth.authenticate(ready.sent["1"])
    ready.rows["1"] = {"id": 1, "status": "disabled"}
    ready.store.down = True
    with pytest.raises(InvalidTokenError):
        await ready.auth.authenticate(ready.sent["1"])
    await ready.auth.aclose()


async def test_a_rule_of_the_applications_own_is_asked_at_each_request() -> None:
    may_enter = True
    ready = Ready(max_staleness=0.0, is_active=lambda _row: may_enter)
    for _ in range(3):
        await ready.auth.authenticate(ready.sent["1"])
    may_enter = False
    with pytest.raises(InvalidTokenError):
        await ready.auth.authenticate(ready.sent["1"])
    await ready.auth.aclose()


def test_each_of_two_event_loops_asks_its_own_memory() -> None:
    ready = Ready()
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(begun(ready))
        second.run(trusted(ready))
        assert second.run(recalled(ready)) is None
        assert first.run(recalled(ready)) is not None
        second.run(ready.known())
        first.run(dropped(ready))
        assert first.run(recalled(ready)) is None
        assert second.run(recalled(ready)) is not None
        second.run(ready.auth.aclose())
        assert first.run(recalled(ready)) is None
        first.run(ready.auth.aclose())


def test_what_a_loop_knew_ends_with_it_though_nobody_closed_the_face() -> None:
    ready = Ready()
    with asyncio.Runner() as first:
        first.run(begun(ready))
    with asyncio.Runner() as second:
        second.run(trusted(ready))
        assert second.run(recalled(ready)) is None
        second.run(ready.auth.aclose())


async def begun(ready: Ready) -> None:
    ready.trust()
    await ready.known()


async def trusted(ready: Ready) -> None:
    ready.trust()


async def recalled(ready: Ready) -> Any:
    return ready.recall()


async def dropped(ready: Ready) -> None:
    ready.auth._engine().memory.drop(ready.auth.key("1"))


class OfOnesOwn:
    def recall(self, _headers: object) -> None: ...

    async def authenticate(self, _headers: object) -> None: ...


class BlockingOfOnesOwn(OfOnesOwn):
    def authenticate(self, _headers: object) -> None: ...


@pytest.mark.parametrize(
    ("middleware", "face"), [(asgi.AuthCacheMiddleware, OfOnesOwn()), (wsgi.AuthCacheMiddleware, BlockingOfOnesOwn())]
)
def test_a_face_that_the_middleware_cannot_ask_is_refused_by_name(middleware: Any, face: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"auth: .* has no recall_or_nobody"):
        middleware(object(), auth=face)
