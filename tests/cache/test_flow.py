"""From a subject to his record, on both faces: what is asked, what is stored, and what is never served."""

from __future__ import annotations

import logging
import traceback

import msgpack
import pytest
from faces import driven, headers, token_for

from authcache_middleware import InvalidTokenError, UnavailableError
from authcache_middleware.errors import AuthCacheError
from authcache_middleware.redis.scripts import MAX_REVOKED_IDS
from authcache_middleware.runtime import finish
from authcache_middleware.testing import ManualClock, MemoryStore, issue_token
from authcache_middleware.testing.contract_of_sessions import begun
from authcache_middleware.users.record import MAX_RECORD_BYTES, MAX_ROW_BYTES, is_lease, new_lease

FACES = ["async", "blocking"]
COLD = ["get", "claim", "revocations", "compare_and_set"]


class Loader:
    """Rows by id; ``calls`` lists who was asked for. Values may be exceptions, or callables that give the row."""

    def __init__(self, **rows) -> None:
        self.rows = {name.removeprefix("u"): row for name, row in rows.items()}
        self.calls: list[str] = []

    def __call__(self, user_id: str):
        self.calls.append(user_id)
        row = self.rows.get(user_id)
        if isinstance(row, BaseException):
            raise row
        return row() if callable(row) else row


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def loader() -> Loader:
    return Loader(u1={"id": 1, "name": "Ann"})


@pytest.fixture(params=FACES)
def driver(request, store, clock, loader):
    with driven(request.param, store, load_user=loader, clock=clock) as driver:
        driver.now = clock.wall
        yield driver


def enter(driver, subject="1", **claims):
    return driver.enter(subject, now=driver.now(), **claims)


def stored(store, key="user:1"):
    return finish(store.get(key))


def test_a_cold_user_costs_four_commands_and_one_load(driver, store, loader) -> None:
    assert enter(driver).user.name == "Ann"
    assert (store.calls, loader.calls) == (COLD, ["1"])


def test_a_hit_costs_one_command_and_no_load(driver, store, loader) -> None:
    enter(driver)
    store.calls.clear()
    assert enter(driver).user.name == "Ann"
    assert (store.calls, loader.calls) == (["get"], ["1"])


def test_the_loader_is_asked_again_when_the_ttl_has_passed(driver, clock, loader) -> None:
    enter(driver)
    clock.advance(3599)
    enter(driver)
    assert loader.calls == ["1"]
    clock.advance(2)
    enter(driver)
    assert loader.calls == ["1", "1"]


def test_that_there_is_no_such_user_is_remembered_for_a_short_time(driver, clock, loader) -> None:
    for _ in range(3):
        with pytest.raises(InvalidTokenError) as caught:
            enter(driver, "nobody")
        assert caught.value.reason == "unknown"
    assert loader.calls == ["nobody"]
    clock.advance(31)
    loader.rows["nobody"] = {"id": 2}
    assert enter(driver, "nobody").user.id == 2


def test_every_reader_gets_what_the_record_holds(driver, loader) -> None:
    loader.rows["1"] = {"tags": ["a"], "set": {1}}
    first, second = enter(driver).user, enter(driver).user
    assert first.tags == second.tags == ("a",)
    assert first.set == second.set == (1,)


def test_a_record_that_has_not_changed_in_redis_is_not_taken_apart_again(driver, store, loader) -> None:
    loader.rows["1"] = {"tags": ["a"]}
    enter(driver)
    store.calls.clear()
    first, second = enter(driver).user, enter(driver).user
    assert first.tags is second.tags
    assert store.calls == ["get", "get"]  # it may have


@pytest.mark.parametrize("then", [b"", b"garbage", new_lease()[:6], None])
def test_what_stands_there_instead_is_seen_at_once(driver, store, loader, then) -> None:
    enter(driver)
    enter(driver)
    record = stored(store)
    loader.rows["1"] = {"name": "Eve"}
    finish(store.delete("user:1") if then is None else store.set("user:1", then, ttl_ms=9_000))
    assert enter(driver).user.name == enter(driver).user.name == "Eve"
    finish(store.set("user:1", record, ttl_ms=9_000))
    assert enter(driver).user.name == "Ann"


def test_nothing_is_held_of_a_user_whose_record_is_gone(driver, store) -> None:
    story = getattr(driver.face, "_story", driver.face)
    (reads,) = driver.there(lambda: [each.users._reads for each in story._engine()._of.values()])
    enter(driver)
    enter(driver)
    assert len(reads) == 1
    driver("revoke_user", "1")
    with pytest.raises(InvalidTokenError):
        enter(driver)
    assert len(reads) == 0


