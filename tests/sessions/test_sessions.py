"""Sessions on record, through both faces: who is logged in, how many at once, and how that ends."""

from __future__ import annotations

import math

import pytest
from faces import driven, headers, token_for

from authcache_middleware import (
    ConfigurationError,
    InvalidTokenError,
    LoginRefusedError,
    Session,
    UnavailableError,
)
from authcache_middleware.redis.scripts import MAX_REVOKED_IDS
from authcache_middleware.runtime import finish
from authcache_middleware.testing import ManualClock, MemoryStore

DAY = 86_400.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture(params=["async", "blocking"])
def face(request) -> str:
    return request.param


@pytest.fixture
def opened(face, store, clock):
    """Faces over one store, each with options of its own."""
    faces = []

    def opened(**options):
        driver = driven(face, store, **{"load_user": lambda user_id: {"id": user_id}, "clock": clock, **options})
        faces.append(driver)
        return driver.__enter__()

    yield opened
    for driver in faces:
        driver.__exit__(None, None, None)


@pytest.fixture
def driver(opened):
    return opened()


def of_session(clock, sid: str | None, subject: str = "1", **options) -> str:
    claims = {"sid": sid, **options.pop("claims", {})}
    return token_for(subject, now=clock.wall(), claims=claims, **options)


def refused(driver, token: str) -> str:
    with pytest.raises(InvalidTokenError) as caught:
        driver("authenticate", headers(token))
    return caught.value.reason


def sids(driver, subject: str = "1") -> list[str]:
    return [session.sid for session in driver("sessions", subject)]


# -- on record


def test_a_token_puts_its_session_on_record(driver, clock) -> None:
    began = clock.wall()
    said = driver(
        "login", "1", token=of_session(clock, "one", lifetime=600), address="192.0.2.1", user_agent="A/1", label="L"
    )
    assert said == Session("one", pytest.approx(began, abs=0.001), math.ceil(began + 600), "192.0.2.1", "A/1", "L")
    assert driver("sessions", "1") == [said]
    assert driver("sessions", "2") == []
    assert repr(said) == "<Session>"


def test_without_a_token_it_gets_a_name_that_goes_into_one(driver, clock) -> None:
    first, second = (driver("login", "1", expires_at=clock.wall() + DAY) for _ in range(2))
    assert first.sid != second.sid
    assert (first.expires_at, first.address, first.user_agent, first.label) == (
        math.ceil(clock.wall() + DAY),
        *[None] * 3,
    )
    assert sorted(sids(driver)) == sorted([first.sid, second.sid])
    driver("login", "1", sid="mine", expires_at=clock.wall() + DAY)
    assert "mine" in sids(driver)


def test_a_token_without_sid_is_a_session_of_its_own(driver, clock) -> None:
    token = token_for(now=clock.wall(), lifetime=600, token_id="a-jti")
    session = driver("login", "1", token=token, expires_at=clock.wall() + 60)
    assert (session.sid, session.expires_at) == ("a-jti", math.ceil(clock.wall() + 600))
    driver("logout_session", "1", "a-jti")
    assert refused(driver, token) == "revoked"
    assert sids(driver) == []


def test_a_refresh_puts_off_its_end_and_keeps_its_beginning(driver, clock) -> None:
    first = driver("login", "1", token=of_session(clock, "one", lifetime=600), label="old")
    clock.advance(300)
    again = driver("login", "1", token=of_session(clock, "one", lifetime=600), label="new")
    assert again == Session("one", first.created_at, first.expires_at + 300, label="new")
    driver("login", "1", sid="one", expires_at=clock.wall() + 5)
    assert driver("sessions", "1")[0].expires_at == again.expires_at, "never shorter"


def test_a_session_ends_by_itself(driver, store, clock) -> None:
    driver("login", "1", sid="one", expires_at=clock.wall() + 60)
    driver("login", "1", sid="two", expires_at=clock.wall() + 120)
    clock.advance(60)
    assert sids(driver) == ["two"]
    clock.advance(61)
    assert sids(driver) == []
    assert store._hash("revoked:1") is None, "and so does the key"


@pytest.mark.parametrize("text", ["\u00fc\U0001f600", "\ud800", '"\\\x00\x1f', "x" * 300, ""])
def test_what_is_told_of_a_session_is_kept(driver, clock, text) -> None:
    driver("login", "1", sid="one", expires_at=clock.wall() + 60, user_agent=text)
    kept = text[:256].replace("\ud800", "?")
    assert driver("sessions", "1")[0].user_agent == kept


