"""What stands under a user's key."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import enum
import inspect
import sys
import types
import uuid

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authcache_middleware.users.record import (
    LEASE_MARK,
    MAX_DEPTH,
    MAX_RECORD_BYTES,
    MAX_ROW_BYTES,
    NO_REVOCATIONS,
    ForeignValueError,
    Record,
    Revocations,
    UnreadableValueError,
    UnstorableUserError,
    is_lease,
    is_storable,
    new_lease,
    pack_record,
    read_record,
    record_head,
    repack_record,
    reread_record,
)


def record(user=None, revocations=NO_REVOCATIONS) -> Record:
    return Record("https://id.example", "42", user, revocations, 1_700_000_000_000, 12, 1_700_003_600_000)


def read(packed: bytes) -> Record:
    return read_record(packed, issuer="https://id.example", subject="42")


def shape(**changes) -> bytes:
    members = msgpack.unpackb(pack_record(record({"id": 42})))
    return msgpack.packb({name: value for name, value in {**members, **changes}.items() if value is not ...})


def test_a_record_comes_back_as_it_was() -> None:
    written = record({"id": 42, "name": "Ann"}, Revocations(7, {"t:one": 9}))
    back = read(pack_record(written))
    assert back == written


def test_row_and_marks_have_each_a_bound_of_their_own() -> None:
    for row_bytes, marks, storable in (
        (MAX_ROW_BYTES - 300, 0, True), (MAX_ROW_BYTES + 1, 0, False), (MAX_ROW_BYTES + 1, 9, False),
        (MAX_ROW_BYTES - 300, 768, True), (MAX_ROW_BYTES - 300, 800, False), (9, 800, True), (9, 1100, False),
    ):  # fmt: skip
        ids = {f"s:{number:0>255}": 1_700_000_000 for number in range(marks)}
        packed = pack_record(record({"a": "x" * row_bytes}, Revocations(None, ids)))
        back = read_record(packed, issuer="https://id.example", subject="42", max_bytes=len(packed))
        assert is_storable(back, packed) is storable, (row_bytes, marks)
        assert not storable or read(packed) == back


def test_a_record_is_readable_in_any_language() -> None:
    packed = pack_record(record({"id": 42, "tags": ["a"]}, Revocations(7, {"t:one": 9}, {"s:two": 11})))
    assert msgpack.unpackb(packed) == {
        "v": 1,
        "iss": "https://id.example",
        "sub": "42",
        "loaded_at_ms": 1_700_000_000_000,
        "load_ms": 12,
        "expires_at_ms": 1_700_003_600_000,
        "user": {"id": 42, "tags": ["a"]},
        "revoked_before_s": 7,
        "revoked": {"t:one": 9},
        "sessions": {"s:two": 11},
    }


@pytest.mark.parametrize("sessions", [{}, {"s:two": 11}, None])
def test_what_is_not_known_of_sessions_stays_unknown(sessions) -> None:
    for ids in ({}, {"t:one": 9}):
        packed = pack_record(record({"id": 42}, Revocations(None, ids, sessions)))
        assert read(packed).revocations.sessions == sessions
        assert reread_record(repack_record(read(packed))).revocations.sessions == sessions


@pytest.mark.parametrize("user", [None, {}, {"id": 42, "tags": ["a", {"deep": [1]}], "none": None}])
@pytest.mark.parametrize("revocations", [NO_REVOCATIONS, Revocations(7, {"t:one": 9}, {"s:two": 11})])
def test_a_record_that_was_read_is_the_same_once_packed_and_unpacked(user, revocations) -> None:
    known = read(pack_record(record(user, revocations)))
    again = reread_record(repack_record(known))
    assert again == known
    assert (again.revocations is NO_REVOCATIONS) == (known.revocations is NO_REVOCATIONS)
    assert user is None or type(again.user) is types.MappingProxyType


def test_a_record_of_one_who_has_never_heard_of_sessions_can_be_read() -> None:
    assert read(shape(sessions=...)).revocations.sessions is None


def test_that_there_is_no_such_user_can_be_recorded() -> None:
    assert read(pack_record(record(None))).user is None


class Level(enum.Enum):
    GOLD = "gold"


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC), "2026-11-23T09:00:00+00:00"),
        (dt.datetime(2026, 11, 23, 9, 0), "2026-11-23T09:00:00"),  # noqa: DTZ001 - databases return such
        (dt.date(2026, 11, 23), "2026-11-23"),
        (dt.time(9, 30), "09:30:00"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (decimal.Decimal("1.10"), "1.10"),
        (Level.GOLD, "gold"),
        ({1}, (1,)),
        ([1, [2]], (1, (2,))),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (b"\x00\xff", b"\x00\xff"),
        (-1, -1),
        (2**64 - 1, 2**64 - 1),
        (1.5, 1.5),
        (None, None),
        (True, True),
        ("é😀", "é😀"),
    ],
)
def test_how_values_come_back(value, back) -> None:
    user = read(pack_record(record({"field": value}))).user
    assert user == {"field": back}


def test_what_is_read_cannot_be_changed() -> None:
    user = read(pack_record(record({"nested": {"a": [1]}}))).user
    with pytest.raises(TypeError):
        user["new"] = 1
    with pytest.raises(TypeError):
        user["nested"]["a"] = 1
    assert user["nested"]["a"] == (1,)


@pytest.mark.parametrize("value", [object(), 2**64, 1j, lambda: None, "\ud800"])
def test_what_cannot_be_held_is_named_by_its_type_alone(value) -> None:
    with pytest.raises(UnstorableUserError) as caught:
        pack_record(record({"secret-field": value}))
    assert "secret" not in str(caught.value)
    assert repr(value) not in str(caught.value)


@pytest.mark.parametrize("row", [{b"disabled": True}, {1: True}, {None: True}, {("a",): True}])
def test_a_field_name_that_is_no_text_is_refused(row) -> None:
    with pytest.raises(UnstorableUserError):
        pack_record(record(row))


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list = []
    endless.append(endless)
    with pytest.raises(UnstorableUserError):
        pack_record(record({"field": endless}))


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\x00",
        b"garbage",
        b"\xc1",
        b"\xff" * 10,
        b'{"v": 1}',
        msgpack.packb([1]),
        msgpack.packb({"v": 1}),
        shape() + b"\x00",
        shape()[:-1],
        shape(v=0),
        shape(v="1"),
        shape(v=True),
        shape(v=...),
        shape(sub="43"),
        shape(sub=...),
        shape(sub=b"42"),
        shape(iss="https://other.example"),
        shape(iss=None),
        shape(iss=...),
        shape(user=...),
        shape(user=[1]),
        shape(user={1: 2}),
        shape(user={"a": msgpack.ExtType(42, b"x")}),
        shape(user={"a": [msgpack.Timestamp(1)]}),
        shape(loaded_at_ms="now"),
        shape(load_ms=1.5),
        shape(expires_at_ms=None),
        shape(revoked_before_s="now"),
        shape(revoked_before_s=True),
        shape(revoked=None),
        shape(revoked=[1]),
        shape(revoked={b"t:one": 9}),
        shape(revoked={"t:one": 9, b"t:two": 9}),
        shape(user={b"disabled": True}),
        shape(user={"id": 42, b"disabled": True}),
        shape(revoked={"t:one": None}),
        shape(sessions=[1]),
        shape(sessions=7),
        shape(sessions={b"s:one": 9}),
        shape(sessions={"s:one": 9, "s:two": "for ever"}),
        shape(sessions={"s:one": True}),
        shape(sessions={"s:one": 9.5}),
        shape(user={"a": "x" * MAX_RECORD_BYTES}),
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 5000,
        LEASE_MARK + b"0" * 32,
    ],
)
def test_anything_odd_is_unreadable(packed) -> None:
    with pytest.raises(UnreadableValueError) as caught:
        read(packed)
    assert len(str(caught.value)) < 30


def nested(levels: int, innermost: object = 1) -> object:
    for level in range(levels):
        innermost = [innermost] if level % 2 else {"deeper": innermost}
    return innermost


def raw_nested(levels: int) -> bytes:
    """A record whose user holds that many lists, as somebody else's msgpack may have written it."""
    return shape(user=0).replace(b"\xa4user\x00", b"\xa4user\x81\xa1p" + b"\x91" * levels + b"\xff")


