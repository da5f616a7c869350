"""From a record's fields to the user that an application sees: the default ``User``, or a type of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from authcache_middleware.packed import thawed
from authcache_middleware.users.user import User

__all__ = ["UserFactory", "UserType", "user_factory"]

UserT = TypeVar("UserT")

UserFactory = Callable[[str, Mapping[str, Any]], UserT]
"""Makes a user of his subject and his fields."""

UserType = type[UserT] | Callable[[Mapping[str, Any]], UserT]
"""A dataclass, a msgspec ``Struct``, a pydantic model, or any callable that takes the fields as a ``dict``."""


def user_factory(user_type: UserType[UserT] | None) -> UserFactory[UserT]:
    """How users of that type are made; ``None`` is the default ``User``.

    A dataclass gets the fields that it has, the rest are left out; msgspec and pydantic convert and check as they do,
    so that a ``datetime`` or ``UUID``, which a record holds as text, comes back as one; any other callable is called
    with a ``dict`` of its own.
    """
    if user_type is None:
        return cast("UserFactory[UserT]", User)
    make = _maker(user_type)
    return lambda _subject, fields: make(thawed(fields))


def _maker(user_type: UserType[UserT]) -> Callable[[dict[str, Any]], UserT]:
    if isinstance(user_type, type):
        if dataclasses.is_dataclass(user_type):
            names = [field.name for field in dataclasses.fields(user_type) if field.init]
            make = cast("Callable[..., UserT]", user_type)
            return lambda fields: make(**{name: fields[name] for name in names if name in fields})
        if hasattr(user_type, "model_validate"):
            return cast("Callable[[dict[str, Any]], UserT]", user_type.model_validate)
        if hasattr(user_type, "__struct_fields__"):
            import msgspec

            return lambda fields: msgspec.convert(fields, user_type)
    return cast("Callable[[dict[str, Any]], UserT]", user_type)
