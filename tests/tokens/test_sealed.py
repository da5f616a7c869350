"""Answers that stand where others read and write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authcache_middleware.tokens.sealed import Answer, AnswerSeal

SECRET = b"a secret of these tests, of 32 bytes or more"
ANSWER = Answer(b'{"active": true}', 1_700_000_000.25)


@pytest.fixture
def seal() -> AnswerSeal:
    return AnswerSeal(SECRET, "https://id.example/introspect", "orders", "https://id.example")


def test_what_was_sealed_is_opened_under_its_name_alone(seal) -> None:
    name = seal.name("token")
    value = seal.seal(name, ANSWER)
    assert seal.open(name, value) == ANSWER
    assert seal.open(seal.name("other"), value) is None
    assert "token" not in name + value.decode("latin-1") + repr(seal)


@pytest.mark.parametrize(
    ("secret", "context"),
    [
        (SECRET + b".", ("a", "bc", "d")),
        (SECRET, ("a", "bc", "e")),
        (SECRET, ("ab", "c", "d")),
        (SECRET, ("a", "bc", "d", "")),
        (SECRET, ("a", "bc")),
    ],
)
def test_another_secret_or_question_has_other_names_and_seals(secret, context) -> None:
    one, other = AnswerSeal(SECRET, "a", "bc", "d"), AnswerSeal(secret, *context)
    assert one.name("token") != other.name("token")
    name = one.name("token")
    assert other.open(name, one.seal(name, ANSWER)) is None


@given(data=st.data())
def test_nothing_else_is_opened(data) -> None:
    seal = AnswerSeal(SECRET, "a")
    name = seal.name("token")
    value = seal.seal(name, ANSWER)
    assert seal.open(name, data.draw(st.binary(max_size=80))) is None
    at = data.draw(st.integers(0, len(value) - 1))
    changed = value[:at] + bytes([value[at] ^ data.draw(st.integers(1, 255))]) + value[at + 1 :]
    assert seal.open(name, changed) is None
    assert seal.open(name, value[:at]) is None


def test_a_later_version_is_not_read(seal, monkeypatch) -> None:
    name = seal.name("token")
    monkeypatch.setattr("authcache_middleware.tokens.sealed._VERSION", 2)
    value = seal.seal(name, ANSWER)
    monkeypatch.undo()
    assert seal.open(name, value) is None