def test_a_record_of_somebody_else_is_told_from_ones_own(driver, store, loader) -> None:
    loader.rows["2"] = {"name": "Bob"}
    for subject in "1122":
        enter(driver, subject)
    finish(store.set("user:1", stored(store, "user:2"), ttl_ms=9_000))
    assert enter(driver, "1").user.name == "Ann"
    assert loader.calls == ["1", "2", "1"]


def test_an_invalidated_user_is_loaded_again(driver, loader) -> None:
    enter(driver)
    loader.rows["1"] = {"name": "Anna"}
    driver("invalidate", "1")
    assert enter(driver).user.name == "Anna"


def test_a_user_who_is_not_active_is_refused_and_remembered(driver, loader) -> None:
    loader.rows["1"] = {"name": "Ann", "disabled": True}
    for _ in range(2):
        with pytest.raises(InvalidTokenError) as caught:
            enter(driver)
        assert caught.value.reason == "inactive"
    assert loader.calls == ["1"]


@pytest.mark.parametrize(
    "value", [b"", b"\x00", b"garbage", b"\xc1", b"\xc1lease", b"x" * (MAX_RECORD_BYTES + 1), msgpack.packb({"v": 1})]
)
def test_garbage_under_the_key_is_a_miss_and_written_over(driver, store, loader, value, caplog) -> None:
    store.put("user:1", value)
    assert enter(driver).user.name == "Ann"
    assert enter(driver).user.name == "Ann"
    assert loader.calls == ["1"]
    assert "unreadable" in caplog.text


def test_another_users_record_copied_here_is_not_served(driver, store, loader) -> None:
    loader.rows["root"] = {"name": "Root"}
    enter(driver, "root")
    store.put("user:1", stored(store, "user:root"))
    assert enter(driver).user.name == "Ann"


@pytest.mark.parametrize("newer", [True, False])
def test_somebody_elses_data_is_left_alone_and_the_user_loaded_each_time(driver, store, loader, caplog, newer) -> None:
    if newer:
        store.put("user:1", msgpack.packb({"v": 2, "sub": "1"}))
    else:
        finish(store.revoke_before("user:1", lifetime=999, leeway=0))
    for _ in range(3):
        assert enter(driver).user.name == "Ann"
    assert loader.calls == ["1"] * 3
    assert caplog.text.count("not ours") == 1
    if newer:
        assert stored(store) == msgpack.packb({"v": 2, "sub": "1"})


def test_revocations_also_count_for_a_user_who_cannot_be_cached(driver, store) -> None:
    store.put("user:1", msgpack.packb({"v": 2}))
    token = token_for("1", now=driver.now())
    finish(store.revoke_before("revoked:1", lifetime=999, leeway=5))
    with pytest.raises(InvalidTokenError):
        driver("authenticate", headers(token))


def test_a_user_too_large_is_served_and_not_stored(driver, store, loader, caplog) -> None:
    loader.rows["1"] = {"name": "Ann", "notes": "x" * MAX_ROW_BYTES}
    assert enter(driver).user.name == "Ann"
    assert enter(driver).user.name == "Ann"
    assert loader.calls == ["1", "1"]
    assert stored(store) is None
    assert caplog.text.count("over the cap") == 1


def test_however_much_is_revoked_of_a_user_he_is_stored(driver, store, loader) -> None:
    """The most marks there can be, with the longest names, take no room from his row."""
    loader.rows["1"] = {"name": "Ann", "notes": "x" * (MAX_ROW_BYTES - 300)}
    later = int(driver.now()) + 86_400
    long = [f"{number:0>254}" for number in range(MAX_REVOKED_IDS)]
    for number in long:
        finish(store.revoke_id("revoked:1", f"s:{number}a", lifetime=9000, leeway=5))
        finish(store.revoke_id("revoked:1", f"t:{number}b", lifetime=9000, leeway=5))
        finish(begun(store, "revoked:1", f"s:{number}c", expires_s=later, most=MAX_REVOKED_IDS))
    assert enter(driver).user.name == "Ann"
    assert enter(driver).user.name == "Ann"
    assert loader.calls == ["1"]
    assert len(stored(store)) > 3 * MAX_ROW_BYTES


@pytest.mark.parametrize(
    "row",
    [
        RuntimeError("password of 1"),
        UnavailableError("redis"),
        TimeoutError(),
        KeyError("1"),
        [("id", 1)],
        "Ann",
        7,
        {"id": object()},
        {"id": 2**70},
        {1: "Ann"},
        {"name": "\ud800"},
    ],
    ids=lambda row: type(row).__name__,
)
def test_a_loader_that_fails_is_503_and_leaves_nothing_behind(driver, store, loader, row, caplog) -> None:
    loader.rows["1"] = row
    with pytest.raises(UnavailableError) as caught:
        enter(driver)
    assert caught.value.status == 503
    assert stored(store) is None
    assert "load_user" in caplog.text
    assert "password" not in caplog.text
    assert "Ann" not in caplog.text


