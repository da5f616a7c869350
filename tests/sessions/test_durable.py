"""Log-outs that the user's row knows too, and that no loss of Redis's data undoes."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging

import pytest
from faces import driven, settings

from authcache_middleware import AsyncAuthCache, AuthCache, ConfigurationError, InvalidTokenError, UnavailableError
from authcache_middleware.testing import ManualClock, MemoryStore

FACES = ["async", "blocking"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("field", ["revoked_before", "tokens_valid_after"])
def test_the_row_refuses_older_tokens_and_passes_newer_ones(face, clock, field) -> None:
    row = {field: dt.datetime.fromtimestamp(clock.wall(), dt.UTC)}
    options = {} if field == "revoked_before" else {"revoked_before": field}
    with driven(face, MemoryStore(clock), load_user=lambda _: row, clock=clock, **options) as driver:
        with pytest.raises(InvalidTokenError) as caught:
            driver.enter(now=clock.wall())
        assert caught.value.reason == "revoked"
        assert driver.enter(now=clock.wall() + 1).user.identity == "1"


@pytest.mark.parametrize("face", FACES)
def test_a_moment_that_cannot_be_read_lets_nobody_in(face, clock, caplog) -> None:
    row = {"revoked_before": "yesterday"}
    with driven(face, MemoryStore(clock), load_user=lambda _: row, clock=clock) as driver:
        with pytest.raises(UnavailableError):
            driver.enter(now=clock.wall())
    assert "revoked_before" in caplog.text
    assert "yesterday" not in caplog.text


@pytest.mark.parametrize("face", FACES)
def test_a_revoked_user_stays_out_when_redis_has_lost_everything(face, clock) -> None:
    row, order = {}, []
    store = MemoryStore(clock)

    def save(user_id: str, before: int) -> None:
        order.append(("row", user_id, list(store.calls)))
        row["revoked_before"] = max(before, row.get("revoked_before", 0))

    async def save_later(user_id: str, before: int) -> None:
        await asyncio.sleep(0)
        save(user_id, before)

    for saved in [save] if face == "blocking" else [save, save_later]:
        row.clear()
        with driven(face, store, load_user=lambda _: dict(row), save_revocation=saved, clock=clock) as driver:
            driver.enter(now=clock.wall())
            store.calls.clear()
            driver("revoke_user", "1")
            assert order.pop() == ("row", "1", []), "the row first"
            assert store.calls[:2] == ["revoke_before", "delete"]
            store._values.clear()
            store._revocations.clear()
            with pytest.raises(InvalidTokenError):
                driver.enter(now=clock.wall())
            clock.advance(7)
            assert driver.enter(now=clock.wall()).user.identity == "1"
            store._values.clear()


@pytest.mark.parametrize("face", FACES)
def test_where_the_row_cannot_be_written_redis_is_told_and_the_caller_too(face, clock, caplog) -> None:
    def save(user_id, before):
        raise OSError(f"secret of {user_id}")

    with driven(face, MemoryStore(clock), load_user=lambda _: {}, save_revocation=save, clock=clock) as driver:
        with pytest.raises(UnavailableError) as caught:
            driver("revoke_user", "1")
        assert caught.value.reason == "save_revocation"
        with pytest.raises(InvalidTokenError):
            driver.enter(now=clock.wall())
    assert "OSError" in caplog.text
    assert "secret of 1" not in caplog.text


async def _save(user_id: str, before: int) -> None:
    """Never called."""


def test_the_blocking_face_refuses_an_async_save() -> None:
    with pytest.raises(ConfigurationError, match=r"^save_revocation: "):
        AuthCache(MemoryStore(), **settings(load_user=lambda _: {}, save_revocation=_save))


class Forgetful(MemoryStore):
    async def may_evict(self) -> bool | None:
        self.calls.append("may_evict")
        return True


async def test_a_server_that_may_forget_is_said_once_at_the_first_revocation(caplog) -> None:
    store = Forgetful()
    auth = AsyncAuthCache(store, **settings(load_user=lambda _: {}))
    assert auth.stats().redis_may_evict is None
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await auth.revoke_user("1")
    assert caplog.text.count("noeviction") == 1
    assert store.calls.count("may_evict") == 1
    assert auth.stats().redis_may_evict is True
    await auth.aclose()


async def test_a_server_that_does_not_say_is_asked_once() -> None:
    class Silent(Forgetful):
        async def may_evict(self) -> bool | None:
            await super().may_evict()
            return None

    store = Silent()
    auth = AsyncAuthCache(store, **settings(load_user=lambda _: {}))
    await auth.revoke_user("1")
    await auth.revoke_user("1")
    assert store.calls.count("may_evict") == 1
    assert auth.stats().redis_may_evict is None
    await auth.aclose()