def test_nesting_has_an_end_on_both_sides() -> None:
    deepest = {"field": nested(MAX_DEPTH - 2)}  # the record and the user are the first two levels
    assert read(pack_record(record(deepest))).user is not None
    assert read(raw_nested(MAX_DEPTH - 2)).user is not None
    for levels in (MAX_DEPTH - 1, 100, 490, 600, 5000):
        with pytest.raises(UnstorableUserError):
            pack_record(record({"field": nested(levels)}))
        with pytest.raises(UnreadableValueError):
            read(raw_nested(levels))


def test_nesting_is_bounded_however_little_stack_is_left() -> None:
    def deeper(frames: int) -> object:
        return deeper(frames - 1) if frames else read(raw_nested(MAX_DEPTH - 2))

    assert deeper(sys.getrecursionlimit() - len(inspect.stack(0)) - 40) is not None


def test_many_lists_side_by_side_are_not_deep() -> None:
    user = {f"field{number}": [[number], {"a": -1}] for number in range(200)}
    assert len(read(pack_record(record(user))).user) == 200


@pytest.mark.parametrize("value", ["\ud800 of ann@example.org", {1: "ann@example.org"}, nested(80, "ann@example.org")])
def test_an_error_keeps_no_values(value) -> None:
    with pytest.raises(UnstorableUserError) as stored:
        pack_record(record({"email": value}))
    with pytest.raises(UnreadableValueError) as read_back:
        read(b"\x81\xa1a" + b"\xa3ann@example.org")
    for caught in (stored, read_back):
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        assert "ann" not in str(caught.value)