# -- what it is not


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, "expires_at: must be given"),
        ({"sid": "one"}, "expires_at: must be given"),
        ({"sid": "one", "expires_at": "soon"}, "expires_at: must be seconds"),
        ({"sid": "one", "expires_at": True}, "expires_at: must be seconds"),
        ({"sid": "one", "expires_at": 5.0}, "expires_at: must be later"),
        ({"sid": "one", "expires_at": float("nan")}, "expires_at: must be later"),
        ({"sid": "one", "expires_at": 1e300}, "expires_at: must be later"),
        ({"sid": "", "expires_at": "fits"}, "sid: must have"),
        ({"sid": 7, "expires_at": "fits"}, "sid: must be a str"),
        ({"sid": "x" * 256, "expires_at": "fits"}, "sid: must have"),
        ({"sid": "one", "token": "a.b.c"}, "sid: is the token's"),
        ({"sid": "one", "expires_at": "fits", "address": 5}, "address: must be a str"),
        ({"sid": "one", "expires_at": "fits", "label": b"x"}, "label: must be a str"),
    ],
)
def test_a_bad_argument_is_named(driver, store, clock, options, error) -> None:
    if options.get("expires_at") == "fits":
        options = {**options, "expires_at": clock.wall() + 60}
    with pytest.raises((TypeError, ValueError), match=error):
        driver("login", "1", **options)
    assert store.calls == []


def test_a_token_must_be_good_and_of_this_user(driver, store, clock) -> None:
    token = of_session(clock, "one")
    with pytest.raises(ValueError, match="user_id: is not whom"):
        driver("login", "2", token=token)
    for expires_at in ("soon", True, float("nan"), clock.wall() - 1):
        for each in (token, token_for(now=clock.wall())):
            with pytest.raises((TypeError, ValueError), match="expires_at: must be"):
                driver("login", "1", token=each, expires_at=expires_at)
    with pytest.raises(InvalidTokenError, match="signature"):
        driver("login", "1", token=token[:-10] + "AAAAAAAAAA")
    with pytest.raises(ConfigurationError, match="token: has neither sid nor jti"):
        driver("login", "1", token=token_for(now=clock.wall(), claims={"jti": None}))
    clock.advance(DAY)
    with pytest.raises(InvalidTokenError, match="expired"):
        driver("login", "1", token=token)
    assert store.calls == []


# -- how it ends


def test_a_logout_ends_the_whole_session(driver, clock) -> None:
    token, refreshed, other = of_session(clock, "one"), of_session(clock, "one"), of_session(clock, "two")
    for each in (token, other):
        driver("login", "1", token=each)
    driver("logout", token)
    assert (refused(driver, token), refused(driver, refreshed)) == ("revoked", "revoked")
    driver("authenticate", headers(other))
    assert sids(driver) == ["two"]
    clock.advance(1000)
    assert refused(driver, of_session(clock, "one")) == "revoked", "whatever is issued later"


def test_a_token_that_expired_long_ago_still_ends_its_session(driver, clock) -> None:
    token = of_session(clock, "one", lifetime=60)
    driver("login", "1", token=token, expires_at=clock.wall() + DAY)
    clock.advance(3600)
    driver("logout", token)
    assert refused(driver, of_session(clock, "one")) == "revoked"
    assert sids(driver) == []


@pytest.mark.parametrize("claims", [{}, {"sid": "ahead"}])
def test_a_token_that_is_not_valid_yet_stays_out_after_many_others(opened, store, clock, claims) -> None:
    """Only a cutoff that reaches its time of issue may take the place of its mark."""
    driver = opened(leeway=2.0)
    ahead = token_for("1", now=clock.wall() + 40, claims=claims)
    driver("logout", ahead)
    clock.advance(1)
    for number in range(2 * MAX_REVOKED_IDS):
        driver("logout", token_for("1", now=clock.wall(), claims=dict.fromkeys(claims, f"{number}")))
        clock.advance(0.05)
    revoked = finish(store.revocations("revoked:1"))
    assert (len(revoked.ids), revoked.before_s is not None) == (MAX_REVOKED_IDS, True)
    clock.advance(20)
    assert refused(driver, ahead) == "revoked"


