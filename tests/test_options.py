"""The options are one thing, said twice: once for type checkers, once for everybody."""

from __future__ import annotations

from dataclasses import fields

from authcache_middleware.options import IssuersDict, Options, OptionsDict


def test_type_checkers_see_the_options_that_there_are() -> None:
    for one_of_them in (OptionsDict, IssuersDict):
        seen = one_of_them.__required_keys__ | one_of_them.__optional_keys__
        assert seen <= {option.name for option in fields(Options)}
    both = OptionsDict.__annotations__ | IssuersDict.__annotations__
    # the one that the overloads name, and the one that is an Issuer's where there are several
    assert both.keys() | {"user_type"} == {option.name for option in fields(Options)}
    assert OptionsDict.__required_keys__ == {"load_user", "keys", "algorithms", "issuer", "audience"}


def test_the_deadline_leaves_room_for_a_dead_holder_and_a_load() -> None:
    def load(_user_id: str) -> None:
        return None

    options = Options(load_user=load, keys="", algorithms=[], issuer=None, audience=None)
    assert options.lease == options.loader_timeout + options.store_timeout
    assert options.deadline > options.lease + options.loader_timeout
