"""The options are one thing, said twice: once for type checkers, once for everybody."""

from __future__ import annotations

from dataclasses import fields

from authcache_middleware.options import Options, OptionsDict


def test_type_checkers_see_the_options_that_there_are() -> None:
    seen = (
        OptionsDict.__required_keys__ | OptionsDict.__optional_keys__ | {"user_type"}
    )  # the one that the overloads name
    assert seen == {option.name for option in fields(Options)}
    assert OptionsDict.__required_keys__ == {"load_user", "keys", "algorithms", "issuer", "audience"}


def test_the_deadline_leaves_room_for_a_dead_holder_and_a_load() -> None:
    def load(_user_id: str) -> None:
        return None

    options = Options(load_user=load, keys="", algorithms=[], issuer=None, audience=None)
    assert options.lease == options.loader_timeout + options.store_timeout
    assert options.deadline > options.lease + options.loader_timeout