def test_a_failed_load_is_not_repeated_for_half_a_second(driver, clock, loader) -> None:
    loader.rows["1"] = RuntimeError()
    loader.rows["2"] = {"name": "Bob"}
    for _ in range(3):
        with pytest.raises(UnavailableError):
            enter(driver)
    assert loader.calls == ["1"]
    assert enter(driver, "2").user.name == "Bob"
    clock.advance(0.6)
    loader.rows["1"] = {"name": "Ann"}
    assert enter(driver).user.name == "Ann"


def test_a_user_invalidated_during_his_load_is_loaded_once_more(driver, store, loader) -> None:
    rows = [{"name": "old"}, {"name": "new"}]

    def load():
        row = rows.pop(0)
        if row["name"] == "old":
            finish(store.delete("user:1"))  # the row changes after it was read
        return row

    loader.rows["1"] = load
    assert enter(driver).user.name == "new"
    assert enter(driver).user.name == "new"
    assert loader.calls == ["1", "1"]


def test_a_user_who_is_invalidated_all_the_time_is_served_and_never_stored(driver, store, loader) -> None:
    def load():
        finish(store.delete("user:1"))
        return {"name": f"load {len(loader.calls)}"}

    loader.rows["1"] = load
    assert enter(driver).user.name == "load 2"
    assert stored(store) is None


def test_redis_that_is_gone_is_503(driver, store, loader) -> None:
    enter(driver)
    store.down = True
    for call in (lambda: enter(driver), lambda: driver("invalidate", "1"), lambda: driver("revoke_user", "1")):
        with pytest.raises(UnavailableError):
            call()
    store.down = False
    assert enter(driver).user.name == "Ann"
    assert loader.calls == ["1"]


def test_redis_that_goes_during_the_load_is_503_and_the_row_is_not_served(driver, store, loader) -> None:
    def load():
        store.down = True
        return {"name": "Ann"}

    loader.rows["1"] = load
    with pytest.raises(UnavailableError):
        enter(driver)
    store.down = False
    assert is_lease(stored(store))  # it could not be given back, and ends by itself


def test_a_fill_whose_confirmation_is_lost_is_read_back(driver, store, loader) -> None:
    """redis-py sends a command again when its reply was lost: the second time the lease is gone already."""
    once = store.compare_and_set

    async def twice(*arguments, **options):
        await once(*arguments, **options)
        return await once(*arguments, **options)

    store.compare_and_set = twice
    assert enter(driver).user.name == "Ann"
    assert loader.calls == ["1"]


def test_a_lease_whose_confirmation_is_lost_is_still_ones_own(driver, store, loader) -> None:
    once = store.claim

    async def twice(*arguments, **options):
        await once(*arguments, **options)
        return await once(*arguments, **options)

    store.claim = twice
    assert enter(driver).user.name == "Ann"
    assert loader.calls == ["1"]


def test_a_claim_that_is_delivered_again_after_an_invalidation_revives_nothing(driver, store, loader) -> None:
    """The first copy of the command was on its way for long: it arrives when the lease has been taken away."""
    claim, fill = store.claim, store.compare_and_set
    sent = []

    async def noted(*arguments, **options):
        sent.append((arguments, options))
        return await claim(*arguments, **options)

    async def after_the_late_copy(*arguments, **options):
        store.compare_and_set = fill
        await store.delete("user:1")
        loader.rows["1"] = {"name": "new"}
        (key, lease), late = sent[0]
        await claim(key, lease, **late)
        filled = await fill(*arguments, **options)
        await store.delete("user:1")  # or everyone would wait for the end of a lease that nobody holds
        return filled

    store.claim, store.compare_and_set = noted, after_the_late_copy
    loader.rows["1"] = {"name": "old"}
    assert enter(driver).user.name == "new"


def test_somebody_elses_data_that_appears_during_the_load_is_left_alone(driver, store, loader, caplog) -> None:
    def load():
        finish(store.delete("user:1"))
        finish(store.revoke_before("user:1", lifetime=999, leeway=0))  # a hash
        return {"name": "Ann"}

    loader.rows["1"] = load
    assert enter(driver).user.name == "Ann"
    assert "not ours" in caplog.text
    assert "user:1" in store._revocations


def test_a_fill_that_is_not_confirmed_gives_the_lease_back(driver, store, loader) -> None:
    fill = store.compare_and_set

    async def lost(*_arguments, **_options):
        store.compare_and_set = fill
        raise UnavailableError("redis")

    store.compare_and_set = lost
    with pytest.raises(UnavailableError):
        enter(driver)
    assert stored(store) is None
    assert enter(driver).user.name == "Ann"


