"""Which key belongs to which subject."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authcache_middleware import ConfigurationError
from authcache_middleware.users.keys import UserKeys, is_subject

ODD_SUBJECTS = [
    "5",
    "5:revoked",
    "revoked:5",
    "user:5",
    " ",
    "  ",
    " 5",
    "5 ",
    "😀",
    "é",
    "e\u0301",
    "{5}",
    "a:b:c",
    "*",
]


@pytest.mark.parametrize(
    ("prefix", "alias", "record", "revocations"),
    [
        ("user:", None, "user:42", "revoked:42"),
        ("shop:user:", None, "shop:user:42", "shop:revoked:42"),
        ("acct:", None, "acct:42", "revoked-acct:42"),
        ("user:", "google", "user:google:42", "revoked:google:42"),
        ("acct:", "b-1", "acct:b-1:42", "revoked-acct:b-1:42"),
    ],
)
def test_the_keys_of_a_subject(prefix, alias, record, revocations) -> None:
    keys = UserKeys(prefix, alias)
    assert (keys.record("42"), keys.revocations("42")) == (record, revocations)
    assert keys.logout("42") == revocations.replace("revoked", "logout")


@pytest.mark.parametrize("prefix", ["", ":", "user", "us er:", "user:\n", "usér:", "x" * 101 + ":", 7, None])
def test_a_bad_prefix_is_named(prefix) -> None:
    with pytest.raises(ConfigurationError, match=r"^prefix: "):
        UserKeys(prefix)


@pytest.mark.parametrize("alias", ["", "A", "a:b", "a b", "é", 7])
def test_a_bad_alias_is_named(alias) -> None:
    with pytest.raises(ConfigurationError, match=r"^alias: "):
        UserKeys("user:", alias)


def test_odd_subjects_are_never_mixed_up() -> None:
    for keys in (UserKeys(), UserKeys("acct:"), UserKeys("user:", "a")):
        names = [keys.record(subject) for subject in ODD_SUBJECTS] + [
            keys.revocations(subject) for subject in ODD_SUBJECTS
        ]
        assert len(set(names)) == 2 * len(ODD_SUBJECTS)


@given(st.text(min_size=1), st.text(min_size=1), st.sampled_from(["user:", "acct:", "a:user:", "revoked-x:"]))
def test_no_two_subjects_share_a_key(one: str, other: str, prefix: str) -> None:
    keys = UserKeys(prefix)
    assert (keys.record(one) == keys.record(other)) == (one == other)
    assert keys.record(one) != keys.revocations(other)


@given(
    st.text(), st.text(), st.from_regex(r"[a-z0-9_-]+", fullmatch=True), st.from_regex(r"[a-z0-9_-]+", fullmatch=True)
)
def test_no_two_issuers_share_a_key(one: str, other: str, alias: str, another: str) -> None:
    same = UserKeys("user:", alias).record(one) == UserKeys("user:", another).record(other)
    assert same == ((alias, one) == (another, other))


@pytest.mark.parametrize("subject", [*ODD_SUBJECTS, "x" * 255, "😀" * 255])
def test_a_subject(subject) -> None:
    assert is_subject(subject)


@pytest.mark.parametrize("subject", ["", "x" * 256, "x" * 10_240, "a\nb", "a\x00", "\x7f", "\x85", "\ud800"])
def test_no_subject(subject) -> None:
    assert not is_subject(subject)
