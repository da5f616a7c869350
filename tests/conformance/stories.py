"""The conformance table's cases of users and outages: what happened before the request."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from conformance.cases import ENTERS, OUTAGE, REFUSED, Case, bearer
from conformance.drivers import Ask
from conformance.world import CLOSED_PORT, Loader, World

Before = Callable[[World], Awaitable[None]]


def row(row: Any, user: str = "alice") -> Before:
    async def before(world: World) -> None:
        world.loader.rows[user] = row

    return before


def stored(value: Callable[[World], bytes]) -> Before:
    async def before(world: World) -> None:
        with world.redis() as client:
            client.set(world.face.key("alice"), value(world))

    return before


async def warm(world: World, user: str = "alice") -> None:
    seen = await world.ask(Ask(headers=bearer(world.token(user))))
    assert seen.status == 200


# Rows

ENTERING_ROWS: list[tuple[str, Mapping[str, Any]]] = [
    ("empty", {}),
    ("is_active", {"is_active": True}),
    ("active as a number", {"active": 1}),
    ("enabled", {"enabled": True}),
    ("not disabled", {"disabled": False}),
    ("status active", {"status": "active"}),
    ("status in upper case", {"status": "CONNECTED"}),
    ("never deleted", {"deleted_at": None}),
    ("all of them", {"is_active": True, "disabled": 0, "status": "active", "deleted_at": None}),
    ("plain data", {"n": 1, "f": 1.5, "b": b"x", "l": [1, {"a": None}]}),
    (
        "dates, ids and decimals",
        {"d": dt.datetime.now(dt.UTC), "u": uuid.uuid4(), "p": decimal.Decimal("1.50")},
    ),
]
REFUSED_ROWS: list[tuple[str, Mapping[str, Any] | None]] = [
    ("unknown", None),
    ("not is_active", {"is_active": False}),
    ("is_active zero", {"is_active": 0}),
    ("is_active as text", {"is_active": "true"}),
    ("is_active missing its value", {"is_active": None}),
    ("not active", {"active": False}),
    ("not enabled", {"enabled": False}),
    ("disabled", {"disabled": True}),
    ("disabled as text", {"disabled": "no"}),
    ("deleted", {"deleted_at": "2026-01-01T00:00:00Z"}),
    ("status blocked", {"status": "blocked"}),
    ("status empty", {"status": ""}),
    ("status a number", {"status": 1}),
    ("one of two", {"is_active": True, "disabled": True}),
]
BROKEN_ROWS: list[tuple[str, Any]] = [
    ("raises", RuntimeError("no database")),
    ("raises a KeyError", KeyError("alice")),
    ("raises a timeout", TimeoutError()),
    ("returns text", "alice"),
    ("returns a list", [("name", "Alice")]),
    ("returns a number", 7),
    ("returns what cannot be stored", {"session": object()}),
    ("is too late", Loader.HANG),
]
SUBJECTS = [
    "1",
    "a b",
    " ",
    "\U0001f600",
    "a:b",
    "revoked:alice",
    "{alice}",
    "*",
    "alice\u0301",
    "ALICE",
    "\u00e9",
    "a" * 255,
]


# What happened before


async def logged_out(world: World) -> None:
    world.said = world.token()
    await world.call("logout", world.said)


async def warm_then_logged_out(world: World) -> None:
    await warm(world)
    await logged_out(world)


async def logged_out_without_id(world: World) -> None:
    world.said = world.token(token_id=None)
    await world.call("logout", world.said)


async def another_logged_out(world: World) -> None:
    world.said = world.token()
    await world.call("logout", world.token())


async def another_user_logged_out(world: World) -> None:
    world.said = world.token(token_id="same")
    await world.call("logout", world.token("bob", token_id="same"))


async def expired_then_logged_out(world: World) -> None:
    world.said = world.token()
    world.clock.advance(1000.0)
    await world.call("logout", world.said)


async def revoked(world: World) -> None:
    world.said = world.token()
    await warm(world)
    await world.call("revoke_user", "alice")


async def another_revoked(world: World) -> None:
    world.said = world.token()
    await world.call("revoke_user", "bob")


async def revoked_then_back(world: World) -> None:
    await world.call("revoke_user", "alice")
    world.clock.advance(60.0)
    world.said = world.token()


async def disabled_and_invalidated(world: World) -> None:
    await warm(world)
    world.loader.rows["alice"] = {"is_active": False}
    await world.call("invalidate", "alice")


async def deleted_and_invalidated(world: World) -> None:
    await warm(world)
    del world.loader.rows["alice"]
    await world.call("invalidate", "alice")


async def disabled_and_deleted_by_another_client(world: World) -> None:
    await warm(world)
    world.loader.rows["alice"] = {"is_active": False}
    with world.redis() as client:
        assert client.delete(world.face.key("alice")) == 1


async def created_and_invalidated(world: World) -> None:
    seen = await world.ask(Ask(headers=bearer(world.token("carol"))))
    assert seen.status == 401
    world.loader.rows["carol"] = {}
    await world.call("invalidate", "carol")
    world.said = world.token("carol")


async def warm_then_gone(world: World) -> None:
    await warm(world)
    world.loader.rows["alice"] = RuntimeError("no database")


async def broken_then_back(world: World) -> None:
    world.loader.rows["alice"] = RuntimeError("no database")
    seen = await world.ask(Ask(headers=bearer(world.token())))
    assert seen.status == 503
    world.loader.rows["alice"] = {"name": "Alice"}
    world.clock.advance(60.0)  # past the pause after a failed load


async def record_of_bob(world: World) -> None:
    await warm(world, "bob")
    with world.redis() as client:
        client.set(world.face.key("alice"), client.get(world.face.key("bob")))


async def expired_meanwhile(world: World) -> None:
    world.said = world.token(lifetime=300.0)
    await warm(world)
    world.clock.advance(400.0)


async def another_type(world: World) -> None:
    with world.redis() as client:
        client.rpush(world.face.key("alice"), b"not ours")


GARBAGE: list[tuple[str, bytes]] = [
    ("empty value", b""),
    ("text", b"garbage"),
    ("json", b'{"sub": "alice", "is_active": true}'),
    ("pickle", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x05alice\x94."),
    ("truncated map", b"\x89\xa1v\x01"),
    ("nested deep", b"\x91" * 5000 + b"\xc0"),
    ("huge claimed length", b"\xdf\xff\xff\xff\xff"),
    ("70 KiB", b"\xda\xff\xff" + b"a" * 70_000),
]

HAPPENED: list[tuple[str, Before, Mapping[str, Any]]] = [
    ("logged out", logged_out, REFUSED),
    ("known, then logged out", warm_then_logged_out, REFUSED),
    ("logged out without an id", logged_out_without_id, REFUSED),
    ("another token logged out", another_logged_out, ENTERS),
    ("another user's token with the same id logged out", another_user_logged_out, ENTERS),
    ("expired, then logged out", expired_then_logged_out, REFUSED),
    ("revoked", revoked, REFUSED),
    ("another user revoked", another_revoked, ENTERS),
    ("revoked, then back", revoked_then_back, ENTERS),
    ("disabled and invalidated", disabled_and_invalidated, REFUSED),
    ("deleted and invalidated", deleted_and_invalidated, REFUSED),
    ("disabled, DEL by another client", disabled_and_deleted_by_another_client, REFUSED),
    ("created and invalidated", created_and_invalidated, {"status": 200, "user": "carol"}),
    ("known, then the database gone", warm_then_gone, ENTERS),
    ("database gone, then back", broken_then_back, ENTERS),
    ("a copy of another's record", record_of_bob, ENTERS),
    ("the token expired meanwhile", expired_meanwhile, REFUSED),
    ("another type under the key", another_type, ENTERS),
]


def _said(world: World) -> tuple[tuple[str, str], ...]:
    return bearer(world.said or world.token())


def story_cases() -> Iterator[Case]:
    for name, fields in ENTERING_ROWS:
        yield Case(name=f"row: {name}", before=row(fields), **ENTERS)
    for name, fields in REFUSED_ROWS:
        yield Case(name=f"row: {name}", before=row(fields), **REFUSED)
    for name, fields in BROKEN_ROWS:
        yield Case(name=f"loader {name}", before=row(fields), options={"loader_timeout": 0.05}, **OUTAGE)
    for subject in SUBJECTS:
        yield Case(
            name=f"subject {subject[:20]!a}",
            status=200,
            user=subject,
            before=row({"name": "himself"}, subject),
            headers=lambda world, subject=subject: bearer(world.token(subject)),
        )
    for name, value in GARBAGE:
        yield Case(name=f"in redis: {name}", before=stored(lambda _world, value=value: value), **ENTERS)
    for name, before, outcome in HAPPENED:
        yield Case(name=f"happened: {name}", before=before, headers=_said, **outcome)
    yield Case(name="redis is down", url=CLOSED_PORT, **OUTAGE)
    yield Case(
        name="redis is down, forged", url=CLOSED_PORT, headers=lambda w: bearer(w.token(key="x" * 64)), **REFUSED
    )
    yield Case(name="redis is down, nobody", url=CLOSED_PORT, headers=lambda _world: (), status=401)
    yield Case(
        name="redis is down, twice",
        url=CLOSED_PORT,
        headers=lambda w: bearer(w.token()) * 2,
        status=400,
        error="invalid_request",
    )
    yield Case(name="own rule refuses", options={"is_active": lambda user: False}, **REFUSED)
    yield Case(name="own rule says nearly yes", options={"is_active": lambda user: "yes"}, **REFUSED)
    yield Case(
        name="own rule enters", options={"is_active": lambda user: True}, before=row({"active": False}), **ENTERS
    )
    yield Case(name="own rule raises", options={"is_active": lambda user: user["gone"]}, **OUTAGE)
