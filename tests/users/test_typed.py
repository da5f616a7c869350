"""A user type of the application's own."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from decimal import Decimal
from types import MappingProxyType

import msgspec
import pydantic
import pytest

from authcache_middleware import User
from authcache_middleware.users.typed import user_factory

FIELDS = MappingProxyType(
    {
        "id": 42,
        "name": "Ann",
        "since": "2026-11-23T09:00:00+00:00",
        "ref": "00000000-0000-0000-0000-000000000005",
        "credit": "1.10",
        "tags": ("a", "b"),
        "address": MappingProxyType({"city": "Bonn"}),
    }
)
SINCE, REF = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC), uuid.UUID(int=5)


@dataclasses.dataclass(frozen=True)
class Plain:
    id: int
    name: str
    tags: list[str]
    nickname: str = "none"
    shown: str = dataclasses.field(init=False, default="x")


class Struct(msgspec.Struct, frozen=True):
    id: int
    since: dt.datetime
    ref: uuid.UUID
    credit: Decimal
    tags: list[str]
    address: dict[str, str]


class Model(pydantic.BaseModel):
    id: int
    since: dt.datetime
    ref: uuid.UUID
    credit: Decimal
    tags: list[str]
    address: dict[str, str]


def test_the_default_is_the_read_only_user() -> None:
    user = user_factory(None)("42", FIELDS)
    assert isinstance(user, User)
    assert user.name == "Ann"


def test_a_dataclass_gets_the_fields_that_it_has() -> None:
    assert user_factory(Plain)("42", FIELDS) == Plain(42, "Ann", ["a", "b"])


@pytest.mark.parametrize("user_type", [Struct, Model])
def test_types_that_convert_get_their_types_back(user_type) -> None:
    user = user_factory(user_type)("42", FIELDS)
    assert (user.id, user.since, user.ref, user.credit) == (42, SINCE, REF, Decimal("1.10"))
    assert (user.tags, user.address) == (["a", "b"], {"city": "Bonn"})


def test_any_callable_gets_a_dict_of_its_own() -> None:
    def make(fields: dict) -> tuple:
        fields["address"]["city"] = "changed"
        return type(fields), fields["tags"]

    assert user_factory(make)("42", FIELDS) == (dict, ["a", "b"])
    assert FIELDS["address"]["city"] == "Bonn"


def test_a_field_that_is_missing_is_an_error() -> None:
    for user_type in (Plain, Struct, Model):
        with pytest.raises((TypeError, ValueError)):
            user_factory(user_type)("42", {"name": "Ann"})
