"""Who a request speaks for."""

from __future__ import annotations

import copy
import pickle
from types import MappingProxyType

import pytest

from authcache_middleware import AnonymousUser, User
from authcache_middleware.tokens.claims import Claims
from authcache_middleware.users.user import ANONYMOUS, NO_CREDENTIALS, Credentials, Identity

ANN = User("42", MappingProxyType({"id": 42, "name": "Ann", "full name": "Ann B.", "items": (1,)}))


def test_fields_by_key_and_by_attribute() -> None:
    assert (ANN["name"], ANN.name, ANN.id, ANN["full name"], ANN.get("age")) == ("Ann", "Ann", 42, "Ann B.", None)
    assert dict(ANN) == {"id": 42, "name": "Ann", "full name": "Ann B.", "items": (1,)}
    assert len(ANN) == 4
    assert "age" not in ANN


def test_a_field_never_hides_a_method_or_the_identity() -> None:
    user = User("42", {"identity": "root", "is_authenticated": False, "items": 1})
    assert (user.identity, user.is_authenticated) == ("42", True)
    assert dict(user.items())["items"] == 1


def test_a_missing_field_is_named() -> None:
    with pytest.raises(AttributeError, match="'age'"):
        _ = ANN.age
    with pytest.raises(KeyError):
        ANN["age"]


def test_it_is_read_only() -> None:
    with pytest.raises(AttributeError, match="read-only"):
        ANN.name = "Eve"
    with pytest.raises(AttributeError, match="read-only"):
        del ANN.name
    with pytest.raises(TypeError):
        ANN["name"] = "Eve"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"display_name": "A", "name": "B", "username": "C"}, "A"),
        ({"name": "B", "username": "C"}, "B"),
        ({"username": "C"}, "C"),
        ({"name": "", "username": 5}, "42"),
        ({}, "42"),
    ],
)
def test_the_display_name(fields, name) -> None:
    assert User("42", fields).display_name == name


def test_it_can_be_copied_and_pickled() -> None:
    for other in (copy.copy(ANN), copy.deepcopy(ANN), pickle.loads(pickle.dumps(ANN))):
        assert (other.identity, dict(other)) == (ANN.identity, dict(ANN))


def test_two_users_with_the_same_row_are_not_the_same() -> None:
    assert User("1", {"a": 1}) == User("1", MappingProxyType({"a": 1}))
    assert User("1", {"a": 1}) != User("2", {"a": 1})
    assert User("1", {"a": 1}) != User("1", {"a": 2})
    assert User("1", {"a": 1}) != {"a": 1}
    assert copy.deepcopy(ANN) == ANN


def test_a_user_may_stand_in_a_set() -> None:
    nested = MappingProxyType({"settings": MappingProxyType({"theme": "dark"})})  # which has no hash of its own
    assert len({User("1", nested), User("1", nested), User("1", {}), User("2", nested), ANN}) == 4


def test_a_known_user_is_true_and_nobody_is_false() -> None:
    assert User("1", {})
    assert ANN
    assert not ANONYMOUS


def test_a_repr_tells_the_fields_and_no_values() -> None:
    assert repr(ANN) == "<User with id, name, full name, items>"


def test_a_repr_of_credentials_tells_no_values() -> None:
    claims = Claims("42", None, 2.0, 1.0, None, None, ("tenant:acme",), {"scope": "tenant:acme", "sub": "42"})
    identity = Identity(ANN, Credentials(claims, ("tenant:acme",)))
    assert repr(identity.auth) == "<Credentials: <Claims: scope, sub>>"
    assert "acme" not in repr(identity)


def test_nobody_is_an_object() -> None:
    assert isinstance(ANONYMOUS, AnonymousUser)
    assert (ANONYMOUS.is_authenticated, ANONYMOUS.identity, ANONYMOUS.display_name) == (False, "", "")
    assert repr(ANONYMOUS) == "<AnonymousUser>"
    assert NO_CREDENTIALS.scopes == ()
    assert len(NO_CREDENTIALS.claims) == 0