def test_a_newer_version_is_somebody_elses() -> None:
    with pytest.raises(ForeignValueError):
        read(shape(v=2))


@given(st.binary(max_size=200))
def test_no_bytes_make_it_stumble(packed: bytes) -> None:
    with pytest.raises((UnreadableValueError, ForeignValueError)):
        read(packed)


@given(st.data())
def test_a_changed_byte_never_gives_another_users_record(data: st.DataObject) -> None:
    packed = bytearray(pack_record(record({"id": 42, "at": -5, "on": True})))
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnreadableValueError, ForeignValueError):
        assert read(bytes(packed)).subject == "42"


def test_leases_are_told_from_records_and_from_each_other() -> None:
    lease = new_lease()
    assert is_lease(lease)
    assert lease.startswith(b"\xc1lease:")
    assert lease != new_lease()
    assert not is_lease(pack_record(record({"id": 42})))
    assert not is_lease(LEASE_MARK[:-1])


def test_a_repr_tells_no_values() -> None:
    assert "42" not in repr(record({"id": 42})).split(" at 0x", maxsplit=1)[0]
    assert repr(Revocations(1_700_000_000, {"t:secret": 9})) == "<Revocations: 1 ids and all before a time>"
    assert repr(NO_REVOCATIONS) == "<Revocations: 0 ids>"


def test_the_head_of_anybodys_record_can_be_read() -> None:
    assert record_head(pack_record(record({"id": 42}))) == (1, "42")
    assert record_head(shape(v=2, sub="other", iss="other")) == (2, "other")
    for odd in (b"", b"{}", b"\xff", msgpack.packb(["v"]), shape(v="1"), shape(user={"a": "x" * MAX_RECORD_BYTES})):
        with pytest.raises(UnreadableValueError):
            record_head(odd)