def test_one_session_is_ended_by_its_name(driver, clock) -> None:
    first, second = of_session(clock, "one"), of_session(clock, "two")
    driver("logout_session", "1", "one")  # on record or not
    assert refused(driver, first) == "revoked"
    driver("authenticate", headers(second))


def test_revoke_user_ends_all_and_what_they_would_be_given(driver, clock) -> None:
    for sid in ("one", "two"):
        driver("login", "1", token=of_session(clock, sid))
    driver("revoke_user", "1")
    assert sids(driver) == []
    clock.advance(60)
    assert refused(driver, of_session(clock, "one")) == "revoked"
    driver("authenticate", headers(of_session(clock, "three")))


def test_what_has_ended_does_not_begin_again(driver, clock) -> None:
    token = of_session(clock, "one")
    driver("logout", token)
    with pytest.raises(LoginRefusedError, match="ended") as caught:
        driver("login", "1", token=token)
    assert caught.value.retry_after is None


def test_a_login_that_would_be_refused_anyway_says_for_how_long(opened, clock) -> None:
    driver = opened(leeway=7)
    driver("revoke_user", "1")
    with pytest.raises(LoginRefusedError, match="too_soon") as caught:
        driver("login", "1", sid="one", expires_at=clock.wall() + 60)
    clock.advance(caught.value.retry_after)
    driver("login", "1", token=of_session(clock, "one"))
    driver("authenticate", headers(of_session(clock, "one")))


# -- how many


def test_the_oldest_makes_room(opened, clock) -> None:
    driver = opened(max_sessions=2)
    tokens = {sid: of_session(clock, sid) for sid in "abc"}
    for token in tokens.values():
        driver("login", "1", token=token)
        clock.advance(1)
    assert sids(driver) == ["b", "c"]
    assert refused(driver, tokens["a"]) == "revoked"
    driver("authenticate", headers(tokens["c"]))


def test_or_one_more_is_refused(opened, clock) -> None:
    driver = opened(max_sessions=1, on_max_sessions="refuse")
    driver("login", "1", token=of_session(clock, "one"))
    driver("login", "1", token=of_session(clock, "one"))
    with pytest.raises(LoginRefusedError, match="max_sessions"):
        driver("login", "1", token=of_session(clock, "two"))
    driver("login", "2", token=of_session(clock, "two", "2"))
    driver("logout_session", "1", "one")
    driver("login", "1", token=of_session(clock, "two"))


# -- where one is required


def test_a_session_that_is_not_on_record_lets_nobody_in(opened, store, clock) -> None:
    lenient, strict = opened(), opened(require_session=True)
    token = of_session(clock, "one")
    lenient("authenticate", headers(token))
    assert refused(strict, token) == "session"
    lenient("login", "1", token=token)
    strict("authenticate", headers(token))
    store.calls.clear()
    strict("authenticate", headers(of_session(clock, "one")))
    assert store.calls == ["get"], "one round trip"
    assert refused(strict, of_session(clock, "two")) == "session"
    assert refused(strict, of_session(clock, None)) == "session"
    assert refused(strict, token_for(now=clock.wall(), claims={"jti": None})) == "session"


def test_a_session_is_over_although_its_tokens_are_not(opened, clock) -> None:
    strict = opened(require_session=True)
    token = of_session(clock, "one", lifetime=3600)
    strict("login", "1", sid="one", expires_at=clock.wall() + 60)
    strict("authenticate", headers(token))
    clock.advance(60)
    assert refused(strict, token) == "session"


def test_a_cutoff_in_the_row_takes_no_session_away(opened, clock) -> None:
    before = clock.wall() - 3600
    strict = opened(require_session=True, load_user=lambda user_id: {"id": user_id, "revoked_before": before})
    strict("login", "1", token=of_session(clock, "one"))
    strict("authenticate", headers(of_session(clock, "one")))
    assert refused(strict, of_session(clock, "two")) == "session"


def test_a_record_that_knows_of_no_sessions_is_loaded_again(opened, store, clock) -> None:
    strict, token = opened(require_session=True), of_session(clock, "one")
    strict("login", "1", token=token)
    strict("authenticate", headers(token))
    packed = store._values["user:1"][0]
    old = packed.replace(b"\xa8sessions", b"\xa8SESSIONS")  # as one that has never heard of it
    store.put("user:1", old)
    store.calls.clear()
    strict("authenticate", headers(token))
    assert store.calls == ["get", "claim", "compare_and_delete", "claim", "revocations", "compare_and_set"]
    assert b"sessions" in store._values["user:1"][0]