def test_a_fault_of_ours_is_503_for_everybody_and_logged(driver, store, caplog) -> None:
    async def broken(_key):
        raise ZeroDivisionError(store.calls[0] + " confi" + "dential")

    store.revocations = broken
    with pytest.raises(UnavailableError) as caught:
        enter(driver)
    assert caught.value.reason == "internal"
    assert "ZeroDivisionError" in caplog.text
    assert "confidential" not in caplog.text


def test_what_the_loader_raised_does_not_ride_along(driver, loader) -> None:
    loader.rows["1"] = RuntimeError("parameters: ann@example.com")
    with pytest.raises(UnavailableError) as caught:
        enter(driver)
    assert "ann@example.com" not in "".join(traceback.format_exception(caught.value))


def test_a_dead_holders_lease_ends_and_the_user_is_loaded(driver, store, clock, loader) -> None:
    store.put("user:1", new_lease(), ttl_ms=2000)
    wait = store.claim

    async def later(*arguments, **options):
        clock.advance(0.5)
        return await wait(*arguments, **options)

    store.claim = later
    assert enter(driver).user.name == "Ann"
    assert store.calls.count("claim") == 4


def test_a_holder_that_never_ends_is_waited_for_until_the_deadline(driver, store, clock, loader) -> None:
    store.put("user:1", new_lease())
    wait = store.claim

    async def later(*arguments, **options):
        clock.advance(1)
        return await wait(*arguments, **options)

    store.claim = later
    with pytest.raises(UnavailableError) as caught:
        enter(driver)
    assert caught.value.reason == "deadline"
    assert loader.calls == []


def test_unreadable_revocations_are_503_and_not_nothing(driver, store) -> None:
    store.put("revoked:1", b"not a hash")
    token = token_for("1", now=driver.now())
    for call in (lambda: enter(driver), lambda: driver("revoke_user", "1"), lambda: driver("logout", token)):
        with pytest.raises(UnavailableError):
            call()


@pytest.mark.parametrize("user_id", ["5", "5:revoked", "revoked:5", " ", "😀", "é", "e\u0301", "{5}", "x" * 255])
def test_an_odd_id_is_asked_for_as_it_is(driver, loader, user_id) -> None:
    loader.rows[user_id] = {"name": "odd"}
    loader.rows[user_id.strip()] = loader.rows.get(user_id.strip(), {"name": "another"})
    assert enter(driver, user_id).user.identity == user_id
    assert loader.calls == [user_id]


@pytest.mark.parametrize("user_id", ["", "x" * 256, "x" * 10_240, "a\nb", "\ud800"])
def test_an_impossible_id_is_refused_by_name(driver, store, user_id) -> None:
    for method in ("invalidate", "revoke_user"):
        with pytest.raises(ValueError, match=r"^user_id: "):
            driver(method, user_id)
    assert store.calls == []


@pytest.mark.parametrize("user_id", [42, None, b"42"])
def test_an_id_of_another_type_is_refused_by_name(driver, user_id) -> None:
    with pytest.raises(TypeError, match=r"^user_id: "):
        driver("invalidate", user_id)


def test_a_rule_that_raises_is_503(store, clock, loader, caplog) -> None:
    def rule(user):
        raise KeyError(user["name"])

    for face in FACES:
        with driven(face, store, load_user=loader, clock=clock, is_active=rule) as driver:
            driver.now = clock.wall
            with pytest.raises(UnavailableError):
                enter(driver)
    assert "KeyError" in caplog.text
    assert "Ann" not in caplog.text


def test_two_issuers_with_an_alias_each_share_a_redis_and_no_user(store, clock) -> None:
    for face in FACES:
        for alias in ("a", "b"):
            with driven(face, store, load_user=Loader(u1={"name": alias}), clock=clock, alias=alias) as driver:
                driver.now = clock.wall
                assert enter(driver).user.name == alias
    assert stored(store, "user:a:1") != stored(store, "user:b:1")


def test_no_error_and_no_log_holds_a_token_or_a_claim(driver, store, loader, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    loader.rows["confidential"] = RuntimeError("confidential")
    token = issue_token("another secret that is at least thirty-two bytes", subject="confidential", now=driver.now())
    for attempt in (lambda: driver("authenticate", headers(token)), lambda: enter(driver, "confidential")):
        with pytest.raises(AuthCacheError) as caught:
            attempt()
        assert "confidential" not in str(caught.value) + repr(caught.value) + repr(driver.face)
        assert token not in repr(caught.value)
    assert "confidential" not in caplog.text