def test_who_requires_none_reads_what_knows_of_none(opened, store, clock) -> None:
    lenient, token = opened(), of_session(clock, "one")
    lenient("authenticate", headers(token))
    store.put("user:1", store._values["user:1"][0].replace(b"\xa8sessions", b"\xa8SESSIONS"))
    store.calls.clear()
    lenient("authenticate", headers(token))
    assert store.calls == ["get"]


def test_the_session_is_written_before_the_record_is_deleted(driver, store, clock) -> None:
    driver("login", "1", token=of_session(clock, "one"))
    assert store.calls == ["begin_session", "delete"]
    store.calls.clear()
    driver("logout_session", "1", "one")
    assert store.calls[:2] == ["revoke_id", "delete"]


@pytest.mark.parametrize("failing", ["begin_session", "delete"])
def test_a_login_that_is_not_confirmed_says_so(driver, store, clock, failing) -> None:
    async def down(*_arguments, **_options):
        raise UnavailableError("redis")

    setattr(store, failing, down)
    with pytest.raises(UnavailableError):
        driver("login", "1", token=of_session(clock, "one"))


def test_while_redis_is_gone_the_row_alone_decides(opened, store, clock) -> None:
    strict = opened(require_session=True, on_outage="load")
    store.down = True
    strict("authenticate", headers(of_session(clock, "one")))
    with pytest.raises(UnavailableError):
        strict("sessions", "1")


# -- memory


def trusted(driver, clock):
    (engine,) = getattr(driver.face, "_story", driver.face)._engines.values()
    engine.memory.follow(["node"])
    engine.memory.credit("node", clock.monotonic())
    return engine.memory


def recalled(driver, token):
    return driver.there(lambda: driver.face.recall(headers(token)))


def test_what_memory_does_not_know_yet_redis_does(opened, clock) -> None:
    strict, elsewhere = opened(require_session=True, max_staleness=1.0), opened()
    first, second = of_session(clock, "one"), of_session(clock, "two")
    strict("login", "1", token=first)
    strict("authenticate", headers(first))
    trusted(strict, clock)
    strict("authenticate", headers(first))
    assert recalled(strict, first) is not None
    elsewhere("login", "1", token=second)  # and no link tells of it
    strict("authenticate", headers(second))


def test_memory_that_knows_no_session_asks_and_counts_once(opened, store, clock) -> None:
    strict = opened(require_session=True, max_staleness=1.0)
    first, second = of_session(clock, "one"), of_session(clock, "two")
    strict("login", "1", token=first)
    strict("authenticate", headers(first))
    trusted(strict, clock)
    strict("authenticate", headers(first))
    refused(strict, second)
    assert recalled(strict, second) is None
    hits, store.calls[:] = strict.there(strict.face.stats), []
    assert refused(strict, second) == "session"
    assert store.calls == ["get"]
    stats = strict.there(strict.face.stats)
    assert (stats.memory_hits, stats.redis_hits) == (hits.memory_hits, hits.redis_hits + 1)


def test_memory_sees_a_session_end(opened, clock) -> None:
    strict = opened(require_session=True, max_staleness=90.0)
    token = of_session(clock, "one", lifetime=3600)
    strict("login", "1", sid="one", expires_at=clock.wall() + 30)
    strict("authenticate", headers(token))
    memory = trusted(strict, clock)
    for _ in range(3):
        strict("authenticate", headers(token))
    assert recalled(strict, token) is not None
    clock.advance(30)
    assert memory.entry("user:1") is not None
    assert refused(strict, token) == "session"


# -- the rest


def test_options_that_are_wrong_are_named(face, store) -> None:
    for options, named in (
        ({"max_sessions": 0}, "max_sessions"),
        ({"max_sessions": 257}, "max_sessions"),
        ({"max_sessions": True}, "max_sessions"),
        ({"on_max_sessions": "refuse"}, "on_max_sessions"),
        ({"max_sessions": 1, "on_max_sessions": "maybe"}, "on_max_sessions"),
        ({"require_session": 1}, "require_session"),
    ):
        with pytest.raises(ConfigurationError, match=f"^{named}: "), driven(face, store, load_user=dict, **options):
            pass
